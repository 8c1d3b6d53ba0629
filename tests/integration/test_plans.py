"""Each query that the schema is made for, on a filled database of three months: right index, no partition too many."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any, Final, NamedTuple

import asyncpg
import pytest

from tests.harness.postgres import TestServer, run_apart
from trade_engine.domain.ids import uuid7_floor
from trade_engine.settlement import comparison
from trade_engine.storage.pool import ALONG_INDEXES
from trade_engine.storage.queries import Range, orders_statement, trades_statement
from trade_engine.wallet import audit

ALICE: Final = "00000000-0000-7000-8000-00000000a11c"
ENDED: Final = 100_000
OPEN: Final = 200
OTHERS: Final = 30_000
DAYS: Final = 92
NOW: Final = datetime.now(UTC)
_FEW_BLOCKS: Final = 8
START: Final = (NOW - timedelta(days=DAYS)).replace(hour=0, minute=0, second=0, microsecond=0)
_COLUMNS: Final = """order_id, sequence, user_id, market_id, side, type, time_in_force, self_trade_prevention, flags,
    status, is_open, price, quantity, max_notional, filled_quantity, filled_notional, cancelled_quantity,
    priority_sequence, display_remaining, linked_sequence, maker_fee, taker_fee, fee_asset, maker_basis, taker_basis,
    fee_charged, reserved, hold, created_at, updated_at"""


def _orders(user: str, first: int, count: int, status: str, *, is_open: bool) -> str:
    """Orders of a user, or of 1,000 others, evenly over the months."""
    at = f"at_us({round(START.timestamp() * 1e6)} + n::BIGINT * {DAYS * 86_400_000_000 // count})"
    return f"""
        INSERT INTO orders ({_COLUMNS})
        SELECT overlay(uuid7_floor({at})::TEXT PLACING lpad(to_hex({first} + n), 12, '0') FROM 25)::UUID, {first} + n,
            {user}, 1 + n % 3, (CASE n % 2 WHEN 0 THEN 'BUY' ELSE 'SELL' END)::side_enum, 'LIMIT', 'GTC', 'NONE', 0,
            ({status})::order_status_enum, {is_open}, 100 + n % 50, 2, 0, 0, 0, 0, n, 2, 0, 0.0005, 0.001, 'QUOTE', 0,
            0, 0, 0, 0, {at}, {at}
        FROM generate_series(1, {count}) n"""


_OTHER: Final = "('00000000-0000-7000-8001-' || lpad(to_hex(n % 1000), 12, '0'))::UUID"
_STATUS: Final = "CASE WHEN n % 500 = 0 THEN 'REJECTED' WHEN n % 2 = 0 THEN 'FILLED' ELSE 'CANCELLED' END"
_TRADES: Final = f"""
    INSERT INTO trades (trade_id, sequence, market_id, price, quantity, notional, buyer_order_id, seller_order_id,
        buyer_user_id, seller_user_id, buyer_fee, seller_fee, buyer_fee_asset, seller_fee_asset, is_buyer_maker,
        executed_at)
    SELECT overlay(uuid7_floor(at)::TEXT PLACING lpad(to_hex(n), 12, '0') FROM 25)::UUID, n, 1 + n % 3, 100, 2, 200,
        uuid7_floor(at), uuid7_floor(at), CASE WHEN n % 300 = 0 THEN '{ALICE}' ELSE {_OTHER} END,
        CASE WHEN n % 400 = 1 THEN '{ALICE}' ELSE {_OTHER} END, 0, 0, 'USDT', 'USDT', FALSE, at
    FROM (SELECT n, at_us({round(START.timestamp() * 1e6)} + n::BIGINT * {DAYS * 86_400_000_000 // 60_000}) AS at
        FROM generate_series(1, 60000) n) x"""


@pytest.fixture(scope="module")
def filled_url(postgres: TestServer) -> Iterator[str]:
    """Three months of 130,000 orders and 60,000 trades; ALICE has most of the orders, and few are open."""
    url = postgres.migrated()
    run_apart(_fill(url))
    yield url
    postgres.drop(url)


async def _fill(url: str) -> None:
    connection = await asyncpg.connect(url)
    try:
        await connection.execute("SELECT create_partitions(3, $1, $2)", DAYS, START)
        await connection.execute(
            """INSERT INTO markets (market_id, symbol, base, quote, tick_size, lot_size, min_quantity, max_quantity,
                min_notional, maker_fee, taker_fee, fee_asset)
            SELECT n, 'M' || n || '/USDT', 'M' || n, 'USDT', 0.01, 0.01, 0.01, 1000, 0, 0, 0, 'QUOTE'
            FROM generate_series(1, 3) n"""
        )
        await connection.execute("SET session_replication_role = replica")
        await connection.execute(_orders(f"'{ALICE}'::UUID", 0, ENDED, _STATUS, is_open=False))
        await connection.execute(_orders(_OTHER, 200_000, OTHERS, _STATUS, is_open=False))
        await connection.execute(_orders(f"'{ALICE}'::UUID", 300_000, OPEN, "'OPEN'", is_open=True))
        await connection.execute(_orders(_OTHER, 400_000, 5_000, "'OPEN'", is_open=True))
        await connection.execute(_TRADES)
        await connection.execute("ANALYZE orders, trades")
        assert not await connection.fetchval("SELECT count(*) FROM orders_default")
        assert not await connection.fetchval("SELECT count(*) FROM trades_default")
    finally:
        await connection.close()


@pytest.fixture
async def filled(filled_url: str) -> Any:
    connection = await asyncpg.connect(filled_url)
    yield connection
    await connection.close()


class Plan(NamedTuple):
    """What a statement did."""

    #: The partitioned indexes that it walked along, and the partitions that it touched.
    indexes: set[str]
    partitions: set[str]
    blocks: int
    ms: float


async def explain(connection: Any, statement: str, *values: Any) -> Plan:
    """Run it, and read how."""
    roots = dict(
        await connection.fetch(
            "SELECT c.relname, r.relname FROM pg_class c"
            " JOIN pg_class r ON r.oid = coalesce(pg_partition_root(c.oid), c.oid) WHERE c.relkind IN ('i', 'I')"
        )
    )
    text = f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {statement}"
    await connection.fetchval(text, *values)
    (found,) = json.loads(await connection.fetchval(text, *values))
    indexes, partitions = set(), set()

    def look(node: dict[str, Any]) -> None:
        touched = node["Shared Hit Blocks"] + node["Shared Read Blocks"]
        # A partition of few rows, as of a month that has just begun, is read at once, whichever way.
        if node.get("Relation Name") and touched > _FEW_BLOCKS:
            assert node["Node Type"] != "Seq Scan", node
        if node.get("Relation Name") and touched:
            partitions.add(node["Relation Name"])
        if node.get("Index Name") and touched:
            indexes.add(roots[node["Index Name"]])
        for child in node.get("Plans", ()):
            look(child)

    look(found["Plan"])
    touched = found["Plan"]["Shared Hit Blocks"] + found["Plan"]["Shared Read Blocks"]
    return Plan(indexes, partitions, touched, found["Execution Time"])


#: What the schema is made for, for the span $2 to $3; the index that it is for, and the most blocks it may touch.
LISTED: Final[dict[str, tuple[str, str, int]]] = {
    "a user's orders by market and time": (
        (
            "SELECT * FROM orders WHERE user_id = $1 AND market_id = 1 AND order_id >= $2 AND order_id < $3"
            " ORDER BY order_id DESC LIMIT 100"
        ),
        "orders_by_user",
        300,
    ),
    "a user's orders by status and time": (
        (
            "SELECT * FROM orders WHERE user_id = $1 AND NOT is_open AND status = 'REJECTED' AND order_id >= $2"
            " AND order_id < $3 ORDER BY order_id DESC LIMIT 100"
        ),
        "orders_ended_by_user",
        300,
    ),
    "ended orders by status and time": (
        (
            "SELECT * FROM orders WHERE NOT is_open AND status = 'FILLED' AND order_id >= $2 AND order_id < $3"
            " AND $1::UUID IS NOT NULL ORDER BY order_id DESC LIMIT 100"
        ),
        "orders_ended",
        300,
    ),
    "a user's trades as buyer": (
        (
            "SELECT * FROM trades WHERE buyer_user_id = $1 AND trade_id >= $2 AND trade_id < $3"
            " ORDER BY trade_id DESC LIMIT 100"
        ),
        "trades_by_buyer",
        300,
    ),
    "a user's trades as seller": (
        (
            "SELECT * FROM trades WHERE seller_user_id = $1 AND trade_id >= $2 AND trade_id < $3"
            " ORDER BY trade_id DESC LIMIT 100"
        ),
        "trades_by_seller",
        300,
    ),
    "a market's trades by time": (
        (
            "SELECT * FROM trades WHERE market_id = 1 AND trade_id >= $2 AND trade_id < $3 AND $1::UUID IS NOT NULL"
            " ORDER BY trade_id DESC LIMIT 100"
        ),
        "trades_by_market",
        300,
    ),
}


@pytest.mark.parametrize("name", LISTED)
async def test_a_listed_query_walks_its_index_in_the_partitions_of_its_time(filled: Any, name: str) -> None:
    statement, index, most = LISTED[name]
    # Two days within one month, so one partition of orders and two of trades.
    month = (NOW.replace(day=1) - timedelta(days=40)).replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    low, high = (uuid7_floor(round((month + timedelta(days=n)).timestamp() * 1e6)) for n in (10, 12))
    plan = await explain(filled, statement, ALICE, low, high)
    print(f"{name}: {plan.blocks} blocks, {plan.ms:.2f} ms")
    assert plan.indexes == {index}
    expected = (
        {f"orders_y{month:%Ym%m}"} if " orders " in statement
        else {f"trades_y{month + timedelta(days=n):%Ym%md%d}" for n in (10, 11)}
    )  # fmt: skip
    assert plan.partitions <= expected
    assert plan.partitions
    assert plan.blocks <= most


async def test_open_orders_among_100_000_ended_ones_are_read_alone(filled: Any) -> None:
    plan = await explain(filled, "SELECT * FROM orders WHERE user_id = $1 AND is_open", ALICE)
    print(f"open orders of a user with {ENDED} ended ones: {plan.blocks} blocks, {plan.ms:.2f} ms")
    assert plan.indexes == {"orders_open_by_user"}
    assert plan.blocks <= 2 * OPEN + 100
    # As the API asks for them.
    for name, value in ALONG_INDEXES.items():
        await filled.execute(f"SET {name} = {value}")
    page = orders_statement(ALICE, None, ["OPEN", "PENDING", "PARTIALLY_FILLED"], None, Range(), 500)
    plan = await explain(filled, page.text, *page.values)
    print(f"the same as a page of the API: {plan.blocks} blocks, {plan.ms:.2f} ms")
    assert plan.indexes == {"orders_open_by_user"}
    assert plan.blocks <= 2 * OPEN + 100


async def test_a_markets_open_orders_by_side_and_price(filled: Any) -> None:
    statement = "SELECT * FROM orders WHERE is_open AND market_id = 1 AND side = 'SELL' AND price <= 101 ORDER BY price"
    plan = await explain(filled, statement)
    rows = await filled.fetchval(f"SELECT count(*) FROM ({statement}) x")
    print(f"open orders of a market by side and price: {rows} rows, {plan.blocks} blocks, {plan.ms:.2f} ms")
    assert plan.indexes == {"orders_open_by_price"}
    assert plan.blocks <= 2 * rows + 100


async def test_pages_of_the_api_touch_the_partitions_of_their_time_alone(filled: Any) -> None:
    for name, value in ALONG_INDEXES.items():
        await filled.execute(f"SET {name} = {value}")
    start = NOW - timedelta(days=70)
    span = Range(round(start.timestamp() * 1e6), round((start + timedelta(days=1)).timestamp() * 1e6))
    page = orders_statement(ALICE, 1, None, None, span, 100)
    orders = await explain(filled, page.text, *page.values)
    page = trades_statement(ALICE, None, span, 100)
    trades = await explain(filled, page.text, *page.values)
    assert len(orders.partitions) <= 2
    assert len(trades.partitions) <= 3


async def test_a_page_of_reconciliation_reads_a_page(filled: Any) -> None:
    """Each is asked for hundreds of times a million rows: one that sorts what is left makes hours of minutes."""
    first = uuid7_floor(round((NOW - timedelta(days=DAYS)).timestamp() * 1e6))
    plan = await explain(filled, comparison._TRADES, first, 500)
    print(f"500 trades for reconciliation: {plan.blocks} blocks, {plan.ms:.2f} ms")
    assert plan.blocks <= 1_000
    # The ledger is empty here: what matters is which way it would be read.
    await filled.execute("SET enable_seqscan = off; SET enable_bitmapscan = off")
    pages = (comparison._TRADES, audit._RESERVATIONS, audit._SETTLEMENTS)
    for page in pages:
        plan = await filled.fetchval(f"EXPLAIN (FORMAT JSON) {page}", first, 500)
        assert "ORDER BY" in page
        nodes = _nodes(json.loads(plan)[0]["Plan"])
        # The one sort that there may be is of the page itself.
        assert all(_below(node, "Limit") for node in nodes if node["Node Type"] == "Sort"), page


def _nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    for child in plan.get("Plans", ()):
        yield from _nodes(child)


def _below(plan: dict[str, Any], kind: str) -> bool:
    return any(node["Node Type"] == kind for node in _nodes(plan))
