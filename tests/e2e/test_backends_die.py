"""PostgreSQL loses single processes, or stands still: the engine serves again by itself, and nobody waits for ever."""

import asyncio
import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import asyncpg
import httpx
import pytest

from tests.e2e.processes import checked, funded, load, served
from tests.e2e.test_database_dies import main_process, trades_on, until_ready
from trade_engine.bootstrap.attached import attached_url
from trade_engine.config import load_config

_BACKENDS = "SELECT pid FROM pg_stat_activity WHERE application_name LIKE 'trade-engine%' AND pid <> pg_backend_pid()"


async def backends(data_dir: Path, name: str = "trade-engine%") -> list[int]:
    """The process numbers of the engine's connections."""
    async with attached_url(load_config(None, None, {}), data_dir) as url:
        connection = await asyncpg.connect(url)
        try:
            rows = await connection.fetch(
                "SELECT pid FROM pg_stat_activity WHERE application_name LIKE $1 AND pid <> pg_backend_pid()", name
            )
            return [row["pid"] for row in rows]
        finally:
            await connection.close()


async def a_backend(data_dir: Path, name: str) -> int:
    """One of the engine's connections of that name; one that was lost a moment ago comes back."""
    async with asyncio.timeout(60):
        while not (found := await backends(data_dir, name)):
            await asyncio.sleep(0.05)
    return found[0]


@pytest.mark.parametrize("name", ["trade-engine writer", "trade-engine"])
def test_a_backend_that_is_killed_costs_the_time_of_crash_recovery(data_dir: Path, name: str) -> None:
    """kill -9 of one backend, as by the kernel when memory is short: PostgreSQL ends all others and recovers."""
    acknowledged: dict[str, int] = {}
    with served(data_dir) as (port, server):
        tokens = asyncio.run(funded(data_dir, 4))

        async def kill() -> None:
            await asyncio.sleep(0.7)
            os.kill(await a_backend(data_dir, name), signal.SIGKILL)

        async def both() -> None:
            await asyncio.gather(load(port, tokens, acknowledged, 3), kill())

        asyncio.run(load(port, tokens, acknowledged, 1))
        for _ in range(2):
            asyncio.run(both())
            until_ready(port)
        assert acknowledged
        assert trades_on(port, tokens, acknowledged)
        assert server.poll() is None
        asyncio.run(checked(data_dir, acknowledged))
    log = (data_dir / "server.log").read_text()
    for event in ("task_died", "request_failed"):
        assert event not in log, log[log.index(event) - 200 :][:3_000]


def test_terminated_backends_cost_nobody_an_order_for_long(data_dir: Path) -> None:
    acknowledged: dict[str, int] = {}
    with served(data_dir) as (port, server):
        tokens = asyncio.run(funded(data_dir, 4))

        async def terminate() -> None:
            async with attached_url(load_config(None, None, {}), data_dir) as url:
                connection = await asyncpg.connect(url)
                for _ in range(12):
                    await asyncio.sleep(0.3)
                    await connection.execute(f"SELECT pg_terminate_backend(pid) FROM ({_BACKENDS}) AS b")
                await connection.close()

        async def both() -> None:
            await asyncio.gather(load(port, tokens, acknowledged, 5), terminate())

        asyncio.run(both())
        assert trades_on(port, tokens, acknowledged)
        assert server.poll() is None
        asyncio.run(checked(data_dir, acknowledged))


def test_a_database_that_stands_still_is_answered_for_and_then_at_once(data_dir: Path) -> None:
    body = {"symbol": "BTC/USDT", "side": "BUY", "type": "LIMIT", "quantity": "0.01", "price": "50000.00"}
    with served(data_dir) as (port, _):
        (token,) = asyncio.run(funded(data_dir, 1))
        headers = {"Authorization": f"Bearer {token}"}
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60, headers=headers) as http:
            resting = http.post("/api/v1/orders", json=body).json()["data"]["order"]["id"]
            server = main_process(data_dir)
            listed = subprocess.run(["pgrep", "-P", str(server)], capture_output=True, text=True, check=True).stdout
            stopped = [server, *map(int, listed.split())]
            for pid in stopped:
                os.kill(pid, signal.SIGSTOP)
            try:
                calls: tuple[Callable[[], httpx.Response], ...] = (
                    lambda: http.post("/api/v1/orders", json=body | {"client_order_id": "a"}),
                    lambda: http.post("/api/v1/orders", json=body),
                    lambda: http.delete(f"/api/v1/orders/{resting}"),
                    lambda: http.patch(f"/api/v1/orders/{resting}", json={"price": "50001.00"}),
                    lambda: http.delete("/api/v1/orders"),
                    lambda: http.get(f"/api/v1/orders/{resting}"),
                )
                for call in calls:
                    answer = call()
                    assert answer.status_code == 503, answer.text
                until_ready(port, 503)
                took_s = []
                for call in calls[:1] * 5 + calls[2:3] * 5:
                    began_s = time.monotonic()
                    answer = call()
                    took_s.append(time.monotonic() - began_s)
                    assert (answer.status_code, answer.json()["error"]["code"]) == (503, "DATABASE_UNAVAILABLE")
                # Now and then one asks whether it is back, and waits for as long as ``database.read_timeout_s``.
                assert sorted(took_s)[5] < 2.0, took_s
            finally:
                for pid in stopped:
                    os.kill(pid, signal.SIGCONT)
            until_ready(port)
            assert http.post("/api/v1/orders", json=body).status_code == 201
            assert http.delete("/api/v1/orders").status_code == 200
        asyncio.run(checked(data_dir, {}))
