"""Schema monitoring against a real server: each view on data that the engine wrote, each function, who runs them."""

import asyncio
import time
import uuid
from decimal import Decimal
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from structlog.testing import capture_logs

from tests.fixtures import flow
from tests.harness.postgres import TestServer
from tests.integration.test_partitions import _DAY_US, _MARKET, Rows
from trade_engine.domain.ids import uuid7
from trade_engine.storage.embedded import create_statement_statistics
from trade_engine.storage.maintenance import Maintenance


async def rows_of(connection: Any, view: str, order: str = "1") -> list[dict[str, Any]]:
    return [dict(row) for row in await connection.fetch(f"SELECT * FROM monitoring.{view} ORDER BY {order}")]


async def test_views_of_the_market_say_what_was_traded(database_url: str, pool: asyncpg.Pool, tmp_path: Path) -> None:
    async with flow.desk(flow.engine_of(database_url, tmp_path)) as desk:
        await desk.fund(flow.ALICE, AAA="100")
        await desk.fund(flow.BOB, USDT="100000")
        await desk.place(flow.ALICE, flow.QUOTED, "SELL", "3", "100.00")
        await desk.place(flow.BOB, flow.QUOTED, "BUY", "1", "100.00")
        await desk.place(flow.ALICE, flow.QUOTED, "SELL", "4", "101.50")
        await desk.place(flow.ALICE, flow.QUOTED, "SELL", "1", "101.50")
        await desk.place(flow.BOB, flow.QUOTED, "BUY", "4", "101.50")
        cancelled = await desk.place(flow.BOB, flow.QUOTED, "BUY", "2", "99.00")
        await desk.ask(flow.BOB, "DELETE", f"/orders/{cancelled}")
        await desk.place(flow.BOB, flow.QUOTED, "BUY", "2", "98.00")
        await desk.place(flow.BOB, flow.QUOTED, "BUY", "1", type="STOP", stop_price="110.00")
        await desk.settled()
        async with asyncio.timeout(30):
            while (await pool.fetchval("SELECT sum(trades) FROM candles WHERE interval = '1d'") or 0) < 3:
                await asyncio.sleep(0.05)
    await pool.execute("SELECT monitoring.refresh_trading_stats()")

    depth = {row["side"]: row for row in await rows_of(pool, "orderbook_depth_summary")}
    asks = ("orders", "price_levels", "quantity", "volume", "best_price")
    assert [depth["SELL"][name] for name in asks] == [2, 1, 3, Decimal("304.5"), Decimal("101.5")]
    assert [depth["BUY"][name] for name in asks] == [1, 1, 2, 196, 98]
    active = {(row["side"], row["type"], row["status"]): row for row in await rows_of(pool, "active_orders_summary")}
    assert {key: (row["orders"], row["users"], row["quantity"]) for key, row in active.items()} == {
        ("SELL", "LIMIT", "OPEN"): (1, 1, 1), ("SELL", "LIMIT", "PARTIALLY_FILLED"): (1, 1, 2),
        ("BUY", "LIMIT", "OPEN"): (1, 1, 2), ("BUY", "STOP", "PENDING"): (1, 1, 1),
    }  # fmt: skip
    expected = {"trades": 3, "quantity": 5, "volume": Decimal(503), "low": 100, "high": Decimal("101.5")}
    (stats,) = await rows_of(pool, "trading_stats_24h")
    assert stats.items() >= (expected | {"symbol": flow.QUOTED, "average": Decimal("100.6"), "open": 100}).items()
    days = await rows_of(pool, "daily_trade_volume")
    assert {row["symbol"] for row in days} == {flow.QUOTED}
    assert sum(row["trades"] for row in days) == 3
    assert sum(row["volume"] for row in days) == 503
    users = {str(row["user_id"]): row for row in await rows_of(pool, "user_order_stats")}
    bob = {"orders": 5, "open": 2, "filled": 2, "cancelled": 1, "rejected": 0, "expired": 0, "filled_volume": 503}
    assert users[flow.BOB].items() >= bob.items()


async def test_refreshing_goes_on_beside_orders_and_waits_for_nobody(pool: asyncpg.Pool) -> None:
    """A writer that holds its locks on orders and trades is neither waited for nor held up."""
    await pool.execute(_MARKET)
    rows = Rows(pool)
    order = await rows.order(time.time_ns() // 1000)
    async with pool.acquire() as writer, writer.transaction():
        await writer.execute("UPDATE orders SET updated_at = now() WHERE order_id = $1", order)
        assert await Maintenance(pool, 60).refresh()
        await writer.execute("UPDATE orders SET status = 'CANCELLED', is_open = FALSE")
    assert (await rows_of(pool, "user_order_stats"))[0]["open"] == 1
    assert await Maintenance(pool, 60).refresh()
    assert (await rows_of(pool, "user_order_stats"))[0]["open"] == 0


async def test_one_at_a_time_and_what_fails_stops_nothing(pool: asyncpg.Pool) -> None:
    async with pool.acquire() as other, other.transaction():
        await other.execute("SELECT pg_advisory_xact_lock($1)", 0x7472_6164_655F_6D74)
        assert not await Maintenance(pool, 60).refresh()
    await pool.execute("ALTER FUNCTION monitoring.refresh_trading_stats RENAME TO away")
    done: list[str] = []

    async def chore() -> None:
        done.append("chore")

    with capture_logs() as logs:
        await Maintenance(pool, 60, {"chore": chore}).round()
    assert [(line["event"], line.get("chore")) for line in logs if line["log_level"] == "warning"][:1] == [
        ("maintenance_not_done", "refresh_statistics")
    ]
    assert done == ["chore"]
    assert [line["event"] for line in logs if line["event"] == "daily_report"] == ["daily_report"]


async def test_partitions_are_made_by_the_functions_that_are_named_so(pool: asyncpg.Pool) -> None:
    orders = [row[0] for row in await pool.fetch("SELECT monitoring.create_future_order_partitions()")]
    assert len(orders) == 2, "those of this month and the next are there"
    assert all(name.startswith("orders_y") for name in orders)
    rest = [row[0] for row in await pool.fetch("SELECT monitoring.create_future_trade_partitions(5)")]
    assert sorted({name.partition("_y")[0] for name in rest}) == ["journal", "trades"]
    assert len(rest) == 8
    there = {row["partition_name"]: row for row in await rows_of(pool, "partition_sizes", "2")}
    assert there.keys() >= {*orders, *rest}
    assert there[orders[0]]["table_name"] == "orders"
    assert there[orders[0]]["total_bytes"] == there[orders[0]]["table_bytes"] + there[orders[0]]["index_bytes"] > 0
    assert "FOR VALUES FROM" in there[orders[0]]["bounds"]


async def test_dead_rows_unused_indexes_and_the_report_that_counts_them(connection: asyncpg.Connection) -> None:
    await connection.execute(
        """CREATE TABLE plain (a INTEGER PRIMARY KEY, b INTEGER, c INTEGER);
        INSERT INTO plain SELECT n, n, n FROM generate_series(1, 4000) n;
        CREATE INDEX plain_b ON plain (b); CREATE INDEX plain_c ON plain (c);
        ALTER TABLE plain SET (autovacuum_enabled = off); DELETE FROM plain WHERE a <= 1000;
        SET enable_seqscan = off"""
    )
    assert await connection.fetchval("SELECT a FROM plain WHERE b = 2000") == 2000
    await connection.execute("SELECT pg_stat_force_next_flush()")
    async with asyncio.timeout(30):
        while (
            await connection.fetchval("SELECT dead_rows FROM monitoring.table_bloat WHERE table_name = 'plain'")
        ) < 1:
            await asyncio.sleep(0.1)
    bloat = await connection.fetchrow("SELECT * FROM monitoring.table_bloat WHERE table_name = 'plain'")
    assert bloat is not None
    assert (bloat["live_rows"], bloat["dead_rows"], bloat["dead_pct"]) == (3000, 1000, 25)
    usage = {row["index_name"]: row for row in await rows_of(connection, "index_usage") if row["table_name"] == "plain"}
    assert (usage["plain_b"]["scans"], usage["plain_c"]["scans"]) == (1, 0)
    unused = [row["index_name"] for row in await rows_of(connection, "unused_indexes")]
    assert unused == ["plain_c"]
    report = {row["metric"]: row for row in await rows_of(connection, "generate_daily_performance_report()")}
    assert (report["worst_bloat_pct"]["value"], report["worst_bloat_pct"]["status"]) == ("25.00", "WARNING")
    assert (report["unused_indexes"]["value"], report["unused_indexes"]["status"]) == ("1", "OK")
    assert (report["days_of_partitions_ahead"]["value"], report["days_of_partitions_ahead"]["status"]) == (
        "1",
        "WARNING",
    )
    for n in range(5):
        await connection.execute(f"CREATE INDEX plain_more_{n} ON plain (b, c, a)")
    await connection.execute("SELECT create_partitions(1, 8)")
    assert await connection.fetchval("SELECT count(*) FROM monitoring.unused_indexes") == 6
    report = {row["metric"]: row for row in await rows_of(connection, "generate_daily_performance_report()")}
    assert report["unused_indexes"]["status"] == "WARNING"
    assert report["days_of_partitions_ahead"]["status"] == "OK"


async def warned_of(connection: asyncpg.Connection, metric: str) -> tuple[str, str]:
    """What the daily report says of something, and whether it warns of it."""
    (row,) = await connection.fetch(
        "SELECT value, status FROM monitoring.generate_daily_performance_report() WHERE metric = $1", metric
    )
    return row["value"], row["status"]


async def test_indexes_of_partitions_count_together(connection: asyncpg.Connection) -> None:
    usage = [row for row in await rows_of(connection, "index_usage") if row["table_name"] == "orders"]
    names = {row["index_name"] for row in usage}
    assert {"orders_pkey", "orders_open_by_user", "orders_by_user"} <= names
    assert {row["parts"] for row in usage} == {3}


async def test_slow_queries_are_those_of_pg_stat_statements(connection: asyncpg.Connection) -> None:
    assert await rows_of(connection, "slow_queries") == [], "the extension is not there"
    if not await create_statement_statistics(connection):
        pytest.skip("this server has not loaded pg_stat_statements")
    await connection.execute("SELECT pg_sleep(0.15)")
    await connection.execute("SELECT 1 AS quick")
    slow = {row["query"]: row for row in await rows_of(connection, "slow_queries", "query")}
    assert "SELECT pg_sleep($1)" in slow
    assert slow["SELECT pg_sleep($1)"]["mean_ms"] >= 150
    assert not any("quick" in query for query in slow)
    for count in range(1, 11):
        assert await warned_of(connection, "slow_queries") == (str(count), "OK")
        await connection.execute(f"SELECT pg_sleep(0.11){', 1' * count}")
    assert await warned_of(connection, "slow_queries") == ("11", "WARNING")
    await connection.execute("DROP EXTENSION pg_stat_statements")
    assert await rows_of(connection, "slow_queries") == []


async def test_the_private_server_logs_slow_queries(postgres: TestServer, connection: asyncpg.Connection) -> None:
    if postgres._embedded is None:
        pytest.skip("the tests' server is not ours")
    assert await connection.fetchval("SELECT current_setting('log_min_duration_statement')") == "100ms"
    assert "pg_stat_statements" in await connection.fetchval("SELECT current_setting('shared_preload_libraries')")


async def test_client_order_ids_are_forgotten_90_days_after_their_orders_ended(pool: asyncpg.Pool) -> None:
    await pool.execute(_MARKET)
    rows, user = Rows(pool), str(uuid.uuid4())
    now_us = time.time_ns() // 1000
    ended = "UPDATE orders SET is_open = FALSE, status = 'CANCELLED', updated_at = at_us($2) WHERE order_id = $1"
    ids = {}
    for name, made, end in (("old", 100, 91), ("late", 100, 89), ("open", 100, None), ("new", 1, 0)):
        ids[name] = await rows.order(now_us - made * _DAY_US)
        if end is not None:
            await pool.execute(ended, ids[name], now_us - end * _DAY_US)
    ids["archived"] = uuid7((now_us - 200 * _DAY_US) // 1000, 0, 1)
    for name, order_id in ids.items():
        await pool.execute("INSERT INTO client_orders VALUES ($1, $2, $3)", user, name, order_id)
    assert await Maintenance(pool, 60).purge() == 2
    left = {row[0] for row in await pool.fetch("SELECT client_order_id FROM client_orders")}
    assert left == {"late", "open", "new"}
    assert await Maintenance(pool, 60).purge() == 0


async def test_the_engine_runs_it_on_schedule(database_url: str, pool: asyncpg.Pool, tmp_path: Path) -> None:
    async with flow.desk(flow.engine_of(database_url, tmp_path)) as desk:
        await desk.fund(flow.ALICE, AAA="1")
        await desk.place(flow.ALICE, flow.QUOTED, "SELL", "1", "100.00")
        assert "maintenance" in desk.engine.supervisor._tasks
    async with flow.desk(flow.engine_of(database_url, tmp_path)):
        async with asyncio.timeout(60):
            while not await pool.fetchval("SELECT count(*) FROM monitoring.user_order_stats"):
                await asyncio.sleep(0.1)
