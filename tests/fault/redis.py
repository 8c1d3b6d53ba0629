"""Redis killed and started again under order load: nothing of what was acknowledged may be missing from the tables.

An engine as a process of its own that counts limits in Redis and writes there what markets show, orders over HTTP.
Afterwards every acknowledged order is in the database, `verify` finds nothing, and what Redis shows of each market is
what the engine shows.  ``python -m tests.fault.redis`` prints the figures as one line of JSON; ``make fault`` calls it.
"""

import argparse
import asyncio
import json
import random
import sys
import tempfile
import time
from pathlib import Path

import asyncpg
import httpx
import msgspec
from redis.asyncio import Redis
from redis.exceptions import RedisError

from tests.e2e.engines import SECRET, EngineProcess
from tests.fault.rabbit import drive
from tests.harness.postgres import TestServer
from tests.harness.redis import TestRedis
from trade_engine.bench.http_load import connect
from trade_engine.bench.orders import OrderFlow
from trade_engine.bench.own_server import funded_tokens
from trade_engine.cache.reading import read_market

_USERS = 50
_CONNECTIONS = 8
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
    options = {"REDIS__URL": redis.url, "REDIS__RETRY_EVERY_S": "0.2", "RATE_LIMIT__ORDERS_PER_S": "100000"}
    engine = EngineProcess(folder, database_url, **options, LOGGING__LEVEL="info", LOGGING__FORMAT="json")
    engine.start()
    placed: list[str] = []
    try:
        await engine.ready()
        flow = OrderFlow(await funded_tokens(database_url, SECRET, _USERS), seed)
        links = [await connect("127.0.0.1", engine.port) for _ in range(_CONNECTIONS)]
        going = asyncio.Event()
        going.set()
        load = [asyncio.create_task(drive(link, flow, _CONNECTIONS / rate, going, placed)) for link in links]
        await kill_and_start(redis, kills, random.Random(seed))
        going.clear()
        await asyncio.gather(*load)
        for link in links:
            link.close()
        wrong = await _wrong_markets(engine, redis)
    finally:
        engine.stop()
    connection = await asyncpg.connect(database_url)
    try:
        stored = {row[0] for row in await connection.fetch("SELECT order_id::TEXT FROM orders")}
    finally:
        await connection.close()
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
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--rate", type=float, default=200.0, help="requests a second")
    parser.add_argument("--seed", type=int, default=random.randrange(1 << 30))
    options = parser.parse_args()
    print(f"seed {options.seed}", file=sys.stderr, flush=True)
    database, redis = TestServer(), TestRedis()
    database.start()
    try:
        redis.start()
        with tempfile.TemporaryDirectory(prefix="te-redis-drill-") as folder:
            figures = asyncio.run(
                drill(database.migrated(), redis, Path(folder), options.kills, options.rate, options.seed)
            )
    finally:
        redis.remove()
        database.stop()
    print(json.dumps(msgspec.to_builtins(figures)))
    return int(bool(figures.lost or figures.differences or figures.wrong_markets))


if __name__ == "__main__":
    sys.exit(main())
