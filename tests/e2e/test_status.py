"""`trade-engine status` beside a running engine: what it shows is what happened between its two looks."""

import asyncio
import json
import sys
import time

import httpx
import pytest

from tests.e2e.venue import Venue
from trade_engine.bench.own_server import free_port
from trade_engine.cli.status_reading import Sample, read_sample, status_between


async def sampled(port: int) -> Sample:
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as http:
        metrics, ready = await http.get("/metrics"), await http.get("/health/ready")
    return read_sample(time.monotonic(), metrics.text, ready.json())


async def asked(*words: str) -> tuple[int, str, str]:
    running = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "trade_engine.cli", "status", *words,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    async with asyncio.timeout(60):
        output, errors = await running.communicate()
    return running.returncode or 0, output.decode(), errors.decode()


async def test_rates_latencies_and_state_are_those_of_the_interval(venue: Venue) -> None:
    port = venue.running.scraped.port
    symbol = venue.market()
    seller, buyer = await venue.trader(**{symbol.split("/")[0]: "100"}), await venue.trader(USDT="100000")
    await seller.order(symbol, "SELL", "1", "90.00")
    before = await sampled(port)
    await seller.order(symbol, "SELL", "2", "100.00")
    await buyer.order(symbol, "BUY", "2", "100.00")
    await venue.settled()
    after = await sampled(port)
    found = status_between(before, after)
    seconds = after.at_s - before.at_s
    assert found.orders_per_s * seconds == pytest.approx(2), "the order before is not in it"
    assert found.trades_per_s * seconds == pytest.approx(2), "one at 90, one at 100"
    assert found.requests_per_s * seconds >= 2
    assert (found.ready, found.role, found.live_orders, found.errors_per_s) == (True, "writer", 1, 0)
    assert found.epoch == venue.running.epoch
    assert (found.queue, found.settlement_pending, found.dead_letters) == (0, 0, 0)
    assert found.dependencies == dict.fromkeys(("database", "engine", "wallet"), "ok") | dict.fromkeys(
        ("redis", "rabbitmq"), "not used"
    )
    for what in ("order", "commit", "wallet"):
        latency = found.latencies_ms[what]
        assert latency.p50 is not None
        assert latency.p99 is not None
        assert 0 < latency.p50 <= latency.p99
    quiet = status_between(after, after)
    assert (quiet.orders_per_s, quiet.latencies_ms["order"].p99) == (0, None), "nothing happened"


async def test_the_command_prints_it_and_its_status_says_whether_it_is_ready(venue: Venue) -> None:
    url = f"http://127.0.0.1:{venue.running.scraped.port}"
    status, output, _ = await asked("--metrics-url", url, "--once", "--every", "0.2", "--json")
    assert status == 0
    assert json.loads(output)["role"] == "writer"
    status, output, _ = await asked("--metrics-url", url, "--once", "--every", "0.2")
    lines = dict(line.split(None, 1) for line in output.splitlines())
    assert (status, lines["ready"], lines["role"], lines["database"]) == (0, "yes", "writer", "ok")
    venue.running._entrance.close("a drill")
    status, output, _ = await asked("--metrics-url", url, "--once", "--every", "0.2", "--json")
    assert (status, json.loads(output)["dependencies"]["engine"]) == (1, "a drill")


async def test_what_cannot_be_reached_or_is_no_engine_is_said(venue: Venue) -> None:
    status, _, errors = await asked("--metrics-url", f"http://127.0.0.1:{free_port()}", "--once")
    assert status == 1
    assert "no metrics at" in errors
    assert "Traceback" not in errors
    status, _, errors = await asked("--metrics-url", f"http://127.0.0.1:{venue.running.api.port}", "--once")
    assert (status, "is no trade engine" in errors) == (1, True), errors
