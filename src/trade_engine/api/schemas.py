"""Bodies and answers of the REST API: what JSON may come in, what goes out (SPEC 7.2).

Amounts are decimal strings both ways; a JSON number is refused, because a float may already have lost digits.
"""

from typing import Any

import msgspec

from trade_engine.api.shapes import (
    Amount,
    AmountText,
    Asset,
    ClientId,
    Id,
    IntervalWord,
    PreventionWord,
    SettlementWord,
    SideWord,
    StatusWord,
    Symbol,
    SymbolText,
    Time,
    TimeInForceWord,
    TimeText,
    TypeWord,
)
from trade_engine.api.times import read_time, show_time, show_time_or_none
from trade_engine.domain.enums import OrderType, SelfTradePrevention, Side, TimeInForce
from trade_engine.domain.errors import InvalidRequest
from trade_engine.domain.market import Market
from trade_engine.domain.orders import Order, PlaceOrder, Trade
from trade_engine.domain.rules import show_average
from trade_engine.domain.scale import ScaleError, format_price, format_units, parse_units
from trade_engine.marketdata.candles import INTERVALS, Candle
from trade_engine.sequencer.amending import Amendment


class PlaceBody(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    """The body of POST /orders."""

    symbol: SymbolText
    side: SideWord
    type: TypeWord
    quantity: AmountText | None = None
    price: AmountText | None = None
    stop_price: AmountText | None = None
    time_in_force: TimeInForceWord = "GTC"
    client_order_id: ClientId | None = None
    self_trade_prevention: PreventionWord = "CANCEL_NEWEST"
    post_only: bool = False
    display_quantity: AmountText | None = None
    quote_amount: AmountText | None = None
    expires_at: TimeText | None = None


class AmendBody(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    """The body of PATCH /orders/{order_id}: what to change; ``quantity`` is the new total."""

    quantity: AmountText | None = None
    price: AmountText | None = None
    stop_price: AmountText | None = None


#: The code of a field that is missing, of the wrong type or unreadable.
FIELD_CODES = {
    "symbol": "INVALID_SYMBOL",
    "side": "INVALID_SIDE",
    "type": "INVALID_ORDER_TYPE",
    "quantity": "INVALID_QUANTITY",
    "price": "INVALID_PRICE",
    "stop_price": "INVALID_STOP_PRICE",
    "time_in_force": "INVALID_TIME_IN_FORCE",
    "client_order_id": "INVALID_CLIENT_ORDER_ID",
    "self_trade_prevention": "INVALID_SELF_TRADE_PREVENTION",
    "post_only": "INVALID_FLAGS",
    "display_quantity": "INVALID_DISPLAY_QUANTITY",
    "quote_amount": "INVALID_QUOTE_AMOUNT",
    "expires_at": "INVALID_EXPIRY",
}

#: Fields that are decimal strings.
AMOUNTS = frozenset(("quantity", "price", "stop_price", "display_quantity", "quote_amount"))

_SIDES = {side.name: side for side in Side}
_TYPES = {kind.name: kind for kind in OrderType}
_TIMES = {time.name: time for time in TimeInForce}
_PREVENTIONS = {mode.name: mode for mode in SelfTradePrevention}


def read_place(body: PlaceBody, symbol: str, user_id: str, institution_id: str | None) -> PlaceOrder:
    """The request of a body; ``symbol`` is the market's own spelling.

    Raises:
        InvalidRequest: a field cannot be read; its own code.
    """
    client_order_id = body.client_order_id
    if client_order_id is not None and not (0 < len(client_order_id) <= 100 and client_order_id.isprintable()):
        raise InvalidRequest(
            "INVALID_CLIENT_ORDER_ID",
            "client_order_id must be 1 to 100 printable characters",
            field="client_order_id",
            provided=client_order_id[:120],
            limit=100,
        )
    return PlaceOrder(
        user_id=user_id,
        symbol=symbol,
        side=_word("side", body.side, _SIDES),
        type=_word("type", body.type, _TYPES),
        quantity=_amount("quantity", body.quantity),
        price=_amount("price", body.price),
        stop_price=_amount("stop_price", body.stop_price),
        time_in_force=_word("time_in_force", body.time_in_force, _TIMES),
        stp=_word("self_trade_prevention", body.self_trade_prevention, _PREVENTIONS),
        client_order_id=client_order_id,
        institution_id=institution_id,
        post_only=body.post_only,
        display_quantity=_amount("display_quantity", body.display_quantity),
        quote_amount=_amount("quote_amount", body.quote_amount),
        expires_us=read_time(body.expires_at, "expires_at", "INVALID_EXPIRY") if body.expires_at is not None else 0,
    )


def read_amend(body: AmendBody) -> Amendment:
    """The change of a body.

    Raises:
        InvalidRequest: a field cannot be read, is zero, or nothing is to change.
    """
    change = Amendment(
        quantity=_amount("quantity", body.quantity),
        price=_amount("price", body.price),
        stop_price=_amount("stop_price", body.stop_price),
    )
    for field in ("quantity", "price", "stop_price"):
        if getattr(body, field) is not None and not getattr(change, field):
            raise InvalidRequest(FIELD_CODES[field], f"{field} must be above 0", field=field, provided="0")
    if change == Amendment():
        raise InvalidRequest("MISSING_FIELD", "give quantity, price or stop_price", field="quantity")
    return change


def _word(field: str, text: str, words: dict[str, Any]) -> Any:
    found = words.get(text) if text in words else words.get(text.upper())
    if found is None:
        raise InvalidRequest(
            FIELD_CODES[field], f"{field} must be one of {', '.join(words)}", field=field, provided=text[:100]
        )
    return found


def _amount(field: str, text: str | None) -> int:
    if text is None:
        return 0
    try:
        return parse_units(text)
    except ScaleError as error:
        raise InvalidRequest(FIELD_CODES[field], f"{field} {error}", field=field, provided=text[:100]) from error


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


class PlacedView(msgspec.Struct, gc=False, omit_defaults=True):
    """An order as it is now, and the trades that placing or changing it made at once."""

    order: OrderView
    trades: list[OwnTradeView]
    #: The client_order_id was used before: nothing new was placed.
    replayed: bool = False


class CancelledView(msgspec.Struct):
    """How many orders were ended."""

    cancelled: int


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
        show_time_or_none(order.expires_us),
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
    end_us = candle.start_us + INTERVALS[interval]
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
