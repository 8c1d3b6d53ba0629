"""SIGTERM under load: clients are told, nothing acknowledged is lost, nothing refused was done, and it ends in time."""

import asyncio
import contextlib
import json
import signal
import socket
import subprocess
import time
import uuid
from collections import Counter
from pathlib import Path
from typing import Any, Final

import asyncpg
import httpx
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

from tests.e2e.processes import checked, funded, served
from trade_engine.bootstrap.attached import attached_url
from trade_engine.config import load_config

#: Long enough for readiness to be asked, short enough for a test.
CONFIG: Final = "server: {drain_s: 0.5, shutdown_timeout: 12s}\n"


class Crowd:
    """Traders who place until they are told that the engine stops, and what each was told."""

    def __init__(self, port: int, tokens: list[str]) -> None:
        self.port = port
        self.tokens = tokens
        #: Trades by order id of what was answered 201; client order ids of what was answered 503.
        self.acknowledged: dict[str, int] = {}
        self.refused: list[str] = []
        self.codes: Counter[str] = Counter()
        self.closed: list[tuple[int, str]] = []
        self.readiness: list[dict[str, Any]] = []

    def order(self, number: int, n: int) -> dict[str, Any]:
        return {
            "symbol": "BTC/USDT", "side": "BUY" if (n + number) % 2 else "SELL", "type": "LIMIT", "quantity": "0.01",
            "price": f"{50_000 + (n * 7 + number) % 20}.00", "client_order_id": str(uuid.uuid4()),
        }  # fmt: skip

    async def over_rest(self, number: int) -> None:
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{self.port}", timeout=20) as http:
            headers = {"Authorization": f"Bearer {self.tokens[number % len(self.tokens)]}"}
            for n in range(100_000):
                body = self.order(number, n)
                try:
                    answer = await http.post("/api/v1/orders", json=body, headers=headers)
                except httpx.TransportError:
                    self.codes["closed"] += 1
                    return
                content = answer.json()
                if answer.status_code == 201:
                    self.acknowledged[content["data"]["order"]["id"]] = len(content["data"]["trades"])
                    continue
                self.codes[content["error"]["code"]] += 1
                self.refused.append(body["client_order_id"])
                assert answer.status_code == 503
                assert answer.headers["retry-after"]
                return

    async def over_a_socket(self, number: int) -> None:
        token = self.tokens[number % len(self.tokens)]
        with contextlib.suppress(ConnectionClosed):
            async with connect(f"ws://127.0.0.1:{self.port}/ws?token={token}") as link:
                for n in range(100_000):
                    order = self.order(number, n)
                    await link.send(json.dumps({"op": "place", "id": n, "order": order}))
                    answer = json.loads(await link.recv())
                    assert answer["id"] == n
                    if answer["success"]:
                        self.acknowledged[answer["data"]["order"]["id"]] = len(answer["data"]["trades"])
                        continue
                    self.codes[f"socket {answer['error']['code']}"] += 1
                    self.refused.append(order["client_order_id"])
                    break
                with contextlib.suppress(ConnectionClosed):
                    await link.recv()
                self.closed.append((link.close_code or 0, link.close_reason or ""))

    async def watch(self) -> None:
        """Ask for readiness until nobody answers."""
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{self.port}", timeout=5) as http:
            with contextlib.suppress(httpx.TransportError):
                while True:
                    self.readiness.append((await http.get("/health/ready")).json())
                    await asyncio.sleep(0.02)

    async def trade(self, server: "subprocess.Popen[bytes]", orders: int) -> None:
        """Trade until so many are acknowledged, have the server told to stop, and go on until everybody is told."""
        async with asyncio.TaskGroup() as group:
            for number in range(8):
                group.create_task(self.over_rest(number))
            for number in range(3):
                group.create_task(self.over_a_socket(number))
            group.create_task(self.watch())
            async with asyncio.timeout(60):
                while len(self.acknowledged) < orders or not self.readiness:
                    await asyncio.sleep(0.01)
            server.send_signal(signal.SIGTERM)


async def client_ids(data_dir: Path) -> set[str]:
    async with attached_url(load_config(None, None, {}), data_dir) as url:
        connection = await asyncpg.connect(url)
        try:
            rows = await connection.fetch("SELECT client_order_id FROM orders WHERE client_order_id IS NOT NULL")
            waiting = await connection.fetchval("SELECT count(*) FROM settlement_instructions")
        finally:
            await connection.close()
    assert waiting == 0, "what was committed was settled before the end"
    return {row["client_order_id"] for row in rows}


def test_sigterm_under_load_tells_everybody_and_loses_nothing(data_dir: Path, tmp_path: Path) -> None:
    config = tmp_path / "engine.yaml"
    config.write_text(CONFIG)
    with served(data_dir, "--config", str(config)) as (port, server):
        crowd = Crowd(port, asyncio.run(funded(data_dir, 4)))
        asyncio.run(crowd.trade(server, 150))
        assert server.wait(30) == 0, (data_dir / "server.log").read_text()[-2000:]
    assert set(crowd.codes) <= {"ENGINE_UNAVAILABLE", "socket ENGINE_UNAVAILABLE"}, crowd.codes
    assert crowd.codes.total() == 11, "each was told"
    assert crowd.closed == [(1001, "the server stops")] * 3
    before = [seen for seen in crowd.readiness if seen["status"] == "ready"]
    after = crowd.readiness[len(before) :]
    assert before
    assert after
    assert {(seen["status"], seen["engine"]) for seen in after} == {("not ready", "the engine stops")}
    [told] = [json.loads(line) for line in (data_dir / "server.log").read_text().splitlines() if "clients_told" in line]
    assert (told["drained"], told["settled"], told["streams"]) == (True, True, 3)

    stored = asyncio.run(client_ids(data_dir))
    assert not stored & set(crowd.refused), "what was refused was not done"
    assert len(stored) == len(crowd.acknowledged), "nothing was done that nobody was told of"
    asyncio.run(checked(data_dir, crowd.acknowledged))


def test_a_client_who_never_finishes_does_not_hold_up_the_end(data_dir: Path, tmp_path: Path) -> None:
    config = tmp_path / "engine.yaml"
    config.write_text("server: {shutdown_timeout: 8s}\n")
    with (
        served(data_dir, "--config", str(config)) as (port, server),
        socket.create_connection(("127.0.0.1", port)) as slow,
    ):
        [token] = asyncio.run(funded(data_dir, 1))
        slow.sendall(
            b"POST /api/v1/orders HTTP/1.1\r\nhost: here\r\nauthorization: Bearer " + token.encode()
            + b"\r\ncontent-length: 1000\r\n\r\n{"
        )  # fmt: skip
        time.sleep(0.3)
        server.send_signal(signal.SIGTERM)
        assert server.wait(30) == 0, (data_dir / "server.log").read_text()[-2000:]
    log = (data_dir / "server.log").read_text()
    assert '"drained":false' in log
    assert "Traceback" not in log
