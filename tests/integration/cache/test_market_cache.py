"""What other processes read of markets in Redis: as committed, of one moment, gone when it is old."""

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
import structlog
from redis.asyncio import Redis
from redis.exceptions import RedisError

from tests.harness.engine import MemoryVenue, memory_venue
from tests.harness.redis import TestRedis
from trade_engine.cache.formats import Keys
from trade_engine.cache.market_cache import MarketCache, MarketCacheSettings
from trade_engine.cache.reading import CachedMarket, UnknownFormat, read_market
from trade_engine.cache.server import RedisServer, RedisSettings
from trade_engine.domain.errors import Unavailable
from trade_engine.domain.orders import Trade

SYMBOL = "BTC/USDT"
STREAM = "0192f0c1-2b3c-7d4e-8f50-61728394a5b6"
WITHIN_S = 30.0


class Stand:
    """A venue in memory, its cache, and a reader of it that shares nothing with them but Redis."""

    def __init__(self, venue: MemoryVenue, redis: TestRedis) -> None:
        self.venue = venue
        self.redis = redis
        self.stored: Callable[[], list[Trade]] = list
        self.stream: str | None = STREAM
        self.reader = Redis.from_url(redis.url)

    def cache(self, epoch: int = 1, **options: Any) -> MarketCache:
        """One that is told of commits."""
        server = RedisServer(RedisSettings(url=self.redis.url, timeout_ms=1_000, retry_every_s=0.05))
        settings = MarketCacheSettings(**{"every_s": 0.01} | options)
        made = MarketCache(
            server, self.venue.engine.reader, self._recent, self._stream_id, settings,
            epoch=epoch, now_us=lambda: self.venue.now_us,
        )  # fmt: skip
        self.venue.engine.publisher.add(f"cache {epoch}", made)
        return made

    async def _recent(self, market_id: int, limit: int) -> list[Trade]:
        return [trade for trade in self.stored() if trade.market_id == market_id][:limit]

    async def _stream_id(self) -> str:
        if self.stream is None:
            raise Unavailable("DATABASE_UNAVAILABLE", "planted")
        return self.stream

    async def read(self) -> CachedMarket:
        """What is there now."""
        return await read_market(self.reader, "trade-engine:", SYMBOL)

    async def until(self, fits: Callable[[CachedMarket], object]) -> CachedMarket:
        """What is there, once it is as wanted."""
        end_s, found = time.monotonic() + WITHIN_S, None
        while time.monotonic() < end_s:
            with contextlib.suppress(RedisError):
                found = await self.read()
            if found and found.book and fits(found):
                return found
            await asyncio.sleep(0.01)
        raise AssertionError(f"it does not come to that: {found}")

    def sequence(self) -> int:
        """Of the market, as committed."""
        return self.venue.engine.reader.view(SYMBOL).depth.sequence


@pytest.fixture
async def stand(own_redis: TestRedis) -> AsyncIterator[Stand]:
    async with memory_venue() as venue:
        made = Stand(venue, own_redis)
        yield made
        await made.reader.aclose()


async def trade(stand: Stand, price: str = "50000.00", sold: str = "0.2") -> Trade:
    """A trade between two new users."""
    seller, buyer = await stand.venue.trader(BTC="10"), await stand.venue.trader(USDT="1000000")
    await stand.venue.sell(seller, sold, price)
    placed = await stand.venue.buy(buyer, "0.2", price)
    return placed.trades[0]


def ids_of(market: CachedMarket) -> list[str]:
    """Of the trades that are shown, newest first."""
    return [json.loads(bytes(shown))["id"] for shown in market.trades.trades] if market.trades else []


async def test_what_is_committed_is_there_with_its_sequence_and_stream(stand: Stand) -> None:
    cache = stand.cache()
    assert cache.condition() == "degraded: not connected yet"
    stand.venue.run("market cache", cache.keep_running)
    made = await trade(stand, sold="0.5")

    def is_shown(market: CachedMarket) -> bool:
        return bool(market.book and market.book.sequence == stand.sequence() and cache.condition() == "ok")

    found = await stand.until(is_shown)
    assert found.book
    assert found.ticker
    assert found.trades
    assert [(level.price, level.quantity, level.num_orders) for level in found.book.book.asks] == [
        ("50000.00", "0.3", 1)
    ]
    assert found.book.book.bids == []
    assert (found.ticker.ticker.last_price, found.ticker.ticker.trades_24h) == ("50000.00", 1)
    assert ids_of(found) == [made.trade_id]
    for part in (found.book, found.ticker, found.trades):
        assert (part.stream_id, part.epoch, part.symbol) == (STREAM, 1, SYMBOL)
        assert part.sequence == stand.sequence()
    assert cache.condition() == "ok"
    assert cache.lag_s == 0
    await cache.aclose()


async def test_a_market_that_changes_often_is_written_seldom_and_ends_right(stand: Stand) -> None:
    cache = stand.cache(every_s=0.2)
    user = await stand.venue.trader(USDT="1000000")
    stand.venue.run("market cache", cache.keep_running)
    await stand.until(lambda market: cache.condition() == "ok")
    before, began = cache.counts.writes, time.monotonic()
    for number in range(300):
        await stand.venue.buy(user, "0.001", f"{40_000 + number}.00")
    await stand.until(lambda market: market.book.sequence == stand.sequence())  # type: ignore[union-attr]
    assert cache.counts.writes - before <= (time.monotonic() - began) / 0.2 + 2
    await cache.aclose()


async def test_the_channel_tells_of_each_write(stand: Stand) -> None:
    cache = stand.cache()
    async with stand.reader.pubsub(ignore_subscribe_messages=True) as changes:
        await changes.subscribe(Keys("trade-engine:").channel)
        stand.venue.run("market cache", cache.keep_running)
        await trade(stand)
        heard: set[bytes] = set()
        wanted = f"BTC-USDT {stand.sequence()}".encode()
        async with asyncio.timeout(WITHIN_S):
            while wanted not in heard:
                message = await changes.get_message(timeout=1)
                heard |= {message["data"]} if message else set()
    await cache.aclose()


async def test_it_is_gone_when_nobody_writes_any_more_and_stays_while_somebody_does(stand: Stand) -> None:
    cache = stand.cache(expire_s=1.0)
    task = stand.venue.run("market cache", cache.keep_running)
    await stand.until(lambda market: True)
    await asyncio.sleep(1.5)
    assert (await stand.read()).book, "a quiet market is written again before it expires"
    await stand.venue.supervisor.end(task.name)
    async with asyncio.timeout(WITHIN_S):
        while any(await stand.read()):
            await asyncio.sleep(0.05)
    await cache.aclose()


@pytest.mark.parametrize("how", ["killed", "frozen", "full"])
async def test_redis_that_fails_costs_no_order_and_is_caught_up_with(stand: Stand, how: str) -> None:
    cache = stand.cache()
    with structlog.testing.capture_logs() as lines:
        stand.venue.run("market cache", cache.keep_running)
        await trade(stand)
        await stand.until(lambda market: len(ids_of(market)) == 1 and cache.condition() == "ok")
        if how == "full":
            await stand.reader.config_set("maxmemory", "1")
        else:
            (stand.redis.stop if how == "killed" else stand.redis.freeze)()
        for number in range(1, 20):
            await trade(stand, f"{50_000 + number}.00")
        async with asyncio.timeout(WITHIN_S):
            while cache.condition() == "ok":
                await trade(stand)
                await asyncio.sleep(0.01)
        assert cache.condition().startswith("degraded: ")
        await asyncio.sleep(0.5)
        assert cache.lag_s > 0.2
        if how == "full":
            await stand.reader.config_set("maxmemory", "0")
        else:
            (stand.redis.start if how == "killed" else stand.redis.thaw)()
        found = await stand.until(lambda market: market.book.sequence == stand.sequence())  # type: ignore[union-attr]
    assert found.trades
    assert len(ids_of(found)) >= 20, "nothing was forgotten meanwhile"
    assert cache.counts.failures == 1
    events = [line["event"] for line in lines if line["event"].startswith("market_cache")]
    assert events == ["market_cache_writes", "market_cache_waits", "market_cache_writes"]
    await cache.aclose()


async def test_an_engine_that_was_taken_over_from_writes_nothing_more(stand: Stand) -> None:
    newer, older = stand.cache(epoch=2), stand.cache(epoch=1)
    task = stand.venue.run("newer", newer.keep_running)
    await stand.until(lambda market: market.book.epoch == 2)  # type: ignore[union-attr]
    stand.venue.run("older", older.keep_running)
    async with asyncio.timeout(WITHIN_S):
        while older.condition() != "degraded: another engine has taken over":
            await asyncio.sleep(0.01)
    await trade(stand)
    found = await stand.until(lambda market: market.book.sequence == stand.sequence())  # type: ignore[union-attr]
    assert found.book
    assert found.book.epoch == 2
    assert older.counts.writes == 0
    # A restored backup begins a new stream, whose epochs are its own.
    await stand.venue.supervisor.end(task.name)
    stand.stream = "another"
    older.rebuilt()
    await stand.until(lambda market: market.book.stream_id == "another")  # type: ignore[union-attr]
    await newer.aclose()
    await older.aclose()


async def test_trades_from_before_the_start_are_asked_for_until_the_database_answers(stand: Stand) -> None:
    earlier = [await trade(stand), await trade(stand)]
    cache = stand.cache(trades=3)

    def away() -> list[Trade]:
        raise Unavailable("DATABASE_UNAVAILABLE", "planted")

    stand.stored = away
    stand.venue.run("market cache", cache.keep_running)
    told = await trade(stand)
    found = await stand.until(ids_of)
    assert found.trades
    assert ids_of(found) == [told.trade_id]
    stand.stored = lambda: [told, *reversed(earlier)]
    found = await stand.until(lambda market: len(ids_of(market)) == 3)
    assert found.trades
    ids = ids_of(found)
    assert ids == [told.trade_id, earlier[1].trade_id, earlier[0].trade_id]
    newest = await trade(stand)
    await stand.until(lambda market: ids_of(market)[0] == newest.trade_id)
    assert len(ids_of(await stand.read())) == 3
    await cache.aclose()


async def test_a_format_that_is_not_known_is_not_read(stand: Stand) -> None:
    book, _, _ = Keys("trade-engine:").of(SYMBOL)
    await stand.reader.set(book, '{"schema_version": 2}')
    with pytest.raises(UnknownFormat):
        await stand.read()
