"""A WebSocket client for tests, on the `websockets` library: keeps every message and stitches books as the guide says.

It shares no code with ``trade_engine.client``, so that the two check each other and the server.
"""

import asyncio
import contextlib
import itertools
import json
import socket
import time
from collections import defaultdict
from collections.abc import Callable
from typing import Any

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

Levels = dict[str, str]


def crc32(text: str) -> int:
    """CRC-32 of IEEE 802.3, bit by bit."""
    crc = 0xFFFFFFFF
    for byte in text.encode():
        crc ^= byte
        for _ in range(8):
            crc = (crc >> 1) ^ (0xEDB88320 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


class Book:
    """A book kept from a snapshot and updates; every message is checked as it comes."""

    def __init__(self) -> None:
        self.bids: Levels = {}
        self.asks: Levels = {}
        self.sequence = -1
        self.snapshots = self.updates = self.merged = 0
        #: Both sides as they were, by sequence.
        self.history: dict[int, tuple[Levels, Levels]] = {}

    def take(self, message: dict[str, Any]) -> None:
        """Take a message in; AssertionError if it does not fit."""
        if message.get("snapshot"):
            self.bids, self.asks = {}, {}
            self.snapshots += 1
        else:
            assert self.snapshots, "an update before any snapshot"
            assert message["first_sequence"] == self.sequence + 1, (message["first_sequence"], self.sequence)
            self.updates += 1
            self.merged += message["sequence"] > message["first_sequence"] + 8
        assert message["sequence"] >= message["first_sequence"] or message.get("snapshot")
        for side, name in ((self.bids, "bids"), (self.asks, "asks")):
            for price, quantity in message["data"][name]:
                if quantity == "0":
                    assert not message.get("snapshot")
                    side.pop(price, None)
                else:
                    side[price] = quantity
        self.sequence = message["sequence"]
        assert message["checksum"] == self.checksum(), self.sequence
        bids, asks = self.top(1)
        assert not bids or not asks or float(bids[0][0]) < float(asks[0][0]), "the book is crossed"
        self.history[self.sequence] = dict(self.bids), dict(self.asks)

    def top(self, count: int) -> tuple[list[tuple[str, str]], list[tuple[str, str]]]:
        """The best levels of each side."""
        bids = sorted(self.bids.items(), key=lambda level: -float(level[0]))[:count]
        return bids, sorted(self.asks.items(), key=lambda level: float(level[0]))[:count]

    def checksum(self) -> int:
        """What the server says it is."""
        parts: list[str] = []
        for pair in itertools.zip_longest(*self.top(10)):
            parts.extend(f"{level[0]}:{level[1]}" for level in pair if level)
        return crc32(":".join(parts))


class Client:
    """One connection; ``messages`` holds all that came on a channel, by (type, symbol)."""

    def __init__(self, link: ClientConnection) -> None:
        self.link = link
        self.messages: dict[tuple[str, str | None], list[dict[str, Any]]] = defaultdict(list)
        self.answers: list[dict[str, Any]] = []
        self.books: dict[str, Book] = defaultdict(Book)
        self.close_code: int | None = None
        self._waiting: dict[Any, asyncio.Future[dict[str, Any]]] = {}
        self._ids = itertools.count(1)
        self._may_read = asyncio.Event()
        self._may_read.set()
        self._arrived = asyncio.Event()
        self._broken: BaseException | None = None
        self._reader = asyncio.create_task(self._read())

    async def _read(self) -> None:
        try:
            while True:
                await self._may_read.wait()
                message = json.loads(await self.link.recv())
                if message["type"] == "response":
                    self.answers.append(message)
                    waiting = self._waiting.pop(message["id"], None)
                    if waiting is not None and not waiting.done():
                        waiting.set_result(message)
                else:
                    self.messages[message["type"], message.get("symbol")].append(message)
                    if message["type"] == "depth" and "levels" not in message:
                        self.books[message["symbol"]].take(message)
                self._arrived.set()
        except ConnectionClosed:
            self.close_code = self.link.close_code
        except Exception as error:  # noqa: BLE001 - told to whoever waits, and when the connection is closed
            self._broken = error
            # Nobody reads on, so a closing handshake would only wait for its timeout.
            self.link.transport.abort()
        finally:
            for waiting in self._waiting.values():
                if self._broken is None:
                    waiting.cancel()
                elif not waiting.done():
                    waiting.set_exception(self._broken)
            self._waiting.clear()
            self._arrived.set()

    def pause(self) -> None:
        """Read nothing more for now."""
        self._may_read.clear()

    def read_on(self) -> None:
        """Read again."""
        self._may_read.set()

    async def fill(self, symbol: str, count: int) -> None:
        """Ask for so many snapshots of 50 levels, so that what the kernel keeps for a paused reader is full."""
        command = json.dumps({"op": "subscribe", "channel": "depth", "symbol": symbol, "levels": 50})
        for _ in range(count):
            await self.link.send(command)

    async def ask(self, op: str, **fields: Any) -> dict[str, Any]:
        """Send a command: its answer."""
        if self._broken is not None:
            raise self._broken
        number = next(self._ids)
        waiting = self._waiting[number] = asyncio.get_running_loop().create_future()
        await self.link.send(json.dumps({"op": op, "id": number, **fields}))
        return await asyncio.wait_for(waiting, 20)

    async def do(self, op: str, **fields: Any) -> Any:
        """Send a command that must succeed: its data."""
        answer = await self.ask(op, **fields)
        assert answer["success"], answer
        return answer["data"]

    async def refused(self, op: str, **fields: Any) -> str:
        """Send a command that must be refused: the code."""
        answer = await self.ask(op, **fields)
        assert not answer["success"], answer
        return str(answer["error"]["code"])

    async def until(self, holds: Callable[[], Any], within_s: float = 10.0) -> None:
        """Wait until something holds; looked at whenever a message came."""
        until = time.monotonic() + within_s
        while not holds():
            if self._broken is not None:
                raise self._broken
            assert time.monotonic() < until, f"it did not come about; last: {self.last()}"
            self._arrived.clear()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._arrived.wait(), 0.1)

    def last(self) -> dict[Any, Any]:
        """The last message of each channel."""
        return {key: str(found[-1])[:300] for key, found in self.messages.items()}

    async def closed(self, within_s: float = 10.0) -> int | None:
        """Wait for the end: its close code."""
        await asyncio.wait({self._reader}, timeout=within_s)
        assert self._reader.done(), "the connection is still open"
        return self.close_code

    async def close(self) -> None:
        """Close cleanly, or, if that is cut short, at once: the socket never outlives this."""
        self.read_on()
        try:
            await self.link.close()
        except BaseException:
            self.link.transport.abort()
            self._reader.cancel()
            raise
        await asyncio.gather(self._reader, return_exceptions=True)
        if self._broken is not None:
            raise self._broken

    def reset(self) -> None:
        """Cut the TCP connection without a word (RST)."""
        raw = self.link.transport.get_extra_info("socket")
        linger = (1).to_bytes(4, "little") + (0).to_bytes(4, "little")
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        self.link.transport.abort()


@contextlib.asynccontextmanager
async def client(port: int, token: str | None = None, *, receive_buffer: int = 0, **options: Any) -> Any:
    """A connection for the block; ``receive_buffer``: bytes the kernel holds for it."""
    if receive_buffer:
        raw = socket.socket()
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        raw.setblocking(False)
        await asyncio.get_running_loop().sock_connect(raw, ("127.0.0.1", port))
        options |= {"sock": raw, "max_queue": 1}
    headers = {"Authorization": f"Bearer {token}"} if token else None
    address = options.pop("address", f"ws://127.0.0.1:{port}/ws")
    options = {"max_size": None, "compression": None, "ping_interval": None, "proxy": None} | options
    link = await connect(address, additional_headers=headers, **options)
    opened = Client(link)
    try:
        yield opened
    finally:
        await opened.close()
