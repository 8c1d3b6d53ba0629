"""Verification: replay the journal with a fresh core and compare it with everything the database says (DESIGN 4).

Reads one consistent snapshot, so that it can run beside a working engine.  Changes nothing; what it needs to compare
the ledger with is a temporary table.
"""

from collections.abc import Callable

from trade_engine.matching.protocol import Book
from trade_engine.sequencer.verify.anchor import Anchor, check_digests, digests_of, latest_anchor
from trade_engine.sequencer.verify.facts_tables import (
    check_archive,
    check_audit,
    check_market_terms,
    check_start,
    verify_chains,
)
from trade_engine.sequencer.verify.files import check_files
from trade_engine.sequencer.verify.ledger import check_funding, check_ledger
from trade_engine.sequencer.verify.moves import check_moves
from trade_engine.sequencer.verify.pairs import check_pairs
from trade_engine.sequencer.verify.replay import Replay
from trade_engine.sequencer.verify.report import Report
from trade_engine.sequencer.verify.settling import check_instructions, check_settlement
from trade_engine.sequencer.verify.tables import check_candles, check_client_orders, check_markets
from trade_engine.sequencer.verify.told import ToldMoves
from trade_engine.storage.markets import market_from_row
from trade_engine.storage.types import AnyConnection

__all__ = ["Anchor", "Report", "check_files", "verify", "verify_and_anchor"]


async def verify(
    connection: AnyConnection,
    new_book: Callable[[int], Book],
    progress: Callable[[int, int], None] | None = None,
    *,
    ledger: bool = True,
    from_genesis: bool = False,
) -> Report:
    """Check everything that the journal, its facts and the other chains can tell, since the latest anchor.

    Args:
        connection: idle, to a server that is no standby; for one transaction, which writes a temporary table alone.
        new_book: makes the core's book of a market.
        progress: told (batches done, batches in all) now and then.
        ledger: whether the ledger is in this database; one that is not is for ``trade-engine reconcile``.
        from_genesis: from the journal's beginning, anchors or not; all of it must be there.
    """
    async with connection.transaction(isolation="repeatable_read"):
        told = ToldMoves(connection)
        await told.create()
        verification = _Verification(connection, new_book, told, ledger=ledger)
        return await verification.run(progress, from_genesis=from_genesis)


async def verify_and_anchor(
    connection: AnyConnection, new_book: Callable[[int], Book], edge_us: int, *, ledger: bool = True
) -> tuple[Report, Anchor]:
    """As ``verify``, and the anchor of ``edge_us`` (a day's begin, UTC): worth nothing if the report is not ok."""
    async with connection.transaction(isolation="repeatable_read"):
        told = ToldMoves(connection)
        await told.create()
        wanted = Anchor(edge_us=edge_us)
        verification = _Verification(connection, new_book, told, ledger=ledger)
        report = await verification.run(None, wanted=wanted)
        if report.ok:
            wanted.told = await told.keep(edge_us, [order.order_id for order in wanted.orders])
            wanted.digests = await digests_of(connection, wanted, ledger=ledger)
        return report, wanted


class _Verification:
    """One verification, in the transaction that is open."""

    def __init__(
        self, connection: AnyConnection, new_book: Callable[[int], Book], told: ToldMoves, *, ledger: bool
    ) -> None:
        self._connection = connection
        self._new_book = new_book
        self._told = told
        self._ledger = ledger

    async def run(
        self,
        progress: Callable[[int, int], None] | None,
        *,
        from_genesis: bool = False,
        wanted: Anchor | None = None,
    ) -> Report:
        """Verify; fill in the anchor that is wanted."""
        connection, told, report = self._connection, self._told, Report()
        anchor = None if from_genesis else await latest_anchor(connection, report)
        rows = await connection.fetch("SELECT * FROM markets ORDER BY market_id")
        markets = {row["market_id"]: market_from_row(row) for row in rows}
        replay = Replay(connection, self._new_book, markets, told, report, anchor, wanted)
        await replay.run(progress)
        since = anchor or Anchor()
        report.anchor = since.sequence
        await verify_chains(connection, report)
        start = await check_start(connection, report, since.sequence)
        await check_market_terms(connection, report)
        await check_audit(connection, report)
        await check_archive(connection, report)
        await check_client_orders(connection, report)
        await check_pairs(connection, report)
        if replay.complete:
            check_markets(rows, replay, report)
            await check_candles(connection, replay.chain.candles, since.edge_us, report)
            await check_instructions(connection, start, report)
        await check_settlement(connection, report, ledger=self._ledger)
        if self._ledger:
            await check_funding(connection, report)
            unsettled = []
            if replay.complete:
                unsettled = await check_moves(connection, start, since.orders_below, report)
            await check_ledger(connection, unsettled, since, report)
        if anchor is not None and replay.complete:
            await check_digests(connection, anchor, report, ledger=self._ledger)
        return report
