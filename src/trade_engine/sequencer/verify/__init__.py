"""Verification: replay the journal with a fresh core and compare it with everything the database says (DESIGN 4).

Reads one consistent snapshot, so that it can run beside a working engine.  Changes nothing; what it needs to compare
the ledger with is a temporary table.
"""

from collections.abc import Callable

from trade_engine.matching.protocol import Book
from trade_engine.sequencer.verify.facts_tables import check_audit, check_market_terms, check_start, verify_chains
from trade_engine.sequencer.verify.ledger import check_funding, check_ledger
from trade_engine.sequencer.verify.moves import check_moves
from trade_engine.sequencer.verify.replay import Replay
from trade_engine.sequencer.verify.report import Report
from trade_engine.sequencer.verify.settling import check_instructions, check_settlement
from trade_engine.sequencer.verify.tables import check_candles, check_client_orders, check_markets
from trade_engine.sequencer.verify.told import ToldMoves
from trade_engine.storage.markets import market_from_row
from trade_engine.storage.types import AnyConnection

__all__ = ["Report", "verify"]


async def verify(
    connection: AnyConnection,
    new_book: Callable[[int], Book],
    progress: Callable[[int, int], None] | None = None,
    *,
    ledger: bool = True,
) -> Report:
    """Check everything that the journal, its facts and the other chains can tell.

    Args:
        connection: idle, to a server that is no standby; for one transaction, which writes a temporary table alone.
        new_book: makes the core's book of a market.
        progress: told (batches done, batches in all) now and then.
        ledger: whether the ledger is in this database; one that is not is for ``trade-engine reconcile``.
    """
    async with connection.transaction(isolation="repeatable_read"):
        told = ToldMoves(connection)
        await told.create()
        return await _verify(connection, new_book, told, progress, ledger=ledger)


async def _verify(
    connection: AnyConnection,
    new_book: Callable[[int], Book],
    told: ToldMoves,
    progress: Callable[[int, int], None] | None,
    *,
    ledger: bool,
) -> Report:
    report = Report()
    rows = await connection.fetch("SELECT * FROM markets ORDER BY market_id")
    replay = Replay(connection, new_book, {row["market_id"]: market_from_row(row) for row in rows}, told, report)
    await replay.run(progress)
    await verify_chains(connection, report)
    start = await check_start(connection, report)
    await check_market_terms(connection, report)
    await check_audit(connection, report)
    await check_client_orders(connection, report)
    if replay.complete:
        check_markets(rows, replay, report)
        await check_candles(connection, replay.chain.candles, report)
        await check_instructions(connection, start, report)
    await check_settlement(connection, report, ledger=ledger)
    if ledger:
        await check_funding(connection, report)
        unsettled = await check_moves(connection, start, report) if replay.complete else []
        await check_ledger(connection, unsettled, report)
    return report
