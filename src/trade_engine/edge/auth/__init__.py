"""Who is asking: bearer tokens are checked here, and only here."""
