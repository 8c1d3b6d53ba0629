"""Orders and own trades as clients of Binance read them."""

from collections.abc import Sequence
from typing import Any, Final

from trade_engine.domain.commands import OrderFlag
from trade_engine.domain.enums import OrderStatus, OrderType, Reason
from trade_engine.domain.market import Market
from trade_engine.domain.orders import Order, Trade
from trade_engine.edge.binance.general import PREVENTIONS
from trade_engine.edge.binance.given import joined
from trade_engine.edge.binance.numbers import fixed, ms

_TYPES: Final = {
    OrderType.LIMIT: "LIMIT",
    OrderType.MARKET: "MARKET",
    OrderType.STOP: "STOP_LOSS",
    OrderType.STOP_LIMIT: "STOP_LOSS_LIMIT",
}
_STATUSES: Final = {
    OrderStatus.PENDING: "NEW",
    OrderStatus.OPEN: "NEW",
    OrderStatus.PARTIALLY_FILLED: "PARTIALLY_FILLED",
    OrderStatus.FILLED: "FILLED",
    OrderStatus.CANCELLED: "CANCELED",
    OrderStatus.REJECTED: "REJECTED",
    OrderStatus.EXPIRED: "EXPIRED",
}
#: Who did not ask for the end of his order sees it expired.
_ENDS: Final = {
    Reason.IOC_REMAINDER: "EXPIRED",
    Reason.MARKET_REMAINDER: "EXPIRED",
    Reason.NO_LIQUIDITY: "EXPIRED",
    Reason.FOK_REMAINDER: "EXPIRED",
    Reason.MAX_NOTIONAL_REACHED: "EXPIRED",
    Reason.MAX_SLIPPAGE_REACHED: "EXPIRED",
    Reason.MAX_FILLS_REACHED: "EXPIRED",
    Reason.TRIGGER_REFUSED: "EXPIRED",
    Reason.LINKED_ORDER: "EXPIRED",
    Reason.SELF_TRADE: "EXPIRED_IN_MATCH",
}
_PREVENTION_NAMES: Final = {prevention: name for name, prevention in PREVENTIONS.items()}
_STOPS: Final = (OrderType.STOP, OrderType.STOP_LIMIT)


def client_id(order: Order) -> str:
    """What a client calls an order: as he said, else by our id, which has 36 characters."""
    return order.client_order_id or order.order_id


def status_of(order: Order) -> str:
    """Where an order is in its life, in this face's words."""
    if order.status is not OrderStatus.CANCELLED:
        return _STATUSES[order.status]
    if order.flags & OrderFlag.QUOTE_AMOUNT and order.reason is Reason.MAX_NOTIONAL_REACHED and order.filled:
        # All that the amount pays for was bought.
        return "FILLED"
    return _ENDS.get(order.reason, "CANCELED")


def _type_of(order: Order) -> str:
    if order.flags & OrderFlag.POST_ONLY:
        return "LIMIT_MAKER"
    name = _TYPES[order.type]
    return name.replace("STOP_LOSS", "TAKE_PROFIT") if order.flags & OrderFlag.REVERSED else name


def _terms(order: Order) -> dict[str, Any]:
    """What was asked for, and what became of it: in every answer but the shortest."""
    by_amount = order.flags & OrderFlag.QUOTE_AMOUNT
    shown = {
        "price": fixed(order.price),
        "origQty": fixed(order.filled if by_amount else order.quantity),
        "executedQty": fixed(order.filled),
        "origQuoteOrderQty": fixed(order.reserved if by_amount else 0),
        "cummulativeQuoteQty": fixed(order.filled_notional),
        "status": status_of(order),
        "timeInForce": order.time_in_force.name,
        "type": _type_of(order),
        "side": order.side.name,
        "selfTradePreventionMode": _PREVENTION_NAMES[order.stp],
    }
    if order.type in _STOPS:
        shown["stopPrice"] = fixed(order.stop_price)
    if order.display:
        shown["icebergQty"] = fixed(order.display)
    return shown


def _head(order: Order, market: Market) -> dict[str, Any]:
    return {
        "symbol": joined(market),
        "orderId": order.sequence,
        "orderListId": order.pair_number or -1,
        "clientOrderId": client_id(order),
    }


def _working_ms(order: Order) -> int:
    """Since when an order is in the market; -1: it waits for its stop price."""
    return -1 if order.status is OrderStatus.PENDING and order.type in _STOPS else ms(order.created_us)


def show_order(order: Order, market: Market) -> dict[str, Any]:
    """An order as look-ups show it."""
    return (
        _head(order, market)
        | {"stopPrice": fixed(0), "icebergQty": fixed(0)}
        | _terms(order)
        | {
            "time": ms(order.created_us),
            "updateTime": ms(order.updated_us),
            "isWorking": _working_ms(order) >= 0,
            "workingTime": _working_ms(order),
        }
    )


def show_placed(order: Order, market: Market, trades: Sequence[Trade], response: str) -> dict[str, Any]:
    """An order as the answer to placing it shows it: ACK, RESULT or FULL."""
    shown = _head(order, market) | {"transactTime": ms(order.created_us)}
    if response == "ACK":
        return shown
    shown |= _terms(order) | {"workingTime": _working_ms(order)}
    if response == "FULL":
        shown["fills"] = [_show_fill(order, trade) for trade in trades]
    return shown


def _show_fill(order: Order, trade: Trade) -> dict[str, Any]:
    is_buyer = trade.buyer_order_id == order.order_id
    return {
        "price": fixed(trade.price),
        "qty": fixed(trade.quantity),
        "commission": fixed(trade.buyer_fee if is_buyer else trade.seller_fee),
        "commissionAsset": trade.buyer_fee_asset if is_buyer else trade.seller_fee_asset,
        "tradeId": trade.sequence,
    }


def show_cancelled(order: Order, market: Market, called: str | None) -> dict[str, Any]:
    """An order as the answer to cancelling it shows it; the cancel may have been given a name."""
    return (
        _head(order, market)
        | {"origClientOrderId": client_id(order), "clientOrderId": called or f"c{order.sequence}"}
        | {"transactTime": ms(order.updated_us)}
        | _terms(order)
    )


def show_amended(order: Order, market: Market) -> dict[str, Any]:
    """An order as the answer to amending it shows it."""
    terms = _terms(order)
    return (
        _head(order, market)
        | {"origClientOrderId": client_id(order), "qty": terms["origQty"], "preventedQty": fixed(0)}
        | {"quoteOrderQty": terms["origQuoteOrderQty"], "cumulativeQuoteQty": terms["cummulativeQuoteQty"]}
        | {name: terms[name] for name in ("price", "executedQty", "status", "timeInForce", "type", "side")}
        | {"workingTime": _working_ms(order), "selfTradePreventionMode": terms["selfTradePreventionMode"]}
    )


def show_own_trade(trade: Trade, market: Market, order_number: int, *, is_buyer: bool) -> dict[str, Any]:
    """A trade as one of its parties sees it."""
    return {
        "symbol": joined(market),
        "id": trade.sequence,
        "orderId": order_number,
        "orderListId": -1,
        "price": fixed(trade.price),
        "qty": fixed(trade.quantity),
        "quoteQty": fixed(trade.notional),
        "commission": fixed(trade.buyer_fee if is_buyer else trade.seller_fee),
        "commissionAsset": trade.buyer_fee_asset if is_buyer else trade.seller_fee_asset,
        "time": ms(trade.executed_us),
        "isBuyer": is_buyer,
        "isMaker": trade.is_buyer_maker == is_buyer,
        "isBestMatch": True,
    }
