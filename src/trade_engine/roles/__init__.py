"""One file a role that a process may have: everything wired, in the order in which it starts."""
