"""The ticker of one market: what traded in the last 24 hours, folded from trades minute by minute.

The window begins at a whole minute: it holds the running minute and the 1,439 before it, or rather those with trades.
"""

from collections import deque
from typing import Final

MINUTE_US: Final = 60_000_000
DAY_US: Final = 24 * 60 * MINUTE_US


class Minute:
    """What traded in one minute (units of 1e-8)."""

    __slots__ = ("close", "high", "low", "open", "quote_volume", "start_us", "trades", "volume")

    def __init__(
        self, start_us: int, open_: int, high: int, low: int, close: int, volume: int, quote_volume: int, trades: int
    ) -> None:
        self.start_us = start_us
        self.open = open_
        self.high = high
        self.low = low
        self.close = close
        self.volume = volume
        self.quote_volume = quote_volume
        self.trades = trades


class Ticker:
    """The rolling day of one market."""

    def __init__(self) -> None:
        self._minutes: deque[Minute] = deque()
        #: Price of the newest trade, also when it is older than a day; 0 before the first.
        self.last_price = 0

    def add(self, time_us: int, price: int, quantity: int, notional: int) -> None:
        """Take one trade in; times never go back."""
        start = time_us - time_us % MINUTE_US
        last = self._minutes[-1] if self._minutes else None
        if last is None or last.start_us != start:
            self.add_minute(Minute(start, price, price, price, price, quantity, notional, 1))
            return
        last.high = max(last.high, price)
        last.low = min(last.low, price)
        last.close = self.last_price = price
        last.volume += quantity
        last.quote_volume += notional
        last.trades += 1

    def add_minute(self, minute: Minute) -> None:
        """Take a whole minute in: how a restart fills the day from the database."""
        self._minutes.append(minute)
        self.last_price = minute.close
        self._drop_before(minute.start_us)

    def window(self, now_us: int) -> list[Minute]:
        """The minutes of the 24 hours that end now, oldest first."""
        self._drop_before(now_us - now_us % MINUTE_US)
        return list(self._minutes)

    def _drop_before(self, start_us: int) -> None:
        while self._minutes and self._minutes[0].start_us <= start_us - DAY_US:
            self._minutes.popleft()
