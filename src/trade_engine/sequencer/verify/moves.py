"""Reserves and releases: every one in the ledger is one that the journal tells of, and the other way round."""

from typing import Final

from trade_engine.domain.compared import sql_fields
from trade_engine.sequencer.verify.facts_tables import Start
from trade_engine.sequencer.verify.report import Report
from trade_engine.storage.types import AnyConnection

_LIMIT: Final = 100
_UNIT: Final = "0.00000001"
#: An order is committed, or will never be, this long after its funds were reserved.
_COMMITTED_WITHIN: Final = "INTERVAL '120 seconds'"
_LINES: Final = "(SELECT * FROM wallet.ledger_entries WHERE line IN (11, 12))"
#: What is told of a movement, beside the entry of the same operation.
_TOLD: Final = f"""
    SELECT t.*, e.entry_id, e.operation_id IS NULL AS missing, {
    sql_fields(
        {
            "user_id": ("e.user_id", "t.user_id"),
            "asset": ("e.asset", "t.asset"),
            "type": ("e.type::TEXT", "t.kind"),
            "reference_id": ("e.reference_id", "t.order_id"),
            "reserved_delta": (
                "e.reserved_delta",
                f"coalesce(CASE t.kind WHEN 'RESERVE' THEN t.amount ELSE -t.amount END * {_UNIT}, e.reserved_delta)",
            ),
            "available_delta": (
                "e.available_delta",
                f"coalesce(CASE t.kind WHEN 'RESERVE' THEN -t.amount ELSE t.amount END * {_UNIT}, e.available_delta)",
            ),
            "description": ("e.description", "t.reason"),
        }
    )
} AS wrong
    FROM (SELECT * FROM told_moves WHERE kind <> 'SETTLE' AND operation_id IS NOT NULL) t
    LEFT JOIN {_LINES} e
        ON e.operation_id = t.operation_id AND e.line = CASE t.kind WHEN 'RESERVE' THEN 11 ELSE 12 END"""
_MATCHED: Final = f"""
    SELECT t.kind || ' of order ' || t.order_id || ', operation ' || t.operation_id || CASE
        WHEN t.missing AND t.kind = 'RESERVE' THEN ' is missing in the ledger'
        WHEN t.missing THEN ', instruction ' || t.instruction_id || ' neither waits nor is in the ledger'
        ELSE ': ' || t.wrong END
    FROM ({_TOLD}) t
    WHERE CASE
        WHEN NOT t.missing THEN t.wrong <> ''
        WHEN t.kind = 'RESERVE' THEN TRUE
        ELSE t.amount IS NOT NULL
            AND NOT EXISTS (SELECT FROM settlement_instructions i WHERE i.instruction_id = t.instruction_id)
            AND NOT EXISTS (
                SELECT FROM admin_audit a
                WHERE a.action = 'dead_letter.resolve' AND a.subject = 'instruction ' || t.instruction_id)
        END
    LIMIT {_LIMIT}"""
#: Entries that no told operation has, less those that are told without one, by what they say.
_UNMATCHED: Final = f"""
    WITH strange AS (
        SELECT e.* FROM {_LINES} e
        LEFT JOIN told_moves t ON t.operation_id = e.operation_id AND t.kind = e.type::TEXT
        WHERE t.operation_id IS NULL
            -- What lies before the anchor has a digest there, unless something was told of it since.
            AND (e.reference_id >= $2 OR EXISTS (SELECT FROM told_moves k WHERE k.order_id = e.reference_id))
    ), numbered AS (
        SELECT *, row_number() OVER (
            PARTITION BY line, reference_id, user_id, asset, reserved_delta, description ORDER BY entry_id) AS n
        FROM strange
    ), unnamed AS (
        SELECT kind, order_id, user_id, asset, amount, reason, row_number() OVER (
            PARTITION BY kind, order_id, user_id, asset, amount, reason ORDER BY stamped_us) AS n
        FROM told_moves WHERE kind <> 'SETTLE' AND operation_id IS NULL
    )
    SELECT e.line, e.entry_id, e.operation_id::TEXT, e.created_at, e.description,
        coalesce(e.reference_id, t.order_id)::TEXT AS order_id, coalesce(e.user_id, t.user_id)::TEXT AS user_id,
        coalesce(e.asset, t.asset) AS asset, (abs(e.reserved_delta) * 100000000)::BIGINT AS moved,
        t.kind, t.amount, t.reason, e.entry_id <= $1 AS early, e.created_at > now() - {_COMMITTED_WITHIN} AS late
    FROM numbered e
    FULL JOIN unnamed t
        ON t.kind = CASE e.line WHEN 11 THEN 'RESERVE' ELSE 'RELEASE' END AND t.order_id = e.reference_id
        AND t.user_id = e.user_id AND t.asset = e.asset AND t.reason = e.description AND t.n = e.n
        AND t.amount * {_UNIT} = abs(e.reserved_delta)
    WHERE e.entry_id IS NULL OR t.kind IS NULL
    ORDER BY e.entry_id LIMIT {100 * _LIMIT}"""
#: Of the orders that unknown reserves are for, what was released of them by instructions that follow from no event, and
#: what such an instruction may still release.
_GIVEN: Final = """
    SELECT t.order_id::TEXT, (coalesce(sum(e.available_delta), 0) * 100000000)::BIGINT AS released,
        bool_or(i.instruction_id IS NOT NULL) AS waits
    FROM told_moves t
    LEFT JOIN wallet.ledger_entries e ON e.operation_id = t.operation_id AND e.line = 12
    LEFT JOIN settlement_instructions i ON i.instruction_id = t.instruction_id
    WHERE t.given AND t.order_id = ANY ($1::UUID[])
    GROUP BY t.order_id"""
_REPAIRED: Final = "SELECT fields[1] AS order_id, fields[5] AS operation_id FROM chained_facts WHERE chain = 'repairs'"
#: What resolving a dead letter gives back to each side.
_RESOLVED: Final = f"""
    SELECT v.order_id::TEXT, v.user_id::TEXT, v.asset, (v.amount * 100000000)::BIGINT AS amount
    FROM trades t JOIN markets m USING (market_id)
    CROSS JOIN LATERAL (VALUES
        (funding_order(t.buyer_order_id), t.buyer_user_id, m.quote,
            t.notional + CASE WHEN t.buyer_fee_asset = m.quote THEN t.buyer_fee ELSE 0 END),
        (funding_order(t.seller_order_id), t.seller_user_id, m.base,
            t.quantity + CASE WHEN t.seller_fee_asset = m.base THEN t.seller_fee ELSE 0 END)
    ) AS v (order_id, user_id, asset, amount)
    WHERE t.settlement_status = 'FAILED' AND t.settlement_reason LIKE 'RESOLVED:%' LIMIT {100 * _LIMIT}"""
_WAITING: Final = """
    SELECT order_id::TEXT, (amount * 100000000)::BIGINT AS amount, reason FROM settlement_instructions
    WHERE kind = 'RELEASE' AND order_id = ANY ($1::UUID[])"""


class _OrderMoves:
    """The movements of one order that nothing tells of, sorted by what may stand behind them; units of 1e-8."""

    def __init__(self) -> None:
        self.reserved = 0
        self.released = 0
        self.late = False
        self.early = True
        #: Something was released that no fact of any kind tells of.
        self.forged = False
        self.entries: list[str] = []


async def check_moves(connection: AnyConnection, start: Start, orders_below: str, report: Report) -> list[str]:
    """Compare; the orders whose reserves are in flight, which no other check shall mind.

    ``orders_below``: an id; orders below it, of which nothing is told, were verified before.
    """
    for row in await connection.fetch(_MATCHED):
        report.differ("ledger", row[0])
    rows = await connection.fetch(_UNMATCHED, start.entry_id, orders_below)
    if not rows:
        return []
    ids = list({row["order_id"] for row in rows})
    waiting = {(row[0], row[1], row[2]) for row in await connection.fetch(_WAITING, ids)}
    resolved = {tuple(row) for row in await connection.fetch(_RESOLVED)}
    repaired = {row[1] for row in await connection.fetch(_REPAIRED)}
    orders: dict[str, _OrderMoves] = {}
    for row in rows:
        order_id = row["order_id"]
        if row["entry_id"] is None:
            if row["kind"] == "RELEASE" and (
                row["amount"] is None or (order_id, row["amount"], row["reason"]) in waiting
            ):
                continue
            report.differ(
                "ledger",
                f"{row['kind']} of {row['amount']} for order {order_id} ({row['reason']}) is not in the ledger",
            )
            continue
        part = (order_id, row["user_id"], row["asset"], row["moved"])
        if row["line"] == 12 and row["description"] == "resolved" and part in resolved:
            continue
        order = orders.setdefault(order_id, _OrderMoves())
        order.entries.append(f"entry {row['entry_id']}, operation {row['operation_id']}")
        order.late = order.late or row["late"]
        order.early = order.early and row["early"]
        if row["line"] == 11 and row["moved"]:
            order.reserved += row["moved"]
        else:
            order.released += row["moved"]
            order.forged = order.forged or not (row["early"] or row["operation_id"] in repaired)
    given = {row["order_id"]: row for row in await connection.fetch(_GIVEN, list(orders))}
    in_flight = []
    for order_id, order in orders.items():
        known = given.get(order_id)
        left = order.reserved - order.released - (known["released"] if known else 0)
        if order.forged or left < 0 or (left and not order.late and not (known and known["waits"])):
            report.differ(
                "ledger",
                f"order {order_id}: nothing tells of {', '.join(order.entries)}; reserve and release should be none",
            )
        elif left:
            report.in_flight += 1
            in_flight.append(order_id)
        elif order.early:
            report.unproven += 1
    return in_flight
