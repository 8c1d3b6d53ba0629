"""An HTTP server with an application that a test can hold, and clients on bare sockets."""

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from starlette.types import Receive, Scope, Send

from trade_engine.http.connections import Connections, ConnectionSettings
from trade_engine.http.server import ApiServer
from trade_engine.http.settings import ServerSettings

Stream = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class Served:
    """A running server; ``go`` lets its application answer."""

    def __init__(self, server: dict[str, Any], connections: dict[str, Any]) -> None:
        self.go = asyncio.Event()
        self.go.set()
        self.requests = 0
        self.answer = b"{}"
        settings: dict[str, Any] = {"port": 0, "shutdown_timeout_s": 1, "probe_paths": frozenset({"/health/live"})}
        self.connections = Connections(ConnectionSettings(**connections))
        self.server = ApiServer(self.app, ServerSettings(**settings | server), self.connections)

    async def app(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer with what was asked for, when it may."""
        self.requests += 1
        body = b""
        if scope["method"] == "POST":
            more = True
            while more:
                message = await receive()
                body += message.get("body", b"")
                more = message.get("more_body", False)
        await self.go.wait()
        asked = {"path": scope["path"], "bytes": len(body)}
        content = json.dumps(asked).encode() if self.answer == b"{}" else self.answer
        head = [(b"content-length", str(len(content)).encode())]
        await send({"type": "http.response.start", "status": 200, "headers": head})
        await send({"type": "http.response.body", "body": content})

    @property
    def port(self) -> int:
        """Where it listens."""
        return self.server.port

    @property
    def protocols(self) -> list[Any]:
        """The connections that uvicorn knows."""
        return list(self.server._server.server_state.connections)

    @contextlib.asynccontextmanager
    async def connected(self, count: int = 1) -> AsyncIterator[list[Stream]]:
        """So many bare connections."""
        streams = [await asyncio.open_connection("127.0.0.1", self.port) for _ in range(count)]
        try:
            yield streams
        finally:
            for _, writer in streams:
                writer.close()
                with contextlib.suppress(OSError):
                    await writer.wait_closed()

    def charged(self) -> float:
        """What was charged to this machine, with a pace of 0.001 a second, in messages."""
        paces = self.connections.messages
        return (paces._paid_at.get("127.0.0.1", 0.0) - time.monotonic()) / 1e3

    async def status(self, path: str = "/x") -> int:
        """The status of one request on a connection of its own; 0 if there is no answer."""
        async with self.connected() as [(reader, writer)]:
            writer.write(f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
            line = b""
            with contextlib.suppress(ConnectionError):
                line = await asyncio.wait_for(reader.readline(), 10)
            return int(line.split()[1]) if line else 0


Serve = Callable[..., contextlib.AbstractAsyncContextManager[Served]]


@pytest.fixture
def serve() -> Serve:
    """Starts a server with these options of it and of its connections."""

    @contextlib.asynccontextmanager
    async def run(server: dict[str, Any] | None = None, **connections: Any) -> AsyncIterator[Served]:
        served = Served(server or {}, connections)
        await served.server.start()
        try:
            yield served
        finally:
            served.go.set()
            await served.server.stop()

    return run


async def until(condition: Callable[[], Any], within_s: float = 20.0) -> None:
    """Wait for something."""
    async with asyncio.timeout(within_s):
        while not condition():
            await asyncio.sleep(0.01)
