"""How chained facts are hashed: the same in Python as SQL's ``chain_hash``."""

import hashlib
from collections.abc import Sequence


def chain_fields(previous_hash: bytes, fields: Sequence[str | None]) -> bytes:
    """SHA-256 over the hash before and fields, each with its length in bytes: no two lists of fields look alike."""
    encoded = [None if field is None else field.encode() for field in fields]
    text = b",".join(b"-" if field is None else b"%d:%b" % (len(field), field) for field in encoded)
    return hashlib.sha256(previous_hash + text).digest()
