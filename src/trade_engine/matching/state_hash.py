"""The state hash: one 128-bit number for all that a book remembers.

It is the sum, modulo 2^128, of a BLAKE2b hash of each live order's record and of the memory's record, so the order
of insertion does not matter and a change costs one hash.  Both books and the journal must agree on it, so the
records below are a fixed format: little-endian, fields as in ``protocol.Resting`` and ``protocol.MarketMemory``.
"""

import struct
from hashlib import blake2b
from typing import Final

from trade_engine.matching.protocol import MarketMemory, Resting

MODULUS: Final = 1 << 128

#: side, type, time_in_force, stp, flags, waiting | thirteen 64-bit numbers.
_ORDER: Final = struct.Struct("<6B2x13q")
_MEMORY: Final = struct.Struct("<13q")
#: What a memory's record was in version 0.1: a memory that holds no more than that has that record's hash.
_FIRST_MEMORY_SIZE: Final = 64
ORDER_RECORD_SIZE: Final = _ORDER.size
MEMORY_RECORD_SIZE: Final = _MEMORY.size


def encode_resting(o: Resting) -> bytes:
    """Write a live order as its record (112 bytes)."""
    return _ORDER.pack(
        o.side, o.type, o.time_in_force, o.stp, o.flags, o.waiting,
        o.order_number, o.user, o.price, o.quantity, o.leaves, o.stop_price, o.display, o.display_remaining,
        o.max_notional, o.spent_notional, o.expires_us, o.linked_number, o.priority,
    )  # fmt: skip


def decode_resting(record: bytes | memoryview) -> Resting:
    """Read a live order back; struct.error if it is no record."""
    (
        side, type_, tif, stp, flags, waiting,
        order_number, user, price, quantity, leaves, stop_price, display, display_remaining,
        max_notional, spent_notional, expires_us, linked_number, priority,
    ) = _ORDER.unpack(record)  # fmt: skip
    return Resting(
        order_number, user, side, type_, tif, stp, flags, waiting, price, quantity, leaves, stop_price,
        display, display_remaining, max_notional, spent_notional, expires_us, linked_number, priority,
    )  # fmt: skip


def encode_memory(memory: MarketMemory) -> bytes:
    """Write the memory as its record (104 bytes)."""
    return _MEMORY.pack(*memory)


def decode_memory(record: bytes | memoryview) -> MarketMemory:
    """Read the memory back; struct.error if it is no record."""
    return MarketMemory(*_MEMORY.unpack(record))


def _hash(record: bytes) -> int:
    return int.from_bytes(blake2b(record, digest_size=16).digest(), "little")


def order_hash(order: Resting) -> int:
    """What one live order adds to the state hash."""
    return _hash(encode_resting(order))


def memory_hash(memory: MarketMemory) -> int:
    """What the memory adds to the state hash."""
    record = encode_memory(memory)
    return _hash(record if any(memory[8:]) else record[:_FIRST_MEMORY_SIZE])
