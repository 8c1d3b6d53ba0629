"""One Redis, wherever its Sentinels say that it is: connections, and looking for it when it went away."""

import asyncio
from typing import Any, Final

import msgspec
import structlog
from redis.asyncio import ConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import Sentinel, SentinelConnectionPool
from redis.backoff import ExponentialBackoff, NoBackoff
from redis.exceptions import RedisError

from trade_engine.cache.address import read_address
from trade_engine.cache.inspection import inspect

log = structlog.get_logger(__name__)

#: What it means that Redis is away.
TROUBLE: Final = (RedisError, OSError, TimeoutError)


class RedisSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Where Redis is, and how long it may take."""

    url: str
    pool_size: int = 100
    max_retries: int = 3
    timeout_ms: int = 50
    #: Between two looks for a Redis that went away.
    retry_every_s: float = 1.0
    key_prefix: str = "trade-engine:"


class RedisServer:
    """Connections to one Redis; ``aclose`` it.

    Args:
        settings: where it is.
        looks: the first time that it is reached, whatever is not as is advised gets a warning.

    Raises:
        ValueError: the address makes no sense.
    """

    def __init__(self, settings: RedisSettings, *, looks: bool = False) -> None:
        self.settings = settings
        self._looks = looks
        self.timeout_s = settings.timeout_ms / 1000
        self._sentinel: Sentinel | None = None
        address = read_address(settings.url)
        limits: dict[str, Any] = {"socket_timeout": self.timeout_s, "socket_connect_timeout": self.timeout_s}
        retry = Retry(ExponentialBackoff(cap=0.01, base=0.001), settings.max_retries)
        pool = ConnectionPool.from_url(address.url, max_connections=settings.pool_size, retry=retry, **limits)
        #: Finding the primary may mean to ask each Sentinel in turn.
        self._reach_s = self.timeout_s * (1 + 2 * len(address.sentinels))
        if address.sentinels:
            login = {"username": address.sentinel_user, "password": address.sentinel_password}
            given = {key: value for key, value in pool.connection_kwargs.items() if key not in ("host", "port")}
            tls = {key: value for key, value in given.items() if key.startswith("ssl_")}
            is_tls = address.url.startswith("rediss:")
            self._sentinel = Sentinel(  # type: ignore[no-untyped-call]
                address.sentinels,
                sentinel_kwargs={**limits, **login, **tls, "ssl": is_tls, "retry": Retry(NoBackoff(), 0)},
            )
            pool = SentinelConnectionPool(
                address.service, self._sentinel, ssl=is_tls, max_connections=settings.pool_size, **given
            )  # type: ignore[no-untyped-call]
        try:
            pool.make_connection()  # type: ignore[no-untyped-call]
        except TypeError as error:
            raise ValueError(f"the address says what no connection knows: {error}") from None
        self.redis: Redis = Redis.from_pool(pool)

    async def reach(self) -> None:
        """Find it, and see that it takes writes: one whose memory is full, or a replica, answers and is of no use.

        Raises:
            RedisError, OSError, TimeoutError: it does not; ClusterRefused: it belongs to a cluster.
        """
        async with asyncio.timeout(self._reach_s):
            await self.redis.set(f"{self.settings.key_prefix}probe", "1", px=1_000)
            if self._looks:
                for advice in await inspect(self.redis):
                    log.warning("redis_not_as_advised", **advice._asdict())
                self._looks = False

    async def drop_connections(self) -> None:
        """Let all go: one that was given up halfway would be handed out again, and may lead to a former primary."""
        await self.redis.connection_pool.disconnect(inuse_connections=True)

    async def aclose(self) -> None:
        """Let go for good."""
        await self.redis.aclose()
        if self._sentinel is not None:
            await self._sentinel.aclose()
