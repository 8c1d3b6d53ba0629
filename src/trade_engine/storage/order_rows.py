"""How an order is read from its row: one list of columns and one function, for recovery and for queries."""

from typing import Final

import asyncpg

from trade_engine.domain.enums import (
    FeeAsset,
    OrderStatus,
    OrderType,
    Reason,
    SelfTradePrevention,
    Side,
    TimeInForce,
)
from trade_engine.domain.orders import Order


def _units(column: str, name: str) -> str:
    return f"(coalesce({column}, 0) * 100000000)::BIGINT AS {name}"


def _us(column: str, name: str) -> str:
    return f"coalesce((extract(epoch FROM {column}) * 1000000)::BIGINT, 0) AS {name}"


#: The select list that ``order_from_row`` reads, of table ``orders``.
ORDER_COLUMNS: Final = ", ".join(
    (
        "order_id::TEXT AS order_id", "sequence", "user_id::TEXT AS user_id", "market_id", "side", "type",
        "time_in_force", "self_trade_prevention", "flags", "status", "reason", "client_order_id", "institution_id",
        _units("price", "price"), _units("quantity", "quantity"), _units("stop_price", "stop_price"),
        _units("display_quantity", "display"), _units("max_notional", "max_notional"),
        _units("filled_quantity", "filled"), _units("filled_notional", "filled_notional"),
        _units("cancelled_quantity", "cancelled"), "priority_sequence",
        _units("display_remaining", "display_remaining"), "linked_sequence", _units("maker_fee", "maker_fee"),
        _units("taker_fee", "taker_fee"), "fee_asset", _units("maker_basis", "maker_basis"),
        _units("taker_basis", "taker_basis"), _units("fee_charged", "fee_charged"),
        _units("reserved", "reserved"), _units("hold", "hold"), _us("expires_at", "expires_us"),
        _us("created_at", "created_us"), _us("updated_at", "updated_us"), _us("filled_at", "filled_us"),
        _us("cancelled_at", "cancelled_us"),
    )
)  # fmt: skip


def order_from_row(row: asyncpg.Record, user: int = 0) -> Order:
    """The order of a row selected with ORDER_COLUMNS; ``user`` is its trader's number, where it matters."""
    reason = row["reason"]
    return Order(
        order_id=row["order_id"],
        sequence=row["sequence"],
        user_id=row["user_id"],
        user=user,
        market_id=row["market_id"],
        side=Side[row["side"]],
        type=OrderType[row["type"]],
        time_in_force=TimeInForce[row["time_in_force"]],
        stp=SelfTradePrevention[row["self_trade_prevention"]],
        flags=row["flags"],
        status=OrderStatus[row["status"]],
        reason=Reason[reason] if reason else Reason.NONE,
        client_order_id=row["client_order_id"],
        institution_id=row["institution_id"],
        price=row["price"],
        quantity=row["quantity"],
        stop_price=row["stop_price"],
        display=row["display"],
        max_notional=row["max_notional"],
        expires_us=row["expires_us"],
        linked_id=row["linked_sequence"],
        filled=row["filled"],
        filled_notional=row["filled_notional"],
        cancelled=row["cancelled"],
        priority=row["priority_sequence"],
        display_remaining=row["display_remaining"],
        maker_fee=row["maker_fee"],
        taker_fee=row["taker_fee"],
        fee_asset=FeeAsset[row["fee_asset"]],
        maker_basis=row["maker_basis"],
        taker_basis=row["taker_basis"],
        fee_charged=row["fee_charged"],
        reserved=row["reserved"],
        hold=row["hold"],
        created_us=row["created_us"],
        updated_us=row["updated_us"],
        filled_us=row["filled_us"],
        cancelled_us=row["cancelled_us"],
    )
