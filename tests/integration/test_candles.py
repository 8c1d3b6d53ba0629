"""The table of candles: whole versions, never an older one over a newer, exact to the last unit; and who fills it."""

import asyncio

import asyncpg
import msgspec
import pytest

from trade_engine.domain.market import Market, default_markets
from trade_engine.marketdata.candles import DAY_US, MINUTE_US, Candle
from trade_engine.sequencer.candle_store import CandleStore
from trade_engine.sequencer.lease import Identity
from trade_engine.sequencer.public_market import CANDLES_KEPT, PublicMarket
from trade_engine.sequencer.store.commit import Writer
from trade_engine.sequencer.store.postgres import PostgresStore
from trade_engine.storage.candles import candles_between, candles_since, store_candles
from trade_engine.storage.markets import insert_market

MIDNIGHT = 19_700 * DAY_US
ALL = 1 << 55


def part(minute: int, price: int, sequence: int, volume: int = 5) -> Candle:
    return Candle(MIDNIGHT + minute * MINUTE_US, price, price, price, price, volume, price * volume, 1, sequence)


@pytest.fixture
async def market(connection: asyncpg.Connection) -> Market:
    """A market with its row."""
    listed = default_markets()[0]
    row = await insert_market(connection, listed)
    return msgspec.structs.replace(listed, market_id=row["market_id"])


async def test_an_older_version_never_replaces_a_newer_one(pool: asyncpg.Pool, market: Market) -> None:
    first, second = part(0, 100, 7), part(0, 101, 9)
    for row in (first, second, first):
        await store_candles(pool, [(market.market_id, "1m", row), (market.market_id, "1d", row)])
    for interval in ("1m", "1d"):
        assert await candles_between(pool, market.market_id, interval, 0, ALL, 9) == [second]


async def test_the_largest_sums_are_exact(pool: asyncpg.Pool, market: Market) -> None:
    price, most = 9_000_000_000_000_000_001, 10**37 + 1
    candle = Candle(MIDNIGHT, price, price + 1, price - 1, price, most, most - 7, 1 << 60, 1 << 61)
    await store_candles(pool, [(market.market_id, "4h", candle)])
    assert await candles_between(pool, market.market_id, "4h", 0, ALL, 9) == [candle]


async def test_ranges_of_the_table(pool: asyncpg.Pool, market: Market) -> None:
    minutes = [part(n, 100 + n, n + 1) for n in range(6)]
    await store_candles(pool, [(market.market_id, "1m", candle) for candle in reversed(minutes)])

    async def between(start: int, end: int, limit: int) -> list[Candle]:
        bounds = MIDNIGHT + start * MINUTE_US, MIDNIGHT + end * MINUTE_US
        return await candles_between(pool, market.market_id, "1m", *bounds, limit)

    assert await between(1, 4, 9) == minutes[1:4]
    assert await between(0, 9, 2) == minutes[4:]
    assert await candles_between(pool, market.market_id, "5m", 0, ALL, 9) == []
    async with pool.acquire() as connection:
        later = await candles_since(connection, MIDNIGHT + 3 * MINUTE_US)
        assert later == [(market.market_id, "1m", candle) for candle in minutes[3:]]
        assert await candles_since(connection, MIDNIGHT + DAY_US) == [(market.market_id, "1m", minutes[5])]


async def test_the_store_catches_up_after_an_outage_and_memory_keeps_what_is_not_stored(
    pool: asyncpg.Pool, connection: asyncpg.Connection, market: Market
) -> None:
    views: dict[int, PublicMarket] = {}
    store = CandleStore(PostgresStore(Writer("", Identity("", "")), pool), lambda: views)
    running = asyncio.create_task(store.keep_running(0.01))
    view = PublicMarket(market)
    minutes = CANDLES_KEPT + 50
    try:
        for n in range(minutes):
            view.candles.fold(part(n, 100, n + 1))
        await asyncio.sleep(0.05)
        assert await connection.fetchval("SELECT count(*) FROM candles") == 0
        async with connection.transaction():
            await connection.execute("ALTER TABLE candles RENAME TO away")
        views[market.market_id] = view
        await asyncio.sleep(0.05)
        assert len(view.candles.between("1m", 0, ALL, 9_999)) == minutes, "nothing unstored is forgotten"
        await connection.execute("ALTER TABLE away RENAME TO candles")
        async with asyncio.timeout(10):
            while len(view.candles.between("1m", 0, ALL, 9_999)) > CANDLES_KEPT:
                await asyncio.sleep(0.01)
        assert not running.done()
    finally:
        running.cancel()
    count = "SELECT count(*) FROM candles WHERE interval = $1"
    assert await connection.fetchval(count, "1m") == minutes
    assert await connection.fetchval(count, "1d") == 2
    view.candles.fold(part(minutes - 1, 90, minutes + 1))
    await store.store()
    (newest,) = await candles_between(pool, market.market_id, "1m", 0, ALL, 1)
    assert (newest.low, newest.trades, newest.last_sequence) == (90, 2, minutes + 1)
