"""Holds the clients' record against what the database says; knows nothing of how the engine works."""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from decimal import Decimal
from typing import Any, Final

import asyncpg
import msgspec

from tests.survive.record import AMENDABLE, ENDED, FIXED, OrderRecord, Outcome, Record

_ORDERS: Final = """
SELECT o.order_id::TEXT AS id, o.user_id::TEXT AS user_id, o.client_order_id, m.symbol, o.side::TEXT AS side,
    o.type::TEXT AS type, o.time_in_force::TEXT AS time_in_force, o.status::TEXT AS status, o.is_open, o.price,
    o.quantity, o.stop_price, o.display_quantity, o.filled_quantity
FROM orders o JOIN markets m USING (market_id)
"""


class Verdict(msgspec.Struct):
    """What is wrong, one sentence each."""

    #: Acknowledged orders, changes, fills and cancels that are not there.
    lost: list[str] = []
    #: Orders that are there more than once, or that a repeat placed again.
    doubled: list[str] = []
    #: Orders that are there though the client was told that they are not.
    invented: list[str] = []

    def __bool__(self) -> bool:
        """Whether anything is wrong."""
        return bool(self.lost or self.doubled or self.invented)


async def stored_orders(connection: "asyncpg.Connection[Any]") -> list[Mapping[str, Any]]:
    """All orders of the database."""
    return list(await connection.fetch(_ORDERS))


def compare(record: Record, rows: Iterable[Mapping[str, Any]]) -> Verdict:
    """Hold the record against all orders there are."""
    verdict = Verdict(lost=[], doubled=[], invented=[])
    found: dict[tuple[str, str], list[Mapping[str, Any]]] = defaultdict(list)
    ids: set[str] = set()
    for row in rows:
        if row["id"] in ids:
            verdict.doubled.append(f"order {row['id']} is there twice")
        ids.add(row["id"])
        found[row["user_id"], row["client_order_id"]].append(row)
    for key, order in record.orders.items():
        mine = found.get(key, [])
        name = f"order {order.client_order_id} ({order.order_id or order.why})"
        verdict.doubled += [f"{name} {text}" for text in order.contradictions]
        if len(mine) > 1:
            verdict.doubled.append(f"{name} is there {len(mine)} times")
        if order.outcome is Outcome.REFUSED:
            verdict.invented += [f"{name} was refused and is {row['status']}" for row in mine if _counts(order, row)]
        elif order.outcome is Outcome.ACKNOWLEDGED:
            kept = [row for row in mine if row["id"] == order.order_id]
            verdict.lost += [f"{name} {text}" for text in (_differences(order, kept[0]) if kept else ["is not there"])]
    return verdict


def _counts(order: OrderRecord, row: Mapping[str, Any]) -> bool:
    """Whether a row contradicts a refusal: one of a market rule is stored, as REJECTED."""
    return row["status"] != "REJECTED" or not order.why.startswith("422")


def _differences(order: OrderRecord, row: Mapping[str, Any]) -> Iterable[str]:
    shown = order.shown
    for term in FIXED:
        if not _equal(row[term], shown[term]):
            yield f"has {term} {row[term]}, acknowledged was {shown[term]}"
    for term in AMENDABLE:
        if not any(_equal(row[term], value) for value in order.allowed[term]):
            yield f"has {term} {row[term]}, acknowledged was {sorted(map(str, order.allowed[term]))}"
    if row["filled_quantity"] < Decimal(shown["filled_quantity"]):
        yield f"has filled {row['filled_quantity']}, acknowledged was {shown['filled_quantity']}"
    if shown["status"] in ENDED and row["status"] != shown["status"]:
        yield f"is {row['status']}, acknowledged was {shown['status']}"
    if order.cancelled and row["is_open"]:
        yield f"is {row['status']}, its cancel was acknowledged"


def _equal(stored: Any, told: Any) -> bool:
    if isinstance(stored, Decimal) and isinstance(told, str):
        return stored == Decimal(told)
    return bool(stored == told)
