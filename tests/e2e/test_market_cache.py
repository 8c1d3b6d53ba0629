"""What a whole engine shows of its markets in Redis: to the command, to the example, and while Redis is away."""

import asyncio
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import httpx

from tests.e2e.conftest import engine_config
from tests.e2e.venue import Venue
from tests.harness.redis import TestRedis
from trade_engine.roles.all import TradeEngine

ROOT = Path(__file__).resolve().parents[2]
WITHIN_S = 60.0


async def run(redis: TestRedis, *words: str) -> "subprocess.CompletedProcess[str]":
    """A program that is told where Redis is."""
    return await asyncio.to_thread(
        subprocess.run, [sys.executable, *words], env=os.environ | {"TRADE_ENGINE__REDIS__URL": redis.url},
        capture_output=True, text=True, timeout=WITHIN_S, check=False,
    )  # fmt: skip


async def command(redis: TestRedis, *words: str) -> "subprocess.CompletedProcess[str]":
    """`trade-engine cache` on that Redis."""
    return await run(redis, "-m", "trade_engine.cli", "cache", *words)


async def readiness(http: httpx.AsyncClient, wanted: str) -> Any:
    """What readiness says, once it says this of Redis; it is 200 all the while."""
    end_s = time.monotonic() + WITHIN_S
    while True:
        answer = await http.get("/health/ready")
        assert answer.status_code == 200, answer.text
        if answer.json()["redis"] == wanted:
            return answer.json()
        assert time.monotonic() < end_s, answer.text
        await asyncio.sleep(0.05)


async def test_other_processes_read_a_market_and_lose_nothing_but_that(
    database_url: str, own_redis: TestRedis, tmp_path: Path
) -> None:
    more = {"redis.url": own_redis.url, "redis.retry_every_s": 0.1, "redis.timeout_ms": 1_000}
    engine = TradeEngine(engine_config(database_url, more), tmp_path)
    await engine.start()
    try:
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{engine.api.port}", timeout=30) as http:
            venue = Venue(http, engine)
            await readiness(http, "ok")
            symbol = venue.market()
            seller = await venue.trader(**{symbol.partition("/")[0]: "10"})
            buyer = await venue.trader(USDT="10000")
            await seller.order(symbol, "SELL", "2", "100.00")
            await buyer.order(symbol, "BUY", "1", "100.00")
            shown = await command(own_redis, "show", symbol, "--json")
            end_s = time.monotonic() + WITHIN_S
            while not (shown.stdout and json.loads(shown.stdout)["trades"]["trades"]):
                assert time.monotonic() < end_s, shown
                shown = await command(own_redis, "show", symbol, "--json")
            market = json.loads(shown.stdout)
            assert market["book"]["book"] == await seller.get(f"/orderbook/{symbol}", depth=100)
            assert market["trades"]["trades"] == await seller.get("/trades", symbol=symbol)
            assert market["ticker"]["ticker"] == await seller.get(f"/markets/{symbol}/ticker")
            assert market["book"]["epoch"] == engine.epoch
            assert f"sequence    {market['book']['sequence']}" in (await command(own_redis, "show", symbol)).stdout
            nothing = await command(own_redis, "show", "NO/SUCH")
            assert (nothing.returncode, "there is nothing of NO/SUCH" in nothing.stderr) == (1, True)
            checked = await command(own_redis, "check", "--json")
            assert checked.returncode == 1
            assert "appendonly" in {row["setting"] for row in json.loads(checked.stdout)["not_as_advised"]}
            words = (own_redis.url, symbol, "--updates", "1")
            read = await run(own_redis, str(ROOT / "examples" / "cached_market.py"), *words)
            assert read.stdout.startswith(f"{symbol} {market['book']['sequence']} bid none ask 100.00 as of ")
            own_redis.stop()
            await buyer.order(symbol, "BUY", "0.5", "100.00")
            assert (await readiness(http, "degraded"))["status"] == "ready"
            away = await command(own_redis, "show", symbol)
            assert (away.returncode, away.stderr.startswith("Error: Redis: ")) == (1, True)
            own_redis.start()
            await readiness(http, "ok")
            market = json.loads((await command(own_redis, "show", symbol, "--json")).stdout)
            assert market["book"]["book"] == await seller.get(f"/orderbook/{symbol}", depth=100)
            assert len(market["trades"]["trades"]) == 2, "what was traded while Redis was away is shown"
    finally:
        await engine.stop()
