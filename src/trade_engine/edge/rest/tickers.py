"""The tickers of all markets at once: made a few times a second at most, however often they are asked for."""

import time
import weakref
from typing import Final

from trade_engine.edge.views import TickerAnswer, show_ticker
from trade_engine.sequencer.ports import MarketReader

#: How old the answer may be.
_AGE_MAX_S: Final = 0.1


class Tickers:
    """Shows every market's ticker, in the order in which markets were listed."""

    def __init__(self, reader: MarketReader) -> None:
        self._reader: MarketReader = weakref.proxy(reader)
        self._made_s = 0.0
        self._shown: list[TickerAnswer] = []

    def all(self) -> list[TickerAnswer]:
        """The tickers as they were a tenth of a second ago at most.

        Raises:
            Unavailable: a market's statistics are being made anew.
        """
        now_s = time.monotonic()
        if now_s - self._made_s > _AGE_MAX_S:
            reader = self._reader
            markets = sorted(reader.markets.values(), key=lambda market: market.market_id)
            self._shown = [show_ticker(market, reader.ticker(market.symbol)) for market in markets]
            self._made_s = now_s
        return self._shown
