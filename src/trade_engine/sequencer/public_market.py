"""What the world may see of one market: a fold of committed batches."""

import sys
from typing import Final

import msgspec

from trade_engine.domain.errors import Unavailable
from trade_engine.domain.market import Market
from trade_engine.domain.orders import Trade
from trade_engine.marketdata.candles import Candle, Candles
from trade_engine.marketdata.depth import Depth
from trade_engine.marketdata.intervals import WIDER, combine, covered, start_of
from trade_engine.marketdata.ticker import Ticker

#: Candles held in memory of each market and interval once they are stored: of minutes, more than a day.
CANDLES_KEPT: Final = 1_500


class PublicMarket:
    """Committed depth, ticker and candles of a market; readers see it as ``ports.CommittedMarket``."""

    def __init__(self, market: Market) -> None:
        self.market = market
        self.depth = Depth()
        self.candles = Candles()
        self.ticker = Ticker()
        #: Trades since candles and ticker went wrong; None: they are right.
        self.missed: list[Trade] | None = None

    def add_trade(self, trade: Trade) -> None:
        """Take a committed trade in."""
        price = trade.price
        part = Candle(
            trade.executed_us, price, price, price, price, trade.quantity, trade.notional, 1, trade.sequence
        )  # fmt: skip
        self.ticker.add(self.candles.fold(part), part)

    def restore_ticker(self) -> None:
        """Make the ticker from restored candles."""
        for minute in self.candles.between("1m", 0, sys.maxsize, CANDLES_KEPT):
            self.ticker.add(minute, minute)

    def running(self, interval: str) -> Candle | None:
        """The last candle something traded in, as it is now.

        Raises:
            Unavailable: statistics are being made anew.
        """
        self.require_statistics()
        if interval in WIDER:
            last = self.candles.running(WIDER[interval].base)
            found = [] if last is None else self.between(interval, start_of(interval, last.start_us), sys.maxsize, 1)
            return found[0] if found else None
        candle = self.candles.running(interval)
        return None if candle is None else msgspec.structs.replace(candle)

    def between(self, interval: str, start_us: int, end_us: int, limit: int) -> list[Candle]:
        """The newest ``limit`` candles held that begin in ``[start_us, end_us)``, as they are now, oldest first.

        Raises:
            Unavailable: statistics are being made anew.
        """
        self.require_statistics()
        if interval in WIDER:
            wider, (first_us, last_us) = WIDER[interval], covered(interval, start_us, end_us)
            parts = self.candles.between(wider.base, first_us, last_us, limit * wider.most)
            return combine(parts, interval)[-limit:]
        found = self.candles.between(interval, start_us, end_us, limit)
        if found:
            # Only the last can still change.
            found[-1] = msgspec.structs.replace(found[-1])
        return found

    def require_statistics(self) -> None:
        """Refuse while candles and ticker are being made anew.

        Raises:
            Unavailable: they are.
        """
        if self.missed is not None:
            raise Unavailable("MARKET_DATA_UNAVAILABLE", "the market's statistics are being made anew, try again")
