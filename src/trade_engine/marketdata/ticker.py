"""The ticker of one market: what traded in the last 24 hours, folded from the minutes that its candles make.

The window begins at a whole minute: it holds the running minute and the 1,439 before it, or rather those with trades.
Sums and extremes are kept as minutes come and go, so asking costs the same however much was traded.
"""

from collections import deque

from trade_engine.marketdata.candles import DAY_US, MINUTE_US, Candle


class Ticker:
    """The rolling day of one market."""

    def __init__(self) -> None:
        self._minutes: deque[Candle] = deque()
        #: Minutes that no later one exceeds, oldest first: the first is the day's extreme.
        self._highs: deque[Candle] = deque()
        self._lows: deque[Candle] = deque()
        #: Price of the newest trade, also when it is older than a day; 0 before the first.
        self.last_price = 0
        #: Its quantity; 0 while only whole minutes are known, as after a start.
        self.last_quantity = 0
        self.volume = 0
        self.quote_volume = 0
        self.trades = 0

    def add(self, minute: Candle, part: Candle) -> None:
        """Take in ``part``, which was just folded into ``minute``; a restart gives whole minutes as both."""
        minutes, highs, lows = self._minutes, self._highs, self._lows
        if not minutes or minutes[-1] is not minute:
            minutes.append(minute)
            self.advance(minute.start_us)
        self.last_price = part.close
        self.last_quantity = part.volume if part.trades == 1 else 0
        self.volume += part.volume
        self.quote_volume += part.quote_volume
        self.trades += part.trades
        while highs and highs[-1].high <= minute.high:
            highs.pop()
        highs.append(minute)
        while lows and lows[-1].low >= minute.low:
            lows.pop()
        lows.append(minute)

    def advance(self, now_us: int) -> None:
        """Let what is older than 24 hours at ``now_us`` fall out."""
        last_us = now_us - now_us % MINUTE_US - DAY_US
        minutes, highs, lows = self._minutes, self._highs, self._lows
        while minutes and minutes[0].start_us <= last_us:
            gone = minutes.popleft()
            self.volume -= gone.volume
            self.quote_volume -= gone.quote_volume
            self.trades -= gone.trades
        while highs and highs[0].start_us <= last_us:
            highs.popleft()
        while lows and lows[0].start_us <= last_us:
            lows.popleft()

    @property
    def open(self) -> int:
        """First price of the window; 0 if nothing traded in it, as for ``high`` and ``low``."""
        return self._minutes[0].open if self._minutes else 0

    @property
    def high(self) -> int:
        """Highest price of the window."""
        return self._highs[0].high if self._highs else 0

    @property
    def low(self) -> int:
        """Lowest price of the window."""
        return self._lows[0].low if self._lows else 0
