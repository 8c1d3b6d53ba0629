"""Strangers on streams: floods of frames, subscriptions and requests, huge ones, and those who never read."""

import asyncio
import itertools
import json
from typing import Any

import msgspec
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

from tests.e2e.binance.conftest import Face, Key
from tests.e2e.binance.socket import socket
from tests.e2e.binance.test_streams import port, quoted
from trade_engine.marketdata.intervals import INTERVALS


def every_stream(face: Face) -> list[str]:
    """Every stream that there is."""
    markets = [symbol.replace("/", "").lower() for symbol in face.venue.running.services.reader.markets]
    kinds = [
        "trade",
        "aggTrade",
        "miniTicker",
        "ticker",
        "bookTicker",
        "depth",
        "depth@100ms",
        "depth5",
        "depth20@100ms",
    ]
    return [f"{market}@{kind}" for market in markets for kind in (*kinds, *(f"kline_{name}" for name in INTERVALS))]


async def test_floods_end_and_disturb_nobody(face: Face) -> None:
    symbol, joined = face.market()
    buyer, _ = await quoted(face, symbol)
    names = every_stream(face)[:1_024]
    streams = face.venue.running.streams
    streams.settings = msgspec.structs.replace(streams.settings, commands_per_s=1, commands_burst=20)

    async def flood(message: str) -> int:
        """Send as fast as it goes, until it is closed: with which code."""
        async with connect(f"ws://127.0.0.1:{port(face)}/ws", max_size=None, max_queue=None) as link:
            try:
                for _ in range(100):
                    await link.send(message)
                    # The engine and whoever trades are in the same loop.
                    await asyncio.sleep(0)
                await asyncio.wait_for(link.wait_closed(), 60)
            except ConnectionClosed:
                pass
            return link.close_code or 0

    floods = [
        json.dumps({"method": "SUBSCRIBE", "params": names, "id": 1}),
        json.dumps({"method": "LIST_SUBSCRIPTIONS", "id": 1}),
        json.dumps({"method": "SET_PROPERTY", "params": ["combined", True], "id": 1}),
    ]
    async with socket(port(face), f"/ws/{joined.lower()}@bookTicker") as quiet:
        running = [asyncio.create_task(flood(message)) for message in floods]
        for n in range(10):
            await buyer.order(symbol, "BUY", "0.1", f"{80 + n}")
        await buyer.order(symbol, "BUY", "1", "100")
        await quiet.until(lambda: quiet.messages[-1]["b"] == "100.00000000")
        assert {await task for task in running} <= {1006, 1008}
    hub = streams.hub
    async with asyncio.timeout(10):
        while hub._groups:
            await asyncio.sleep(0.05)
    assert not hub._behind


async def test_what_is_too_much_of_one_connection(face: Face) -> None:
    async with socket(port(face)) as link:
        for bad in ([f"t{n}usdt@trade" for n in range(1_025)], ["x" * 60_000]):
            assert (await link.ask("SUBSCRIBE", bad))["code"] == 2
        assert (await link.ask("LIST_SUBSCRIPTIONS"))["result"] == []
        await link.link.send(json.dumps({"method": "SUBSCRIBE", "params": ["y" * 70_000], "id": 1}))
        assert await link.closed() == 1009


async def test_requests_at_once_are_bounded(face: Face) -> None:
    me: Key = await face.key(USDT="1000")
    async with socket(port(face), "/ws-api/v3") as link:
        for number in range(400):
            await link.link.send(json.dumps({"id": number, "method": "time"}))
        await link.until(lambda: len(link.messages) >= 400)
        statuses = {answer["status"] for answer in link.messages}
        assert statuses == {200, 429}
        assert sorted(answer["id"] for answer in link.messages) == list(range(400))
    answer = await me.good("GET", "/api/v3/account")
    assert answer["canTrade"] is True


async def test_who_never_reads_is_passed_over_and_stitches_in_the_end(face: Face) -> None:
    symbol, joined = face.market()
    buyer, _ = await quoted(face, symbol)
    path = f"/ws/{joined.lower()}@depth@100ms"
    events: list[Any] = []
    async with (
        connect(f"ws://127.0.0.1:{port(face)}{path}", max_size=None, max_queue=1) as slow,
        socket(port(face), path) as quick,
    ):
        for n in range(30):
            await buyer.order(symbol, "BUY", "0.1", f"{60 + n % 20}")
        last = (await face.get("depth", symbol=joined))["lastUpdateId"]
        await quick.until(lambda: [e for e in quick.events("depthUpdate") if e["u"] == last])
        while not events or events[-1]["u"] < last:
            events.append(json.loads(await asyncio.wait_for(slow.recv(), 20)))
    assert all(after["U"] == before["u"] + 1 for before, after in itertools.pairwise(events))
