"""The snapshot of one book: all that it remembers, as bytes that are the same from both books.

Layout, little-endian: magic ``TESNAP``, version (u16), market (u32), number of orders (u64); the memory's record and
each live order's record in ascending priority, as ``state_hash`` defines them; BLAKE2b-256 of everything before.
Version 1 had the first 64 bytes of the memory's record; it is still read.
The bytes follow from the book's state alone, so equal books give equal snapshots.  A snapshot is checked from end to
end before any book is touched; one that is damaged, cut short or of another version or market is refused.
"""

import struct
from hashlib import blake2b
from typing import Final

from trade_engine.matching.state_hash import MEMORY_RECORD_SIZE, ORDER_RECORD_SIZE

VERSION: Final = 2
_MAGIC: Final = b"TESNAP"
_HEADER: Final = struct.Struct("<6sHIQ")
_CHECKSUM_SIZE: Final = 32
#: Of each version that is read.
_MEMORY_SIZES: Final = {1: 64, VERSION: MEMORY_RECORD_SIZE}


def seal_snapshot(market_id: int, memory: bytes, orders: bytes) -> bytes:
    """Put a market's memory record and order records into a snapshot."""
    count = len(orders) // ORDER_RECORD_SIZE
    body = b"".join((_HEADER.pack(_MAGIC, VERSION, market_id, count), memory, orders))
    return body + _checksum(body)


def open_snapshot(market_id: int, snapshot: bytes) -> tuple[bytes, bytes]:
    """The memory record and the order records of a snapshot of market ``market_id``.

    Raises:
        ValueError: it is no snapshot, damaged, cut short, or of another version or market.
    """
    if len(snapshot) < _HEADER.size + _CHECKSUM_SIZE:
        raise ValueError(f"the snapshot is cut short: {len(snapshot)} bytes")
    magic, version, market, count = _HEADER.unpack_from(snapshot)
    if magic != _MAGIC:
        raise ValueError("these bytes are no snapshot of a book")
    if version not in _MEMORY_SIZES:
        raise ValueError(f"the snapshot has version {version}, not {VERSION}")
    orders_at, end = _HEADER.size + _MEMORY_SIZES[version], len(snapshot) - _CHECKSUM_SIZE
    if end - orders_at != count * ORDER_RECORD_SIZE:
        raise ValueError(f"the snapshot names {count} orders but has {end - orders_at} bytes of them")
    if _checksum(memoryview(snapshot)[:end]) != snapshot[end:]:
        raise ValueError("the snapshot is damaged: its checksum does not hold")
    if market != market_id:
        raise ValueError(f"the snapshot is of market {market}, not {market_id}")
    return snapshot[_HEADER.size : orders_at].ljust(MEMORY_RECORD_SIZE, b"\0"), snapshot[orders_at:end]


def _checksum(body: bytes | memoryview) -> bytes:
    return blake2b(body, digest_size=_CHECKSUM_SIZE).digest()
