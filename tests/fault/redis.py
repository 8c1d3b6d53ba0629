"""Redis killed and started again under order load: nothing of what was acknowledged may be missing from the tables.

An engine as a process of its own that counts limits in Redis and writes there what markets show, orders over HTTP.
Afterwards every acknowledged order is in the database, `verify` finds nothing, and what Redis shows of each market is
what the engine shows.  ``python -m tests.fault.redis`` prints the figures as one line of JSON; ``make fault`` calls it.
"""

import asyncio
import json
import random
import sys
import time
from pathlib import Path

import httpx
import msgspec
from redis.asyncio import Redis
from redis.exceptions import RedisError

from tests.e2e.engines import EngineProcess
from tests.fault.other_servers import run_drill, stored_orders, under_load
from tests.harness.redis import TestRedis
from trade_engine.cache.reading import read_market

_CAUGHT_UP_S = 60.0


class RedisFigures(msgspec.Struct):
    """What came of it."""

    acknowledged: int
    #: Acknowledged orders that no table has.
    lost: int
    #: Differences that `verify` finds.
    differences: int
    #: Markets of which Redis does not show what the engine shows.
    wrong_markets: int
    kills: int
    seconds: float


async def kill_and_start(redis: TestRedis, kills: int, rng: random.Random) -> None:
    """Let it run a little, kill it, leave it away a little, start it."""
    for _ in range(kills):
        await asyncio.sleep(rng.uniform(0.3, 1.5))
        redis.stop()
        await asyncio.sleep(rng.uniform(0.1, 2.0))
        await asyncio.to_thread(redis.start)
    await asyncio.sleep(1.0)


async def drill(database_url: str, redis: TestRedis, folder: Path, kills: int, rate: float, seed: int) -> RedisFigures:
    """The whole drill: its figures."""
    started = time.monotonic()
    options = {
        "REDIS__URL": redis.url,
        "REDIS__RETRY_EVERY_S": "0.2",
        # On a busy machine 50 ms pass while Redis is there: only its deaths are to count.
        "REDIS__TIMEOUT_MS": "1000",
        "RATE_LIMIT__ORDERS_PER_S": "100000",
    }
    engine = EngineProcess(folder, database_url, **options, LOGGING__LEVEL="info", LOGGING__FORMAT="json")
    engine.start()
    try:
        async with under_load(engine, database_url, rate, seed) as placed:
            await kill_and_start(redis, kills, random.Random(seed))
        wrong = await _wrong_markets(engine, redis)
    finally:
        engine.stop()
    stored = await stored_orders(database_url)
    report = json.loads((await asyncio.to_thread(engine.run, "verify", "--json")).stdout)
    return RedisFigures(
        acknowledged=len(placed),
        lost=sum(order_id not in stored for order_id in placed),
        differences=len(report["differences"]),
        wrong_markets=wrong,
        kills=kills,
        seconds=round(time.monotonic() - started, 1),
    )


async def _wrong_markets(engine: EngineProcess, redis: TestRedis) -> int:
    """Of how many markets Redis shows another book than the engine, once it had time to catch up."""
    until, wrong = time.monotonic() + _CAUGHT_UP_S, -1
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{engine.port}/api/v1") as http:
        symbols = [market["symbol"] for market in (await http.get("/markets")).json()["data"]]
        reader = Redis.from_url(redis.url)
        while wrong and time.monotonic() < until:
            await asyncio.sleep(0.2)
            try:
                wrong = sum([await _differs(http, reader, symbol) for symbol in symbols])
            except RedisError:
                continue
        await reader.aclose()
    return wrong


async def _differs(http: httpx.AsyncClient, reader: Redis, symbol: str) -> bool:
    answer = await http.get(f"/orderbook/{symbol.replace('/', '-')}", params={"depth": 100})
    cached = await read_market(reader, "trade-engine:", symbol)
    return cached.book is None or msgspec.to_builtins(cached.book.book) != answer.json()["data"]


def main() -> int:
    """Run it on servers of its own; 1 if anything was lost or is shown wrong."""
    redis = TestRedis()
    return run_drill(
        __doc__,
        redis,
        lambda url, folder, given: drill(url, redis, folder, given.kills, given.rate, given.seed),
        ("lost", "differences", "wrong_markets"),
        kills=10,
    )


if __name__ == "__main__":
    sys.exit(main())
