"""Answers: what JSON goes out, the same over REST and WebSocket (SPEC 7.2).  Amounts are decimal strings."""

from typing import Any, Final

import msgspec
from msgspec import UNSET, UnsetType

from trade_engine.domain.commands import OrderFlag
from trade_engine.domain.enums import TimeInForce
from trade_engine.domain.market import Market
from trade_engine.domain.orders import Order, Trade
from trade_engine.domain.rules import show_average
from trade_engine.domain.scale import format_price, format_units
from trade_engine.edge.shapes import (
    Amount,
    Asset,
    Id,
    IntervalWord,
    SettlementWord,
    SideWord,
    Signed,
    StatusWord,
    Symbol,
    Time,
    TimeInForceWord,
    TypeWord,
)
from trade_engine.edge.times import show_time, show_time_or_none
from trade_engine.marketdata.candles import Candle
from trade_engine.marketdata.intervals import end_of
from trade_engine.sequencer.ports import DepthView, PlacedPair, TickerView

#: What an order that asked for an end has; any other's is the longest life, which is the venue's rule.
_ENDING: Final = (TimeInForce.DAY, TimeInForce.GTD)


class OrderView(msgspec.Struct, gc=False):
    """An order as its owner sees it."""

    id: Id
    sequence: int
    client_order_id: str | None
    user_id: Id
    institution_id: str | None
    symbol: Symbol
    side: SideWord
    type: TypeWord
    time_in_force: TimeInForceWord
    status: StatusWord
    quantity: Amount
    filled_quantity: Amount
    average_price: Amount | None
    price: Amount | None
    stop_price: Amount | None
    display_quantity: Amount | None
    reason: str | None
    created_at: Time
    updated_at: Time
    filled_at: Time | None
    cancelled_at: Time | None
    expires_at: Time | None
    #: Only of a stop that is reached from the other side.
    take_profit: bool | UnsetType = UNSET
    #: Only of a leg of a pair: the sequences of the pair, which is its first leg's, and of the other leg.
    pair: int | UnsetType = UNSET
    linked_sequence: int | UnsetType = UNSET


class PairView(msgspec.Struct, gc=False, omit_defaults=True):
    """A pair of orders of which one cancels the other, and its legs as they are now."""

    #: The sequence of its first leg, whose reservation pays for whichever of them trades.
    pair: int
    client_pair_id: str | None
    #: Whether a leg of it is open.
    is_open: bool
    legs: list[OrderView]
    #: A client_order_id of it was used before: nothing new was placed.
    replayed: bool = False


class OwnTradeView(msgspec.Struct, gc=False, omit_defaults=True):
    """A trade as one of its parties sees it: that side's order and fee only (both, if it was both)."""

    id: Id
    sequence: int
    symbol: Symbol
    price: Amount
    quantity: Amount
    is_buyer_maker: bool
    settlement_status: SettlementWord
    executed_at: Time
    side: SideWord
    buyer_order_id: Id | None = None
    buyer_fee: Amount | None = None
    buyer_fee_asset: Asset | None = None
    seller_order_id: Id | None = None
    seller_fee: Amount | None = None
    seller_fee_asset: Asset | None = None


class TradeView(msgspec.Struct, gc=False):
    """A trade as the market sees it: nobody's ids."""

    id: Id
    sequence: int
    symbol: Symbol
    price: Amount
    quantity: Amount
    is_buyer_maker: bool
    executed_at: Time


class CandleView(msgspec.Struct, gc=False):
    """What traded in one interval; ``close_time`` is where the next one begins."""

    symbol: Symbol
    interval: IntervalWord
    open_time: Time
    close_time: Time
    open: Amount
    high: Amount
    low: Amount
    close: Amount
    volume: Amount
    quote_volume: Amount
    trades: int
    #: Its time is over and all its trades are in.
    closed: bool


class LevelView(msgspec.Struct, gc=False):
    """All that is offered at one price."""

    price: Amount
    quantity: Amount
    num_orders: int


class BookView(msgspec.Struct):
    """A committed book, best prices first; ``sequence`` is the market's event that it shows."""

    symbol: Symbol
    bids: list[LevelView]
    asks: list[LevelView]
    spread: Amount | None
    sequence: int


class TickerAnswer(msgspec.Struct, gc=False):
    """A market's last 24 hours and its best prices now; a price there is none of is null."""

    symbol: Symbol
    last_price: Amount | None
    open_24h: Amount | None = msgspec.field(name="24h_open")
    high_24h: Amount | None = msgspec.field(name="24h_high")
    low_24h: Amount | None = msgspec.field(name="24h_low")
    volume_24h: Amount = msgspec.field(name="24h_volume")
    quote_volume_24h: Amount = msgspec.field(name="24h_quote_volume")
    trades_24h: int = msgspec.field(name="24h_trades")
    change: Signed
    change_percent: Signed
    best_bid: Amount | None
    best_ask: Amount | None


class PlacedView(msgspec.Struct, gc=False, omit_defaults=True):
    """An order as it is now, and the trades that placing or changing it made at once."""

    order: OrderView
    trades: list[OwnTradeView]
    #: The client_order_id was used before: nothing new was placed.
    replayed: bool = False
    #: Fields in which such a repeat asks for something else than the order is now.
    differs: list[str] = []


class CancelledView(msgspec.Struct):
    """How many orders were ended."""

    cancelled: int


class BalanceView(msgspec.Struct, frozen=True, gc=False):
    """What a user has of one asset."""

    asset: Asset
    available: Amount
    reserved: Amount
    pending: Amount
    total: Amount


class ErrorView(msgspec.Struct):
    """Why something was refused; ``code`` is stable, ``message`` is for people, ``details`` name field and limit."""

    code: str
    message: str
    details: dict[str, Any]


def show_order(order: Order, market: Market) -> OrderView:
    """An order for JSON."""
    decimals = market.price_decimals
    return OrderView(
        order.order_id,
        order.sequence,
        order.client_order_id,
        order.user_id,
        order.institution_id,
        market.symbol,
        order.side.name,
        order.type.name,
        order.time_in_force.name,
        order.status.name,
        format_units(order.quantity),
        format_units(order.filled),
        show_average(order.filled_notional, order.filled, 0) if order.filled else None,
        format_price(order.price, decimals) if order.price else None,
        format_price(order.stop_price, decimals) if order.stop_price else None,
        format_units(order.display) if order.display else None,
        order.reason.name if order.reason else None,
        show_time(order.created_us),
        show_time(order.updated_us),
        show_time_or_none(order.filled_us),
        show_time_or_none(order.cancelled_us),
        show_time(order.expires_us) if order.time_in_force in _ENDING and order.expires_us else None,
        True if order.flags & OrderFlag.REVERSED else UNSET,
        order.pair_number or UNSET,
        order.linked_number or UNSET,
    )


def show_pair(placed: PlacedPair, market: Market) -> PairView:
    """A pair for JSON."""
    return PairView(
        placed.pair.pair_number,
        placed.pair.client_pair_id,
        any(leg.status.is_open for leg in placed.legs),
        [show_order(leg, market) for leg in placed.legs],
        placed.replayed,
    )


def show_own_trade(trade: Trade, market: Market, user_id: str) -> OwnTradeView:
    """A trade for one of its parties."""
    buys = trade.buyer_user_id == user_id
    view = OwnTradeView(
        trade.trade_id,
        trade.sequence,
        market.symbol,
        format_price(trade.price, market.price_decimals),
        format_units(trade.quantity),
        trade.is_buyer_maker,
        trade.settlement_status.name,
        show_time(trade.executed_us),
        "BUY" if buys else "SELL",
    )
    if buys:
        view.buyer_order_id = trade.buyer_order_id
        view.buyer_fee = format_units(trade.buyer_fee)
        view.buyer_fee_asset = trade.buyer_fee_asset
    if trade.seller_user_id == user_id:
        view.seller_order_id = trade.seller_order_id
        view.seller_fee = format_units(trade.seller_fee)
        view.seller_fee_asset = trade.seller_fee_asset
    return view


def show_trade(trade: Trade, market: Market) -> TradeView:
    """A trade for the market."""
    return TradeView(
        trade.trade_id,
        trade.sequence,
        market.symbol,
        format_price(trade.price, market.price_decimals),
        format_units(trade.quantity),
        trade.is_buyer_maker,
        show_time(trade.executed_us),
    )


def show_candle(candle: Candle, market: Market, interval: str, committed_us: int) -> CandleView:
    """A candle for JSON; it is closed if it ends by ``committed_us``."""
    decimals = market.price_decimals
    end_us = end_of(interval, candle.start_us)
    return CandleView(
        market.symbol,
        interval,
        show_time(candle.start_us),
        show_time(end_us),
        format_price(candle.open, decimals),
        format_price(candle.high, decimals),
        format_price(candle.low, decimals),
        format_price(candle.close, decimals),
        format_units(candle.volume),
        format_units(candle.quote_volume),
        candle.trades,
        end_us <= committed_us,
    )


def show_book(market: Market, view: DepthView) -> BookView:
    """A book for JSON."""
    decimals = market.price_decimals

    def show(rows: list[tuple[int, int, int]]) -> list[LevelView]:
        return [
            LevelView(format_price(price, decimals), format_units(quantity), orders) for price, quantity, orders in rows
        ]

    spread = format_price(view.asks[0][0] - view.bids[0][0], decimals) if view.asks and view.bids else None
    return BookView(market.symbol, show(view.bids), show(view.asks), spread, view.sequence)


def show_ticker(market: Market, view: TickerView) -> TickerAnswer:
    """A ticker for JSON."""
    decimals = market.price_decimals

    def price(units: int) -> str | None:
        return format_price(units, decimals) if units else None

    change = view.last_price - view.open if view.open else 0
    percent = show_average(abs(change) * 100, view.open, 0) if view.open else "0"
    return TickerAnswer(
        market.symbol,
        price(view.last_price),
        price(view.open),
        price(view.high),
        price(view.low),
        format_units(view.volume),
        format_units(view.quote_volume),
        view.trades,
        ("-" if change < 0 else "") + format_price(abs(change), decimals),
        ("-" if change < 0 else "") + percent,
        price(view.best_bid),
        price(view.best_ask),
    )
