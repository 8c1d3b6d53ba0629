"""One user's long history: whatever he asks of it, a page reads a bounded part of it, along the index meant for it."""

import json
import random
import uuid
from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import pytest

from tests.integration.edge.test_queries import ALICE, BOB, START_US, Book
from trade_engine.domain.enums import OrderStatus
from trade_engine.storage.order_lookup import Statement
from trade_engine.storage.pool import ALONG_INDEXES, PoolSettings, open_pool
from trade_engine.storage.queries import SCAN_MAX, Queries, Range, orders_statement, trades_statement
from trade_engine.storage.types import Pool

ENDED = 120_000
STEP_US = 1_000_000
#: Blocks of 8 KiB that a page may touch: for each row looked at its index entry and itself, and a way down each index.
ROOM = 400

#: Nearly all of market 1, bought, filled or cancelled; a hundredth sold; a thousandth rejected.
HISTORY = f"""
    INSERT INTO orders (order_id, sequence, user_id, market_id, side, type, time_in_force, self_trade_prevention, flags,
        status, is_open, price, quantity, max_notional, filled_quantity, filled_notional, cancelled_quantity,
        priority_sequence, display_remaining, linked_sequence, maker_fee, taker_fee, fee_asset, maker_basis,
        taker_basis, fee_charged, reserved, hold, created_at, updated_at)
    SELECT uuid7_floor(at_us({START_US}) + n * INTERVAL '1 second'), 1000 + n, '{ALICE}',
        CASE WHEN n <= 5 THEN 2 ELSE 1 END, (CASE WHEN n % 100 = 1 THEN 'SELL' ELSE 'BUY' END)::side_enum,
        'LIMIT', 'GTC', 'NONE', 0, (CASE WHEN n % 1000 = 3 THEN 'REJECTED' WHEN n % 2 = 0 THEN 'FILLED'
        ELSE 'CANCELLED' END)::order_status_enum, FALSE, 123.45, 2, 0, 0, 0, 0, 0, 0, 0, 0.0005, 0.001, 'QUOTE', 0, 0,
        0, 0, 0, at_us({START_US}) + n * INTERVAL '1 second', at_us({START_US})
    FROM generate_series(1, {ENDED}) n
"""
TRADES = f"""
    INSERT INTO trades (trade_id, sequence, market_id, price, quantity, notional, buyer_order_id, seller_order_id,
        buyer_user_id, seller_user_id, buyer_fee, seller_fee, buyer_fee_asset, seller_fee_asset, is_buyer_maker,
        executed_at)
    SELECT uuid7_floor(at_us({START_US}) + n * INTERVAL '1 second'), 1000 + n, CASE WHEN n <= 5 THEN 2 ELSE 1 END,
        123.45, 2, 246.9, $1, $1, CASE WHEN n % 2 = 0 THEN '{BOB}'::UUID ELSE '{ALICE}' END, '{ALICE}', 0, 0, 'USDT',
        'USDT', FALSE, at_us({START_US}) + n * INTERVAL '1 second'
    FROM generate_series(1, {ENDED}) n
"""

FILTERS: list[tuple[dict[str, Any], set[str]]] = [
    ({}, {"open", "ended"}),
    ({"statuses": ["REJECTED"]}, {"ended"}),
    ({"statuses": ["EXPIRED"]}, {"ended"}),
    ({"statuses": ["CANCELLED"]}, {"ended"}),
    ({"statuses": ["OPEN", "PENDING", "PARTIALLY_FILLED"]}, {"open"}),
    ({"statuses": ["PENDING"]}, {"open"}),
    ({"statuses": ["REJECTED"], "market_id": 1}, {"ended"}),
    ({"statuses": ["CANCELLED"], "market_id": 2}, {"market"}),
    ({"statuses": ["FILLED", "REJECTED"], "market_id": 1}, {"market"}),
    ({"market_id": 1}, {"market"}),
    ({"market_id": 2}, {"market"}),
    ({"market_id": 1, "side": "SELL"}, {"market"}),
    ({"side": "SELL"}, {"open", "ended"}),
    ({"side": "SELL", "statuses": ["REJECTED"], "market_id": 2}, {"ended"}),
    ({"start_us": START_US, "end_us": START_US + 1}, {"open", "ended"}),
    ({"start_us": START_US + ENDED // 2 * STEP_US, "end_us": START_US + (ENDED // 2 + 50) * STEP_US}, {"ended"}),
]


@pytest.fixture
async def history(database_url: str, pool: asyncpg.Pool) -> AsyncIterator[Pool]:
    """A pool as the API's is, on a database where ALICE has a long history that statistics know nothing of."""
    book = Book(pool)
    await book.markets()
    await pool.execute("ALTER TABLE orders_default SET (autovacuum_enabled = FALSE)")
    await pool.execute("ALTER TABLE trades_default SET (autovacuum_enabled = FALSE)")
    for _ in range(50):
        await book.order(str(uuid.uuid4()))
    await pool.execute("ANALYZE orders, trades")
    await pool.execute("ALTER TABLE orders DISABLE TRIGGER ALL")
    await pool.execute(HISTORY)
    for _ in range(5):
        await book.order(ALICE)
    opened = await open_pool(database_url, PoolSettings(max_open=2, server_settings=ALONG_INDEXES))
    yield opened
    await opened.close()


async def blocks(pool: Any, statement: Statement) -> tuple[int, set[str]]:
    """Blocks that a statement touches, and the indexes it walks along."""
    text = f"EXPLAIN (ANALYZE, BUFFERS, TIMING OFF, FORMAT JSON) {statement.text}"
    (found,) = json.loads(await pool.fetchval(text, *statement.values))
    indexes: set[str] = set()

    def look(node: dict[str, Any]) -> None:
        if node.get("Index Name") and node["Actual Loops"]:
            indexes.add(node["Index Name"])
        assert node["Node Type"] not in ("Seq Scan", "Bitmap Heap Scan"), node
        for child in node.get("Plans", ()):
            look(child)

    look(found["Plan"])
    return found["Plan"]["Shared Hit Blocks"] + found["Plan"]["Shared Read Blocks"], indexes


def named(indexes: set[str]) -> set[str]:
    """What the indexes of partitions are made of: which columns they begin with."""
    kinds = {"user_id_market_id": "market", "user_id_status": "ended", "user_id_order_id": "open"}
    found = {next((kind for columns, kind in kinds.items() if columns in index), index) for index in indexes}
    assert found <= set(kinds.values()), found
    return found


@pytest.mark.direct
async def test_a_page_of_orders_is_bounded_work(history: Pool) -> None:
    for limit in (1, 100):
        for filters, walks in FILTERS:
            asked = {"market_id": None, "statuses": None, "side": None} | filters
            span = Range(asked.pop("start_us", None), asked.pop("end_us", None))
            statement = orders_statement(ALICE, span=span, limit=limit, **asked)
            touched, indexes = await blocks(history, statement)
            probes = statement.text.count("(SELECT * FROM orders WHERE")
            assert touched <= 2 * probes * statement.scan + ROOM, (filters, touched)
            assert named(indexes) >= walks, (filters, indexes)
            filtered = filters.keys() & {"side", "start_us"} or ("market_id" in filters and "statuses" in filters)
            assert statement.scan <= (SCAN_MAX if filtered or filters == {"statuses": ["PENDING"]} else limit + 1)


@pytest.mark.direct
async def test_a_prepared_statement_keeps_to_its_index(history: Pool) -> None:
    """After five calls the server plans once for all users, and the average one has next to no orders."""
    statement = orders_statement(ALICE, None, ["CANCELLED"], None, Range(), 100)
    async with history.acquire() as connection:
        await connection.execute("SET plan_cache_mode = force_generic_plan")
        touched, indexes = await blocks(connection, statement)
    assert touched <= 2 * 101 + ROOM
    assert named(indexes) == {"ended"}


async def test_every_filter_finds_the_same_as_a_filter_in_python(history: Pool, pool: asyncpg.Pool) -> None:
    seed = random.randrange(2**32)
    chance = random.Random(seed)
    rows = await pool.fetch(
        "SELECT order_id::TEXT, market_id, status::TEXT, side::TEXT, (extract(epoch FROM created_at) * 1000000)::BIGINT"
        " AS at FROM orders WHERE user_id = $1 ORDER BY order_id DESC",
        ALICE,
    )
    queries = Queries(history)
    for _ in range(12):
        statuses = chance.choice(
            [None, ["REJECTED"], [chance.choice([s.name for s in OrderStatus])], ["OPEN", "FILLED"]]
        )
        market_id, side = chance.choice([None, 1, 2]), chance.choice([None, "SELL", "SELL", "BUY"])
        start_us = START_US + chance.randrange(ENDED) * STEP_US
        end_us = start_us + chance.choice([500, 5_000]) * STEP_US
        wanted = [
            row["order_id"] for row in rows
            if (statuses is None or row["status"] in statuses) and market_id in (None, row["market_id"])
            and side in (None, row["side"]) and start_us <= row["at"] < end_us
        ]  # fmt: skip
        found: list[str] = []
        before, pages, limit = None, 0, chance.choice([3, 100, 500])
        while True:
            page = await queries.orders(
                ALICE, market_id=market_id, statuses=statuses, side=side, start_us=start_us, end_us=end_us,
                before=before, limit=limit,
            )  # fmt: skip
            assert len(page.rows) <= limit
            found += [order.order_id for order in page.rows]
            pages += 1
            assert pages < 3_000, seed
            if page.next_before is None:
                break
            assert before is None or page.next_before < before, seed
            before = page.next_before
        assert found == wanted, (seed, statuses, market_id, side)


async def test_a_page_that_finds_nothing_says_where_to_go_on(history: Pool) -> None:
    queries, before, pages, found = Queries(history), None, 0, []
    while True:
        page = await queries.orders(ALICE, market_id=2, statuses=["REJECTED"], side="BUY", before=before, limit=10)
        found += page.rows
        pages += 1
        if page.next_before is None:
            break
        before = page.next_before
    assert [order.market_id for order in found] == [2]
    assert pages == 1, "the rejected ones are few"
    page = await queries.orders(ALICE, market_id=1, side="SELL", statuses=["FILLED"], limit=10)
    assert (page.rows, page.next_before is None) == ([], False)


async def test_a_page_of_trades_is_bounded_work(history: Pool, pool: asyncpg.Pool) -> None:
    await pool.execute("ALTER TABLE trades DISABLE TRIGGER ALL")
    await pool.execute(TRADES, str(uuid.uuid4()))
    queries = Queries(history)
    for market_id in (None, 1, 2):
        statement = trades_statement(ALICE, market_id, Range(), 100)
        touched, indexes = await blocks(history, statement)
        assert touched <= 2 * 2 * statement.scan + ROOM, market_id
        assert {"buyer" in index or "seller" in index for index in indexes} == {True}
        assert statement.scan == (202 if market_id is None else SCAN_MAX)
        before: str | None = None
        found: list[str] = []
        while len(found) <= 2_000:
            page = await queries.trades(user_id=ALICE, market_id=market_id, before=before, limit=500)
            found += [trade.trade_id for trade in page.rows]
            before = page.next_before
            if before is None:
                break
        assert found == sorted(set(found), reverse=True)
        assert (len(found), before) == (5, None) if market_id == 2 else len(found) > 2_000
