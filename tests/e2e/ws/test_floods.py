"""A stranger who floods a WebSocket: he is read slowly, the others are served, and nothing of it stays."""

import asyncio
import base64
import contextlib
import os
import socket
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest
from websockets.frames import Frame

from tests.e2e.ws.client import client
from tests.e2e.ws.conftest import Start
from tests.e2e.ws.flow import rich
from tests.harness.turns import Turns
from trade_engine.edge.ws.connection import StreamConnection

MASK = b"\0\0\0\0"
PING, PONG, JUNK = b"\x89\x80" + MASK, b"\x8a\x80" + MASK, b"\x81\x82" + MASK + b"{}"
EMPTY, BEGIN, CONTINUE = b"\x81\x80" + MASK, b"\x01\x80" + MASK, b"\x00\x80" + MASK
ASK = b'{"op":"ping","id":7}'
COMMAND = b"\x81" + bytes([0x80 | len(ASK)]) + MASK + ASK


@pytest.fixture
def handled(monkeypatch: pytest.MonkeyPatch) -> Turns:
    turns, handle = Turns(), StreamConnection._frame

    def count(connection: StreamConnection, frame: Frame) -> None:
        turns.one()
        handle(connection, frame)

    monkeypatch.setattr(StreamConnection, "_frame", count)
    return turns


def handshake(more: bytes = b"", target: bytes = b"/ws") -> bytes:
    """The request for a WebSocket."""
    key = base64.b64encode(os.urandom(16))
    return (
        b"GET %b HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
        b"Sec-WebSocket-Key: %b\r\n%b\r\n" % (target, key, more)
    )


@contextlib.asynccontextmanager
async def opened(
    port: int, more: bytes = b"", early: bytes = b""
) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter, bytes]]:
    """A WebSocket on a bare socket, and the head of its answer."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    # What the kernel does not take must not depend on how much memory it has.
    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 16_384)
    try:
        writer.write(handshake(more) + early)
        yield reader, writer, await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 20)
    finally:
        # A flood that is not read would never be sent to its end.
        writer.transport.abort()


async def flood(writer: asyncio.StreamWriter, content: bytes) -> None:
    """Send for as long as the other side takes it."""
    with contextlib.suppress(ConnectionError, asyncio.CancelledError):
        writer.write(content)
        await writer.drain()


async def said(reader: asyncio.StreamReader, what: bytes, count: int) -> bytes:
    """What the server says until it has said something so many times; at the end its answer to a command."""
    heard = b""
    async with asyncio.timeout(60):
        while heard.count(what) < count or b'"id":7' not in heard:
            heard += await reader.read(1 << 16)
    assert heard.count(what) == count
    return heard


FLOODS = {
    "pings": PING * 100_000,
    "pongs": PONG * 100_000,
    "junk": JUNK * 100_000,
    "empty messages": EMPTY * 100_000,
    "empty fragments": BEGIN + CONTINUE * 100_000,
    "commands": COMMAND * 20_000,
}


async def test_a_flood_is_read_at_the_pace_of_the_connection(start: Start, handled: Turns) -> None:
    pace = {"websocket__commands_per_s": 10, "websocket__commands_burst": 20}
    async with start(**pace) as venue, handled:
        trader = await rich(venue, symbol := venue.market())
        for number, (kind, content) in enumerate(FLOODS.items(), 1):
            async with opened(venue.running.websocket.port) as (_, writer, head):
                assert b" 101 " in head
                handled.all = handled.most = 0
                started = time.monotonic()
                flooding = asyncio.create_task(flood(writer, content))
                await trader.order(symbol, "BUY", "1", "100.00")
                async with client(venue.running.websocket.port) as other:
                    assert (await other.do("ping"))["time"]
                # Four frames a command, the slice that used the budget up, and what the other one sends; what is left
                # of earlier floods is read on, at the same pace.
                assert handled.all <= 4 * (20 + 10 * number * (time.monotonic() - started)) + 100 * number, kind
                assert handled.most <= 4 * 512 // 6 + 1, kind
                flooding.cancel()
                await flooding


async def test_without_a_pace_a_flood_is_still_read_in_slices(start: Start, handled: Turns) -> None:
    options = {"server__address_messages_per_s": 0}
    async with start(**options) as venue, handled, opened(venue.running.websocket.port) as (reader, writer, _):
        flooding = asyncio.create_task(flood(writer, PING * 20_000 + COMMAND))
        assert await said(reader, b"\x8a\x00", 20_000)
        assert handled.most <= 4 * 512 // 6 + 1
        await flooding


async def test_many_connections_of_an_address_share_its_pace(start: Start, handled: Turns) -> None:
    async with start(server__address_messages_per_s=40) as venue, contextlib.AsyncExitStack() as stack:
        port = venue.running.websocket.port
        links = [await stack.enter_async_context(opened(port)) for _ in range(10)]
        before, started = handled.all, time.monotonic()
        flooding = [asyncio.create_task(flood(writer, PING * 50_000)) for _, writer, _ in links]
        await asyncio.sleep(1.0)
        # A frame costs a fifth; a burst is half a second's; each connection may have begun a slice.
        assert handled.all - before <= 5 * 40 * (time.monotonic() - started + 0.5) + 10 * 86
        for task in flooding:
            task.cancel()
        await asyncio.gather(*flooding)


async def test_who_is_read_slowly_is_read_to_the_end_and_in_order(start: Start) -> None:
    pace = {"websocket__commands_per_s": 1000, "websocket__commands_burst": 10}
    async with start(**pace) as venue, opened(venue.running.websocket.port) as (reader, writer, _):
        flooding = asyncio.create_task(flood(writer, PING * 2_000 + COMMAND))
        assert b'"id":7' in await said(reader, b"\x8a\x00", 2_000)
        await flooding


async def test_what_is_sent_with_the_handshake_is_read_after_it(start: Start) -> None:
    async with start() as venue, opened(venue.running.websocket.port, early=PING + COMMAND) as (reader, _, head):
        assert b" 101 " in head
        assert b'"id":7' in await said(reader, b"\x8a\x00", 1)


async def test_a_message_has_so_many_fragments(start: Start) -> None:
    async with start() as venue, opened(venue.running.websocket.port) as (reader, writer, _):
        writer.write(BEGIN + CONTINUE * 998 + b"\x80\x82" + MASK + b"{}")
        await asyncio.wait_for(reader.readuntil(b"UNKNOWN_COMMAND"), 20)
        writer.write(BEGIN + CONTINUE * 1_000)
        assert (1008).to_bytes(2, "big") in await asyncio.wait_for(reader.readuntil(b"fragments"), 20)


async def test_nothing_is_compressed(start: Start) -> None:
    offer = b"Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n"
    async with start() as venue, opened(venue.running.websocket.port, offer) as (reader, writer, head):
        assert b" 101 " in head
        assert b"extensions" not in head.lower()
        writer.write(b"\xc1\x82" + MASK + b"{}")
        assert (1002).to_bytes(2, "big") in await asyncio.wait_for(reader.read(), 20)


async def test_pongs_that_are_not_read_stop_the_reading(start: Start) -> None:
    small = {"websocket__buffer_bytes": 4096, "websocket__socket_bytes": 4096, "server__address_messages_per_s": 0}
    async with start(**small) as venue, opened(venue.running.websocket.port) as (reader, writer, _):
        stalled: Any = writer.transport
        stalled.pause_reading()
        payload = b"x" * 125
        flooding = asyncio.create_task(flood(writer, (b"\x89\xfd" + MASK + payload) * 20_000))
        (connection,) = venue.running.streams._connections
        async with asyncio.timeout(30):
            while not connection._held or connection._transport.get_write_buffer_size() < 4096:
                await asyncio.sleep(0.01)
        for _ in range(50):
            await asyncio.sleep(0.01)
        assert connection._transport.get_write_buffer_size() < 200_000
        stalled.resume_reading()
        async with asyncio.timeout(60):
            pongs = 0
            while pongs < 500_000:
                pongs += len(await reader.read(1 << 16))
        flooding.cancel()
        await flooding


async def test_a_flood_of_handshakes_is_refused_and_leaves_nothing(start: Start) -> None:
    limits = {"rate_limit__public_per_s": 1, "rate_limit__public_burst": 5}
    async with start(**limits) as venue:
        port = venue.running.websocket.port
        streams = [await asyncio.open_connection("127.0.0.1", port) for _ in range(50)]
        for _, writer in streams:
            writer.write(handshake())
        heads = [await asyncio.wait_for(reader.readline(), 20) for reader, _ in streams]
        assert sum(b" 429 " in head for head in heads) >= 40
        for _, writer in streams:
            writer.close()
        async with asyncio.timeout(20):
            while venue.running.streams.connections or venue.running.api.connections.open:
                await asyncio.sleep(0.01)
