"""The subscribers of `trade-engine bench fanout`: a process that holds many WebSocket connections and counts frames.

It reads frames' heads only and decodes the trades of a few connections, so that it is not what is measured.  Commands
come as JSON lines on standard input, each answered by one line.  Loopback only.
"""

import asyncio
import base64
import json
import os
import resource
import socket
import sys
import time
from datetime import UTC, datetime
from functools import partial
from typing import Any, Final

import uvloop

#: One connection in so many is timed.
_SAMPLED: Final = 20
_RECEIVE_BYTES: Final = 32 * 1024
#: As on a network. Loopback's 64 KiB segments are as large as this small buffer, and the kernel then waits for its
#: probe timer, up to minutes, before it goes on sending to a reader who reads again.
_SEGMENT_BYTES: Final = 1448
_STAMP: Final = b'"executed_at":"'
_STAMP_BYTES: Final = 27


class Subscriber(asyncio.Protocol):
    """One connection."""

    def __init__(self, sampled: bool) -> None:
        self._sampled = sampled
        self._buffer = b""
        self._open = False
        self.messages = self.dropped = 0
        self.latencies_ms: list[float] = []
        self.stalled = self.conflated = self.lost = False
        self.snapshots = 0
        self.transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Shake hands."""
        self.transport = transport  # type: ignore[assignment]
        key = base64.b64encode(os.urandom(16)).decode()
        self.transport.write(
            "GET /ws HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            f"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\n\r\n".encode()
        )

    def connection_lost(self, exc: Exception | None) -> None:
        """The server closed it."""
        del exc
        self.lost = True

    def data_received(self, data: bytes) -> None:
        """Count frames."""
        buffer = self._buffer + data if self._buffer else data
        at = 0
        if not self._open:
            head = buffer.find(b"\r\n\r\n")
            if head < 0:
                self._buffer = buffer
                return
            if not buffer.startswith(b"HTTP/1.1 101"):
                raise ConnectionError(buffer[:300].decode(errors="replace"))
            self._open, at = True, head + 4
            self.transport.write(_subscribe("depth") + _subscribe("trades"))
        size = len(buffer)
        while size - at >= 2:
            length, start = buffer[at + 1], at + 2
            if length >= 126:
                width = 2 if length == 126 else 8
                if size - start < width:
                    break
                length, start = int.from_bytes(buffer[start : start + width], "big"), start + width
            if size - start < length:
                break
            if buffer[at] == 0x81:
                self._message(buffer, start, start + length)
            at = start + length
        self._buffer = buffer[at:]

    def _message(self, buffer: bytes, start: int, end: int) -> None:
        self.messages += 1
        if self.stalled:
            self.conflated |= _spans_many(buffer[start:end])
        elif self.snapshots < 2 and buffer.find(b'"snapshot":true', start, end) >= 0:
            self.snapshots += 1
        elif self._sampled and buffer.startswith(b'{"type":"trades"', start):
            self.dropped += int(buffer.find(b'"dropped":', start, end) >= 0)
            stamp = buffer.rfind(_STAMP, start, end)
            if stamp >= 0:
                at = stamp + len(_STAMP)
                executed = datetime.fromisoformat(buffer[at : at + _STAMP_BYTES].decode())
                self.latencies_ms.append((time.time() - executed.timestamp()) * 1e3)

    def stall(self) -> None:
        """Read nothing more."""
        self.stalled, self.conflated = True, False
        self.transport.pause_reading()


def _spans_many(message: bytes) -> bool:
    """Whether it is an update of many changes at once."""
    if not message.startswith(b'{"type":"depth"') or b'"snapshot":true' in message:
        return False
    first, last = (
        int(message.partition(name)[2].partition(b",")[0]) for name in (b'"first_sequence":', b'"sequence":')
    )
    return last - first >= 20


def _subscribe(channel: str) -> bytes:
    return masked(json.dumps({"op": "subscribe", "channel": channel, "symbol": "BTC/USDT"}).encode())


def masked(content: bytes) -> bytes:
    """A client's text frame of up to 125 bytes; the mask is zero, which leaves the content as it is."""
    return bytes((0x81, 0x80 | len(content), 0, 0, 0, 0)) + content


async def measure(subscribers: list[Subscriber], seconds: float, stalled: int, settle_s: float) -> dict[str, Any]:
    """Wait ``settle_s``, then count while the last ``stalled`` do not read; figures are those of the others."""
    readers, still = subscribers[: len(subscribers) - stalled], subscribers[len(subscribers) - stalled :]
    for each in still:
        each.stall()
    await asyncio.sleep(settle_s)
    for each in subscribers:
        each.messages = each.dropped = 0
        each.latencies_ms = []
    started = time.perf_counter()
    await asyncio.sleep(seconds)
    took = time.perf_counter() - started
    times = sorted(ms for each in readers for ms in each.latencies_ms) or [0.0]
    messages = sum(each.messages for each in readers)
    dropped = sum(each.dropped for each in readers)
    for each in still:
        if not each.lost:
            each.transport.resume_reading()
    if still:
        await asyncio.sleep(3.0)
    conflated = sum(each.conflated for each in still)
    for each in still:
        each.stalled = False
    return {
        "messages_per_s": messages / took,
        "p50_ms": times[len(times) // 2],
        "p99_ms": times[int(len(times) * 0.99)],
        "samples": len(times),
        "dropped": dropped,
        "conflated": conflated,
        "lost": sum(each.lost for each in subscribers),
    }


async def subscribe(port: int, count: int) -> list[Subscriber]:
    """Open so many connections, and wait until each has its two snapshots.

    Raises:
        TimeoutError: not within 60 s.
    """
    loop, opened = asyncio.get_running_loop(), list[Subscriber]()
    for number in range(count):
        sampled = number % _SAMPLED == 0
        raw = socket.socket()
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _RECEIVE_BYTES)
        raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, _SEGMENT_BYTES)
        raw.setblocking(False)
        await loop.sock_connect(raw, ("127.0.0.1", port))
        _, made = await loop.create_connection(partial(Subscriber, sampled), sock=raw)
        opened.append(made)
    async with asyncio.timeout(60):
        while any(each.snapshots < 2 for each in opened):
            await asyncio.sleep(0.02)
    return opened


async def serve(port: int, count: int) -> None:
    """Answer commands until there are no more."""
    loop, subscribers = asyncio.get_running_loop(), list[Subscriber]()
    while line := await loop.run_in_executor(None, sys.stdin.readline):
        command = json.loads(line)
        if command["do"] == "subscribe":
            subscribers = await subscribe(port, count)
            answer: dict[str, Any] = {"subscribers": len(subscribers), "at": datetime.now(UTC).isoformat()}
        else:
            answer = await measure(subscribers, command["seconds"], command["stalled"], command["settle_s"])
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()


def raise_open_files(count: int) -> None:
    """Raise this process's limit of open files as far as ``count`` needs and the system allows."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < count + 100:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(count + 100, hard), hard))


if __name__ == "__main__":
    raise_open_files(int(sys.argv[2]))
    uvloop.run(serve(int(sys.argv[1]), int(sys.argv[2])))
