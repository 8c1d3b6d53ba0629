"""Pools and partitions against a real server."""

import asyncio

import asyncpg
import pytest

from trade_engine.storage.partitions import create_partitions, default_rows, keep_ahead
from trade_engine.storage.pool import PoolSettings, close_pool, open_pool, reachable


async def test_a_pool_opens_logs_and_closes(database_url: str) -> None:
    seen: list[tuple[str, float]] = []
    pool = await open_pool(database_url, log_query=lambda sql, seconds: seen.append((sql, seconds)))
    assert await pool.fetchval("SELECT current_setting('timezone')") == "UTC"
    assert await reachable(pool, timeout_s=5)
    assert "SELECT 1" in [sql for sql, _ in seen]
    await close_pool(pool)
    assert not await reachable(pool)


async def test_behind_a_pooler_nothing_is_prepared_or_set(database_url: str) -> None:
    pool = await open_pool(database_url, PoolSettings(behind_pooler=True, max_open=1))
    assert await pool.fetchval("SELECT 1") == 1
    assert await pool.fetchval("SELECT count(*) FROM pg_prepared_statements WHERE name <> ''") == 0
    await close_pool(pool)


async def test_closing_does_not_wait_for_ever(database_url: str) -> None:
    pool = await open_pool(database_url)
    slow = asyncio.create_task(pool.execute("SELECT pg_sleep(60)"))
    await asyncio.sleep(0.1)
    await close_pool(pool, grace_s=0.2)
    with pytest.raises((asyncpg.PostgresError, asyncpg.InterfaceError, OSError, asyncio.CancelledError)):
        await slow


async def test_uuids_go_in_as_text_and_come_out_canonical(pool: asyncpg.Pool) -> None:
    text = "01920000-0000-7000-8000-0000000000ab"
    assert str(await pool.fetchval("SELECT $1::uuid", text)) == text
    rows = await pool.fetch("SELECT unnest($1::uuid[]) AS id", [text, text])
    assert [str(row["id"]) for row in rows] == [text, text]


async def test_partitions_are_made_once_and_the_default_ones_stay_empty(pool: asyncpg.Pool) -> None:
    made = await create_partitions(pool, months_ahead=3, days_ahead=9)
    assert len([name for name in made if name.startswith("orders_y")]) == 2
    assert len([name for name in made if name.startswith("trades_y")]) == 8
    assert len([name for name in made if name.startswith("journal_y")]) == 8
    assert await create_partitions(pool, months_ahead=3, days_ahead=9) == []
    assert await default_rows(pool) == {"orders": False, "trades": False, "journal": False}


async def test_making_partitions_gives_way_to_a_lock_and_tries_again(pool: asyncpg.Pool) -> None:
    async with pool.acquire() as blocker:
        held = blocker.transaction()
        await held.start()
        await blocker.execute("LOCK TABLE trades IN ACCESS SHARE MODE; LOCK TABLE orders IN ROW EXCLUSIVE MODE")
        await blocker.execute("LOCK TABLE orders_default IN ACCESS EXCLUSIVE MODE")
        making = asyncio.create_task(create_partitions(pool, months_ahead=4, days_ahead=2, pause_s=0.05))
        await asyncio.sleep(0.4)
        assert not making.done()
        await held.rollback()
    assert await making


async def test_keeping_ahead_makes_partitions_and_survives_a_failure(pool: asyncpg.Pool) -> None:
    await pool.execute("ALTER FUNCTION create_partitions(INTEGER, INTEGER) RENAME TO away")
    task = asyncio.create_task(keep_ahead(pool, months_ahead=5, days_ahead=3, interval_s=0.05))
    await asyncio.sleep(0.2)
    assert not task.done()
    await pool.execute("ALTER FUNCTION away(INTEGER, INTEGER) RENAME TO create_partitions")
    async with asyncio.timeout(10):
        while await pool.fetchval("SELECT count(*) FROM pg_class WHERE relname ~ '^orders_y' AND relkind = 'r'") < 6:
            await asyncio.sleep(0.05)
    task.cancel()
