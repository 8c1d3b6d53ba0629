"""Candles of one market, folded from its trades (units of 1e-8, microseconds since 1970 UTC).

All intervals begin at multiples of their width, so days begin at midnight UTC.  A candle exists only where something
traded.  The fold holds the newest candles; older ones are in the database, and the fold never forgets one that is not.
"""

from collections import deque
from typing import Final

import msgspec

MINUTE_US: Final = 60_000_000
DAY_US: Final = 24 * 60 * MINUTE_US

#: Width by name of the intervals that are kept (``intervals`` has the others).  Each is a whole number of the one
#: before, which the fold relies on.
STORED: Final = {
    "1m": MINUTE_US,
    "5m": 5 * MINUTE_US,
    "15m": 15 * MINUTE_US,
    "1h": 60 * MINUTE_US,
    "4h": 240 * MINUTE_US,
    "1d": DAY_US,
}


class Candle(msgspec.Struct, gc=False):
    """What traded in one interval, or in a part of it: a single trade is one too."""

    start_us: int
    open: int
    high: int
    low: int
    close: int
    volume: int
    quote_volume: int
    trades: int
    #: Of the newest trade in it.
    last_sequence: int


class Candles:
    """The newest candles of a market, by interval; the last of each is the running one."""

    def __init__(self) -> None:
        self._series: dict[str, deque[Candle]] = {name: deque() for name in STORED}
        self._running: list[Candle] = []
        #: When the running minute ends, and with it perhaps longer intervals.
        self._end_us = 0

    def load(self, interval: str, candle: Candle) -> None:
        """Take a stored candle in, oldest first; before the first ``fold``."""
        self._series[interval].append(candle)

    def fold(self, part: Candle) -> Candle:
        """Take in what traded within one minute, or a part of it; times never go back.  The minute it fell in."""
        if part.start_us >= self._end_us:
            self._begin(part)
        for candle in self._running:
            if part.high > candle.high:  # noqa: PLR1730 - max() would double what a trade costs the writer
                candle.high = part.high
            if part.low < candle.low:  # noqa: PLR1730
                candle.low = part.low
            candle.close = part.close
            candle.volume += part.volume
            candle.quote_volume += part.quote_volume
            candle.trades += part.trades
            candle.last_sequence = part.last_sequence
        return self._running[0]

    def _begin(self, part: Candle) -> None:
        """Let new candles begin where the time of ``part`` is past the running ones."""
        for name, width_us in STORED.items():
            series = self._series[name]
            start_us = part.start_us - part.start_us % width_us
            if not series or series[-1].start_us < start_us:
                price = part.open
                series.append(Candle(start_us, price, price, price, price, 0, 0, 0, part.last_sequence))
        self._running = [series[-1] for series in self._series.values()]
        self._end_us = self._running[0].start_us + MINUTE_US

    def running(self, interval: str) -> Candle | None:
        """The last candle something traded in: the running one, unless its time is over."""
        series = self._series[interval]
        return series[-1] if series else None

    def oldest_us(self, interval: str) -> int | None:
        """Where the oldest candle held begins; none is missing from there on."""
        series = self._series[interval]
        return series[0].start_us if series else None

    def between(self, interval: str, start_us: int, end_us: int, limit: int) -> list[Candle]:
        """The newest ``limit`` candles held that begin in ``[start_us, end_us)``, oldest first."""
        found: list[Candle] = []
        for candle in reversed(self._series[interval]):
            if candle.start_us < start_us or len(found) == limit:
                break
            if candle.start_us < end_us:
                found.append(candle)
        found.reverse()
        return found

    def changed_since(self, sequence: int) -> list[tuple[str, Candle]]:
        """Every candle with a trade after ``sequence``, and its interval, oldest first."""
        changed: list[tuple[str, Candle]] = []
        for name, series in self._series.items():
            newer: list[Candle] = []
            for candle in reversed(series):
                if candle.last_sequence <= sequence:
                    break
                newer.append(candle)
            changed.extend((name, candle) for candle in reversed(newer))
        return changed

    def trim(self, keep: int, stored: int) -> None:
        """Forget all but the newest ``keep`` of each interval, of those with no trade after ``stored``."""
        for series in self._series.values():
            while len(series) > keep and series[0].last_sequence <= stored:
                series.popleft()
