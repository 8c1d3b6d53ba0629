"""A misbehaving HTTP proxy: between engine and wallet service it does what networks and servers do on bad days."""

import asyncio
import contextlib
import random
from collections import Counter
from typing import Final

#: Before or after the effect, as far as the caller's request is concerned.
FAULTS: Final = (
    "timeout_before",
    "timeout_after",
    "reset_before",
    "reset_after",
    "error_500_before",
    "error_500_after",
    "error_503_before",
    "half_body",
    "garbage",
    "slow",
)
_HOLD_S: Final = 1.5
_SLOW_S: Final = 0.2


class FaultProxy:
    """Forwards to ``upstream``; a share ``rate`` of the requests meets a fault, each kind as often as the others."""

    def __init__(self, upstream: int, seed: int) -> None:
        self.rate = 0.0
        #: Nobody is there: every connection is dropped at once.
        self.outage = False
        self.met: Counter[str] = Counter()
        self._upstream = upstream
        self._random = random.Random(seed)
        self._server: asyncio.Server | None = None
        self._running: set[asyncio.Task[None]] = set()

    async def start(self) -> int:
        """Listen on a free port: its number."""
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        return int(self._server.sockets[0].getsockname()[1])

    async def stop(self) -> None:
        """Drop everything."""
        if self._server is not None:
            self._server.close()
        for task in list(self._running):
            task.cancel()
        await asyncio.gather(*self._running, return_exceptions=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._running.add(task)
        try:
            with contextlib.suppress(OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
                await self._serve(reader, writer)
        finally:
            self._running.discard(task)
            writer.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        back_reader, back_writer = await asyncio.open_connection("127.0.0.1", self._upstream)
        try:
            while True:
                request = await _message(reader)
                self.met["requests"] += 1
                if self.outage:
                    self.met["outage"] += 1
                    return
                fault = self._random.choice(FAULTS) if self._random.random() < self.rate else "none"
                self.met[fault] += 1
                if fault.endswith("_before") and not await _fail(fault, writer):
                    return
                if fault.endswith("_before"):
                    continue
                back_writer.write(request)
                answer = await _message(back_reader)
                if fault.endswith("_after"):
                    if not await _fail(fault, writer):
                        return
                    continue
                if fault == "slow":
                    await asyncio.sleep(_SLOW_S)
                elif fault == "garbage":
                    answer = _answer(200, b'{"success":true,"outcomes":[{"code":"O\xff')
                elif fault == "half_body":
                    writer.write(answer[: -max(1, len(answer) // 4)])
                    await writer.drain()
                    return
                writer.write(answer)
                await writer.drain()
        finally:
            back_writer.close()


async def _fail(fault: str, writer: asyncio.StreamWriter) -> bool:
    """Do what the fault says; whether the connection goes on."""
    if fault.startswith("timeout"):
        await asyncio.sleep(_HOLD_S)
        return False
    if fault.startswith("reset"):
        return False
    writer.write(_answer(int(fault.split("_")[1]), b"out of order"))
    await writer.drain()
    return True


def _answer(status: int, body: bytes) -> bytes:
    return b"HTTP/1.1 %d Fault\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%b" % (
        status, len(body), body,
    )  # fmt: skip


async def _message(reader: asyncio.StreamReader) -> bytes:
    """One HTTP message with a content length."""
    head = await reader.readuntil(b"\r\n\r\n")
    at = head.lower().find(b"content-length:")
    length = int(head[at + 15 : head.find(b"\r\n", at)]) if at >= 0 else 0
    return head + (await reader.readexactly(length) if length else b"")
