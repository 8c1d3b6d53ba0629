"""REST: the table of routes, its handlers by what they speak of, and its description (SPEC 7)."""
