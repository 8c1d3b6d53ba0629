"""Connections too many and too fast, on real sockets: refused at the door, while probes are still answered."""

import asyncio
import contextlib
import errno
import resource
import socket

import pytest

from tests.integration.http.conftest import Serve, until
from trade_engine.http.acceptor import Acceptor
from trade_engine.http.connections import Pace

HEALTH = b"GET /health/live HTTP/1.1\r\nHost: x\r\n\r\n"
SLOW = Pace(0.01, 3)


async def test_one_address_cannot_take_all_places(serve: Serve) -> None:
    async with serve(address_connections=3, reserve=0) as served, served.connected(3):
        assert await served.status() == 429
        assert served.connections.open == 3
        assert served.connections.refused == 1


async def test_who_connects_too_fast_is_refused(serve: Serve) -> None:
    async with serve(address_accepts=SLOW, reserve=0) as served:
        assert [await served.status() for _ in range(6)] == [200] * 4 + [429] * 2
        await until(lambda: served.connections.open == 0)


async def test_probes_are_answered_when_all_places_are_taken(serve: Serve) -> None:
    async with serve(connections=2) as served, served.connected(2):
        for _ in range(3):
            assert await served.status("/health/live") == 200
        assert await served.status("/x") == 503
        assert served.requests == 3
        assert (served.connections.open, served.connections.refused) == (2, 1)


async def test_a_place_in_reserve_serves_one_probe_soon(serve: Serve) -> None:
    few = {"address_connections": 1, "address_reserve": 1}
    async with serve({"probe_timeout_s": 0.3}, **few) as served, served.connected():
        async with served.connected() as [(reader, writer)]:
            writer.write(HEALTH * 3)
            said = await asyncio.wait_for(reader.read(), 10)
            assert said.count(b"HTTP/1.1 200 ") == 1
            assert b"connection: close" in said
        async with served.connected() as [(reader, _)]:
            assert (await asyncio.wait_for(reader.read(), 10)).startswith(b"HTTP/1.1 408 ")
        async with served.connected() as [(reader, writer)]:
            writer.write(HEALTH.replace(b"\r\n\r\n", b"\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n"))
            assert (await asyncio.wait_for(reader.read(), 10)).startswith(b"HTTP/1.1 200 ")
        assert await served.status("/x") == 429
        assert await served.status("/health/live") == 200


async def test_every_place_is_given_back(serve: Serve) -> None:
    async with serve() as served:
        for content in (b"", HEALTH, b"\x00", HEALTH[:10], HEALTH * 50):
            async with served.connected(20) as streams:
                for _, writer in streams:
                    writer.write(content)
                    await writer.drain()
        await until(lambda: served.connections.open == 0)


async def test_few_are_taken_in_one_turn_of_the_loop(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    taken: list[int] = []
    ready = Acceptor._ready

    def count(acceptor: Acceptor) -> None:
        before = acceptor._connections.open + acceptor._connections.refused
        ready(acceptor)
        taken.append(acceptor._connections.open + acceptor._connections.refused - before)

    monkeypatch.setattr(Acceptor, "_ready", count)
    async with serve(address_connections=100, reserve=0, address_accepts=Pace(0, 1)) as served:
        waiting = [socket.socket() for _ in range(150)]
        for client in waiting:
            client.setblocking(False)
            client.connect_ex(("127.0.0.1", served.port))
        await until(lambda: sum(taken) == 150)
        assert max(taken) <= 16
        assert (served.connections.open, served.connections.refused) == (100, 50)
        for client in waiting:
            client.close()


async def test_without_file_descriptors_the_server_waits_and_goes_on(serve: Serve) -> None:
    async with serve(address_accepts=Pace(0, 1)) as served:
        assert await served.status() == 200
        await until(lambda: served.connections.open == 0)
        client = socket.socket()
        client.setblocking(False)
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        spare = [socket.socket() for _ in range(2)]
        resource.setrlimit(resource.RLIMIT_NOFILE, (spare[-1].fileno() + 1, hard))
        try:
            hoard = []
            with contextlib.suppress(OSError):
                while True:
                    hoard.append(socket.socket())
            with pytest.raises(OSError, match="Too many open files") as full:
                socket.socket()
            assert full.value.errno == errno.EMFILE
            client.connect_ex(("127.0.0.1", served.port))
            for _ in range(30):
                await asyncio.sleep(0.01)
            assert served.connections.open == 0
            for taken in (*hoard, *spare):
                taken.close()
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        await until(lambda: served.connections.open == 1)
        client.close()
        assert await served.status() == 200
