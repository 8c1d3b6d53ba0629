"""Partitions against a real server: made ahead, and rows that had none moved to their own."""

import asyncio
import time
import uuid

import asyncpg
import pytest
from structlog.testing import capture_logs

from trade_engine.domain.ids import uuid7
from trade_engine.storage.partitions import create_partitions, default_rows, ensure_partitions, keep_ahead

_DAY_US = 24 * 3600 * 1_000_000
_MARKET = """
    INSERT INTO markets (market_id, symbol, base, quote, tick_size, lot_size, min_quantity, max_quantity, min_notional,
        maker_fee, taker_fee, fee_asset)
    VALUES (1, 'BTC/USDT', 'BTC', 'USDT', 0.01, 0.01, 0.01, 1000, 0, 0, 0, 'QUOTE')
"""
_ORDER = """
    INSERT INTO orders (order_id, sequence, user_id, market_id, side, type, time_in_force, self_trade_prevention, flags,
        status, is_open, price, quantity, max_notional, filled_quantity, filled_notional, cancelled_quantity,
        priority_sequence, display_remaining, linked_sequence, maker_fee, taker_fee, fee_asset, maker_basis,
        taker_basis, fee_charged, reserved, hold, created_at, updated_at)
    VALUES ($1, $2, gen_random_uuid(), 1, 'BUY', 'LIMIT', 'GTC', 'NONE', 0, 'OPEN', true, 100, 2, 0, 0, 0, 0, 0, 0, 0,
        0, 0, 'QUOTE', 0, 0, 0, 0, 0, at_us($3), at_us($3))
"""
_TRADE = """
    INSERT INTO trades (trade_id, sequence, market_id, price, quantity, notional, buyer_order_id, seller_order_id,
        buyer_user_id, seller_user_id, buyer_fee, seller_fee, buyer_fee_asset, seller_fee_asset, is_buyer_maker,
        executed_at)
    VALUES ($1, $2, 1, 100, 2, 200, $3, $4, $5, $5, 0, 0, 'USDT', 'USDT', false, at_us($6))
"""
_JOURNAL = """
    INSERT INTO journal (last_sequence, first_sequence, stamped_at, epoch, previous_hash, hash, state_hash, commands,
        events)
    VALUES ($1, $1, at_us($2), 1, '', '', '', '', '')
"""


class Rows:
    """Writes rows stamped with any time, as a commit would."""

    def __init__(self, pool: asyncpg.Pool) -> None:
        self._pool = pool
        self._number = 0

    async def order(self, at_us: int) -> str:
        """An order; its id."""
        self._number += 1
        order_id = uuid7(at_us // 1000, 0, self._number)
        await self._pool.execute(_ORDER, order_id, self._number, at_us)
        return order_id

    async def trade(self, at_us: int, buyer: str, seller: str) -> str:
        """A trade of two orders; its id."""
        self._number += 1
        trade_id = uuid7(at_us // 1000, 1, self._number)
        user = str(uuid.uuid4())
        await self._pool.execute(_TRADE, trade_id, self._number, buyer, seller, user, at_us)
        return trade_id

    async def batch(self, at_us: int) -> int:
        """A row of the journal; its sequence."""
        self._number += 1
        await self._pool.execute(_JOURNAL, self._number, at_us)
        return self._number


@pytest.fixture
async def rows(pool: asyncpg.Pool) -> Rows:
    await pool.execute(_MARKET)
    return Rows(pool)


def name_of(table: str, at_us: int) -> str:
    """The partition that a time belongs to."""
    return table + time.strftime("_y%Ym%m" if table == "orders" else "_y%Ym%md%d", time.gmtime(at_us / 1e6))


async def place_of(pool: asyncpg.Pool, table: str, key: str, value: object) -> str:
    """The partition that a row is in."""
    return str(await pool.fetchval(f"SELECT tableoid::REGCLASS::TEXT FROM {table} WHERE {key} = $1", value))


async def test_partitions_are_made_once_and_the_default_ones_stay_empty(pool: asyncpg.Pool) -> None:
    made = await create_partitions(pool, months_ahead=3, days_ahead=9)
    assert len([name for name in made if name.startswith("orders_y")]) == 2
    assert len([name for name in made if name.startswith("trades_y")]) == 8
    assert len([name for name in made if name.startswith("journal_y")]) == 8
    assert await create_partitions(pool, months_ahead=3, days_ahead=9) == []
    assert await default_rows(pool) == {"orders": 0, "trades": 0, "journal": 0}


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
    await pool.execute("ALTER FUNCTION create_partitions RENAME TO away")
    task = asyncio.create_task(keep_ahead(pool, months_ahead=5, days_ahead=3, interval_s=0.05))
    await asyncio.sleep(0.2)
    assert not task.done()
    await pool.execute("ALTER FUNCTION away RENAME TO create_partitions")
    async with asyncio.timeout(10):
        while await pool.fetchval("SELECT count(*) FROM pg_class WHERE relname ~ '^orders_y' AND relkind = 'r'") < 6:
            await asyncio.sleep(0.05)
    task.cancel()


@pytest.mark.parametrize("days", [-400, 3, 62])
async def test_rows_stamped_far_from_now_are_moved_to_where_they_belong(
    pool: asyncpg.Pool, rows: Rows, days: int
) -> None:
    now_us = time.time_ns() // 1000
    far_us = now_us + days * _DAY_US
    here, there = await rows.order(now_us), await rows.order(far_us)
    ahead, later = await rows.trade(far_us, here, there), await rows.trade(now_us, there, here)
    batch = await rows.batch(far_us)
    assert (await default_rows(pool))["trades"], "there is no partition for that day"
    made = await create_partitions(pool, months_ahead=1, days_ahead=6)
    assert {name_of("trades", far_us), name_of("journal", far_us)} <= set(made)
    assert await default_rows(pool) == {"orders": 0, "trades": 0, "journal": 0}
    assert await place_of(pool, "orders", "order_id", there) == name_of("orders", far_us)
    assert await place_of(pool, "trades", "trade_id", ahead) == name_of("trades", far_us)
    assert await place_of(pool, "trades", "trade_id", later) == name_of("trades", now_us)
    assert await place_of(pool, "journal", "last_sequence", batch) == name_of("journal", far_us)
    assert await create_partitions(pool, months_ahead=1, days_ahead=6) == []


async def test_moved_orders_stay_referred_to_and_their_partition_is_as_any_other(
    pool: asyncpg.Pool, rows: Rows
) -> None:
    far_us = time.time_ns() // 1000 + 100 * _DAY_US
    order = await rows.order(far_us)
    trade = await rows.trade(far_us, order, order)
    await create_partitions(pool, months_ahead=1, days_ahead=1)
    for table, key, value in (("orders", "order_id", order), (name_of("orders", far_us), "order_id", order)):
        with pytest.raises(asyncpg.ForeignKeyViolationError):
            await pool.execute(f"DELETE FROM {table} WHERE {key} = $1", value)
    with pytest.raises(asyncpg.ForeignKeyViolationError):
        await rows.trade(far_us, order, str(uuid.uuid4()))
    with pytest.raises(asyncpg.UniqueViolationError):
        await pool.execute(_ORDER, order, 99, far_us)
    assert await pool.fetchval("SELECT settlement_status FROM trades WHERE trade_id = $1", trade) == "PENDING"
    differing = await pool.fetch(
        "SELECT a.attname FROM pg_attribute a LEFT JOIN pg_attribute b ON (b.attrelid = $2::REGCLASS AND"
        " (b.attname, b.attnum, b.atttypid, b.attnotnull) = (a.attname, a.attnum, a.atttypid, a.attnotnull))"
        " WHERE a.attrelid = $1::REGCLASS AND a.attnum > 0 AND b.attname IS NULL",
        "orders_default",
        name_of("orders", far_us),
    )
    assert differing == []
    indexes = "SELECT count(*) FROM pg_index WHERE indrelid = $1::REGCLASS"
    assert await pool.fetchval(indexes, name_of("orders", far_us)) == await pool.fetchval(indexes, "orders_default")


async def test_too_many_rows_stay_and_stop_nothing(pool: asyncpg.Pool, rows: Rows) -> None:
    now_us = time.time_ns() // 1000
    many, few = now_us + 3 * _DAY_US, now_us + 5 * _DAY_US
    left: dict[str, int] = {}
    order = await rows.order(now_us)
    kept = [await rows.trade(many, order, order) for _ in range(3)]
    moved = await rows.trade(few, order, order)
    with capture_logs() as logs:
        assert not await ensure_partitions(pool, months_ahead=1, days_ahead=6, rows_max=2, left=left)
    assert left == {"journal": 0, "orders": 0, "trades": 3}
    said = [line for line in logs if line["event"] == "default_rows_stay"]
    assert [(line["partition"], line["reason"]) for line in said] == [(name_of("trades", many), "more than 2 rows")]
    assert await place_of(pool, "trades", "trade_id", kept[0]) == "trades_default"
    assert await place_of(pool, "trades", "trade_id", moved) == name_of("trades", few)
    assert await ensure_partitions(pool, months_ahead=1, days_ahead=6, rows_max=3, left=left)
    assert left == {"journal": 0, "orders": 0, "trades": 0}
    assert await place_of(pool, "trades", "trade_id", kept[0]) == name_of("trades", many)


async def test_without_the_right_to_move_orders_the_rest_is_done_and_a_row_still_has_a_place(
    database_url: str, pool: asyncpg.Pool, rows: Rows
) -> None:
    far_us = time.time_ns() // 1000 + 100 * _DAY_US
    order = await rows.order(far_us)
    await rows.trade(far_us, order, order)
    name = f"plain_{uuid.uuid4().hex}"
    await pool.execute(f"CREATE ROLE {name}; GRANT ALL ON SCHEMA public TO {name}")
    partitions = await pool.fetch("SELECT inhrelid::REGCLASS::TEXT FROM pg_inherits JOIN pg_class ON oid = inhrelid"
                                  " WHERE relkind = 'r'")  # fmt: skip
    for table in ("engine_state", "markets", "journal", "orders", "trades", *(row[0] for row in partitions)):
        await pool.execute(f"ALTER TABLE {table} OWNER TO {name}")
    async with asyncpg.create_pool(database_url, min_size=1, max_size=2, server_settings={"role": name}) as plain:
        with capture_logs() as logs:
            made = await create_partitions(plain, months_ahead=1, days_ahead=2)
        assert name_of("trades", far_us) in made
        (said,) = [line for line in logs if line["event"] == "default_rows_stay"]
        assert (said["table"], said["reason"]) == ("orders", f"the user {name} may not set session_replication_role")
    assert await place_of(pool, "orders", "order_id", order) == "orders_default"
    await pool.execute(f"REASSIGN OWNED BY {name} TO CURRENT_USER; DROP OWNED BY {name}; DROP ROLE {name}")


async def test_rows_are_moved_while_others_arrive(pool: asyncpg.Pool, rows: Rows) -> None:
    now_us = time.time_ns() // 1000
    far_us = now_us + 40 * _DAY_US
    orders = [await rows.order(far_us + n) for n in range(20)]
    ended = asyncio.Event()

    async def arrive() -> int:
        count = 0
        while not ended.is_set():
            order = await rows.order(far_us + 1_000 + count)
            await rows.trade(far_us + count, order, orders[count % 20])
            await rows.batch(far_us + count)
            count += 1
        return count

    arriving = asyncio.create_task(arrive())
    await create_partitions(pool, months_ahead=1, days_ahead=1, pause_s=0.01)
    ended.set()
    count = await arriving
    assert await pool.fetchval("SELECT count(*) FROM orders") == 20 + count
    assert await pool.fetchval("SELECT count(*) FROM trades") == count
    await create_partitions(pool, months_ahead=1, days_ahead=1)
    assert await default_rows(pool) == {"orders": 0, "trades": 0, "journal": 0}
    assert await pool.fetchval("SELECT count(*) FROM orders") == 20 + count


async def test_partitions_are_counted_from_the_time_given(pool: asyncpg.Pool) -> None:
    at_us = time.time_ns() // 1000 + 80 * _DAY_US  # beyond the next month, whatever day it is
    made = await create_partitions(pool, months_ahead=0, days_ahead=0, at_us=at_us)
    assert made == [name_of(table, at_us) for table in ("journal", "orders", "trades")]
