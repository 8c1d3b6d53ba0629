"""Reading what the engine keeps of a market in Redis, as any other process may; the engine itself never does."""

from typing import NamedTuple, TypeVar

import msgspec
from redis.asyncio import Redis

from trade_engine.cache.formats import SCHEMA_VERSION, CachedBook, CachedTicker, CachedTrades, Head, Keys

Known = TypeVar("Known", bound=Head)


class CachedMarket(NamedTuple):
    """A market as it was written last; None: not there, or too old."""

    book: CachedBook | None
    ticker: CachedTicker | None
    trades: CachedTrades | None


class UnknownFormat(Exception):
    """What is there was written by an engine of another kind."""


async def read_market(redis: Redis, key_prefix: str, symbol: str) -> CachedMarket:
    """Read a market: all three of one moment.

    Raises:
        UnknownFormat: it is not as this version writes it.
        RedisError, OSError: Redis does not answer.
    """
    book, ticker, trades = await redis.mget(Keys(key_prefix).of(symbol))
    return CachedMarket(_read(book, CachedBook), _read(ticker, CachedTicker), _read(trades, CachedTrades))


def _read(value: bytes | str | None, kind: type[Known]) -> Known | None:
    if value is None:
        return None
    try:
        read = msgspec.json.decode(value, type=kind)
    except msgspec.MsgspecError as error:
        raise UnknownFormat(str(error)) from error
    if read.schema_version != SCHEMA_VERSION:
        raise UnknownFormat(f"schema version {read.schema_version} is not {SCHEMA_VERSION}")
    return read
