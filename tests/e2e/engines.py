"""Engines as processes of their own on one database, which a test may stop, kill and start again."""

import asyncio
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, Final

import httpx

from tests.harness.ports import steady_port
from trade_engine.edge.auth.tokens import issue_token

SECRET: Final = "a secret that only tests know, of 32 bytes or more"
#: Longer than anything here takes on a machine that is busy.
BOUND_S: Final = 90.0


class EngineProcess:
    """One engine; ``start`` it again as often as it takes, always with the same options."""

    def __init__(self, data_dir: Path, database_url: str | None, **settings: str) -> None:
        self.data_dir = data_dir
        self.port, self.metrics_port = steady_port(), steady_port()
        options = {
            "SERVER__WEBSOCKET_PORT": "0",
            "SERVER__METRICS_PORT": str(self.metrics_port),
            "AUTH__JWT_SECRET": SECRET,
            "DATABASE__PARTITIONS_MONTHS": "1",
            "DATABASE__PARTITIONS_DAYS": "1",
            "RATE_LIMIT__ORDERS_PER_S": "0",
            "RATE_LIMIT__QUERIES_PER_S": "0",
            "RATE_LIMIT__ADDRESS_PER_S": "0",
            "RATE_LIMIT__PUBLIC_PER_S": "0",
            "WALLET__RESERVE_TIMEOUT_MS": "10000",
        } | settings
        if database_url is not None:
            options["DATABASE__URL"] = database_url
        self.environment = os.environ | {f"TRADE_ENGINE__{name}": value for name, value in options.items()}
        self._process: subprocess.Popen[bytes] | None = None

    def start(self, *words: str) -> "EngineProcess":
        """Start it and do not wait."""
        command = [sys.executable, "-m", "trade_engine.cli", "serve", "--data-dir", str(self.data_dir)]
        self.data_dir.mkdir(parents=True, exist_ok=True)
        with (self.data_dir / "server.log").open("ab") as log:
            self._process = subprocess.Popen(
                [*command, "--port", str(self.port), *words], env=self.environment, stdout=log, stderr=log
            )
        return self

    def run(self, *words: str) -> "subprocess.CompletedProcess[str]":
        """A command with the options of this engine."""
        return subprocess.run(
            [sys.executable, "-m", "trade_engine.cli", *words, "--data-dir", str(self.data_dir)],
            env=self.environment, capture_output=True, text=True, timeout=BOUND_S, check=False,
        )  # fmt: skip

    @property
    def process(self) -> "subprocess.Popen[bytes]":
        """The process that was started last."""
        assert self._process is not None
        return self._process

    @property
    def log(self) -> str:
        """The end of what it said."""
        return (self.data_dir / "server.log").read_text()[-3_000:]

    def signal(self, number: signal.Signals) -> None:
        """Send a signal."""
        self.process.send_signal(number)

    def ended(self, within_s: float = BOUND_S) -> int:
        """Its exit status; it must end by itself."""
        return self.process.wait(within_s)

    def kill(self) -> None:
        """As a machine does that runs out of memory."""
        self.process.kill()
        self.process.wait(BOUND_S)

    def stop(self) -> None:
        """End it in order, if it runs; for certain, if it does not."""
        if self._process is None or self._process.poll() is not None:
            return
        self.signal(signal.SIGCONT)
        self.signal(signal.SIGTERM)
        try:
            self.process.wait(30)
        except subprocess.TimeoutExpired:
            self.kill()

    async def ask(self, method: str, path: str, port: int = 0, **more: Any) -> httpx.Response | None:
        """One request; None if nobody answers."""
        try:
            async with httpx.AsyncClient(timeout=20) as http:
                return await http.request(method, f"http://127.0.0.1:{port or self.port}{path}", **more)
        except httpx.TransportError:
            return None

    async def readiness(self) -> dict[str, str]:
        """What it says of itself; nothing, if it does not answer."""
        answer = await self.ask("GET", "/health/ready")
        return {} if answer is None else dict(answer.json())

    async def is_ready(self) -> bool:
        """Whether it takes orders."""
        return (await self.readiness()).get("status") == "ready"

    async def stands_by(self) -> bool:
        """Whether it waits for another one."""
        return (await self.readiness()).get("engine", "").startswith("standing by for writer")

    async def until(self, condition: Any, what: str, within_s: float = BOUND_S) -> None:
        """Wait until a condition of this engine holds."""
        end_s = time.monotonic() + within_s
        while not await condition():
            assert time.monotonic() < end_s, f"{what}: {await self.readiness()}\n{self.log}"
            await asyncio.sleep(0.05)

    async def ready(self) -> "EngineProcess":
        """Wait until it takes orders."""
        await self.until(self.is_ready, "it does not become ready")
        return self

    async def standing_by(self) -> "EngineProcess":
        """Wait until it waits for another one."""
        await self.until(self.stands_by, "it does not stand by")
        return self

    async def order(self, user: str, side: str = "BUY", price: str = "100.00", **more: str) -> httpx.Response | None:
        """Place a small order."""
        body = {"symbol": "BTC/USDT", "side": side, "type": "LIMIT", "quantity": "0.01", "price": price} | more
        headers = {"Authorization": f"Bearer {issue_token(SECRET, user)}"}
        return await self.ask("POST", "/api/v1/orders", json=body, headers=headers)
