"""The engine's ports: what its callers ask, and what they get back, all in integers; nothing of it is the writer's own.

``Trading`` needs the writer.  ``MarketReader`` reads folds of committed batches.  ``Operations`` is for operators.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple, Protocol

import msgspec

from trade_engine.domain.enums import MarketState, Side
from trade_engine.domain.market import Market
from trade_engine.domain.orders import Order, OrderPair, PlaceOrder, PlacePair, Trade
from trade_engine.marketdata.candles import Candle


class Amendment(msgspec.Struct, frozen=True, kw_only=True):
    """What to change; 0 keeps.  Units of 1e-8; ``quantity`` is the new total, filled part included."""

    quantity: int = 0
    price: int = 0
    stop_price: int = 0


class Placed(NamedTuple):
    """The order as it was committed, its trades, and whether this is the answer to an earlier request."""

    order: Order
    trades: list[Trade]
    replayed: bool = False
    #: All trades that the request caused, those of the stops that it set off included.
    fills: int = 0


class PlacedPair(NamedTuple):
    """Both legs of a pair as they were committed, or as they are now, if this is the answer to an earlier request."""

    pair: OrderPair
    legs: tuple[Order, Order]
    replayed: bool = False


class DepthView(NamedTuple):
    """A committed book: (price, quantity, number of orders) a level, best first, units of 1e-8."""

    bids: list[tuple[int, int, int]]
    asks: list[tuple[int, int, int]]
    #: The market's event sequence that this shows.
    sequence: int


class TickerView(NamedTuple):
    """The last 24 hours of a market and its best prices now; units of 1e-8, 0 is "none"."""

    last_price: int
    open: int
    high: int
    low: int
    volume: int
    quote_volume: int
    trades: int
    best_bid: int
    best_ask: int
    #: Of the newest trade; 0 if it is not known, as after a start.
    last_quantity: int = 0


class CandlesView(NamedTuple):
    """Candles of one market and interval, oldest first; units of 1e-8."""

    candles: list[Candle]
    #: Every trade before this time is committed and shown: a candle that ends by then does not change any more.
    committed_us: int


class MarketStatus(NamedTuple):
    """Where a market is."""

    symbol: str
    state: MarketState
    #: Its last committed event.
    sequence: int


class EngineStatus(NamedTuple):
    """Where the engine is, for its operators."""

    #: What is wrong; None: it works.
    trouble: str | None
    epoch: int
    #: Of the last command committed; 0 while there is no memory.
    sequence: int
    #: Requests that wait for a batch.
    waiting: int
    #: Commands of the latest batch.
    last_batch: int
    live_orders: int
    markets: list[MarketStatus]


class CommittedDepth(Protocol):
    """A committed book, for reading: prices in ticks, quantities in lots."""

    @property
    def sequence(self) -> int:
        """How many events of the market it shows."""

    def best(self, side: Side) -> int:
        """The best price of a side; 0 if it is empty."""

    def count(self, side: Side) -> int:
        """How many levels a side has."""

    def levels(self, side: Side, count: int) -> list[tuple[int, int, int]]:
        """The best ``count`` levels of a side, best first: (price, lots, orders)."""

    def changes_since(self, sequence: int) -> list[tuple[int, int, int]] | None:
        """The levels that changed after ``sequence``: (side, price, lots now); None if that is too long ago to tell."""


class CommittedMarket(Protocol):
    """What is committed of a market, for readers of changes; nothing of it may be written."""

    @property
    def market(self) -> Market:
        """Its terms and its state."""

    @property
    def depth(self) -> CommittedDepth:
        """Its book."""

    def running(self, interval: str) -> Candle | None:
        """The last candle something traded in, as it is now."""

    def between(self, interval: str, start_us: int, end_us: int, limit: int) -> list[Candle]:
        """The newest ``limit`` candles held in memory that begin in ``[start_us, end_us)``, oldest first."""


class Trading(Protocol):
    """What needs the writer; every method raises ``domain.errors.EngineError`` and ends within a bounded time."""

    async def place(self, request: PlaceOrder) -> Placed:
        """Reserve, match and commit an order; returns after the commit."""

    async def place_pair(self, request: PlacePair) -> PlacedPair:
        """Reserve once, and commit both legs of a pair, of which one cancels the other; returns after the commit."""

    async def pair(self, order_id: str, user_id: str | None) -> PlacedPair:
        """The pair that a committed order is a leg of; NotFound if it is in none, or not ``user_id``'s."""

    async def cancel(self, order_id: str, user_id: str | None) -> Order:
        """End an order; ``user_id`` None is the operator, else it must be the order's.  Returns after the commit."""

    async def cancel_numbered(self, number: int, user_id: str, market_id: int) -> Order:
        """As ``cancel``, of a live order of the user's in a market, by its number; NotFound if there is none."""

    async def amend(self, order_id: str, user_id: str | None, change: Amendment) -> Placed:
        """Change an order's quantity, price or stop price; reserves what more it needs.  Returns after the commit."""

    async def cancel_all(self, user_id: str | None, symbol: str | None) -> int:
        """End all orders of a user (None: of everybody), in one market or all; how many.  Returns after the commits."""

    async def order(self, order_id: str, user_id: str | None) -> Order:
        """One committed order, open or ended; NotFound if there is none, or it is not ``user_id``'s."""

    async def order_id_of(self, client_order_id: str, user_id: str) -> str:
        """The id of the committed order that a user placed with a client order id; NotFound if there is none."""

    def is_live(self, order_id: str) -> bool:
        """Whether a committed order can still trade; Unavailable while the engine builds its memory."""


class MarketReader(Protocol):
    """What folds of committed batches tell; it may live in another process than the writer."""

    @property
    def markets(self) -> Mapping[str, Market]:
        """All markets by symbol (``BTC/USDT``)."""

    def market(self, market_id: int) -> Market:
        """The market of a number."""

    @property
    def committed_us(self) -> int:
        """Every trade stamped before this time is committed and shown."""

    def view(self, symbol: str) -> CommittedMarket:
        """What is committed of a market, for readers of changes."""

    def depth(self, symbol: str, levels: int) -> DepthView:
        """The committed book of a market."""

    def ticker(self, symbol: str) -> TickerView:
        """The committed ticker of a market."""

    async def candles(self, symbol: str, interval: str, start_us: int, end_us: int, limit: int) -> CandlesView:
        """The newest ``limit`` candles of a market that begin in ``[start_us, end_us)``, the running one included.

        There is none for a time when nothing traded.
        """


class Operations(Protocol):
    """What operators ask for."""

    async def list_market(self, market: Market) -> Market:
        """List a new market; its number is given by the engine.  Returns when it takes orders."""

    async def change_market(self, symbol: str, **terms: Any) -> Market:
        """Change fees, limits or rules of a market; MarketError if they contradict each other."""

    async def set_market_state(self, symbol: str, state: MarketState) -> None:
        """Open, halt or close a market; returns after the commit."""

    def status(self) -> EngineStatus:
        """Where the engine is, at once, also while it is in trouble."""

    def condition(self) -> dict[str, str]:
        """Health by name (``engine``, ``database``): ``"ok"`` or what is wrong, at once, without I/O."""
