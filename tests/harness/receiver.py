"""A receiver of webhooks: a real HTTP server on loopback that keeps what it took, and can be told to misbehave."""

import asyncio
import base64
import contextlib
import hashlib
import hmac
import json
from collections.abc import Awaitable, Callable
from typing import Any, NamedTuple

from tests.harness.ports import steady_port


class Taken(NamedTuple):
    """One request that was answered 200."""

    message_id: str
    timestamp_s: int
    signatures: list[str]
    body: bytes
    headers: dict[str, str]

    @property
    def event(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.body)
        return found

    def is_signed_with(self, secret: str) -> bool:
        """Whether one of its signatures is of this secret, checked as a receiver would."""
        key = base64.b64decode(secret.removeprefix("whsec_"))
        signed = f"{self.message_id}.{self.timestamp_s}.".encode() + self.body
        made = "v1," + base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()
        return any(hmac.compare_digest(made, each) for each in self.signatures)


Misbehaviour = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


class Receiver:
    """Takes webhooks; ``status`` is what it answers, ``misbehave`` is done instead of an answer."""

    def __init__(self) -> None:
        self.port = steady_port()
        self.status = 200
        self.misbehave: Misbehaviour | None = None
        self.taken: list[Taken] = []
        self.requests = 0
        self._server: asyncio.Server | None = None
        self._open: set[asyncio.StreamWriter] = set()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/hook"

    async def start(self) -> "Receiver":
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)
        return self

    async def stop(self) -> None:
        server, self._server = self._server, None
        if server is not None:
            server.close()
            for writer in list(self._open):
                writer.close()
            await asyncio.sleep(0)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._open.add(writer)
        try:
            while await self._answer(reader, writer):
                pass
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            self._open.discard(writer)
            writer.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        lines = [line.partition(": ") for line in head.split("\r\n")[1:] if line]
        headers = {name.lower(): value for name, _, value in lines}
        body = await reader.readexactly(int(headers.get("content-length", "0")))
        self.requests += 1
        if self.misbehave is not None:
            await self.misbehave(reader, writer)
            return False
        if self.status == 200:
            self.taken.append(
                Taken(
                    headers["webhook-id"], int(headers["webhook-timestamp"]),
                    headers["webhook-signature"].split(" "), body, headers,
                )
            )  # fmt: skip
        writer.write(f"HTTP/1.1 {self.status} OK\r\nContent-Length: 2\r\n\r\nok".encode())
        await writer.drain()
        return True


async def hang(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
    """A misbehaviour: never answer."""
    await reader.read()
