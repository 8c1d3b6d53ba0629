"""Times at the boundary: microseconds since 1970 UTC inside, ISO 8601 with microseconds and ``Z`` outside."""

from collections.abc import Mapping
from datetime import UTC, datetime
from functools import lru_cache
from typing import Final

from trade_engine.domain.errors import InvalidRequest

#: The first time that is taken, in 1990: what is earlier was meant in seconds.
_EARLIEST_US: Final = 631_152_000_000_000
#: The last time that can be written: the end of the year 9999.
LATEST_US: Final = 253_402_300_799_999_999


def show_time(time_us: int) -> str:
    """Write a time: ``2026-01-31T12:00:00.000000Z``."""
    seconds, rest_us = divmod(time_us, 1_000_000)
    return f"{_second(seconds)}{rest_us:06d}Z"


def show_time_or_none(time_us: int) -> str | None:
    """Write a time; 0 is none."""
    return show_time(time_us) if time_us else None


@lru_cache(maxsize=256)
def _second(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S.")


def read_time(text: str, field: str, code: str = "INVALID_PARAMETER") -> int:
    """Read ISO 8601 with a zone, or whole milliseconds since 1970, as microseconds.

    Raises:
        InvalidRequest: with ``code``; the text is neither, or lies before 1990, as seconds would.
    """
    time_us = _read(text)
    if not _EARLIEST_US <= time_us <= LATEST_US:
        message = f"{field} must be a time such as 2026-01-31T12:00:00Z, or milliseconds (not seconds) since 1970"
        raise InvalidRequest(code, message, field=field, provided=text[:100])
    return time_us


def read_range(given: Mapping[str, str]) -> tuple[int | None, int | None]:
    """``start_time`` (included) and ``end_time`` (excluded) of a request, microseconds; None where there is none.

    Raises:
        InvalidRequest: INVALID_PARAMETER; one is no time, or the end is not after the start.
    """
    start, end = (read_time(given[name], name) if name in given else None for name in ("start_time", "end_time"))
    if start is not None and end is not None and end <= start:
        message = "end_time must be after start_time"
        raise InvalidRequest("INVALID_PARAMETER", message, field="end_time", provided=given["end_time"][:100])
    return start, end


def _read(text: str) -> int:
    if text.isascii() and text.isdigit():
        return int(text) * 1000 if len(text) <= 15 else 0
    try:
        moment = datetime.fromisoformat(text)
        if moment.tzinfo is None:
            return 0
        since = moment - datetime(1970, 1, 1, tzinfo=UTC)
    except (ValueError, OverflowError):
        return 0
    return (since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds
