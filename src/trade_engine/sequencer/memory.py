"""All that the engine holds in memory; recovery builds it from the database, and it is dropped whole when in doubt."""

import sys
from typing import Final

import msgspec

from trade_engine.domain.market import Market
from trade_engine.domain.orders import Trade
from trade_engine.marketdata.candles import Candle, Candles
from trade_engine.marketdata.depth import Depth
from trade_engine.marketdata.ticker import Ticker
from trade_engine.matching.markets import MarketBooks
from trade_engine.sequencer.bookkeeping import Bookkeeper, LiveOrders

#: Candles held in memory of each market and interval once they are stored: of minutes, more than a day.
CANDLES_KEPT: Final = 1_500


class MarketView:
    """What the world may see of a market: committed depth, ticker and candles."""

    def __init__(self, market: Market) -> None:
        self.market = market
        self.depth = Depth()
        self.candles = Candles()
        self.ticker = Ticker()

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


class Memory(msgspec.Struct, kw_only=True):
    """The engine's memory: books a batch ahead of the database at most, views never."""

    markets: dict[int, Market]
    by_symbol: dict[str, Market]
    books: MarketBooks
    live: LiveOrders
    bookkeeper: Bookkeeper
    views: dict[int, MarketView]
    #: The trader's number in the core, by user id.
    traders: dict[str, int]
    #: Of the last command sequenced.
    sequence: int
    #: Of the last wallet instruction written.
    instruction_id: int
    journal_hash: bytes
    state_hash: bytes

    def add_market(self, market: Market) -> None:
        """Take in a market that was listed while running."""
        self.books.add(market.market_id)
        self.views[market.market_id] = MarketView(market)
        self.replace_market(market)

    def replace_market(self, market: Market) -> None:
        """Let a market have other terms from the next order on."""
        self.markets[market.market_id] = self.by_symbol[market.symbol] = market
        self.views[market.market_id].market = market
