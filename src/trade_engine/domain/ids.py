"""Identifiers: UUIDv7 as canonical lower-case text (RFC 9562), made from time and numbers that are handed in."""

import re
from typing import Final

_CANONICAL = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
_INDEX_BITS: Final = 20
_SEQUENCE_BITS: Final = 42


def uuid7(time_ms: int, high: int, low: int) -> str:
    """Lay out a UUIDv7: milliseconds since 1970 (48 bits), ``high`` (12 bits), ``low`` (62 bits)."""
    number = time_ms << 80 | 0x7 << 76 | (high & 0xFFF) << 64 | 0x2 << 62 | (low & 0x3FFF_FFFF_FFFF_FFFF)
    digits = f"{number:032x}"
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"


def trade_uuid(time_us: int, sequence: int, index: int) -> str:
    """The id of a command's ``index``-th trade: it follows from the command alone, so a replay gives it again.

    Raises:
        OverflowError: more than 2^42 commands, or 2^20 trades in one of them.
    """
    if sequence >> _SEQUENCE_BITS or index >> _INDEX_BITS:
        raise OverflowError("trade id: sequence or index too large")
    time_ms, rest_us = divmod(time_us, 1000)
    return uuid7(time_ms, rest_us * 4096 // 1000, sequence << _INDEX_BITS | index)


def sequence_of_trade(trade_id: str) -> int:
    """The command that made a trade, as ``trade_uuid`` wrote it into the id."""
    return (int(trade_id.replace("-", ""), 16) & 0x3FFF_FFFF_FFFF_FFFF) >> _INDEX_BITS


def uuid7_floor(time_us: int) -> str:
    """The lowest UUIDv7 of a millisecond: where a time range begins in a table keyed by them."""
    return uuid7(time_us // 1000, 0, 0)


def canonical_uuid(text: str) -> str | None:
    """``text`` as a canonical UUID, or None if it is none."""
    lowered = text.lower()
    return lowered if _CANONICAL.fullmatch(lowered) else None


def time_of(uuid: str) -> int:
    """When a UUIDv7 was made, in milliseconds since 1970."""
    return int(uuid[:8] + uuid[9:13], 16)
