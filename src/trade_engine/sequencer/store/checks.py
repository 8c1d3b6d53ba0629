"""The tables' own checks, as the store in memory makes them: the same that migrations 0001 and following declare."""

from collections.abc import Container

from trade_engine.domain.enums import OrderType
from trade_engine.domain.orders import Order
from trade_engine.sequencer.publish import CommittedBatch

#: Amounts go as BIGINT, in units of 1e-8.
_BIGINT_END = 2**63
_AMOUNTS = (
    "price", "quantity", "stop_price", "display", "max_notional", "filled", "filled_notional", "cancelled",
    "display_remaining", "maker_basis", "taker_basis", "fee_charged", "reserved", "hold",
)  # fmt: skip


def is_text(value: str | None) -> bool:
    """Whether PostgreSQL could store it: no NUL, no half of a surrogate pair."""
    if value is None:
        return True
    try:
        return b"\0" not in value.encode()
    except UnicodeEncodeError:
        return False


def broken_check(batch: CommittedBatch, markets: Container[int]) -> str | None:
    """The first check of a table that a batch breaks; None if it breaks none."""
    for order in batch.orders:
        broken = _broken_order(order)
        if broken is not None or order.market_id not in markets:
            return f"{broken or 'orders_market_id_fkey'}: order {order.order_id}"
    for trade in batch.trades:
        if min(trade.price, trade.quantity, trade.notional) <= 0 or min(trade.buyer_fee, trade.seller_fee) < 0:
            return f"trades_check: trade {trade.trade_id}"
    for item in batch.instructions:
        whole = item.trade_id if item.kind == "SETTLE" else item.order_id and item.user_id and item.asset
        if not whole:
            return f"shape: {item}"
    return None


def _broken_order(order: Order) -> str | None:
    is_open, kind = order.status.is_open, order.type
    if not 0 < len(order.client_order_id or "x") <= 100:
        return "orders_client_order_id_check"
    if not (is_text(order.client_order_id) and is_text(order.institution_id)):
        return "text"
    checks = {
        "quantity_positive": order.quantity > 0 or (kind is OrderType.MARKET and order.max_notional > 0),
        "filled_within_quantity": order.filled >= 0 and order.filled + order.cancelled <= order.quantity,
        "market_has_no_price": kind not in (OrderType.MARKET, OrderType.STOP) or order.price == 0,
        # A price of 0 is stored as none, which this check lets pass.
        "limit_has_a_price": kind not in (OrderType.LIMIT, OrderType.STOP_LIMIT) or order.price >= 0,
        "stop_has_a_stop_price": (kind in (OrderType.STOP, OrderType.STOP_LIMIT)) == (order.stop_price > 0),
        "orders_hold_check": order.hold >= 0,
        "ended_holds_nothing": is_open or order.hold == 0,
        "numeric_overflow": all(abs(getattr(order, name)) < _BIGINT_END for name in _AMOUNTS),
    }
    return next((name for name, kept in checks.items() if not kept), None)
