"""Pairs of orders: each that the journal tells of is in its table, and the table has no others."""

from collections.abc import Sequence
from typing import Final

from trade_engine.domain.orders import OrderPair
from trade_engine.sequencer.verify.report import Report, fields_of
from trade_engine.storage.order_rows import PAIR_COLUMNS, pair_from_row
from trade_engine.storage.types import AnyConnection

#: A pair may be forgotten once its orders are archived, which is not before.
_KEPT_DAYS: Final = 180
_KEPT: Final = f"SELECT microseconds(now() - INTERVAL '{_KEPT_DAYS} days')"
_ROWS: Final = f"SELECT {PAIR_COLUMNS} FROM order_pairs WHERE second_order_id = ANY ($1::UUID[])"
#: Rows whose orders are there and do not name each other.
_STRANGE: Final = """
    SELECT 'pair ' || p.pair_number || ' of user ' || p.user_id || ': its orders are '
        || coalesce(f.order_id::TEXT, 'none') || ' and ' || coalesce(s.order_id::TEXT, 'none')
    FROM order_pairs p
    LEFT JOIN orders f ON f.order_id = p.first_order_id
    LEFT JOIN orders s ON s.order_id = p.second_order_id
    WHERE (f.sequence, f.linked_sequence, s.linked_sequence, f.user_id, f.market_id)
            IS DISTINCT FROM (p.pair_number, s.sequence, p.pair_number, p.user_id, p.market_id)
        AND (f.order_id IS NOT NULL OR s.order_id IS NOT NULL OR microseconds(p.created_at) >= $1)
    LIMIT 100"""


async def compare_pairs(connection: AnyConnection, told: Sequence[OrderPair], report: Report) -> None:
    """Hold the table against pairs that a batch placed."""
    rows = await connection.fetch(_ROWS, [pair.second_order_id for pair in told])
    stored = {row["second_order_id"]: pair_from_row(row) for row in rows}
    for pair in told:
        found = stored.get(pair.second_order_id)
        if found is None:
            if pair.created_us >= await connection.fetchval(_KEPT):
                report.differ("orders", f"pair {pair.pair_number} of user {pair.user_id} is missing in order_pairs")
        elif found != pair:
            report.differ("orders", f"pair {pair.pair_number}: {fields_of(found, pair)}")


async def check_pairs(connection: AnyConnection, report: Report) -> None:
    """Every row of the table is of two orders that name each other."""
    for row in await connection.fetch(_STRANGE, await connection.fetchval(_KEPT)):
        report.differ("orders", row[0])
