"""Pools against a real server."""

import asyncio

import asyncpg
import pytest

from trade_engine.storage.pool import PoolSettings, close_pool, open_pool, reachable


async def test_a_pool_opens_logs_and_closes(database_url: str) -> None:
    seen: list[tuple[str, float]] = []
    pool = await open_pool(database_url, log_query=lambda sql, seconds: seen.append((sql, seconds)))
    assert await pool.fetchval("SELECT current_setting('timezone')") == "UTC"
    assert await reachable(pool, timeout_s=5)
    assert "SELECT 1" in [sql for sql, _ in seen]
    await close_pool(pool)
    assert not await reachable(pool, timeout_s=5)


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
