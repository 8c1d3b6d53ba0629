"""What happened to orders, as ``executionReport``: one for every execution, in the order in which they happened.

A batch has its orders as it left them, its events and its trades; what an order had filled at each event is counted
from what it had before.
"""

from collections.abc import Callable, Container, Iterator
from typing import Any, Final

from trade_engine.domain.commands import OrderFlag
from trade_engine.domain.enums import OrderStatus, OrderType, Reason, Side
from trade_engine.domain.events import Event, EventKind
from trade_engine.domain.market import Market
from trade_engine.domain.orders import Order, Trade
from trade_engine.edge.binance.numbers import fixed, ms
from trade_engine.edge.binance.shown import client_id, show_order, status_of
from trade_engine.sequencer.publish import CommittedBatch

#: Why an order expired, in this face's words.
_EXPIRIES: Final = {
    Reason.IOC_REMAINDER: "UNFILLED_IOC_QUANTITY_EXPIRED",
    Reason.FOK_REMAINDER: "UNFILLED_FOK_ORDER_EXPIRED",
    Reason.LINKED_ORDER: "OCO_TRIGGER",
    Reason.ADMIN_REQUEST: "EXCHANGE_CANCELED",
    Reason.TRIGGER_REFUSED: "REJECTED",
}
_REFUSALS: Final = {Reason.POST_ONLY_WOULD_TAKE: "WOULD_MATCH_IMMEDIATELY"}
_STOPS: Final = (OrderType.STOP, OrderType.STOP_LIMIT)

Report = dict[str, Any]


class Filled:
    """What an order has filled so far, as the events of a batch go by."""

    __slots__ = ("market", "notional", "order", "quantity", "waits")

    def __init__(self, order: Order, market: Market) -> None:
        self.order = order
        self.market = market
        self.quantity = order.filled
        self.notional = order.filled_notional
        #: It is a stop that has not been triggered.
        self.waits = order.type in _STOPS


def executions(
    batch: CommittedBatch, users: Container[str], market_of: Callable[[int], Market], now_ms: int
) -> Iterator[tuple[str, Report]]:
    """Each execution of a batch that is of one of these users, and whose it is."""
    orders = {
        order.sequence: Filled(order, market_of(order.market_id)) for order in batch.orders if order.user_id in users
    }
    if not orders:
        return
    by_id = {filled.order.order_id: filled for filled in orders.values()}
    for trade in batch.trades:
        for order_id in (trade.buyer_order_id, trade.seller_order_id):
            filled = by_id.get(order_id)
            if filled is not None:
                filled.quantity -= trade.quantity
                filled.notional -= trade.notional
    trades = iter(batch.trades)
    for event in batch.events:
        if event.kind == EventKind.TRADE:
            trade = next(trades)
            for number, leaves, is_maker in (
                (event.order_number, event.leaves, False),
                (event.other_number, event.other_leaves, True),
            ):
                if number in orders:
                    yield _traded(orders[number], event, trade, leaves, now_ms, is_maker=is_maker)
        elif event.order_number in orders:
            report = _changed(orders[event.order_number], event, batch.time_us, now_ms)
            if report is not None:
                yield report


def _changed(filled: Filled, event: Event, time_us: int, now_ms: int) -> tuple[str, Report] | None:
    """The report of an event that is no trade; None if it is none to these clients."""
    order, kind = filled.order, event.kind
    more: Report = {}
    now = "PARTIALLY_FILLED" if filled.quantity else "NEW"
    if kind in (EventKind.ACCEPTED, EventKind.TRIGGERED):
        filled.waits = order.type in _STOPS and kind == EventKind.ACCEPTED
        execution = "NEW"
    elif kind == EventKind.REJECTED and order.status is OrderStatus.REJECTED:
        execution, now = "REJECTED", "REJECTED"
        more["r"] = _REFUSALS.get(order.reason, order.reason.name)
    elif kind == EventKind.AMENDED:
        execution = "REPLACED"
    elif kind == EventKind.REDUCED:
        execution = "TRADE_PREVENTION"
    elif kind in (EventKind.CANCELLED, EventKind.EXPIRED):
        now = status_of(order)
        if now == "FILLED":
            # The last trade has said so: an amount is spent.
            return None
        execution = {"CANCELED": "CANCELED", "EXPIRED_IN_MATCH": "TRADE_PREVENTION"}.get(now, "EXPIRED")
        if execution == "CANCELED":
            more |= {"c": f"c{order.sequence}", "C": client_id(order)}
        elif execution == "EXPIRED":
            more["eR"] = _EXPIRIES.get(order.reason, "INSUFFICIENT_LIQUIDITY")
    else:
        return None
    is_working = execution in ("NEW", "REPLACED") and not filled.waits
    report = _report(filled, event, execution, now, time_us, now_ms) | {"w": is_working} | more
    return order.user_id, report


def _traded(
    filled: Filled, event: Event, trade: Trade, leaves: int, now_ms: int, *, is_maker: bool
) -> tuple[str, Report]:
    order = filled.order
    filled.quantity += trade.quantity
    filled.notional += trade.notional
    is_buyer = order.side is Side.BUY
    # An order by amount has no quantity left or not left: it is filled with its last trade, if it is in the end.
    by_amount = (
        order.flags & OrderFlag.QUOTE_AMOUNT and filled.quantity == order.filled and status_of(order) == "FILLED"
    )
    now = "FILLED" if by_amount or not leaves else "PARTIALLY_FILLED"
    return order.user_id, _report(filled, event, "TRADE", now, trade.executed_us, now_ms) | {
        "l": fixed(trade.quantity),
        "L": fixed(trade.price),
        "Y": fixed(trade.notional),
        "n": fixed(trade.buyer_fee if is_buyer else trade.seller_fee),
        "N": trade.buyer_fee_asset if is_buyer else trade.seller_fee_asset,
        "t": trade.sequence,
        "m": is_maker,
        "w": is_maker,
    }


def _report(filled: Filled, event: Event, execution: str, now: str, time_us: int, now_ms: int) -> Report:
    """What every report has."""
    order = filled.order
    shown = show_order(order, filled.market)
    report = {
        "e": "executionReport",
        "E": now_ms,
        "s": shown["symbol"],
        "c": shown["clientOrderId"],
        "S": shown["side"],
        "o": shown["type"],
        "f": shown["timeInForce"],
        "q": shown["origQty"],
        "p": shown["price"],
        "P": shown["stopPrice"],
        "F": shown["icebergQty"],
        "g": shown["orderListId"],
        "C": "",
        "x": execution,
        "X": now,
        "r": "NONE",
        "i": order.sequence,
        "l": fixed(0),
        "z": fixed(filled.quantity),
        "L": fixed(0),
        "n": "0",
        "N": None,
        "T": ms(time_us),
        "t": -1,
        "I": event.sequence,
        "w": False,
        "m": False,
        "M": False,
        "O": ms(order.created_us),
        "Z": fixed(filled.notional),
        "Y": fixed(0),
        "Q": shown["origQuoteOrderQty"],
        "V": shown["selfTradePreventionMode"],
    }
    if not filled.waits:
        report["W"] = ms(order.created_us)
    return report
