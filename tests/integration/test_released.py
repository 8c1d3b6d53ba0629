"""A database that an earlier release wrote is taken over: migrated, found to be right, traded on, still right."""

import gzip
from pathlib import Path

import asyncpg
import pytest

from tests.fixtures import flow
from trade_engine.matching.books import new_book
from trade_engine.sequencer.clock import wall_clock_us
from trade_engine.sequencer.verify import Report, verify
from trade_engine.settlement.reconciler import Reconciler
from trade_engine.storage.migrate import down, load_migrations, up
from trade_engine.wallet.audit import PostgresLedger

RELEASES = sorted((Path(__file__).resolve().parent.parent / "fixtures").glob("v*.sql.gz"))


@pytest.fixture(params=RELEASES, ids=lambda file: file.name.removesuffix(".sql.gz"))
async def released_url(request: pytest.FixtureRequest, empty_database_url: str) -> str:
    """A database as the release left it."""
    connection = await asyncpg.connect(empty_database_url)
    await connection.execute(gzip.decompress(request.param.read_bytes()).decode())
    await connection.close()
    return empty_database_url


async def verified(url: str) -> Report:
    connection = await asyncpg.connect(url)
    try:
        return await verify(connection, new_book)
    finally:
        await connection.close()


async def migrate(url: str) -> None:
    connection = await asyncpg.connect(url)
    try:
        await up(connection, load_migrations())
    finally:
        await connection.close()


async def reconciled(url: str) -> list[str]:
    async with asyncpg.create_pool(url, min_size=1, max_size=2) as pool:
        outcome = await Reconciler(pool, PostgresLedger(pool), wall_clock_us, again_after_s=0.1).run()
        return [str(difference) for difference in outcome.differences]


async def test_a_released_database_is_taken_over(released_url: str, tmp_path: Path) -> None:
    await migrate(released_url)
    report = await verified(released_url)
    assert report.differences == []
    assert report.journal_batches > 100
    assert await reconciled(released_url) == []
    async with flow.desk(flow.engine_of(released_url, tmp_path, taker_fee="0.0012")) as desk:
        await flow.third_day(desk)
        report = await verified(released_url)
        assert report.differences == [], "beside the working engine"
    assert (await verified(released_url)).differences == []
    assert await reconciled(released_url) == []


async def test_the_way_back_leaves_what_the_release_can_read(released_url: str) -> None:
    """Migrating a released database up and down again leaves its rows as they were."""
    connection = await asyncpg.connect(released_url)
    try:
        last = await connection.fetchval("SELECT max(version) FROM schema_migrations")
        before = await connection.fetch("SELECT * FROM admin_audit ORDER BY audit_id")
        journal = await connection.fetch("SELECT * FROM journal ORDER BY last_sequence")
        await up(connection, load_migrations())
        await down(connection, load_migrations(), last)
        assert await connection.fetch("SELECT * FROM admin_audit ORDER BY audit_id") == before
        assert await connection.fetch("SELECT * FROM journal ORDER BY last_sequence") == journal
    finally:
        await connection.close()
