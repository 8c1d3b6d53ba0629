"""Wiring of Redis: rate limits, what markets show to other processes, and what the world may know of both."""

import contextlib
from collections.abc import Callable, Iterator, Sequence

import msgspec

from trade_engine.bootstrap.api import limit_settings
from trade_engine.bootstrap.database import Run
from trade_engine.cache.inspection import ClusterRefused
from trade_engine.cache.market_cache import MarketCache, MarketCacheSettings
from trade_engine.cache.redis_limits import RedisLimits
from trade_engine.cache.server import RedisServer, RedisSettings
from trade_engine.config import Config, ConfigError
from trade_engine.domain.errors import Unavailable
from trade_engine.domain.orders import Trade
from trade_engine.edge.limits import LocalLimits, RateLimits
from trade_engine.ops.metrics import Reading
from trade_engine.sequencer.ports import MarketReader
from trade_engine.sequencer.publish import Publisher
from trade_engine.storage.oversight import stream_id
from trade_engine.storage.queries import Queries
from trade_engine.storage.types import Pool
from trade_engine.wallet.outage import TRANSPORT_ERRORS

#: Nobody waits for what is written of markets: it may take longer than a request's limits.
_WRITE_TIMEOUT_MS = 1_000


def redis_settings(config: Config) -> RedisSettings | None:
    """Where Redis is; None: there is none."""
    redis = config.redis
    if redis.url is None:
        return None
    return RedisSettings(
        url=redis.url,
        pool_size=redis.pool_size,
        max_retries=redis.max_retries,
        timeout_ms=redis.timeout_ms,
        retry_every_s=redis.retry_every_s,
        key_prefix=redis.key_prefix,
    )


async def start_limits(config: Config, stack: contextlib.AsyncExitStack) -> RateLimits:
    """Rate limits: in Redis if there is one, else in this process; closed when ``stack`` ends.

    Raises:
        ConfigError: the address is of no use, or leads to a cluster.
    """
    redis, settings = redis_settings(config), limit_settings(config)
    if redis is None:
        return LocalLimits(settings)
    try:
        limits = RedisLimits(redis, settings)
        stack.push_async_callback(limits.aclose)
        await limits.start()
    except (ValueError, ClusterRefused) as error:
        raise ConfigError(f"redis.url: (hidden): {error}") from error
    return limits


def make_market_cache(
    config: Config, reader: MarketReader, queries: Queries, pool: Pool, epoch: int, now_us: Callable[[], int]
) -> MarketCache | None:
    """What writes of markets for other processes; None: nobody wants it."""
    redis, options = redis_settings(config), config.redis
    if redis is None or not options.cache_every_ms:
        return None

    async def recent(market_id: int, limit: int) -> Sequence[Trade]:
        return (await queries.trades(market_id=market_id, limit=limit)).rows

    async def stream() -> str:
        try:
            return await stream_id(pool)
        except TRANSPORT_ERRORS as error:
            raise Unavailable("DATABASE_UNAVAILABLE", "the database does not answer") from error

    patient = msgspec.structs.replace(
        redis, pool_size=2, max_retries=0, timeout_ms=max(redis.timeout_ms, _WRITE_TIMEOUT_MS)
    )
    settings = MarketCacheSettings(
        every_s=options.cache_every_ms / 1000,
        expire_s=options.cache_expire_s,
        levels=options.cache_levels,
        trades=options.cache_trades,
    )
    return MarketCache(RedisServer(patient), reader, recent, stream, settings, epoch=epoch, now_us=now_us)


def keep_market_cache(
    cache: MarketCache | None, publisher: Publisher, run: Run, stack: contextlib.AsyncExitStack
) -> MarketCache | None:
    """Have it told of commits, and its task run until ``stack`` ends; the same one back."""
    if cache is not None:
        stack.push_async_callback(cache.aclose)
        publisher.add("market cache", cache)
        run("market cache", cache.keep_running)
    return cache


def redis_condition(limits: RateLimits, cache: MarketCache | None) -> str:
    """``ok``, ``degraded`` or ``not used``: how Redis is, for readiness."""
    if cache is not None and cache.condition() != "ok":
        return "degraded"
    return limits.condition()


def read_redis(limits: RateLimits | None, cache: MarketCache | None) -> Iterator[Reading]:
    """For the metrics: Redis, if it is used."""
    condition = "not used" if limits is None else limits.condition()
    if condition != "not used":
        yield Reading("redis_up", "1 while Redis counts rate limits, 0 while this process does.", condition == "ok")
    if cache is not None:
        yield Reading("market_cache_up", "1 while what markets show is written to Redis.", cache.condition() == "ok")
        yield Reading("market_cache_lag_seconds", "How long the oldest unwritten change waits.", cache.lag_s)
        yield Reading("market_cache_writes", "Markets written to Redis.", cache.counts.writes, counts=True)
        yield Reading("market_cache_failures", "Times that writing began to fail.", cache.counts.failures, counts=True)
