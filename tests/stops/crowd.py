"""SIGTERM under load: traders who place until they are told that the engine stops, and what must be true then."""

import asyncio
import contextlib
import json
import signal
import subprocess
import time
import uuid
from collections import Counter
from pathlib import Path
from typing import Any, Final

import asyncpg
import httpx
import msgspec
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

from tests.e2e.processes import checked, funded, served
from trade_engine.bootstrap.attached import attached_url
from trade_engine.config import load_config

#: Long enough for readiness to be asked, short enough for a test.
CONFIG: Final = "server: {drain_s: 0.5, shutdown_timeout: 12s}\n"
STOPS: Final = (1001, "the server stops")


class Crowd:
    """Connections over REST and WebSocket, each with one order under way.

    Args:
        pace_s: seconds from an order of a connection to its next one; 0: as soon as it is answered.
    """

    def __init__(self, port: int, tokens: list[str], *, rest: int, sockets: int, pace_s: float = 0.0) -> None:
        self.port = port
        self.tokens = tokens
        self.rest = rest
        self.sockets = sockets
        self.pace_s = pace_s
        #: Trades by order id of what was answered 201; client order ids of what was answered 503.
        self.acknowledged: dict[str, int] = {}
        self.refused: list[str] = []
        self.codes: Counter[str] = Counter()
        self.closed: list[tuple[int, str]] = []
        self.readiness: list[dict[str, Any]] = []
        self.stopped_s = 0.0
        self.orders_per_s = 0.0

    def order(self, number: int, n: int) -> dict[str, Any]:
        """The n-th order of a connection."""
        return {
            "symbol": "BTC/USDT", "side": "BUY" if (n + number) % 2 else "SELL", "type": "LIMIT", "quantity": "0.01",
            "price": f"{50_000 + (n * 7 + number) % 20}.00", "client_order_id": str(uuid.uuid4()),
        }  # fmt: skip

    async def over_rest(self, number: int) -> None:
        """Place over one connection of HTTP until the engine says that it stops."""
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{self.port}", timeout=20) as http:
            headers = {"Authorization": f"Bearer {self.tokens[number % len(self.tokens)]}"}
            for n in range(100_000):
                body, due_s = self.order(number, n), time.monotonic() + self.pace_s
                try:
                    answer = await http.post("/api/v1/orders", json=body, headers=headers)
                except httpx.TransportError:
                    self.codes["closed"] += 1
                    return
                content = answer.json()
                if answer.status_code == 201:
                    self.acknowledged[content["data"]["order"]["id"]] = len(content["data"]["trades"])
                    await asyncio.sleep(due_s - time.monotonic())
                    continue
                self.codes[content["error"]["code"]] += 1
                self.refused.append(body["client_order_id"])
                assert answer.status_code == 503
                assert answer.headers["retry-after"]
                return

    async def over_a_socket(self, number: int) -> None:
        """Place over one WebSocket until the engine says that it stops, and hear why it is closed."""
        token = self.tokens[number % len(self.tokens)]
        with contextlib.suppress(ConnectionClosed):
            async with connect(f"ws://127.0.0.1:{self.port}/ws?token={token}") as link:
                for n in range(100_000):
                    order, due_s = self.order(number, n), time.monotonic() + self.pace_s
                    await link.send(json.dumps({"op": "place", "id": n, "order": order}))
                    answer = json.loads(await link.recv())
                    assert answer["id"] == n
                    if answer["success"]:
                        self.acknowledged[answer["data"]["order"]["id"]] = len(answer["data"]["trades"])
                        await asyncio.sleep(due_s - time.monotonic())
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

    async def trade(self, server: "subprocess.Popen[bytes]", orders: int, within_s: float) -> None:
        """Trade until so many are acknowledged or time is up, have the server told to stop, and hear what it says."""
        began_s = time.monotonic()
        async with asyncio.TaskGroup() as group:
            for number in range(self.rest):
                group.create_task(self.over_rest(number))
            for number in range(self.sockets):
                group.create_task(self.over_a_socket(number))
            group.create_task(self.watch())
            while (len(self.acknowledged) < orders and time.monotonic() < began_s + within_s) or not self.readiness:
                await asyncio.sleep(0.01)
            self.stopped_s = time.monotonic()
            self.orders_per_s = len(self.acknowledged) / (self.stopped_s - began_s)
            server.send_signal(signal.SIGTERM)

    def misled(self) -> list[str]:
        """What clients were told wrongly."""
        before = [seen for seen in self.readiness if seen["status"] == "ready"]
        after = {(seen["status"], seen["engine"]) for seen in self.readiness[len(before) :]}
        wrong = {
            "somebody was told something else": set(self.codes) <= {"ENGINE_UNAVAILABLE", "socket ENGINE_UNAVAILABLE"},
            "somebody was told nothing": self.codes.total() == self.rest + self.sockets,
            "a stream was closed without the reason": self.closed == [STOPS] * self.sockets,
            "readiness did not tell": bool(before) and after == {("not ready", "the engine stops")},
        }
        return [f"{what}: {dict(self.codes)} {self.closed} {after}" for what, right in wrong.items() if not right]


class Stopped(msgspec.Struct):
    """What a stop under load came to."""

    orders_per_s: float
    acknowledged: int
    told: int
    streams_closed: int
    stop_s: float
    status: int
    wrong: list[str]


async def _client_ids(data_dir: Path) -> tuple[set[str], int]:
    """Client order ids that are stored, and instructions that wait."""
    async with attached_url(load_config(None, None, {}), data_dir) as url:
        connection = await asyncpg.connect(url)
        try:
            rows = await connection.fetch("SELECT client_order_id FROM orders WHERE client_order_id IS NOT NULL")
            return {row["client_order_id"] for row in rows}, await connection.fetchval(
                "SELECT count(*) FROM settlement_instructions"
            )
        finally:
            await connection.close()


def stop_under_load(
    data_dir: Path, config: Path, *, orders: int, rest: int, sockets: int, rate: float = 0, within_s: float = 120
) -> Stopped:
    """Serve, trade, send SIGTERM, and account for every order.

    Args:
        config: a file to write options into.
        orders: after so many that are acknowledged it is told to stop, or after ``within_s`` seconds.
        rate: orders a second of all connections together; 0: as many as it takes.
    """
    config.write_text(CONFIG)
    with served(data_dir, "--config", str(config)) as (port, server):
        tokens = asyncio.run(funded(data_dir, 4))
        pace_s = (rest + sockets) / rate if rate else 0.0
        crowd = Crowd(port, tokens, rest=rest, sockets=sockets, pace_s=pace_s)
        asyncio.run(crowd.trade(server, orders, within_s))
        status = server.wait(30)
        took_s = time.monotonic() - crowd.stopped_s
    wrong = crowd.misled()
    log = (data_dir / "server.log").read_text()
    if status != 0:
        wrong.append(f"ended with status {status}: {log[-2000:]}")
    told = [json.loads(line) for line in log.splitlines() if "clients_told" in line]
    if [(line["drained"], line["settled"], line["streams"]) for line in told] != [(True, True, sockets)]:
        wrong.append(f"the log says {told}")
    stored, waiting = asyncio.run(_client_ids(data_dir))
    if done := stored & set(crowd.refused):
        wrong.append(f"{len(done)} orders were refused and done")
    if len(stored) != len(crowd.acknowledged):
        wrong.append(f"{len(crowd.acknowledged)} orders were acknowledged, {len(stored)} are stored")
    if waiting:
        wrong.append(f"{waiting} instructions were not settled before the end")
    # Raises if an acknowledged order or trade is missing, or anything differs from the journal.
    asyncio.run(checked(data_dir, crowd.acknowledged))
    return Stopped(
        orders_per_s=round(crowd.orders_per_s, 1), acknowledged=len(crowd.acknowledged), told=crowd.codes.total(),
        streams_closed=len(crowd.closed), stop_s=round(took_s, 2), status=status, wrong=wrong,
    )  # fmt: skip
