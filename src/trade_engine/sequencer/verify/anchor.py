"""Anchors: the state of everything at a place in the journal, so that what comes before it may be archived (SPEC 18.1).

A verification that starts at an anchor has what the replay would have had there: books, open orders, counters, and what
the journal told of their money.  What lies before and stays in the database (ended orders, the ledger, candles) is held
against digests that the anchor has.  An anchor is made by a whole verification that found nothing, and chained.
"""

import hashlib
import zlib
from typing import Any, Final

import msgspec

from trade_engine.domain.ids import uuid7_floor
from trade_engine.domain.orders import Order
from trade_engine.matching.protocol import MarketMemory
from trade_engine.sequencer.verify.report import Report
from trade_engine.storage.types import AnyConnection

VERSION: Final = 1
_ENTRY: Final = """sha256(convert_to(concat_ws('|', entry_id, microseconds(created_at), type, line, operation_id,
    user_id, reference_id, asset, trim_scale(available_delta), trim_scale(reserved_delta), trim_scale(available_after),
    trim_scale(reserved_after), description), 'UTF8'))"""
#: Digests of digests, so that none is of more than some thousand rows at a time.
_DIGEST: Final = """
    SELECT coalesce(sum(n), 0)::BIGINT AS rows, sha256(coalesce(string_agg(digest, '' ORDER BY part), '')) AS digest
    FROM (SELECT {part} AS part, count(*) AS n, sha256(string_agg({row}, '' ORDER BY {order})) AS digest
        FROM {rows} GROUP BY 1) parts"""
#: Every line of every settled trade before $1, an id.
_TRADED: Final = _DIGEST.format(
    part="left(operation_id::TEXT, 8)", row=_ENTRY, order="operation_id, line",
    rows="wallet.ledger_entries WHERE line <= 8 AND operation_id < $1",
)  # fmt: skip
#: Reserves and releases of orders before $1, an id, but for those that the journal told of since, and repairs, which
#: have a chain of their own.
_MOVED: Final = _DIGEST.format(
    part="left(e.reference_id::TEXT, 8)", row=_ENTRY, order="e.reference_id, operation_id, line",
    rows="""wallet.ledger_entries e WHERE e.line IN (11, 12) AND e.reference_id < $1
        AND NOT EXISTS (SELECT FROM told_moves t WHERE t.order_id = e.reference_id)
        AND NOT EXISTS (
            SELECT FROM chained_facts c WHERE c.chain = 'repairs' AND c.fields[5] = e.operation_id::TEXT)""",
)  # fmt: skip
_CANDLES: Final = _DIGEST.format(
    part="c.market_id", order="c.start_at, c.interval",
    row="""sha256(convert_to(concat_ws('|', c.market_id, c.interval, microseconds(c.start_at), trim_scale(c.open),
        trim_scale(c.high), trim_scale(c.low), trim_scale(c.close), trim_scale(c.volume), trim_scale(c.quote_volume),
        c.trades, c.last_sequence), 'UTF8'))""",
    rows="candles c WHERE c.start_at < $1",
)  # fmt: skip
#: Orders of one partition that ended before an anchor ($1: its sequence, $2: those that lived).
_ENDED: Final = """
    SELECT count(*) AS rows, sha256(coalesce(string_agg(sha256(convert_to(ROW(
        order_id, sequence, user_id, market_id, side, type, time_in_force, self_trade_prevention, flags, status,
        is_open, reason, client_order_id, institution_id, price, quantity, stop_price, display_quantity, max_notional,
        filled_quantity, filled_notional, cancelled_quantity, priority_sequence, display_remaining, linked_sequence,
        maker_fee, taker_fee, fee_asset, maker_basis, taker_basis, fee_charged, reserved, hold, expires_at, created_at,
        updated_at, filled_at, cancelled_at)::TEXT, 'UTF8')), '' ORDER BY order_id), '')) AS digest
    FROM {partition} WHERE sequence <= $1 AND sequence <> ALL ($2::BIGINT[])"""
_PARTITIONS: Final = """
    SELECT c.relname FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
    WHERE i.inhparent = 'orders'::REGCLASS ORDER BY 1"""
_RESTORED: Final = "SELECT partition_name FROM archived_partitions WHERE restored_at IS NOT NULL"
_LATEST: Final = """
    SELECT a.*, microseconds(a.edge_at) AS edge_us, f.fields FROM anchors a
    LEFT JOIN chained_facts f ON f.chain = 'archive' AND f.fields[1] = 'anchor' AND f.fields[2] = a.sequence::TEXT
    ORDER BY a.sequence DESC LIMIT 1"""
#: Of ids: below them nothing is.
_NO_ID: Final = "00000000-0000-0000-0000-000000000000"


class Anchor(msgspec.Struct, kw_only=True):
    """The replay after the last batch before ``edge_us``."""

    version: int = VERSION
    edge_us: int = 0
    sequence: int = 0
    journal_hash: bytes = b""
    state_hash: bytes | None = None
    stamped_us: int = 0
    epoch: int = 0
    first_facts: int = 0
    instruction_id: int | None = 0
    instructions: int = 0
    candles: int = 0
    trade_sequence: int = 0
    event_sequences: dict[int, int] = {}
    markets: dict[int, MarketMemory] = {}
    #: Those that lived.
    orders: list[Order] = []
    #: What was told of their money so far: rows of ``told_moves``.
    told: list[tuple[Any, ...]] = []
    #: Rows and SHA-256 of what stays in the database, by what it is; ``orders`` by partition.
    digests: dict[str, tuple[int, bytes]] = {}

    @property
    def orders_below(self) -> str:
        """Orders with lower ids were admitted before it; those after it may have such an id, too."""
        return uuid7_floor(self.stamped_us + 1000) if self.sequence else _NO_ID

    @property
    def trades_below(self) -> str:
        """Trades with lower ids come before it, and no others."""
        return uuid7_floor(self.edge_us) if self.sequence else _NO_ID


def pack(anchor: Anchor) -> bytes:
    """An anchor as it is stored."""
    return zlib.compress(msgspec.msgpack.encode(anchor))


async def latest_anchor(connection: AnyConnection, report: Report) -> Anchor | None:
    """The newest anchor, held against its chained fact; None: nothing is anchored."""
    row = await connection.fetchrow(_LATEST)
    if row is None:
        return None
    fact = ["anchor", str(row["sequence"]), row["journal_hash"].hex(), hashlib.sha256(row["snapshot"]).hexdigest()]
    if row["fields"] != fact:
        report.differ("facts", f"anchor {row['sequence']}: the chain says {row['fields']}, it is {fact}")
    try:
        anchor = msgspec.msgpack.decode(zlib.decompress(row["snapshot"]), type=Anchor)
    except (zlib.error, msgspec.MsgspecError) as error:
        report.differ("facts", f"anchor {row['sequence']} cannot be read: {error}")
        return None
    found = (anchor.sequence, anchor.journal_hash, anchor.edge_us)
    if found != (row["sequence"], row["journal_hash"], row["edge_us"]):
        report.differ("facts", f"anchor {row['sequence']} holds another place, {anchor.sequence}")
    return anchor


async def digests_of(connection: AnyConnection, anchor: Anchor, *, ledger: bool) -> dict[str, tuple[int, bytes]]:
    """What of the database lies before an anchor, as it is now; ``told_moves`` holds what was told at it and since."""
    asked: dict[str, tuple[str, list[Any]]] = {
        "candles": (_CANDLES.replace("$1", "at_us($1)"), [anchor.edge_us]),
    }
    if ledger:
        asked["trades in the ledger"] = (_TRADED, [anchor.trades_below])
        asked["reserves and releases"] = (_MOVED, [anchor.orders_below])
    lived = [order.sequence for order in anchor.orders]
    for row in await connection.fetch(_PARTITIONS):
        asked[f"orders of {row[0]}"] = (_ENDED.format(partition=row[0]), [anchor.sequence, lived])
    found = {}
    for name, (query, values) in asked.items():
        for rows, digest in await connection.fetch(query, *values):
            found[name] = (rows, digest)
    return found


async def check_digests(connection: AnyConnection, anchor: Anchor, report: Report, *, ledger: bool) -> None:
    """Hold what lies before the anchor against what it was when the anchor was made."""
    found = await digests_of(connection, anchor, ledger=ledger)
    # What was archived before the anchor was made has its file's hash.
    restored = {f"orders of {row[0]}" for row in await connection.fetch(_RESTORED)}
    parts = {"candles": "candles", "trades in the ledger": "ledger", "reserves and releases": "ledger"}
    for name, digest in found.items():
        known = anchor.digests.get(name, (0, hashlib.sha256(b"").digest()))
        if digest != known and not (name in restored and name not in anchor.digests):
            report.differ(
                parts.get(name, "orders"),
                f"{name} before anchor {anchor.sequence}: {digest[0]} rows {digest[1].hex()}, should be {known[0]} rows"
                f" {known[1].hex()}",
            )


async def write_anchor(connection: AnyConnection, anchor: Anchor) -> None:
    """Store an anchor and its fact, in the caller's transaction."""
    packed = pack(anchor)
    await connection.execute(
        "INSERT INTO anchors (sequence, edge_at, journal_hash, snapshot) VALUES ($1, at_us($2), $3, $4)",
        anchor.sequence,
        anchor.edge_us,
        anchor.journal_hash,
        packed,
    )
    fact = ["anchor", str(anchor.sequence), anchor.journal_hash.hex(), hashlib.sha256(packed).hexdigest()]
    await connection.execute("SELECT note_fact('archive', $1)", fact)
