"""`trade-engine bench fanout`: market data to many subscribers, and what it costs the others when some stall.

Subscribers live in a process of their own (``subscribers``).  Rounds alternate: all read, then some stop reading
while their sockets stay open, counted once the buffers on their way have had time to fill.  Figures are medians over
the rounds, because the speed of a shared machine drifts; of memory it is the worst.  The latency of a message runs
from the newest trade's ``executed_at`` in it, when the engine took the order, before its commit, to its receipt.
"""

import asyncio
import contextlib
import json
import statistics
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from trade_engine.bench.errors import BenchError
from trade_engine.bench.http_load import HttpConnection, LoadError, build_request, connect
from trade_engine.bench.own_server import funded_tokens, own_config
from trade_engine.bootstrap.attached import attached_url
from trade_engine.bootstrap.keys import jwt_secret

#: A server that lets one address have thousands of connections, and stalled ones stay.
FANOUT_SETTINGS: Final = {
    "TRADE_ENGINE__WEBSOCKET__CONNECTIONS_PER_ADDRESS": "20000",
    "TRADE_ENGINE__WEBSOCKET__MAX_CONNECTIONS": "20000",
    "TRADE_ENGINE__SERVER__MAX_CONNECTIONS": "20000",
    "TRADE_ENGINE__SERVER__ADDRESS_CONNECTIONS": "20000",
    "TRADE_ENGINE__SERVER__ADDRESS_ACCEPTS_PER_S": "0",
    "TRADE_ENGINE__WEBSOCKET__COMMANDS_PER_S": "0",
    "TRADE_ENGINE__WEBSOCKET__STALLED_S": "3600",
    # So that a stalled reader's buffers are full after seconds, not minutes.
    "TRADE_ENGINE__WEBSOCKET__SOCKET_BYTES": "65536",
    "TRADE_ENGINE__WEBSOCKET__PING_S": "3600",
    "TRADE_ENGINE__RATE_LIMIT__ADDRESS_PER_S": "0",
}
_ROUNDS: Final = 3
_SETTLE_S: Final = 2.0
_CONNECTIONS: Final = 4
_MIB: Final = 1024.0


class Subscribers:
    """The process that reads."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    async def ask(self, **command: Any) -> dict[str, Any]:
        """Have it do something: its answer.

        Raises:
            BenchError: it ended, or does not answer within 15 minutes.
        """
        writer, reader = self._process.stdin, self._process.stdout
        if writer is None or reader is None:
            raise RuntimeError("the process was started without pipes")
        writer.write(json.dumps(command).encode() + b"\n")
        line = await asyncio.wait_for(reader.readline(), 900)
        if not line:
            raise BenchError("the subscribers' process ended; its message is above")
        answer: dict[str, Any] = json.loads(line)
        return answer

    async def end(self) -> None:
        """End it."""
        if self._process.returncode is None:
            self._process.kill()
        await self._process.wait()


async def run_fanout(
    port: int,
    pid: int,
    tokens: Sequence[str],
    *,
    subscribers: int,
    stalled: int,
    rate: int,
    seconds: float,
    fill_s: float,
) -> dict[str, Any]:
    """Measure; ``tokens`` are two users' with funds, ``pid`` is the server's."""
    words = (sys.executable, "-m", "trade_engine.bench.subscribers", str(port), str(subscribers))
    pipe = asyncio.subprocess.PIPE
    readers = Subscribers(await asyncio.create_subprocess_exec(*words, stdin=pipe, stdout=pipe))
    orders = Orders(rate)
    load: asyncio.Task[None] | None = None
    try:
        await readers.ask(do="subscribe")
        load = asyncio.create_task(orders.run(port, tokens))
        await readers.ask(do="measure", seconds=1.0, stalled=0, settle_s=0)
        rounds = [await _round(readers, pid, seconds / _ROUNDS / 2, stalled, fill_s) for _ in range(_ROUNDS)]
    finally:
        if load is not None:
            load.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await load
        await readers.end()
    return {"subscribers": subscribers, "stalled": stalled, **summarise_rounds(rounds), **orders.figures()}


async def _round(readers: Subscribers, pid: int, seconds: float, stalled: int, fill_s: float) -> dict[str, Any]:
    healthy = await readers.ask(do="measure", seconds=seconds, stalled=0, settle_s=_SETTLE_S)
    before = resident_mib(pid)
    stalling = asyncio.create_task(readers.ask(do="measure", seconds=seconds, stalled=stalled, settle_s=fill_s))
    most = before
    while not stalling.done():
        most = max(most, resident_mib(pid))
        await asyncio.wait([stalling], timeout=0.1)
    return {"healthy": healthy, "with_stalled": await stalling, "growth_mib": most - before}


def summarise_rounds(rounds: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Medians over the rounds; of memory the worst."""

    def middle(phase: str, name: str) -> float:
        return round(statistics.median(float(each[phase][name]) for each in rounds), 2)

    p99, slowed = middle("healthy", "p99_ms"), middle("with_stalled", "p99_ms")
    return {
        "messages_per_s": middle("healthy", "messages_per_s"),
        "p50_ms": middle("healthy", "p50_ms"),
        "p99_ms": p99,
        "stalled_messages_per_s": middle("with_stalled", "messages_per_s"),
        "healthy_p50_ms_with_stalled": middle("with_stalled", "p50_ms"),
        "healthy_p99_ms_with_stalled": slowed,
        "p99_ratio": round(statistics.median(r["with_stalled"]["p99_ms"] / r["healthy"]["p99_ms"] for r in rounds), 3),
        "memory_growth_mb": round(max(each["growth_mib"] for each in rounds), 1),
        "samples": sum(each[phase]["samples"] for each in rounds for phase in ("healthy", "with_stalled")),
        "dropped_trades": sum(each[phase]["dropped"] for each in rounds for phase in ("healthy", "with_stalled")),
        "conflated_connections": middle("with_stalled", "conflated"),
        "lost_connections": rounds[-1]["with_stalled"]["lost"],
    }


def resident_mib(pid: int) -> float:
    """Memory a process holds, in MiB.

    Raises:
        BenchError: this system does not tell.
    """
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
        return next(int(line.split()[1]) / _MIB for line in lines if line.startswith("VmRSS:"))
    except (OSError, StopIteration) as error:
        raise BenchError("the memory of a process is read from /proc, which is not there") from error


class Orders:
    """Orders at a steady rate: one rests, the next takes it, so that two are two changes of the book and a trade."""

    def __init__(self, rate: int) -> None:
        self._rate = rate
        self._placed = self._errors = 0

    async def run(self, port: int, tokens: Sequence[str]) -> None:
        """Send orders until cancelled."""
        links = [await connect("127.0.0.1", port) for _ in range(_CONNECTIONS)]
        requests = [_order(side, tokens[n]) for n, side in enumerate(("SELL", "BUY"))]
        free: asyncio.Queue[HttpConnection] = asyncio.Queue()
        for link in links:
            free.put_nowait(link)
        started, number = time.perf_counter(), 0
        try:
            async with asyncio.TaskGroup() as group:
                while True:
                    await asyncio.sleep(max(0.0, started + number / self._rate - time.perf_counter()))
                    link = await free.get()
                    group.create_task(self._send(link, requests[number % 2], free))
                    number += 1
        finally:
            for link in links:
                link.close()

    async def _send(self, link: HttpConnection, request: bytes, free: "asyncio.Queue[HttpConnection]") -> None:
        try:
            status, _ = await link.request(request)
        except LoadError:
            status = 0
        self._placed += status == 201
        self._errors += status != 201
        free.put_nowait(link)

    def figures(self) -> dict[str, int]:
        """What was sent."""
        return {"orders": self._placed, "errors": self._errors}


def _order(side: str, token: str) -> bytes:
    body = f'{{"symbol":"BTC/USDT","side":"{side}","type":"LIMIT","quantity":"0.01","price":"50000.00"}}'
    return build_request("POST", "/api/v1/orders", token, body.encode())


async def measure_fanout(
    data_dir: Path, port: int, pid: int, subscribers: int, stalled: int, rate: int, seconds: float, fill_s: float
) -> dict[str, Any]:
    """Fan-out of the server at ``port``, whose process is ``pid``: the figures."""
    config = own_config()
    async with attached_url(config, data_dir) as url:
        tokens = await funded_tokens(url, jwt_secret(config, data_dir), 2)
    return await run_fanout(
        port, pid, tokens, subscribers=subscribers, stalled=stalled, rate=rate, seconds=seconds, fill_s=fill_s
    )
