"""Patterns of texts that come from outside."""


def whole(pattern: str) -> str:
    """A pattern of a whole text, spelt as Python and JSON Schema both read it.

    After ``$`` Python lets a line feed follow, and JSON Schema knows no other end: so nothing may come next.
    """
    return rf"^{pattern}(?![\s\S])"
