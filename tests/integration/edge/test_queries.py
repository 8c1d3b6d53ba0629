"""The read side on PostgreSQL: filters, paging, and an index that carries a long history."""

import time
import uuid
from typing import Any

import asyncpg
import pytest

from trade_engine.domain.enums import OrderStatus, SettlementStatus, Side
from trade_engine.domain.ids import uuid7
from trade_engine.domain.scale import UNIT
from trade_engine.storage.queries import Queries

START_US = 1_767_225_600_000_000
ALICE, BOB, CAROL = (str(uuid.UUID(int=n)) for n in (1, 2, 3))

ORDER_SQL = """
    INSERT INTO orders (order_id, sequence, user_id, market_id, side, type, time_in_force, self_trade_prevention, flags,
        status, is_open, price, quantity, max_notional, filled_quantity, filled_notional, cancelled_quantity,
        priority_sequence, display_remaining, linked_sequence, maker_fee, taker_fee, fee_asset, maker_basis,
        taker_basis, fee_charged, reserved, hold, created_at, updated_at)
    VALUES ($1, $2, $3, $4, $5, 'LIMIT', 'GTC', 'NONE', 0, $6, $7, 123.45, 2, 0, 0, 0, 0, 0, 0, 0, 0.0005, 0.001,
        'QUOTE', 0, 0, 0, 0, 0, at_us($8), at_us($8))
"""
TRADE_SQL = """
    INSERT INTO trades (trade_id, sequence, market_id, price, quantity, notional, buyer_order_id, seller_order_id,
        buyer_user_id, seller_user_id, buyer_fee, seller_fee, buyer_fee_asset, seller_fee_asset, is_buyer_maker,
        executed_at)
    VALUES ($1, $2, $3, 123.45, 2, 246.9, $4, $5, $6, $7, 0.2469, 0.12345, 'USDT', 'USDT', false, at_us($8))
"""


class Book:
    """Writes rows as the engine would: ids and times rise together."""

    def __init__(self, pool: asyncpg.Pool) -> None:
        self._pool = pool
        self._n = 0

    async def markets(self) -> None:
        """Two markets."""
        await self._pool.execute(
            "INSERT INTO markets (market_id, symbol, base, quote, tick_size, lot_size, min_quantity, max_quantity,"
            " min_notional, maker_fee, taker_fee, fee_asset)"
            " SELECT number, base || '/USDT', base, 'USDT', 0.01, 0.01, 0.01, 1000, 0, 0, 0, 'QUOTE'"
            " FROM (VALUES (1, 'BTC'), (2, 'ETH')) AS m (number, base)"
        )

    def at(self, n: int) -> int:
        """The time of the n-th row: half a millisecond apart."""
        return START_US + n * 500

    async def order(self, user: str = ALICE, market: int = 1, side: str = "BUY", status: str = "OPEN") -> str:
        """One order; its id."""
        self._n += 1
        now = self.at(self._n)
        order_id = uuid7(now // 1000, 0, self._n)
        is_open = OrderStatus[status].is_open
        await self._pool.execute(ORDER_SQL, order_id, self._n, user, market, side, status, is_open, now)
        return order_id

    async def trade(self, buyer: str = ALICE, seller: str = BOB, market: int = 1) -> str:
        """One trade, of two new orders; its id."""
        bought, sold = await self.order(buyer, market), await self.order(seller, market, "SELL")
        trade_id = uuid7(self.at(self._n) // 1000, 0, self._n)
        values = trade_id, self._n, market, bought, sold, buyer, seller, self.at(self._n)
        await self._pool.execute(TRADE_SQL, *values)
        return trade_id


@pytest.fixture
async def book(pool: asyncpg.Pool) -> Book:
    written = Book(pool)
    await written.markets()
    return written


@pytest.fixture
def queries(pool: asyncpg.Pool) -> Queries:
    return Queries(pool)


async def ids(queries: Queries, user: str = ALICE, **filters: Any) -> list[str]:
    return [order.order_id for order in (await queries.orders(user, **filters)).rows]


async def test_orders_are_filtered(book: Book, queries: Queries) -> None:
    first = await book.order()
    second = await book.order(market=2, side="SELL")
    third = await book.order(status="CANCELLED")
    await book.order(user=BOB)
    assert await ids(queries) == [third, second, first]
    assert await ids(queries, market_id=2) == [second]
    assert await ids(queries, side="BUY") == [third, first]
    assert await ids(queries, statuses=["OPEN", "PENDING"]) == [second, first]
    assert await ids(queries, market_id=1, statuses=["CANCELLED"], side="BUY") == [third]
    assert await ids(queries, user=CAROL) == []
    (order,) = (await queries.orders(ALICE, market_id=2)).rows
    assert (order.price, order.quantity, order.side) == (12_345_000_000, 2 * UNIT, Side.SELL)
    assert order.created_us == book.at(2)


async def test_times_are_exact_to_the_microsecond(book: Book, queries: Queries) -> None:
    made = [await book.order() for _ in range(6)]
    assert await ids(queries, start_us=book.at(3)) == made[:1:-1]
    assert await ids(queries, start_us=book.at(3) + 1) == made[:2:-1]
    assert await ids(queries, end_us=book.at(3)) == made[1::-1]
    assert await ids(queries, market_id=1, start_us=book.at(2), end_us=book.at(5)) == made[3:0:-1]


async def test_pages_meet_without_gap_or_overlap(book: Book, queries: Queries) -> None:
    made = [await book.order(market=1 + n % 2) for n in range(11)]
    for market_id in (None, 1):
        seen: list[str] = []
        while page := await ids(queries, market_id=market_id, before=seen[-1] if seen else None, limit=3):
            assert len(page) <= 3
            seen += page
        assert seen == [made[n] for n in range(10, -1, -1) if market_id is None or n % 2 == 0]


async def test_trades_of_a_user_and_of_a_market(book: Book, queries: Queries) -> None:
    bought = await book.trade()
    sold = await book.trade(buyer=BOB, seller=ALICE, market=2)
    both = await book.trade(buyer=ALICE, seller=ALICE)
    other = await book.trade(buyer=BOB, seller=CAROL)

    async def found(**filters: Any) -> list[str]:
        return [trade.trade_id for trade in (await queries.trades(**filters)).rows]

    assert await found(user_id=ALICE) == [both, sold, bought]
    assert await found(user_id=ALICE, limit=2) == [both, sold]
    assert await found(user_id=ALICE, before=both) == [sold, bought]
    assert await found(user_id=ALICE, market_id=2) == [sold]
    assert await found(market_id=1) == [other, both, bought]
    assert await found(market_id=1, start_us=book.at(6), end_us=book.at(8)) == [both]
    trade = (await queries.trades(market_id=2)).rows[0]
    assert (trade.price, trade.notional, trade.buyer_fee) == (12_345_000_000, 24_690_000_000, 24_690_000)
    assert trade.settlement_status is SettlementStatus.PENDING


async def test_the_newest_of_a_long_history_come_at_once(book: Book, queries: Queries, pool: asyncpg.Pool) -> None:
    await book.order()
    await pool.execute(
        "INSERT INTO orders SELECT (jsonb_populate_record(o, jsonb_build_object("
        " 'order_id', uuid7_floor(o.created_at + n * INTERVAL '1 millisecond'), 'market_id', 1 + n % 2,"
        " 'created_at', o.created_at + n * INTERVAL '1 millisecond'))).*"
        " FROM orders o, generate_series(1, 30000) n"
    )
    await pool.execute("ANALYZE orders")
    await queries.orders(ALICE, limit=100)
    started = time.perf_counter()
    orders = (await queries.orders(ALICE, limit=100)).rows
    took_ms = (time.perf_counter() - started) * 1000
    assert len(orders) == 100
    assert [order.order_id for order in orders] == sorted((order.order_id for order in orders), reverse=True)
    assert took_ms < 50, f"{took_ms:.1f} ms"
