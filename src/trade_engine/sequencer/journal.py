"""The journal: one row a batch, chained by hash, in the core's own records (DESIGN 4)."""

import hashlib
from typing import NamedTuple


class JournalBatch(NamedTuple):
    """One committed batch as the journal keeps it."""

    first_sequence: int
    last_sequence: int
    previous_hash: bytes
    hash: bytes
    state_hash: bytes
    #: Command and event records, each end to end (``domain.commands``, ``domain.events``).
    commands: bytes
    events: bytes


def chain(previous_hash: bytes, first: int, last: int, state_hash: bytes, commands: bytes, events: bytes) -> bytes:
    """The hash of a batch: SHA-256 over the one before it and all that it holds, 32 bytes."""
    digest = hashlib.sha256(previous_hash)
    digest.update(first.to_bytes(8, "big") + last.to_bytes(8, "big") + len(commands).to_bytes(8, "big"))
    digest.update(state_hash)
    digest.update(commands)
    digest.update(events)
    return digest.digest()
