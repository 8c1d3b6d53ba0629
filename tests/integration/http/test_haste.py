"""Clients in a hurry: what they send is read in small pieces, waits in the kernel, and is answered in order."""

import asyncio
import contextlib
import time
from typing import Any

import pytest

from tests.harness.turns import Turns
from tests.integration.http.conftest import Serve, until
from trade_engine.http.bounds import BoundedHttp
from trade_engine.http.connections import Pace

REQUEST = b"GET /x HTTP/1.1\r\nHost: x\r\n\r\n"
#: What may wait in a server for one connection: a read of the loop's, and a slice.
UNREAD_MAX = 300_000


@pytest.fixture
def parsed(monkeypatch: pytest.MonkeyPatch) -> Turns:
    """Requests that the parser has begun, by turns of the loop."""
    turns, begin = Turns(), BoundedHttp.on_message_begin

    def count(connection: BoundedHttp) -> None:
        turns.one()
        begin(connection)

    monkeypatch.setattr(BoundedHttp, "on_message_begin", count)
    return turns


async def send_on(writer: asyncio.StreamWriter, content: bytes) -> None:
    """Send for as long as the other side takes it."""
    with contextlib.suppress(ConnectionError, asyncio.CancelledError):
        writer.write(content)
        await writer.drain()


async def count_answers(reader: asyncio.StreamReader, count: int) -> int:
    """Read so many answers, as far as they come."""
    found = 0
    with contextlib.suppress(TimeoutError, asyncio.IncompleteReadError):
        async with asyncio.timeout(60):
            while found < count:
                head = await reader.readuntil(b"\r\n\r\n")
                length = int(head.lower().partition(b"content-length: ")[2].split(b"\r\n")[0])
                await reader.readexactly(length)
                found += head.startswith(b"HTTP/1.1 200 ")
    return found


async def test_pipelined_requests_wait_unread_and_all_are_answered(serve: Serve, parsed: Turns) -> None:
    async with serve() as served, served.connected() as [(reader, writer)]:
        served.go.clear()
        sending = asyncio.create_task(send_on(writer, REQUEST * 20_000))
        await until(lambda: served.requests == 1 and parsed.all >= 2)
        for _ in range(50):
            await asyncio.sleep(0.01)
        (connection,) = served.protocols
        assert len(connection.pipeline) <= 60
        assert parsed.all <= 61
        assert len(connection._unread) <= UNREAD_MAX
        served.go.set()
        assert await count_answers(reader, 20_000) == 20_000
        await sending
        assert served.requests == 20_000


async def test_a_read_full_of_tiny_requests_is_parsed_over_many_turns(serve: Serve, parsed: Turns) -> None:
    async with serve() as served, parsed, served.connected() as [(reader, writer)]:
        sending = asyncio.create_task(send_on(writer, REQUEST * 5_000))
        assert await count_answers(reader, 5_000) == 5_000
        await sending
        assert parsed.most <= 16


@pytest.mark.parametrize(
    "piece",
    [b"1\r\nx\r\n" * 4_000, b"a" * 24_000],
    ids=["chunks of one byte", "a body"],
)
async def test_no_body_is_parsed_in_one_turn(serve: Serve, monkeypatch: pytest.MonkeyPatch, piece: bytes) -> None:
    turns, take = Turns(), BoundedHttp.on_body

    def count(connection: BoundedHttp, body: bytes) -> None:
        turns.one()
        take(connection, body)

    monkeypatch.setattr(BoundedHttp, "on_body", count)
    chunked = piece.startswith(b"1\r\n")
    kind = b"Transfer-Encoding: chunked" if chunked else b"Content-Length: %d" % len(piece)
    async with serve() as served, turns, served.connected() as [(reader, writer)]:
        writer.write(b"POST /x HTTP/1.1\r\nHost: x\r\n%b\r\n\r\n%b%b" % (kind, piece, b"0\r\n\r\n" if chunked else b""))
        async with asyncio.timeout(30):
            assert b" 200 " in await reader.readline()
            answer = await reader.readuntil(b"}")
            assert answer.endswith(b'"bytes": %d}' % (4_000 if chunked else 24_000))
        assert turns.most <= 16 * 1024 // 6 + 1


async def test_an_address_is_read_no_faster_than_its_pace(serve: Serve, parsed: Turns) -> None:
    async with serve(address_messages=Pace(50, 10)) as served, served.connected(8) as streams:
        started = time.monotonic()
        sending = [asyncio.create_task(send_on(writer, REQUEST * 5_000)) for _, writer in streams]
        await asyncio.sleep(1)
        took_s = time.monotonic() - started
        # Those who find no debt at once each parse a slice.
        assert parsed.all <= 10 + 50 * took_s + len(streams) * 2
        for task in sending:
            task.cancel()
        await asyncio.gather(*sending, return_exceptions=True)


@pytest.mark.parametrize(
    ("sent", "least"),
    [
        (REQUEST * 100, 100),
        (b"POST /x HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n" + b"1\r\nx\r\n" * 1_600, 100),
        (b"GET /x HTTP/1.1\r\nHost: x\r\n" + b"a: %b\r\n\r\n" % (b"b" * 30_000), 2.5),
        # Each pair of them could be the end of a head.
        (b"\r\n" * 8_000, 240),
    ],
    ids=["requests", "chunks of one byte", "a large header", "blank lines"],
)
async def test_whatever_makes_work_is_charged(serve: Serve, sent: bytes, least: float) -> None:
    async with serve(address_messages=Pace(1e-3, 1e6)) as served, served.connected() as [(_, writer)]:
        writer.write(sent)
        await writer.drain()
        await until(lambda: served.charged() >= least)
        assert served.charged() < 3 * least + 5


async def test_one_byte_a_segment_is_charged(serve: Serve) -> None:
    async with serve(address_messages=Pace(1e-3, 1e6)) as served, served.connected() as [(_, writer)]:
        for byte in b"GET /x HTTP/1.1\r\nHost: " + b"x" * 60:
            writer.write(bytes([byte]))
            await writer.drain()
            await asyncio.sleep(0)
        await until(lambda: served.charged() >= 2)


async def test_a_request_may_have_so_many_headers(serve: Serve) -> None:
    async with serve({"max_headers": 20}) as served:
        for count, status in ((20, b" 200 "), (21, b" 431 "), (3_000, b" 431 ")):
            async with served.connected() as [(reader, writer)]:
                writer.write(b"GET /x HTTP/1.1\r\n" + b"a:b\r\n" * count + b"\r\n")
                assert status in await reader.readline()


@pytest.mark.parametrize(
    "first",
    [
        b"CONNECT x:1 HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET /x HTTP/1.1\r\nHost: x\r\nUpgrade: h2c\r\nConnection: Upgrade\r\n\r\n",
        b"GET /x HTTP/1.0\r\nConnection: keep-alive\r\n\r\n",
        b"GET /x HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    ],
)
async def test_what_ends_a_connection_ends_it_whatever_follows(serve: Serve, first: bytes) -> None:
    async with serve() as served, served.connected() as [(reader, writer)]:
        sending = asyncio.create_task(send_on(writer, first + b"\x00" * 3_000_000))
        with contextlib.suppress(ConnectionError):
            said = await asyncio.wait_for(reader.read(), 20)
            assert said.count(b"HTTP/1.1 ") == 1
        sending.cancel()
        await until(lambda: not served.protocols)
        assert served.requests <= 1


async def test_a_client_that_takes_no_answer_is_cut_off(serve: Serve) -> None:
    async with serve({"write_timeout_s": 0.3}) as served, served.connected() as [(reader, writer)]:
        served.answer = b"x" * 20_000_000
        transport: Any = writer.transport
        transport.pause_reading()
        writer.write(REQUEST)
        await until(lambda: served.requests == 1)
        await until(lambda: not served.protocols)
        assert served.connections.open == 0
        del reader
