"""Settlement: every instruction is one that the journal tells of, and each trade is as far as its instruction says."""

from typing import Final

from trade_engine.domain.compared import CLOCKS_APART, sql_fields
from trade_engine.sequencer.verify.facts_tables import Start
from trade_engine.sequencer.verify.report import Report
from trade_engine.storage.types import AnyConnection

_LIMIT: Final = 100
#: More refusals than this no configuration allows.
_ATTEMPTS_MAX: Final = 100
_INSTRUCTIONS: Final = f"""
    SELECT 'instruction ' || instruction_id || CASE WHEN strange THEN ' is in no batch of the journal'
        ELSE ': ' || wrong END
    FROM (
        SELECT i.instruction_id, t.kind IS NULL AS strange, {
    sql_fields(
        {
            "kind": ("i.kind::TEXT", "t.kind"),
            "trade_id": ("i.trade_id", "CASE t.kind WHEN 'SETTLE' THEN t.operation_id END"),
            "order_id": ("i.order_id", "t.order_id"),
            "user_id": ("i.user_id", "t.user_id"),
            "asset": ("i.asset", "t.asset"),
            "amount": ("trim_scale(i.amount)", "trim_scale(t.amount * 0.00000001)"),
            "reason": ("i.reason", "t.reason"),
            "created_at": ("i.created_at", "at_us(t.stamped_us)"),
        }
    )
} AS wrong
        FROM settlement_instructions i LEFT JOIN told_moves t USING (instruction_id)
        WHERE i.instruction_id > $1
        UNION ALL
        SELECT i.instruction_id, TRUE, '' FROM settlement_instructions i
        WHERE i.instruction_id <= $1 AND NOT EXISTS (
            SELECT FROM told_moves t WHERE CASE i.kind
                WHEN 'SETTLE' THEN t.operation_id = i.trade_id AND t.kind = 'SETTLE'
                ELSE t.kind = 'RELEASE' AND t.order_id = i.order_id AND t.user_id = i.user_id AND t.asset = i.asset
                    AND t.amount * 0.00000001 = i.amount AND t.reason = i.reason END)
            AND i.reason NOT IN ('never placed', 'orphaned', 'amendment found no order')
    ) x
    WHERE strange OR wrong <> '' ORDER BY instruction_id LIMIT {_LIMIT}"""
_TRADES: Final = f"""
    SELECT 'trade ' || trade_id || ': ' || wrong
    FROM (
        SELECT t.trade_id, concat_ws('; ',
            CASE WHEN t.settlement_attempts NOT BETWEEN 0 AND {_ATTEMPTS_MAX}
                THEN 'settlement_attempts is ' || t.settlement_attempts || ', should be 0 to {_ATTEMPTS_MAX}' END,
            CASE WHEN (t.settled_at IS NOT NULL) <> (t.settlement_status = 'SETTLED')
                THEN 'settled_at is ' || coalesce(t.settled_at::TEXT, 'none') || ', status is ' || t.settlement_status
                END,
            CASE WHEN t.settled_at < t.executed_at - INTERVAL '1 minute' OR t.settled_at > now() + {CLOCKS_APART}
                THEN 'settled_at is ' || t.settled_at || ', should be from ' || t.executed_at || ' to ' || now() END,
            CASE WHEN t.settlement_status = 'SETTLED' AND t.settlement_reason IS NOT NULL
                THEN 'settlement_reason is ' || t.settlement_reason || ', should be none' END,
            CASE t.settlement_status
                WHEN 'SETTLED' THEN CASE WHEN i.trade_id IS NOT NULL
                    THEN 'settlement_status is SETTLED, should be ' || i.status || ': its instruction waits' END
                WHEN 'PENDING' THEN CASE WHEN i.trade_id IS NULL OR i.status = 'FAILED'
                    THEN 'settlement_status is PENDING, its instruction is ' || coalesce(i.status::TEXT, 'none') END
                ELSE CASE WHEN i.trade_id IS NOT NULL AND i.status <> 'FAILED'
                    THEN 'settlement_status is FAILED, its instruction is ' || i.status
                    WHEN i.trade_id IS NULL AND NOT EXISTS (
                        SELECT FROM admin_audit a
                        WHERE a.action = 'dead_letter.resolve' AND 'RESOLVED: ' || a.reason = t.settlement_reason)
                    THEN 'settlement_status is FAILED, no audit says that it was resolved'
                    END END,
            CASE WHEN i.trade_id IS NOT NULL AND (t.settlement_attempts < i.attempts
                    OR (i.attempts > 0 AND t.settlement_attempts <> i.attempts))
                THEN 'settlement_attempts is ' || t.settlement_attempts || ', its instruction has ' || i.attempts END,
            CASE WHEN i.attempts > 0 AND t.settlement_reason IS DISTINCT FROM i.last_reason
                THEN 'settlement_reason is ' || coalesce(t.settlement_reason, 'none') || ', its instruction has '
                    || coalesce(i.last_reason, 'none') END
            ) AS wrong
        FROM trades t LEFT JOIN settlement_instructions i ON i.trade_id = t.trade_id AND i.kind = 'SETTLE'
    ) x
    WHERE wrong <> '' ORDER BY trade_id LIMIT {_LIMIT}"""
_SETTLED: Final = f"""
    SELECT 'trade ' || t.trade_id || ': settled_at is ' || t.settled_at || ', its entries are of ' || e.created_at
    FROM trades t JOIN wallet.ledger_entries e ON e.operation_id = t.trade_id AND e.line = 1
    WHERE t.settled_at < e.created_at - {CLOCKS_APART}
    UNION ALL
    SELECT 'trade ' || t.trade_id || ': settlement_status is FAILED and resolved, the ledger has settled it'
    FROM trades t JOIN wallet.ledger_entries e ON e.operation_id = t.trade_id AND e.line = 1
    WHERE t.settlement_status = 'FAILED'
        AND NOT EXISTS (SELECT FROM settlement_instructions i WHERE i.trade_id = t.trade_id)
    LIMIT {_LIMIT}"""


async def check_instructions(connection: AnyConnection, start: Start, report: Report) -> None:
    """Every waiting instruction is told by the journal."""
    for row in await connection.fetch(_INSTRUCTIONS, start.instruction_id):
        report.differ("settlement", row[0])


async def check_settlement(connection: AnyConnection, report: Report, *, ledger: bool) -> None:
    """Each trade's settlement is as far as its instruction, and the ledger if it is here, say."""
    for query in (_TRADES, _SETTLED) if ledger else (_TRADES,):
        for row in await connection.fetch(query):
            report.differ("settlement", row[0])
