"""The ledger: each line of each trade, the balances, the reservations, and what the entries say of each other."""

from collections.abc import Collection
from typing import Final

from trade_engine.domain.compared import sql_fields
from trade_engine.sequencer.verify.anchor import Anchor
from trade_engine.sequencer.verify.report import Report
from trade_engine.settlement.reconcile import reservation_differences
from trade_engine.storage.types import AnyConnection
from trade_engine.wallet.audit import ledger_checks
from trade_engine.wallet.funding import funding_differences
from trade_engine.wallet.ledger import FEE_ACCOUNTS

_LIMIT: Final = 100
_FEES: Final = ", ".join(f"'{account}'" for account in FEE_ACCOUNTS)
#: Every line that a trade is to have, beside the entry of that line.
_TRADE_LINES: Final = f"""
    WITH expected AS (
        SELECT t.trade_id, t.settlement_status, v.*,
            m.base || '/' || m.quote || ' at ' || trim_scale(t.price) AS description
        FROM trades t JOIN markets m USING (market_id)
        CROSS JOIN LATERAL (VALUES
            (1, 'TRADE_BUY', t.buyer_user_id, m.quote, 0, -t.notional),
            (2, 'TRADE_BUY', t.buyer_user_id, m.base, t.quantity, 0),
            (3, 'TRADE_SELL', t.seller_user_id, m.base, 0, -t.quantity),
            (4, 'TRADE_SELL', t.seller_user_id, m.quote, t.notional, 0),
            (5, 'FEE', t.buyer_user_id, t.buyer_fee_asset,
                CASE WHEN t.buyer_fee_asset = m.base THEN -t.buyer_fee ELSE 0 END,
                CASE WHEN t.buyer_fee_asset = m.quote THEN -t.buyer_fee ELSE 0 END),
            (6, 'FEE', t.seller_user_id, t.seller_fee_asset,
                CASE WHEN t.seller_fee_asset = m.quote THEN -t.seller_fee ELSE 0 END,
                CASE WHEN t.seller_fee_asset = m.base THEN -t.seller_fee ELSE 0 END),
            (7, 'FEE', NULL, t.buyer_fee_asset,
                t.buyer_fee + CASE WHEN t.buyer_fee_asset = t.seller_fee_asset THEN t.seller_fee ELSE 0 END, 0),
            (8, 'FEE', NULL, t.seller_fee_asset,
                CASE WHEN t.buyer_fee_asset = t.seller_fee_asset THEN 0 ELSE t.seller_fee END, 0)
        ) AS v (line, type, user_id, asset, available_delta, reserved_delta)
        WHERE t.trade_id >= $1 AND (v.available_delta <> 0 OR v.reserved_delta <> 0)
    ), compared AS (
        SELECT coalesce(x.trade_id, e.operation_id) AS trade_id, coalesce(x.line, e.line) AS line,
            x.trade_id IS NULL AS strange, e.operation_id IS NULL AS missing, x.settlement_status, {
    sql_fields(
        {
            "user_id": (
                "e.user_id",
                f"coalesce(x.user_id, CASE WHEN e.user_id IN ({_FEES}) THEN e.user_id END)",
            ),
            "asset": ("e.asset", "x.asset"),
            "type": ("e.type::TEXT", "x.type"),
            "available_delta": ("trim_scale(e.available_delta)", "trim_scale(x.available_delta)"),
            "reserved_delta": ("trim_scale(e.reserved_delta)", "trim_scale(x.reserved_delta)"),
            "reference_id": ("e.reference_id", "x.trade_id"),
            "description": ("e.description", "x.description"),
        }
    )
} AS wrong
        FROM expected x
        FULL JOIN (SELECT * FROM wallet.ledger_entries WHERE line <= 8 AND operation_id >= $1) e
            ON e.operation_id = x.trade_id AND e.line = x.line
    )
    SELECT 'trade ' || trade_id || ', line ' || line || CASE
        WHEN strange THEN ' is in the ledger, no trade has it' WHEN missing THEN ' is missing in the ledger'
        ELSE ': ' || wrong END
    FROM compared c
    WHERE CASE WHEN missing THEN settlement_status = 'SETTLED' OR EXISTS (
            SELECT FROM wallet.ledger_entries e WHERE e.operation_id = c.trade_id AND e.line <= 8)
        ELSE strange OR wrong <> '' END
    ORDER BY trade_id, line LIMIT {_LIMIT}"""
_FENCE: Final = """
    SELECT 'fence: epoch is ' || f.epoch || ', should be at most ' || s.epoch
    FROM wallet.fence f, engine_state s WHERE f.epoch > s.epoch"""
#: A closed reservation stands for a release of all that was left.
_CLOSED: Final = f"""
    SELECT 'order ' || r.order_id || ' of user ' || r.user_id || ': reservation is closed, nothing told of it'
    FROM wallet.reservations r
    WHERE r.closed AND r.created_at > (SELECT noted_at FROM chained_facts WHERE chain = 'start' AND number = 1)
        AND NOT EXISTS (
            SELECT FROM told_moves t WHERE t.kind = 'RELEASE' AND t.amount IS NULL AND t.order_id = r.order_id)
        AND (r.order_id >= $1 OR EXISTS (SELECT FROM told_moves k WHERE k.order_id = r.order_id))
        AND NOT EXISTS (SELECT FROM chained_facts c WHERE c.chain = 'repairs' AND c.fields[1] = r.order_id::TEXT)
    LIMIT {_LIMIT}"""


async def check_ledger(connection: AnyConnection, in_flight: Collection[str], anchor: Anchor, report: Report) -> None:
    """Compare the ledger with trades, orders and itself, from an anchor on.

    ``in_flight``: orders whose reserves wait for their commit.
    """
    asked: tuple[tuple[str, list[str]], ...] = (
        (_TRADE_LINES, [anchor.trades_below]),
        (_FENCE, []),
        (_CLOSED, [anchor.orders_below]),
    )
    for query, values in asked:
        for row in await connection.fetch(query, *values):
            report.differ("ledger", row[0])
    for difference in await ledger_checks(connection):
        report.differ("ledger", str(difference))
    for text in await reservation_differences(connection, in_flight):
        report.differ("ledger", text)


async def check_funding(connection: AnyConnection, report: Report) -> None:
    """Compare deposits and withdrawals with the wallet's own chain."""
    for difference in await funding_differences(connection):
        report.differ("funding", f"{difference.subject} {difference.asset}: {difference.left}; {difference.right}")
