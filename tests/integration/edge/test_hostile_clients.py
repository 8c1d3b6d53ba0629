"""Clients that are slow, endless, binary or malformed: they are let go, and everybody else is answered meanwhile."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator

import httpx
import pytest

from tests.integration.edge.conftest import Api, Start

Stream = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@contextlib.asynccontextmanager
async def connected(port: int, count: int = 1) -> AsyncIterator[list[Stream]]:
    streams = [await asyncio.open_connection("127.0.0.1", port) for _ in range(count)]
    try:
        yield streams
    finally:
        for _, writer in streams:
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()


async def ended(reader: asyncio.StreamReader, within_s: float = 5.0) -> bytes:
    """What the server says until it closes."""
    async with asyncio.timeout(within_s):
        with contextlib.suppress(ConnectionError):
            return await reader.read()
        return b""


async def healthy(api: Api) -> None:
    """The server answers others, soon."""
    started = time.monotonic()
    assert (await api.http.get("/health/live")).status_code == 200
    answer = await api.http.post("/api/v1/orders", json={}, headers=api.headers())
    assert answer.status_code == 400
    assert time.monotonic() - started < 10


async def test_slow_headers_are_let_go_while_others_are_answered(start: Start) -> None:
    async with start(server={"header_timeout_s": 0.5}) as api, connected(api.port, 200) as slow:
        for _, writer in slow:
            writer.write(b"GET /health/live HTTP/1.1\r\nHost: x\r\nX-A: ")

        async def drip(writer: asyncio.StreamWriter) -> None:
            with contextlib.suppress(ConnectionError):
                for _ in range(50):
                    writer.write(b"a")
                    await writer.drain()
                    await asyncio.sleep(0.1)

        dripping = [asyncio.create_task(drip(writer)) for _, writer in slow]
        await healthy(api)
        said = await asyncio.gather(*(ended(reader) for reader, _ in slow))
        assert all(text.startswith(b"HTTP/1.1 408 ") or not text for text in said)
        assert sum(text.startswith(b"HTTP/1.1 408 ") for text in said) > 100
        for task in dripping:
            task.cancel()
        await asyncio.gather(*dripping, return_exceptions=True)
        await healthy(api)


async def test_a_connection_that_says_nothing_and_one_that_only_sends_blank_lines_end(start: Start) -> None:
    async with start(server={"header_timeout_s": 0.3}) as api, connected(api.port, 2) as (silent, blank):
        blank[1].write(b"\r\n" * 10)
        assert (await ended(silent[0])).startswith(b"HTTP/1.1 408 ")
        assert (await ended(blank[0])).startswith(b"HTTP/1.1 408 ")


async def test_a_second_request_has_a_time_of_its_own(start: Start) -> None:
    async with start(server={"header_timeout_s": 0.4}) as api, connected(api.port) as [(reader, writer)]:
        request = b"GET /health/live HTTP/1.1\r\nHost: x\r\n\r\n"
        for _ in range(3):
            writer.write(request[:10])
            await asyncio.sleep(0.25)
            writer.write(request[10:])
            assert b" 200 " in await reader.readline()
            while await reader.readline() != b"\r\n":
                pass
            await reader.readexactly(len(b'{"status":"alive"}'))
        writer.write(request[:10])
        assert (await ended(reader)).startswith(b"HTTP/1.1 408 ")


async def test_a_slow_body_is_let_go(start: Start) -> None:
    async with start(server={"body_timeout_s": 0.3}) as api, connected(api.port) as [(reader, writer)]:
        token = api.headers()["Authorization"].encode()
        writer.write(b"POST /api/v1/orders HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\nAuthorization: " + token)
        writer.write(b"\r\n\r\n{")
        assert (await ended(reader)).startswith(b"HTTP/1.1 408 ")
        await healthy(api)


async def test_endless_headers_are_let_go(start: Start) -> None:
    async with start() as api, connected(api.port) as [(reader, writer)]:
        writer.write(b"GET /health/live HTTP/1.1\r\nHost: x\r\n")
        with contextlib.suppress(ConnectionError):
            for number in range(200):
                writer.write(b"X-%d: %s\r\n" % (number, b"a" * 1000))
                await writer.drain()
        said = await ended(reader)
        assert said.startswith(b"HTTP/1.1 431 ") or not said
        await healthy(api)


async def test_one_connection_too_many_is_told_so(start: Start) -> None:
    few = {"connections": 3, "reserve": 0}
    async with start(connections=few) as api, connected(api.port, 4) as streams:
        said = await ended(streams[3][0])
        assert said.startswith(b"HTTP/1.1 503 ")
        assert b"retry-after" in said


@pytest.mark.parametrize(
    "garbage",
    [
        bytes(range(256)) * 8,
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(500),
        b"GET \xff\xfe HTTP/1.1\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"POST /api/v1/orders HTTP/1.1\r\nContent-Length: -1\r\n\r\n",
        b"POST /api/v1/orders HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"POST /api/v1/orders HTTP/1.1\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"GET //[ HTTP/1.1\r\nHost: x\r\n\r\n",
        b"\r\n\r\n\r\n",
        b"GET /ws HTTP/1.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n",
    ],
)
async def test_garbage_ends_and_harms_nobody(start: Start, garbage: bytes) -> None:
    async with start(server={"header_timeout_s": 0.3}) as api, connected(api.port) as [(reader, writer)]:
        writer.write(garbage)
        writer.write_eof()
        said = await ended(reader)
        assert not said.startswith((b"HTTP/1.1 2", b"HTTP/1.1 500"))
        await healthy(api)


async def test_a_chunked_body_over_the_limit_is_refused(api: Api) -> None:
    async def endless() -> AsyncIterator[bytes]:
        for _ in range(100):
            yield b" " * 4096

    with contextlib.suppress(httpx.TransportError):
        answer = await api.http.post("/api/v1/orders", content=endless(), headers=api.headers())
        assert answer.status_code == 413
    await healthy(api)


@pytest.mark.parametrize("body", [b"[" * 60_000, b'{"a":' * 10_000, b'{"symbol":' + b"[" * 50_000])
async def test_deep_nesting_is_refused(api: Api, body: bytes) -> None:
    answer = await api.http.post("/api/v1/orders", content=body, headers=api.headers())
    assert answer.status_code == 400
    assert answer.json()["error"]["code"] in ("INVALID_JSON", "INVALID_BODY", "UNKNOWN_FIELD", "INVALID_SYMBOL")
    await healthy(api)
