"""The intervals of candles: where each begins and ends, and which are made of narrower ones when they are read.

Times are microseconds since 1970 UTC.  Weeks begin on Monday, months on their first day, all else at whole multiples of
its width.
"""

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Final, NamedTuple

import msgspec

from trade_engine.marketdata.candles import DAY_US, STORED, Candle

_MONTH: Final = "1M"
#: 1970-01-05 was a Monday.
_WEEK_FROM_US: Final = 4 * DAY_US
#: The end of the year 9999, and of all that can be written.
_END_OF_TIME_US: Final = 253_402_300_800_000_000


class Wider(NamedTuple):
    """An interval that is made of stored candles of another."""

    base: str
    #: How many of them it has at most.
    most: int
    #: 0: it goes by the calendar.
    width_us: int
    #: Where one of them begins.
    from_us: int = 0


def _of(base: str, count: int, from_us: int = 0) -> Wider:
    return Wider(base, count, count * STORED[base], from_us)


#: The intervals that are not stored.
WIDER: Final = {
    "3m": _of("1m", 3),
    "30m": _of("15m", 2),
    "2h": _of("1h", 2),
    "6h": _of("1h", 6),
    "8h": _of("4h", 2),
    "12h": _of("4h", 3),
    "3d": _of("1d", 3),
    "1w": _of("1d", 7, _WEEK_FROM_US),
    _MONTH: Wider("1d", 31, 0),
}
#: Every interval that may be asked for, narrowest first.
INTERVALS: Final = tuple(
    sorted((*STORED, *WIDER), key=lambda name: STORED[name] if name in STORED else WIDER[name].width_us or 31 * DAY_US)
)


def named(word: str) -> str | None:
    """The interval of a word in any case, but that ``1M`` is a month and ``1m`` a minute; None if there is none."""
    if word in INTERVALS:
        return word
    lower = word.lower()
    return lower if lower in INTERVALS and not word.endswith("M") else None


def start_of(interval: str, time_us: int) -> int:
    """Where the interval that a time falls into begins."""
    if interval in STORED:
        return time_us - time_us % STORED[interval]
    wider = WIDER[interval]
    if wider.width_us:
        return time_us - (time_us - wider.from_us) % wider.width_us
    moment = datetime.fromtimestamp(time_us // 1_000_000, UTC)
    return int(datetime(moment.year, moment.month, 1, tzinfo=UTC).timestamp()) * 1_000_000


def end_of(interval: str, start_us: int) -> int:
    """Where the interval that begins at ``start_us`` ends and the next one begins."""
    width_us = STORED.get(interval) or WIDER[interval].width_us
    if width_us:
        return start_us + width_us
    first = datetime.fromtimestamp(start_us // 1_000_000, UTC)
    if (first.year, first.month) == (9999, 12):
        return _END_OF_TIME_US
    following = first.replace(year=first.year + first.month // 12, month=first.month % 12 + 1)
    return int(following.timestamp()) * 1_000_000


def covered(interval: str, start_us: int, end_us: int) -> tuple[int, int]:
    """From where to where the intervals reach that begin in ``[start_us, end_us)``; ``start_us`` is 1970 or later."""
    first_us = start_of(interval, start_us)
    if first_us < start_us:
        first_us = end_of(interval, first_us)
    last_us = start_of(interval, min(end_us, _END_OF_TIME_US) - 1)
    return (first_us, end_of(interval, last_us)) if last_us >= first_us else (first_us, first_us)


def combine(candles: Iterable[Candle], interval: str) -> list[Candle]:
    """Candles of a wider interval out of narrower ones, oldest first; the ones given are not changed."""
    combined: list[Candle] = []
    for candle in candles:
        start_us = start_of(interval, candle.start_us)
        if not combined or combined[-1].start_us < start_us:
            combined.append(msgspec.structs.replace(candle, start_us=start_us))
            continue
        last = combined[-1]
        last.high = max(last.high, candle.high)
        last.low = min(last.low, candle.low)
        last.close = candle.close
        last.volume += candle.volume
        last.quote_volume += candle.quote_volume
        last.trades += candle.trades
        last.last_sequence = candle.last_sequence
    return combined
