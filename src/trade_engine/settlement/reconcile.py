"""Reconciliation: does the ledger agree with itself, and with what the engine still needs (SPEC 6.3, DESIGN 10)?

Every check reads one snapshot; what is in flight between engine and wallet at that moment shows up once and is gone
the next time, so a difference counts when it is seen twice.  Nothing here changes anything: ``excess_reservations``
only says what recovery should release.
"""

from __future__ import annotations

import asyncio
from typing import Any, Final

import asyncpg

from trade_engine.settlement.instructions import release_operation
from trade_engine.wallet.ledger import OUTSIDE_ACCOUNT
from trade_engine.wallet.port import Release

_BALANCES: Final = """
    SELECT 'balance of user ' || user_id || ' in ' || asset || ': available ' || coalesce(b.available, 0)
        || ' reserved ' || coalesce(b.reserved, 0) || ', its entries sum to ' || coalesce(e.available, 0) || ' and '
        || coalesce(e.reserved, 0)
    FROM wallet.balances b
    FULL JOIN (
        SELECT user_id, asset, sum(available_delta) AS available, sum(reserved_delta) AS reserved
        FROM wallet.ledger_entries GROUP BY user_id, asset
    ) e USING (user_id, asset)
    WHERE coalesce(b.available, 0) <> coalesce(e.available, 0) OR coalesce(b.reserved, 0) <> coalesce(e.reserved, 0)"""
_ZERO_SUM: Final = """
    SELECT 'entries of ' || asset || ' sum to ' || sum(available_delta + reserved_delta) || ', not to 0'
    FROM wallet.ledger_entries GROUP BY asset HAVING sum(available_delta + reserved_delta) <> 0"""
_DEPOSITS: Final = f"""
    SELECT asset || ': deposits less withdrawals are ' || coalesce(d.amount, 0) || ', all balances with fees are '
        || coalesce(b.amount, 0)
    FROM (
        SELECT asset, sum(available + reserved) AS amount FROM wallet.balances
        WHERE user_id <> '{OUTSIDE_ACCOUNT}' GROUP BY asset
    ) b
    FULL JOIN (
        SELECT asset, sum(available_delta) AS amount FROM wallet.ledger_entries
        WHERE type IN ('DEPOSIT', 'WITHDRAWAL') AND user_id <> '{OUTSIDE_ACCOUNT}' GROUP BY asset
    ) d USING (asset)
    WHERE coalesce(b.amount, 0) <> coalesce(d.amount, 0)"""
_RESERVED: Final = """
    SELECT 'user ' || user_id || ' has reserved ' || coalesce(b.reserved, 0) || ' ' || asset
        || ', his reservations hold ' || coalesce(r.remaining, 0)
    FROM wallet.balances b
    FULL JOIN (
        SELECT user_id, asset, sum(remaining) AS remaining FROM wallet.reservations GROUP BY user_id, asset
    ) r USING (user_id, asset)
    WHERE coalesce(b.reserved, 0) <> coalesce(r.remaining, 0)"""
_TRADES: Final = """
    SELECT 'trade ' || t.trade_id || ' is SETTLED, the ledger '
        || CASE WHEN e.operation_id IS NULL THEN 'does not know it' ELSE 'moved ' || -e.reserved_delta END
    FROM trades t
    LEFT JOIN wallet.ledger_entries e ON e.operation_id = t.trade_id AND e.line = 1
    WHERE t.settlement_status = 'SETTLED' AND e.reserved_delta IS DISTINCT FROM -t.notional
    UNION ALL
    SELECT 'trade ' || t.trade_id || ' is ' || t.settlement_status || ', no instruction will settle it'
    FROM trades t
    WHERE t.settlement_status <> 'SETTLED' AND t.settlement_reason NOT LIKE 'RESOLVED:%' IS NOT FALSE
        AND NOT EXISTS (SELECT FROM settlement_instructions i WHERE i.trade_id = t.trade_id)"""

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
        SELECT o.order_id, o.user_id, CASE o.side WHEN 'BUY' THEN m.quote ELSE m.base END AS asset, o.hold AS amount
        FROM orders o JOIN markets m ON m.market_id = o.market_id
        WHERE o.is_open AND o.hold > 0
        UNION ALL
        SELECT buyer_order_id, buyer_user_id, quote,
            notional + CASE WHEN buyer_fee_asset = quote THEN buyer_fee ELSE 0 END
        FROM unsettled
        UNION ALL
        SELECT seller_order_id, seller_user_id, base,
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
    SELECT 'order ' || order_id || ' of user ' || user_id || ': ' || remaining || ' ' || asset
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
_CHECKS: Final = (_BALANCES, _ZERO_SUM, _DEPOSITS, _RESERVED, _TRADES, _RESERVATIONS)
#: Releases by recovery count from here, far above any instruction's number.
_RECOVERY_NUMBERS: Final = 0xFFFF_0000_0000


async def ledger_differences(connection: asyncpg.Connection[Any], *, again_after_s: float = 0.0) -> list[str]:
    """Every difference within the ledger and between ledger and engine, in words; empty if all agrees.

    ``connection`` may be in a repeatable-read, read-only transaction, or in none.  Outside one, while the engine runs,
    give ``again_after_s`` a second or two: only what differs in the same way both times is told.
    """
    differences = await _differences(connection)
    if differences and again_after_s:
        await asyncio.sleep(again_after_s)
        again = set(await _differences(connection))
        differences = [difference for difference in differences if difference in again]
    return differences


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


async def _differences(connection: asyncpg.Connection[Any]) -> list[str]:
    async with connection.transaction(isolation="repeatable_read", readonly=True):
        return [row[0] for check in _CHECKS for row in await connection.fetch(check)]
