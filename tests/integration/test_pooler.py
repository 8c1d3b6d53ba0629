"""PgBouncer in transaction mode: reading and wallet pools through it, the writer past it; 12 clients, 3 connections."""

import asyncio
import json
import random
import uuid
from pathlib import Path
from typing import Any

import asyncpg
import msgspec
import pytest

from tests.fixtures import flow
from tests.harness.pgbouncer import POOL, TestPgBouncer
from tests.harness.wallet_service import wallet_service
from tests.integration.test_partitions import _MARKET, Rows
from tests.property.wallet import test_wallet_twins
from trade_engine.matching.books import new_book
from trade_engine.roles.all import TradeEngine
from trade_engine.sequencer.verify import verify
from trade_engine.settlement.comparison import compare
from trade_engine.storage.maintenance import Maintenance
from trade_engine.storage.partitions import create_partitions
from trade_engine.storage.pool import PoolSettings, open_pool
from trade_engine.storage.queries import Queries
from trade_engine.wallet.audit import PostgresLedger

BEHIND = PoolSettings(max_open=12, min_open=12, behind_pooler=True)


@pytest.fixture
def pooled_url(pgbouncer: TestPgBouncer, database_url: str) -> str:
    return pgbouncer.url(database_url)


def engine_behind(database_url: str, pooled_url: str, folder: Path) -> TradeEngine:
    """An engine whose pools go through the pooler and whose writer does not."""
    engine = flow.engine_of(pooled_url, folder)
    options = msgspec.structs.replace(engine.config.database, direct_url=database_url, behind_pooler=True)
    engine.config = msgspec.structs.replace(engine.config, database=options)
    return engine


async def test_every_answer_is_that_of_its_own_question(pooled_url: str) -> None:
    """Twelve clients on three connections, with statements of other shapes at once."""
    async with await open_pool(pooled_url, BEHIND) as pool:

        async def ask(number: int) -> None:
            chance = random.Random(number)
            for _ in range(40):
                value = chance.randrange(10**6)
                match chance.randrange(3):
                    case 0:
                        assert await pool.fetchval("SELECT $1::INT + 1", value) == value + 1
                    case 1:
                        row = await pool.fetchrow("SELECT $1::TEXT AS a, $2::BIGINT[] AS b", str(value), [value, 2])
                        assert row is not None
                        assert tuple(row) == (str(value), [value, 2])
                    case _:
                        async with pool.acquire() as connection, connection.transaction():
                            await connection.execute(f"SET LOCAL statement_timeout = '{value + 1000}s'")
                            name = "SELECT current_setting('statement_timeout')"
                            await connection.fetchval(name)

        await asyncio.gather(*(ask(number) for number in range(12)))
        assert await pool.fetchval("SELECT current_setting('statement_timeout')") == "0"
        connected = await pool.fetchval("SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()")
        assert connected <= POOL


async def test_the_engine_trades_and_shows_through_it(database_url: str, pooled_url: str, tmp_path: Path) -> None:
    async with flow.desk(engine_behind(database_url, pooled_url, tmp_path)) as desk:
        await flow.first_day(desk)
        await flow.second_day(desk)
        for path in ("/orders?status=open", "/orders?symbol=AAA-USDT", "/trades", "/balances", "/orders?status=filled"):
            assert await desk.ask(flow.ALICE, "GET", path)
        outcome = await desk.ask(flow.ADMIN, "POST", "/admin/reconciliation", {"reason": "behind a pooler"})
        assert outcome["differences"] == []
        assert await desk.engine.pool.fetchval("SELECT count(*) FROM monitoring.user_order_stats") >= 0
    connection = await asyncpg.connect(database_url)
    assert (await verify(connection, new_book)).differences == []
    await connection.close()
    async with flow.desk(engine_behind(database_url, pooled_url, tmp_path)) as desk:
        await flow.third_day(desk)


async def test_long_histories_are_walked_along_their_indexes_through_it(pooled_url: str, connection: Any) -> None:
    await connection.execute(_MARKET)
    async with await open_pool(pooled_url, BEHIND) as pool:
        rows = Rows(pool)
        for number in range(20):
            await rows.order(1_700_000_000_000_000 + number)
        user = str(await pool.fetchval("SELECT user_id FROM orders LIMIT 1"))
        queries = Queries(pool, behind_pooler=True)
        pages = await asyncio.gather(*(queries.orders(user, limit=5) for _ in range(24)))
        assert {len(page.rows) for page in pages} == {1}
        plan = json.dumps(await pool.fetchval("SELECT current_setting('enable_seqscan')"))
        assert plan == '"on"', "what a page sets does not outlive it"


async def test_the_wallet_is_the_same_wallet_through_it(pooled_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The property test of the two wallets, behind the pooler."""
    monkeypatch.setattr(test_wallet_twins, "BATCHES", 300)
    real = asyncpg.create_pool

    def without_cache(url: str, **options: Any) -> Any:
        return real(url, statement_cache_size=0, **options)

    monkeypatch.setattr(asyncpg, "create_pool", without_cache)
    await test_wallet_twins.test_postgres_and_memory_answer_alike(pooled_url, 1)


async def test_the_wallet_service_runs_on_it(database_url: str, pooled_url: str, tmp_path: Path) -> None:
    async with wallet_service(pooled_url, database__behind_pooler=True) as port:
        assert port
    async with await open_pool(pooled_url, BEHIND) as pool:
        ledger = PostgresLedger(pool, reserve_timeout_s=10)
        users = [str(uuid.uuid4()) for _ in range(24)]
        outcomes = await asyncio.gather(*(ledger.deposit(user, "USDT", 5, str(uuid.uuid4())) for user in users))
        assert all(outcome.ok for outcome in outcomes)
        assert await ledger.audit() == []
        assert (await compare(pool, ledger)).differences == []


async def test_what_keeps_the_database_in_shape_works_through_it(pooled_url: str) -> None:
    async with await open_pool(pooled_url, BEHIND) as pool:
        assert await create_partitions(pool, months_ahead=4, days_ahead=4)
        maintenance = Maintenance(pool, 60)
        assert await maintenance.refresh()
        assert await maintenance.purge() == 0
        await maintenance.report()
        timeouts = {await pool.fetchval("SELECT current_setting('lock_timeout')") for _ in range(2 * POOL)}
        assert timeouts == {"0"}
