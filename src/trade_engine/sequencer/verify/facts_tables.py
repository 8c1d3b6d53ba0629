"""The chained facts beside the journal: their hashes, and the tables that must say the same."""

from typing import Final, NamedTuple

from trade_engine.domain.chained import chain_fields
from trade_engine.domain.compared import sql_fields
from trade_engine.sequencer.verify.replay import stream
from trade_engine.sequencer.verify.report import Report
from trade_engine.storage.types import AnyConnection

#: Which part of the report a chain's own damage belongs to.
_PARTS: Final = {"start": "facts", "markets": "markets", "audit": "audit", "repairs": "ledger"}
_LIMIT: Final = 100
_CHAINED: Final = "SELECT *, microseconds(noted_at) AS noted_us FROM chained_facts ORDER BY chain, number"
_TERMS: Final = (
    "symbol", "base", "quote", "tick_size", "lot_size", "min_quantity", "max_quantity", "min_notional", "maker_fee",
    "taker_fee", "fee_asset", "managed", "min_display_ppm",
)  # fmt: skip
_AMOUNTS: Final = frozenset(_TERMS[3:10])
_MARKETS: Final = f"""
    WITH noted AS (
        SELECT DISTINCT ON (fields[1]) fields[1]::INTEGER AS market_id, fields FROM chained_facts
        WHERE chain = 'markets' ORDER BY fields[1], number DESC
    ), compared AS (
        SELECT coalesce(m.market_id, n.market_id) AS market_id, m.market_id IS NULL AS missing,
            n.market_id IS NULL AS strange,
            {
    sql_fields(
        {
            name: (f"trim_scale(m.{name})::TEXT" if name in _AMOUNTS else f"m.{name}::TEXT", f"n.fields[{number}]")
            for number, name in enumerate(_TERMS, 2)
        }
    )
} AS wrong
        FROM markets m FULL JOIN noted n USING (market_id)
    )
    SELECT 'market ' || market_id || CASE WHEN missing THEN ' is missing' WHEN strange THEN ' was never listed'
        ELSE ': ' || wrong END
    FROM compared WHERE missing OR strange OR wrong <> '' ORDER BY market_id LIMIT {_LIMIT}"""
_AUDIT: Final = f"""
    WITH noted AS (
        SELECT fields[1]::BIGINT AS audit_id, fields FROM chained_facts WHERE chain = 'audit'
    ), compared AS (
        SELECT coalesce(a.audit_id, n.audit_id) AS audit_id, a.audit_id IS NULL AS missing, n.fields,
            n.audit_id IS NULL AS strange, {
    sql_fields(
        {"done_at": ("microseconds(a.done_at)::TEXT", "n.fields[2]")}
        | {
            name: (f"a.{name}", f"n.fields[{number}]")
            for number, name in enumerate(("actor", "action", "subject", "reason", "outcome"), 3)
        }
    )
} AS wrong
        FROM admin_audit a FULL JOIN noted n USING (audit_id)
    )
    SELECT 'row ' || audit_id || CASE
        WHEN missing THEN ' is missing: ' || fields[4] || ' of ' || fields[5] || ' by ' || fields[3]
        WHEN strange THEN ' is in no chain' ELSE ': ' || wrong END
    FROM compared WHERE missing OR strange OR wrong <> '' ORDER BY audit_id LIMIT {_LIMIT}"""

_ARCHIVE: Final = f"""
    WITH noted AS (
        SELECT DISTINCT ON (fields[2]) fields[2] AS partition_name, fields FROM chained_facts
        WHERE chain = 'archive' AND fields[1] = 'file' ORDER BY fields[2], number DESC
    ), compared AS (
        SELECT partition_name, a.row_count IS NULL AS missing, n.fields IS NULL AS strange, {
    sql_fields(
        {
            "row_count": ("a.row_count::TEXT", "n.fields[3]"),
            "file_sha256": ("encode(a.file_sha256, 'hex')", "n.fields[4]"),
            "content_sha256": ("encode(a.content_sha256, 'hex')", "n.fields[5]"),
        }
    )
} AS wrong
        FROM archived_partitions a FULL JOIN noted n USING (partition_name)
    )
    SELECT 'archived partition ' || partition_name || CASE
        WHEN missing THEN ' is missing' WHEN strange THEN ' is in no chain' ELSE ': ' || wrong END
    FROM compared WHERE missing OR strange OR wrong <> '' ORDER BY partition_name LIMIT {_LIMIT}"""


class Start(NamedTuple):
    """Where facts begin; up to here, journal and ledger are as versions before 0.2 left them."""

    sequence: int
    journal_hash: str
    instruction_id: int
    trade_sequence: int
    entry_id: int


async def verify_chains(connection: AnyConnection, report: Report) -> None:
    """Every chain of facts: each row's hash, no number left out, its head at its end."""
    heads = {row["chain"]: row for row in await connection.fetch("SELECT * FROM chain_heads")}
    ends: dict[str, tuple[int, bytes]] = {}
    async for row in stream(connection, _CHAINED):
        chain = row["chain"]
        part = _PARTS.get(chain, "facts")
        number, before = ends.get(chain, (0, b""))
        if row["number"] != number + 1:
            report.differ(part, f"chain {chain}: after fact {number} comes {row['number']}, should be {number + 1}")
        fields = [chain, str(row["number"]), str(row["noted_us"]), *row["fields"]]
        if chain_fields(before, fields) != row["hash"]:
            report.differ(part, f"chain {chain}: fact {row['number']} does not have the hash of what it holds")
        ends[chain] = (row["number"], row["hash"])
    for chain in sorted({*_PARTS, *heads, *ends}):
        number, digest = ends.get(chain, (0, b""))
        head = heads.get(chain)
        if head is None or (head["number"], head["hash"]) != (number, digest):
            found = "none" if head is None else f"{head['number']} {head['hash'].hex()}"
            shown = f"{number} {digest.hex()}"
            report.differ(_PARTS.get(chain, "facts"), f"chain {chain}: its head is {found}, its last fact is {shown}")


async def check_start(connection: AnyConnection, report: Report, anchored: int = 0) -> Start:
    """The fact that says where facts begin, held against the journal; batches up to ``anchored`` are not there."""
    rows = await connection.fetch("SELECT fields FROM chained_facts WHERE chain = 'start' ORDER BY number")
    if len(rows) != 1 or len(rows[0][0]) != len(Start._fields):
        report.differ("facts", f"chain start: {len(rows)} facts say where facts begin, should be 1")
        return Start(0, "", 0, 0, 0)
    sequence, digest, *counters = rows[0][0]
    start = Start(int(sequence), digest, *map(int, counters))
    since = await connection.fetchval("SELECT facts_since FROM engine_state")
    if since != start.sequence + 1:
        report.differ("facts", f"engine_state: facts_since is {since}, should be {start.sequence + 1}")
    if start.sequence and start.sequence <= anchored:
        return start
    found = await connection.fetchval(
        "SELECT encode(hash, 'hex') FROM journal WHERE last_sequence = $1", start.sequence
    )
    if (found or "") != start.journal_hash:
        report.differ("facts", f"batch {start.sequence}: hash is {found}, should be {start.journal_hash}")
    return start


async def check_market_terms(connection: AnyConnection, report: Report) -> None:
    """Each market's terms are those noted last."""
    for row in await connection.fetch(_MARKETS):
        report.differ("markets", row[0])


async def check_archive(connection: AnyConnection, report: Report) -> None:
    """What is noted of files is what was chained last of each."""
    for row in await connection.fetch(_ARCHIVE):
        report.differ("facts", row[0])


async def check_audit(connection: AnyConnection, report: Report) -> None:
    """The audit holds what was chained, all of it and nothing else."""
    for row in await connection.fetch(_AUDIT):
        report.differ("audit", row[0])
