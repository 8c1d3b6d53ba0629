"""What the server answers, as types: amounts are Decimals, times are datetimes in UTC, words are upper case.

Fields that a newer server adds are passed over.
"""

from collections.abc import Iterator
from datetime import datetime
from decimal import Decimal
from typing import Generic, Literal, TypeVar

import msgspec

from .errors import Problem

T = TypeVar("T")

Side = Literal["BUY", "SELL"]
OrderType = Literal["LIMIT", "MARKET", "STOP", "STOP_LIMIT"]
TimeInForce = Literal["GTC", "IOC", "FOK", "DAY", "GTD"]
SelfTradePrevention = Literal["CANCEL_NEWEST", "CANCEL_OLDEST", "CANCEL_BOTH", "DECREMENT", "NONE"]
OrderStatus = Literal["PENDING", "OPEN", "PARTIALLY_FILLED", "FILLED", "CANCELLED", "REJECTED", "EXPIRED"]
SettlementStatus = Literal["PENDING", "SETTLED", "FAILED"]
Interval = Literal["1m", "3m", "5m", "15m", "30m", "1h", "2h", "4h", "6h", "8h", "12h", "1d", "3d", "1w", "1M"]
MarketState = Literal["OPEN", "HALTED", "CANCEL_ONLY", "CLOSED"]


class Order(msgspec.Struct, frozen=True, kw_only=True):
    """An order of the caller."""

    id: str
    sequence: int
    client_order_id: str | None = None
    user_id: str
    institution_id: str | None = None
    symbol: str
    side: Side
    type: OrderType
    time_in_force: TimeInForce
    status: OrderStatus
    quantity: Decimal
    filled_quantity: Decimal
    average_price: Decimal | None = None
    price: Decimal | None = None
    stop_price: Decimal | None = None
    display_quantity: Decimal | None = None
    #: Why it was cancelled or rejected.
    reason: str | None = None
    created_at: datetime
    updated_at: datetime
    filled_at: datetime | None = None
    cancelled_at: datetime | None = None
    expires_at: datetime | None = None
    take_profit: bool = False

    @property
    def is_open(self) -> bool:
        """Whether it may still be filled."""
        return self.status in ("PENDING", "OPEN", "PARTIALLY_FILLED")


class MarketTrade(msgspec.Struct, frozen=True, kw_only=True):
    """A trade as everybody sees it."""

    id: str
    sequence: int
    symbol: str
    price: Decimal
    quantity: Decimal
    is_buyer_maker: bool
    executed_at: datetime


class Trade(MarketTrade, frozen=True, kw_only=True):
    """A trade of the caller, with order and fee of its own side."""

    side: Side
    settlement_status: SettlementStatus
    buyer_order_id: str | None = None
    buyer_fee: Decimal | None = None
    buyer_fee_asset: str | None = None
    seller_order_id: str | None = None
    seller_fee: Decimal | None = None
    seller_fee_asset: str | None = None


class Placed(msgspec.Struct, frozen=True, kw_only=True):
    """An order that was placed or changed, and the trades it made at once."""

    order: Order
    trades: list[Trade] = []
    #: The order was there before: this answer is to a repeat.
    replayed: bool = False
    #: Fields in which the repeat asked for something else than the order is now.
    differs: list[str] = []


class PlaceResult(msgspec.Struct, frozen=True, kw_only=True):
    """What became of one order of a batch."""

    success: bool
    order: Order | None = None
    trades: list[Trade] = []
    replayed: bool = False
    differs: list[str] = []
    error: Problem | None = None


class Level(msgspec.Struct, frozen=True):
    """What is offered at one price."""

    price: Decimal
    quantity: Decimal
    num_orders: int


class OrderBook(msgspec.Struct, frozen=True, kw_only=True):
    """A market's book, best prices first."""

    symbol: str
    bids: list[Level]
    asks: list[Level]
    spread: Decimal | None
    sequence: int


class Ticker(msgspec.Struct, frozen=True, kw_only=True, rename=lambda name: name.replace("day_", "24h_")):
    """The last 24 hours of a market and its best prices; ``day_open`` is the API's ``24h_open``."""

    symbol: str
    last_price: Decimal | None
    day_open: Decimal | None
    day_high: Decimal | None
    day_low: Decimal | None
    day_volume: Decimal
    day_quote_volume: Decimal
    day_trades: int
    change: Decimal
    change_percent: Decimal
    best_bid: Decimal | None
    best_ask: Decimal | None


class Candle(msgspec.Struct, frozen=True, kw_only=True):
    """What traded in one interval; ``close_time`` is where the next one begins."""

    symbol: str
    interval: Interval
    open_time: datetime
    close_time: datetime
    open: Decimal
    high: Decimal
    low: Decimal
    close: Decimal
    volume: Decimal
    quote_volume: Decimal
    trades: int
    #: Its time is over and all its trades are in.
    closed: bool


class Market(msgspec.Struct, frozen=True, kw_only=True):
    """A market and its rules; rates and bands are shares, 0.001 is 0.1 %."""

    symbol: str
    base: str
    quote: str
    state: MarketState
    tick_size: Decimal
    lot_size: Decimal
    min_quantity: Decimal
    max_quantity: Decimal
    min_notional: Decimal
    price_band: Decimal
    max_slippage: Decimal
    max_open_orders: int
    #: Least share of its quantity that an iceberg shows.
    min_display_share: Decimal = Decimal(0)
    maker_fee: Decimal
    taker_fee: Decimal
    fee_asset: Literal["QUOTE", "RECEIVED"]


class Balance(msgspec.Struct, frozen=True, kw_only=True):
    """What the caller has of one asset."""

    asset: str
    available: Decimal
    reserved: Decimal
    #: What unsettled trades will bring; not to be used yet.
    pending: Decimal
    total: Decimal


class Status(msgspec.Struct, frozen=True, kw_only=True):
    """What answers, and whether all of it works."""

    service: str
    version: str
    status: Literal["running", "degraded"]


class Pair(msgspec.Struct, frozen=True, kw_only=True):
    """Two orders of which one cancels the other, as they are now."""

    #: Its number: the sequence of its first leg.
    pair: int
    client_pair_id: str | None
    is_open: bool
    legs: list[Order]
    replayed: bool = False


class CancelAfter(msgspec.Struct, frozen=True):
    """When your orders will be cancelled; None: not at all."""

    symbol: str | None
    timeout_s: int
    cancel_at: datetime | None


class Cancelled(msgspec.Struct, frozen=True):
    """How many orders were cancelled."""

    cancelled: int


class ServerTime(msgspec.Struct, frozen=True):
    """The server's clock."""

    time: datetime


class Page(msgspec.Struct, Generic[T], frozen=True):
    """One page of a list, newest first."""

    items: list[T]
    #: What to ask the next page with; None on the last.
    next_cursor: str | None = None

    def __iter__(self) -> Iterator[T]:
        """The rows of this page."""
        return iter(self.items)

    def __len__(self) -> int:
        """The number of rows of this page."""
        return len(self.items)
