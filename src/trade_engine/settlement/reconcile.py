"""Reservations against what the engine still needs, in one database: for verification and recovery (SPEC 6.3).

Each check reads one snapshot.  Nothing here changes anything: ``excess_reservations`` only says what recovery should
release.  Reconciliation through the wallet's port is in ``comparison``.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, Final

import asyncpg

from trade_engine.settlement.instructions import release_operation
from trade_engine.storage.types import AnyConnection
from trade_engine.wallet.port import Release

# What each order's reservation must still hold: for the open order, for trades that the ledger does not know yet, for
# releases that it does not know yet.
_NEEDED: Final = """
    WITH unsettled AS (
        SELECT t.*, m.base, m.quote
        FROM settlement_instructions i
        JOIN trades t ON t.trade_id = i.trade_id
        JOIN markets m ON m.market_id = t.market_id
        WHERE i.kind = 'SETTLE'
            AND NOT EXISTS (SELECT FROM wallet.ledger_entries e WHERE e.operation_id = i.trade_id AND e.line = 1)
    ), parts AS (
        SELECT CASE WHEN o.linked_sequence = 0 THEN o.order_id ELSE funding_order(o.order_id) END AS order_id,
            o.user_id, CASE o.side WHEN 'BUY' THEN m.quote ELSE m.base END AS asset, o.hold AS amount
        FROM orders o JOIN markets m ON m.market_id = o.market_id
        WHERE o.is_open AND o.hold > 0
        UNION ALL
        SELECT funding_order(buyer_order_id), buyer_user_id, quote,
            notional + CASE WHEN buyer_fee_asset = quote THEN buyer_fee ELSE 0 END
        FROM unsettled
        UNION ALL
        SELECT funding_order(seller_order_id), seller_user_id, base,
            quantity + CASE WHEN seller_fee_asset = base THEN seller_fee ELSE 0 END
        FROM unsettled
        UNION ALL
        SELECT i.order_id, i.user_id, i.asset, i.amount
        FROM settlement_instructions i
        WHERE i.kind = 'RELEASE' AND i.amount IS NOT NULL AND NOT EXISTS (
            SELECT FROM wallet.ledger_entries e
            WHERE e.line = 12 AND e.operation_id
                = (left(i.order_id::TEXT, 24) || lpad(to_hex(i.instruction_id), 12, '0'))::UUID
        )
    ), needed AS (
        SELECT order_id, user_id, asset, sum(amount) AS amount FROM parts GROUP BY order_id, user_id, asset
    ), compared AS (
        SELECT order_id, coalesce(r.user_id, n.user_id) AS user_id, coalesce(r.asset, n.asset) AS asset,
            coalesce(r.remaining, 0) AS remaining, coalesce(n.amount, 0) AS amount, r.epoch,
            n.order_id IS NULL AS orphan
        FROM (SELECT * FROM wallet.reservations WHERE remaining > 0) r
        FULL JOIN needed n USING (order_id, user_id, asset)
        WHERE coalesce(r.remaining, 0) <> coalesce(n.amount, 0)
    ), differing AS (
        SELECT c.* FROM compared c WHERE NOT EXISTS (
            SELECT FROM settlement_instructions i
            WHERE i.kind = 'RELEASE' AND i.order_id = c.order_id AND i.amount IS NULL
        )
    )"""
_RESERVATIONS: Final = (
    _NEEDED
    + """
    SELECT order_id::TEXT, 'order ' || order_id || ' of user ' || user_id || ': ' || remaining || ' ' || asset
        || ' is reserved, the engine needs ' || amount
    FROM differing"""
)
_EXCESS: Final = (
    _NEEDED
    + """
    SELECT d.order_id::TEXT, d.user_id::TEXT, d.asset,
        CASE WHEN NOT d.orphan OR EXISTS (SELECT FROM orders o WHERE o.order_id = d.order_id)
            THEN ((d.remaining - d.amount) * 100000000)::BIGINT END AS amount
    FROM differing d
    WHERE d.remaining > d.amount AND d.epoch < $1
    ORDER BY d.order_id"""
)
#: Releases by recovery count from here, far above any instruction's number.
_RECOVERY_NUMBERS: Final = 0xFFFF_0000_0000


async def reservation_differences(connection: AnyConnection, except_orders: Collection[str]) -> list[str]:
    """Reservations that hold other than the engine needs, in words, but for these orders."""
    return [row[1] for row in await connection.fetch(_RESERVATIONS) if row[0] not in except_orders]


async def excess_reservations(connection: asyncpg.Connection[Any], epoch: int) -> list[Release]:
    """What reservations made before ``epoch`` hold beyond the engine's needs: releases for recovery to carry out.

    For an order that never came to be, all of it (which also refuses a late reserve); else the exact excess.  To be
    called by the writer of ``epoch`` after the wallet's fence was raised to it and before it takes new orders.
    """
    rows = await connection.fetch(_EXCESS, epoch)
    return [
        Release(
            row["order_id"],
            row["user_id"],
            row["asset"],
            row["amount"],
            release_operation(row["order_id"], _RECOVERY_NUMBERS + epoch),
            "recovery",
        )
        for row in rows
    ]
