"""The world of a drill: one engine with its private PostgreSQL as an operator runs it, and now and then a second one.

An engine that ends is started again at once, as a service manager does; nothing else helps it.
"""

import asyncio
import contextlib
import json
import os
import random
import signal
import socket
import subprocess
import sys
import time
import urllib.request
import uuid
from pathlib import Path
from typing import Any, Final

import asyncpg

from tests.harness.postgres import new_data_dir
from tests.survive.guard import clean
from tests.survive.processes import end, spawn
from tests.survive.wire import Answer, Line, Unanswered
from trade_engine.bootstrap.attached import attached_wallet
from trade_engine.domain.scale import UNIT
from trade_engine.edge.auth.tokens import issue_token
from trade_engine.storage.embedded.account import find_home
from trade_engine.storage.embedded.postmaster import read_postmaster
from trade_engine.storage.embedded.server import running_url

#: A request may take so long; whoever waits longer than this and a pause for a busy machine was forgotten.
REQUEST_S: Final = 5
PATIENCE_S: Final = REQUEST_S + 15
COMMIT_S: Final = 3
_SECRET: Final = "a secret that only the drill knows, 32 bytes or more"
_TOKEN_S: Final = 30 * 86_400
_SERVE: Final = str(Path(__file__).parents[1] / "harness" / "clocked_serve.py")
_SHIFT: Final = "TRADE_ENGINE_CLOCK_OFFSET_FILE"


def lasting_port() -> int:
    """A free port that no connection takes by chance while nobody listens, as one of the ephemeral range would be."""
    while True:
        port = random.randrange(12_000, 32_000)
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


class Engine:
    """One `trade-engine serve`."""

    def __init__(self, name: str, data_dir: Path, log: Path, words: tuple[str, ...], settings: dict[str, str]) -> None:
        self.name = name
        self.port, self.websocket_port, self.metrics_port = (lasting_port() for _ in range(3))
        self.log = log
        self.process: subprocess.Popen[bytes] | None = None
        self.starts = 0
        self._words = ("--data-dir", str(data_dir), "--port", str(self.port), *words)
        own = {"SERVER__WEBSOCKET_PORT": self.websocket_port, "SERVER__METRICS_PORT": self.metrics_port}
        self._settings = {f"TRADE_ENGINE__{key}": str(value) for key, value in own.items()} | settings

    def start(self) -> None:
        """Start it; it is not ready yet."""
        self.starts += 1
        self.process = spawn((_SERVE, "serve", *self._words), self._settings, self.log)

    @property
    def alive(self) -> bool:
        """Whether the process runs (or is stopped by a signal)."""
        return self.process is not None and self.process.poll() is None

    @property
    def pid(self) -> int:
        """Of the process that was started last."""
        assert self.process is not None
        return self.process.pid

    def last_words(self, count: int = 12) -> list[str]:
        """The end of its log."""
        lines = self.log.read_text(errors="replace").splitlines()
        return [_short(line) for line in lines if line.strip()][-count:]


class World:
    """Everything that runs, and where callers find it."""

    def __init__(self) -> None:
        self.data_dir = new_data_dir()
        self.folder = new_data_dir()
        self.shift_file = self.folder / "clock"
        self.engine = self._engine("one", self.data_dir, ())
        self.second: Engine | None = None
        #: Ports that callers choose from.
        self.ports: list[int] = [self.engine.port]
        self.rebuilds = 0
        self._rebuilds_seen: dict[int, int] = {}
        self._guard: subprocess.Popen[bytes] | None = None
        self._keeper: asyncio.Task[None] | None = None
        self._calls = 0

    def _settings(self, **more: str) -> dict[str, str]:
        options = {
            "AUTH__JWT_SECRET": _SECRET,
            "SERVER__REQUEST_TIMEOUT_S": str(REQUEST_S),
            "DATABASE__COMMIT_TIMEOUT_S": str(COMMIT_S),
            "DATABASE__PARTITIONS_MONTHS": "1",
            "DATABASE__PARTITIONS_DAYS": "3",
            "RATE_LIMIT__ORDERS_PER_S": "0",
            "RATE_LIMIT__QUERIES_PER_S": "0",
            "RATE_LIMIT__ADDRESS_PER_S": "0",
            "LOGGING__LEVEL": "warning",
            **more,
        }
        return {f"TRADE_ENGINE__{key}": value for key, value in options.items()} | {_SHIFT: str(self.shift_file)}

    def _engine(self, name: str, data_dir: Path, words: tuple[str, ...], **more: str) -> Engine:
        return Engine(name, data_dir, self.folder / f"{name}.log", words, self._settings(**more))

    # ---- life

    async def start(self) -> None:
        """Start the engine and what looks after it."""
        environment = {"PYTHONPATH": os.pathsep.join(sys.path)}
        self._guard = subprocess.Popen(
            [sys.executable, "-m", "tests.survive.guard", str(self.data_dir), str(self.folder)],
            stdin=subprocess.PIPE, env=os.environ | environment, start_new_session=True,
        )  # fmt: skip
        self.engine.start()
        if await self.ready(90) is None:
            raise RuntimeError("the engine does not start: " + "\n".join(self.engine.last_words()))
        self._keeper = asyncio.create_task(self._keep())

    async def _keep(self) -> None:
        while True:
            if not self.engine.alive:
                self.engine.start()
                await asyncio.sleep(0.5)
            await asyncio.sleep(0.05)

    async def stop(self) -> None:
        """End everything and remove it."""
        if self._keeper is not None:
            self._keeper.cancel()
        for engine in (self.second, self.engine):
            if engine is not None and engine.process is not None:
                await end(engine.process)
        await asyncio.to_thread(clean, self.data_dir)
        await asyncio.to_thread(clean, self.folder)
        if self._guard is not None and self._guard.stdin is not None:
            self._guard.stdin.close()
            await asyncio.to_thread(self._guard.wait)

    def start_second(self) -> Engine:
        """Another engine on the same database, which is to take over."""
        url = self.url
        assert url is not None, "there is no database to take over"
        words = ("--take-over",) if _knows_take_over() else ()
        self.second = self._engine("two", self.folder / "two", words, DATABASE__URL=url)
        self.second.start()
        return self.second

    # ---- looking

    @property
    def url(self) -> str | None:
        """Of the private database; None while none runs."""
        return running_url(self.data_dir)

    @property
    def postmaster(self) -> int:
        """Its main process; 0 while none runs."""
        home = find_home(self.data_dir)
        found = read_postmaster(home / "cluster") if home else None
        return found.pid if found else 0

    def port(self) -> int:
        """For callers: one of the ports in turn."""
        self._calls += 1
        return self.ports[self._calls % len(self.ports)]

    async def ready(self, within_s: float) -> float | None:
        """Wait until an engine says that it is ready: the seconds it took; None if it was too long."""
        started = time.monotonic()
        while time.monotonic() - started < within_s:
            for port in list(self.ports):
                if (answer := await self.health(port)) is not None and answer.status == 200:
                    return time.monotonic() - started
            await asyncio.sleep(0.05)
        return None

    async def health(self, port: int) -> Answer | None:
        """What an engine says of itself; None if it does not answer."""
        line = Line(lambda: port, "127.0.0.1", patience_s=2)
        try:
            return await line.ask("GET", "/health/ready")
        except Unanswered:
            return None
        finally:
            line.close()

    async def connect(self, within_s: float = 30) -> "asyncpg.Connection[Any]":
        """A connection to the database, as soon as there is one to be had."""
        until = time.monotonic() + within_s
        while True:
            try:
                return await asyncpg.connect(self.url or "postgresql://nowhere/", timeout=5)
            except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError):
                if time.monotonic() > until:
                    raise
                await asyncio.sleep(0.1)

    # ---- users

    def token(self, user_id: str) -> str:
        """A login that outlives every drill and most jumps of the clock."""
        return issue_token(_SECRET, user_id, ("trader",), _TOKEN_S)

    async def fund(self, user_id: str, **funds: int) -> None:
        """Give a user whole units of assets."""
        assert self.url is not None
        async with attached_wallet(self.url) as wallet:
            for asset, amount in funds.items():
                assert (await wallet.deposit(user_id, asset, amount * UNIT, str(uuid.uuid4()))).ok

    async def command(self, *words: str, within_s: float = 300) -> tuple[int, str]:
        """Run `trade-engine` beside the engine: exit code and output."""
        arguments = [sys.executable, "-m", "trade_engine.cli", *words, "--data-dir", str(self.data_dir)]
        process = await asyncio.create_subprocess_exec(
            *arguments, env=os.environ | self._settings(), stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )  # fmt: skip
        try:
            output, _ = await asyncio.wait_for(process.communicate(), within_s)
        except TimeoutError:
            process.kill()
            await process.wait()
            return -1, f"not done in {within_s} s"
        return process.returncode or 0, output.decode(errors="replace")

    async def count_rebuilds(self) -> None:
        """Add what the engine's metric says since the last look; a process counts from 0."""
        text = await asyncio.to_thread(_metrics, self.engine.metrics_port)
        if text is None or not self.engine.alive:
            return
        for line in text.splitlines():
            if line.startswith("engine_rebuilds_total"):
                now = int(float(line.rsplit(" ", 1)[1]))
                self.rebuilds += max(0, now - self._rebuilds_seen.get(self.engine.pid, 0))
                self._rebuilds_seen[self.engine.pid] = now

    def cut_off(self, how: signal.Signals = signal.SIGKILL) -> None:
        """Signal the engine."""
        if self.engine.process is not None and self.engine.alive:
            self.engine.process.send_signal(how)


def _short(line: str) -> str:
    """A log line without what only machines read."""
    try:
        said = json.loads(line)
    except ValueError:
        return line[:200]
    raised = str(said.get("exception", "")).strip().rpartition("\n")[2]
    where = [part.strip() for part in str(said.get("exception", "")).splitlines() if "/src/trade_engine/" in part][-1:]
    parts = (said.get("level"), said.get("event"), said.get("error"), said.get("reason"), raised, *where)
    counted = f"(repeated {said['repeated']})" if "repeated" in said else ""
    return " | ".join(str(part)[:250] for part in (*parts, counted) if part)


def _metrics(port: int) -> str | None:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=2) as answer:
            return str(answer.read().decode())
    except OSError:
        return None


def _knows_take_over() -> bool:
    shown = subprocess.run(
        [sys.executable, "-m", "trade_engine.cli", "serve", "--help"], capture_output=True, text=True, check=True
    )
    return "--take-over" in shown.stdout
