"""The journal: one row a batch, chained by hash, in the core's own records (DESIGN 4, docs/developer/journal.md)."""

import hashlib
from typing import Final, NamedTuple

#: Begins what is hashed of a batch with facts, so that no batch passes under both rules.
_WITH_FACTS: Final = b"trade-engine journal 2\n"


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
    #: What the commands do not say (``sequencer.facts``); None: written by a version before 0.2.
    facts: bytes | None


def chain(
    previous_hash: bytes,
    first: int,
    last: int,
    state_hash: bytes,
    commands: bytes,
    events: bytes,
    facts: bytes | None,
) -> bytes:
    """The hash of a batch: SHA-256 over the one before it and all that it holds, 32 bytes.

    Of the facts the digest is hashed, so that the chain can be followed without them.
    """
    if facts is None:
        digest = hashlib.sha256(previous_hash)
        digest.update(first.to_bytes(8, "big") + last.to_bytes(8, "big") + len(commands).to_bytes(8, "big"))
    else:
        digest = hashlib.sha256(_WITH_FACTS + len(previous_hash).to_bytes(1, "big") + previous_hash)
        lengths = (first, last, len(state_hash), len(commands), len(events))
        digest.update(b"".join(number.to_bytes(8, "big") for number in lengths))
        digest.update(hashlib.sha256(facts).digest())
    digest.update(state_hash)
    digest.update(commands)
    digest.update(events)
    return digest.digest()
