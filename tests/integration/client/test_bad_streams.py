"""A stream against a server that misbehaves on purpose: what can be mended is, what cannot ends it with a reason."""

import asyncio
import contextlib
import http
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
from websockets.asyncio.server import ServerConnection, serve
from websockets.http11 import Request, Response

from trade_engine.client import (
    AsyncClient,
    ClientError,
    DepthMessage,
    OutcomeUnknown,
    ProtocolError,
    RateLimited,
    Retry,
    TradesMessage,
)

QUICK = Retry(deadline_s=1.5, timeout_s=1, first_pause_s=0.02, longest_pause_s=0.1)
TRADES = '{"type":"trades","symbol":"X/Y","sequence":%d,"data":[],"snapshot":true}'
DEPTH = '{"type":"depth","symbol":"X/Y","sequence":%d,"snapshot":true,"checksum":%d,"data":{"bids":[],"asks":[]}}'

Respond = Callable[[ServerConnection, dict[str, Any]], Awaitable[None]]


class Script:
    """A WebSocket server that says yes to every command, then does as the test wants; it counts what came."""

    def __init__(self, respond: Respond | None = None, refuse: list[http.HTTPStatus] | None = None) -> None:
        self.commands: list[dict[str, Any]] = []
        self._respond = respond
        self._refuse = refuse or []

    @contextlib.asynccontextmanager
    async def serving(self, token: str | None = None) -> AsyncIterator[AsyncClient]:
        """The server, and a client of it."""
        async with serve(self._talk, "127.0.0.1", 0, process_request=self._greet) as server:
            port = next(iter(server.sockets)).getsockname()[1]
            async with AsyncClient(f"http://127.0.0.1:{port}", token=token, retry=QUICK) as client:
                yield client

    def _greet(self, connection: ServerConnection, _: Request) -> Response | None:
        return connection.respond(self._refuse.pop(0), "no") if self._refuse else None

    async def _talk(self, connection: ServerConnection) -> None:
        async for frame in connection:
            command = json.loads(frame)
            self.commands.append(command)
            if self._respond is None or command["op"] != "subscribe":
                await self.answer(connection, command)
            if self._respond is not None:
                await self._respond(connection, command)

    @staticmethod
    async def answer(connection: ServerConnection, command: dict[str, Any], **more: Any) -> None:
        """Say yes, or what ``more`` says."""
        body = {"type": "response", "op": command["op"], "id": command["id"], "success": True, "data": {}}
        await connection.send(json.dumps(body | more))

    def count(self, op: str) -> int:
        """How often a command came."""
        return sum(command["op"] == op for command in self.commands)


async def test_what_is_none_of_the_protocol_ends_the_stream() -> None:
    async def respond(connection: ServerConnection, command: dict[str, Any]) -> None:
        await Script.answer(connection, command)
        await connection.send('{"type":"weather"}')

    async with Script(respond).serving() as client, client.stream() as stream:
        await stream.subscribe("trades", "X/Y")
        for _ in range(2):
            with pytest.raises(ProtocolError, match="none of this protocol"):
                await anext(stream)
        with pytest.raises(ClientError):
            await stream.ping()


@pytest.mark.parametrize(("status", "mended"), [(503, True), (429, True), (404, False), (403, False)])
async def test_a_handshake_that_is_refused(status: int, mended: bool) -> None:
    async with Script(refuse=[http.HTTPStatus(status)]).serving() as client:
        if mended:
            async with client.stream() as stream:
                assert stream.connected
        else:
            with pytest.raises(ProtocolError, match=str(status)):
                async with client.stream():
                    pass


async def test_a_snapshot_that_is_wrong_is_asked_for_again() -> None:
    async def respond(connection: ServerConnection, command: dict[str, Any]) -> None:
        if command["op"] == "subscribe":
            await Script.answer(connection, command)
            await connection.send(DEPTH % (len(script.commands), 0 if len(script.commands) > 4 else 1))

    script = Script(respond)
    async with script.serving() as client, client.stream() as stream:
        await stream.subscribe("depth", "X/Y")
        message = await anext(stream)
        assert isinstance(message, DepthMessage)
        assert (stream.book("X/Y").synced, stream.book("X/Y").resyncs) == (True, 2)
        assert (script.count("subscribe"), script.count("unsubscribe")) == (3, 2)
        await stream.unsubscribe("depth", "X/Y")
        with pytest.raises(KeyError):
            stream.book("X/Y")


async def test_a_book_that_cannot_be_asked_for_again_costs_the_connection() -> None:
    async def respond(connection: ServerConnection, command: dict[str, Any]) -> None:
        if command["op"] == "subscribe" and script.count("unsubscribe") < 1:
            await Script.answer(connection, command)
            await connection.send(DEPTH % (1, 1))
        elif command["op"] == "subscribe" and script.count("subscribe") == 2:
            error = {"code": "INVALID_SYMBOL", "message": "m", "details": {}}
            await Script.answer(connection, command, success=False, error=error)
        elif command["op"] == "subscribe":
            await Script.answer(connection, command)
            await connection.send(DEPTH % (2, 0))

    script = Script(respond)
    async with script.serving() as client, client.stream() as stream:
        await stream.subscribe("depth", "X/Y")
        await anext(stream)
        assert (stream.book("X/Y").synced, stream.connections) == (True, 2)


async def test_each_reconnection_says_everything_again() -> None:
    async def respond(connection: ServerConnection, command: dict[str, Any]) -> None:
        if command["op"] == "subscribe":
            await Script.answer(connection, command)
            await connection.send(TRADES % script.count("subscribe"))
            if script.count("subscribe") < 3:
                await connection.close(4429, "too many connections")

    script = Script(respond)
    async with script.serving(token="t") as client, client.stream() as stream:
        await stream.cancel_on_disconnect()
        await stream.subscribe("trades", "X/Y")
        seen = []
        for _ in range(3):
            message = await anext(stream)
            assert isinstance(message, TradesMessage)
            seen.append(message.sequence)
        assert seen == [1, 2, 3]
    assert [command["op"] for command in script.commands] == [
        "auth", "cancel_on_disconnect", "subscribe", *["auth", "cancel_on_disconnect", "subscribe"] * 2,
    ]  # fmt: skip


async def test_too_fast_over_a_stream_waits() -> None:
    async def respond(connection: ServerConnection, command: dict[str, Any]) -> None:
        if command["op"] == "subscribe":
            wait_ms = 200 if len(script.commands) == 1 else 60_000
            error = {"code": "RATE_LIMITED", "message": "m", "details": {"retry_after_ms": wait_ms}}
            await Script.answer(connection, command, success=False, error=error)

    script = Script(respond)
    async with script.serving() as client, client.stream() as stream:
        with pytest.raises(RateLimited) as caught:
            await stream.subscribe("trades", "X/Y")
        assert (caught.value.retry_after, script.count("subscribe")) == (60, 2)


async def test_a_server_that_never_answers() -> None:
    async def respond(connection: ServerConnection, command: dict[str, Any]) -> None:
        await asyncio.sleep(0)

    script = Script(respond)
    async with script.serving() as client, client.stream() as stream:
        with pytest.raises(OutcomeUnknown, match="subscribe"):
            await stream.subscribe("trades", "X/Y")
        assert script.count("subscribe") >= 2
