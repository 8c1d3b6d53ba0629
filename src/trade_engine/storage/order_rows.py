"""How orders and trades are read from their rows: one list of columns each, for recovery and for queries."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import asyncpg

from trade_engine.domain.enums import (
    FeeAsset,
    OrderStatus,
    OrderType,
    Reason,
    SelfTradePrevention,
    SettlementStatus,
    Side,
    TimeInForce,
)
from trade_engine.domain.orders import Order, OrderPair, Trade
from trade_engine.storage.types import AnyConnection, Pool


def _units(column: str, name: str) -> str:
    return f"(coalesce({column}, 0) * 100000000)::BIGINT AS {name}"


def _us(column: str, name: str) -> str:
    return f"coalesce((extract(epoch FROM {column}) * 1000000)::BIGINT, 0) AS {name}"


def units_of(value: Any) -> int:
    """A NUMERIC as units of 1e-8."""
    return int(value.scaleb(8))


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
        linked_number=row["linked_sequence"],
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


#: Beside ORDER_COLUMNS, what the writer must know of a second leg.
FUNDED_BY: Final = (
    "CASE WHEN linked_sequence <> 0 THEN (SELECT p.first_order_id::TEXT FROM order_pairs p"
    " WHERE p.second_order_id = orders.order_id) END AS funded_by"
)


def live_order_from_row(row: asyncpg.Record, user: int) -> Order:
    """The order of a row selected with ORDER_COLUMNS and FUNDED_BY."""
    order = order_from_row(row, user)
    order.funded_by = row["funded_by"]
    return order


#: The select list that ``trade_from_row`` reads, of table ``trades``.
TRADE_COLUMNS: Final = ", ".join(
    (
        "trade_id::TEXT AS trade_id", "sequence", "market_id", _units("price", "price"),
        _units("quantity", "quantity"), _units("notional", "notional"), "buyer_order_id::TEXT AS buyer_order_id",
        "seller_order_id::TEXT AS seller_order_id", "buyer_user_id::TEXT AS buyer_user_id",
        "seller_user_id::TEXT AS seller_user_id", _units("buyer_fee", "buyer_fee"),
        _units("seller_fee", "seller_fee"), "buyer_fee_asset", "seller_fee_asset", "is_buyer_maker",
        _us("executed_at", "executed_us"), "settlement_status",
    )
)  # fmt: skip


def trade_from_row(row: asyncpg.Record) -> Trade:
    """The trade of a row selected with TRADE_COLUMNS, and perhaps more."""
    values = {name: row[name] for name in Trade.__struct_fields__}
    values["settlement_status"] = SettlementStatus[values["settlement_status"]]
    return Trade(**values)


async def find_order(pool: AnyConnection | Pool, order_id: str) -> Order | None:
    """One committed order by its id."""
    row = await pool.fetchrow(f"SELECT {ORDER_COLUMNS} FROM orders WHERE order_id = $1", order_id)
    return order_from_row(row) if row else None


async def find_client_orders(pool: AnyConnection | Pool, keys: Sequence[tuple[str, str]]) -> dict[tuple[str, str], str]:
    """Which of the (user id, client order id) pairs are taken, and by which order."""
    rows = await pool.fetch(
        "SELECT c.user_id::TEXT, c.client_order_id, c.order_id::TEXT FROM client_orders c"
        " JOIN unnest($1::UUID[], $2::TEXT[]) AS k (user_id, client_order_id) USING (user_id, client_order_id)",
        [user_id for user_id, _ in keys],
        [client_order_id for _, client_order_id in keys],
    )
    return {(row[0], row[1]): row[2] for row in rows}


#: The select list that ``pair_from_row`` reads, of table ``order_pairs``.
PAIR_COLUMNS: Final = (
    "first_order_id::TEXT AS first_order_id, second_order_id::TEXT AS second_order_id, pair_number,"
    f" user_id::TEXT AS user_id, market_id, client_pair_id, {_us('created_at', 'created_us')}"
)


def pair_from_row(row: asyncpg.Record) -> OrderPair:
    """The pair of a row selected with PAIR_COLUMNS."""
    return OrderPair(**dict(row))


async def find_pair(pool: AnyConnection | Pool, order_id: str) -> OrderPair | None:
    """The pair that an order is a leg of."""
    row = await pool.fetchrow(
        f"SELECT {PAIR_COLUMNS} FROM order_pairs WHERE first_order_id = $1 OR second_order_id = $1", order_id
    )
    return pair_from_row(row) if row else None


async def trades_of_taker(pool: AnyConnection | Pool, order: Order) -> list[Trade]:
    """The trades an order made when it came in, first to last."""
    side, maker_is_buyer = ("buyer", False) if order.side is Side.BUY else ("seller", True)
    rows = await pool.fetch(
        f"SELECT {TRADE_COLUMNS} FROM trades WHERE {side}_user_id = $1 AND trade_id >= uuid7_floor($2)"
        f" AND trade_id < uuid7_floor($3) AND {side}_order_id = $4 AND is_buyer_maker = $5 ORDER BY trade_id",
        order.user_id,
        datetime.fromtimestamp(order.created_us / 1e6, UTC) - timedelta(milliseconds=1),
        # No trade of an order is later than its last change; the user's may go on for years.
        datetime.fromtimestamp(order.updated_us / 1e6, UTC) + timedelta(seconds=1),
        order.order_id,
        maker_is_buyer,
    )
    return [trade_from_row(row) for row in rows]
