"""A real Prometheus that scrapes a real engine: every panel's query answers, and a planted dead letter is alerted."""

import asyncio
import contextlib
import subprocess
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Final

import httpx
import pytest
import yaml
from scripts.verify_infrastructure import ask_prometheus, panels

from tests.e2e.venue import Venue
from tests.harness.tools import tool
from tests.unit.deploy.test_monitoring import RULES, expressions, metrics_of
from trade_engine.bench.own_server import free_port

BOUND_S: Final = 60.0
#: What nothing happened for in this short life.
QUIET: Final = {
    "ALERTS",
    "redis_up",
    "wallet_circuit_open",
    "wallet_breaker_state",
    "wallet_breaker_opened_total",
    # Of engines that publish events.
    "rabbitmq_up",
    "rabbitmq_queue_messages",
    "relay_lag_seconds",
    "cross_check_missing_total",
    "webhooks_active",
    "webhooks_dead",
    "webhooks_dropped_total",
    "webhooks_waiting_seconds",
    # Of RabbitMQ itself.
    "rabbitmq_global_messages_dead_lettered_maxlen_total",
}


@pytest.fixture
async def prometheus(venue: Venue, tmp_path: Path) -> AsyncIterator[httpx.AsyncClient]:
    """Prometheus with the project's rules, quick about everything."""
    program = tool("prometheus")
    rules = yaml.safe_load(RULES.read_text())
    for group in rules["groups"]:
        for rule in group["rules"]:
            rule["for"] = "0s"
    (tmp_path / "rules.yml").write_text(yaml.safe_dump(rules))
    target = f"127.0.0.1:{venue.running.scraped.port}"
    (tmp_path / "prometheus.yml").write_text(
        yaml.safe_dump({
            "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
            "rule_files": ["rules.yml"],
            "scrape_configs": [{"job_name": "trade-engine", "static_configs": [{"targets": [target]}]}],
        })
    )  # fmt: skip
    port = free_port()
    process = subprocess.Popen(
        [
            program, f"--config.file={tmp_path / 'prometheus.yml'}", f"--storage.tsdb.path={tmp_path / 'tsdb'}",
            f"--web.listen-address=127.0.0.1:{port}",
        ],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}/api/v1", timeout=20) as http:
            yield http
    finally:
        process.terminate()
        process.wait(20)


async def query(http: httpx.AsyncClient, expression: str) -> list[Any]:
    answer = (await http.get("/query", params={"query": expression})).json()
    assert answer["status"] == "success", (expression, answer)
    found: list[Any] = answer["data"]["result"]
    return found


async def until_found(http: httpx.AsyncClient, expression: str) -> list[Any]:
    until_s = time.monotonic() + BOUND_S
    while True:
        with contextlib.suppress(httpx.TransportError):
            if found := await query(http, expression):
                return found
        assert time.monotonic() < until_s, expression
        await asyncio.sleep(0.2)


async def test_panels_have_something_to_show_and_a_dead_letter_is_alerted(
    venue: Venue, prometheus: httpx.AsyncClient
) -> None:
    symbol = venue.market()
    seller, buyer = await venue.trader(**{symbol.split("/")[0]: "100"}), await venue.trader(USDT="100000")
    for n in range(3):
        await until_found(prometheus, f'count_over_time(up{{job="trade-engine"}}[1h]) > {n * 2}')
        await seller.order(symbol, "SELL", "2", "100.00")
        await buyer.order(symbol, "BUY", "1", "100.00")
        rests, _ = await buyer.order(symbol, "BUY", "1", "90.00")
        await buyer.cancel(rests["id"])
        await seller.order(symbol, "SELL", "1", "110.00")
        await buyer.order(symbol, "BUY", "1", "80.00")
    await venue.settled()
    await until_found(prometheus, "settlement_duration_seconds_count > 0")
    for place, expression in expressions():
        asked = expression.replace("$__rate_interval", "1m")
        found = await query(prometheus, asked)
        if ": " in place and not metrics_of(expression) & QUIET and "{status=" not in expression and "!=" not in asked:
            assert found, f"{place} shows nothing: {expression}"
    said = await ask_prometheus(prometheus, str(prometheus.base_url).removesuffix("/api/v1/"))
    assert said.startswith("1 engines up"), said
    assert f"{len(panels())} queries of dashboards answered" in said
    assert await query(prometheus, 'ALERTS{alertname=~"DeadLetters|MatchingStopped|DatabaseDown|ServiceDown"}') == []

    await venue.running.settlement.pause()
    await buyer.order(symbol, "BUY", "1", "100.00")
    falsified = "UPDATE trades SET buyer_user_id = $1 WHERE settlement_status = 'PENDING'"
    await venue.running.pool.execute(falsified, seller.user_id)
    await venue.running.settlement.resume()
    [alert] = await until_found(prometheus, 'ALERTS{alertname="DeadLetters", alertstate="firing"}')
    assert alert["metric"]["severity"] == "page"
