"""Archiving: what is older than an edge is anchored, leaves its tables, becomes files (docs/adr/0017).

    1 lock -> 2 whole verification, which makes the anchor -> 3 detach -> 4 write, read back, note, drop

Orders go on meanwhile; it runs in a process of its own.  Cut short anywhere, nothing is lost, and the next run goes on.
"""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final, NamedTuple

from trade_engine.matching.protocol import Book
from trade_engine.sequencer.verify import verify_and_anchor
from trade_engine.sequencer.verify.anchor import write_anchor
from trade_engine.storage.archive import (
    ArchivedFile,
    archivable,
    detach,
    early_default_rows,
    to_file,
    waiting,
)
from trade_engine.storage.errors import ArchiveError
from trade_engine.storage.types import Connection

_LOCK: Final = 0x7472_6164_655F_6172
_PURGED_MAX: Final = 10_000

#: Whether a relay that has begun still needs something from before an edge.
_UNTOLD: Final = """
    SELECT EXISTS (
        SELECT FROM event_relay r WHERE r.begun_after IS NOT NULL AND (r.sequence < $1 OR EXISTS (
            SELECT FROM settlement_outbox o WHERE o.number > r.outbox_number AND o.trade_id < uuid7_floor($2)))
    )"""


class ArchiveOutcome(NamedTuple):
    """What one run did."""

    #: The journal's place that verification starts from now; 0: no anchor was made.
    anchor: int
    detached: list[str]
    #: Why some stay where they are.
    kept: list[str]
    files: list[ArchivedFile]


def month_edge(now: datetime, months: int) -> datetime:
    """The begin of the month that lies so many months back: what is older may be archived."""
    whole = now.astimezone(UTC).year * 12 + now.astimezone(UTC).month - 1 - months
    return datetime(whole // 12, whole % 12 + 1, 1, tzinfo=UTC)


async def archive_before(
    connection: Connection,
    new_book: Callable[[int], Book],
    edge: datetime,
    folder: Path,
    *,
    now: datetime,
    ledger: bool = True,
) -> ArchiveOutcome:
    """Archive journal and trades before ``edge`` (a day's begin, UTC), and orders that no later trade can refer to.

    Args:
        connection: direct, idle, of a user who owns the tables.
        new_book: makes the core's book of a market.
        edge: at least a day ago.
        folder: of the files.
        now: with its zone.
        ledger: whether the ledger is in this database.

    Raises:
        ArchiveError: why it cannot be; what was done stays done.
        OSError: the folder cannot be written.
    """
    if edge.astimezone(UTC).time().isoformat() != "00:00:00" or edge > now - timedelta(days=1):
        raise ArchiveError(f"the edge {edge} must be the begin of a day in UTC, and a day ago")
    if not await connection.fetchval("SELECT pg_try_advisory_lock($1)", _LOCK):
        raise ArchiveError("another process archives")
    try:
        await connection.execute("SET timezone = 'UTC'")
        while await connection.fetchval("SELECT monitoring.purge_client_orders($1)", _PURGED_MAX) == _PURGED_MAX:
            pass
        while await connection.fetchval("SELECT monitoring.purge_order_pairs($1)", _PURGED_MAX) == _PURGED_MAX:
            pass
        parts = await archivable(connection, edge)
        anchor = await _anchor(connection, new_book, edge, ledger=ledger) if parts else 0
        detached, kept = [], []
        for part in parts:
            try:
                await detach(connection, part["name"], part["parent"])
                detached.append(part["name"])
            except ArchiveError as error:
                kept.append(str(error))
        files = [await to_file(connection, part, folder) for part in await waiting(connection)]
    finally:
        await connection.execute("SELECT pg_advisory_unlock($1)", _LOCK)
    return ArchiveOutcome(anchor, detached, kept, files)


async def _anchor(connection: Connection, new_book: Callable[[int], Book], edge: datetime, *, ledger: bool) -> int:
    """Make the anchor of an edge, unless there is one, or nothing before it: its place in the journal, or 0.

    Raises:
        ArchiveError: verification found something, or something before the edge waits to be settled.
    """
    edge_us = round(edge.timestamp()) * 1_000_000
    known = await connection.fetchval("SELECT max(edge_at) FROM anchors")
    if known is not None and known >= edge:
        return 0
    early = await early_default_rows(connection, edge)
    if early:
        raise ArchiveError(f"the DEFAULT partition of {', '.join(early)} has rows from before {edge:%Y-%m-%d}")
    report, anchor = await verify_and_anchor(connection, new_book, edge_us, ledger=ledger)
    if not report.ok:
        raise ArchiveError("nothing is archived: `trade-engine verify` finds " + "; ".join(report.differences[:5]))
    if not anchor.sequence:
        return 0
    query = "SELECT count(*) FROM settlement_instructions WHERE instruction_id <= $1"
    unsettled = await connection.fetchval(query, anchor.instruction_id)
    if unsettled:
        raise ArchiveError(
            f"{unsettled} wallet instructions from before {edge:%Y-%m-%d} wait: see `trade-engine dead-letters`"
        )
    if await connection.fetchval(_UNTOLD, anchor.sequence, edge):
        raise ArchiveError(f"events from before {edge:%Y-%m-%d} wait to be published: see `relay_lag_seconds`")
    async with connection.transaction():
        await write_anchor(connection, anchor)
    return anchor.sequence
