"""What the server puts up with: sizes, counts and rates, silence, nonsense, and its own end."""

import asyncio
import contextlib
import json
from typing import Any

import pytest
from websockets.exceptions import InvalidStatus

from tests.e2e.ws.client import client
from tests.e2e.ws.conftest import Start
from tests.e2e.ws.flow import bearer, rich


@pytest.mark.parametrize(
    ("message", "code"), [(b"\x00\x01", 1003), ("x" * 70_000, 1009), (json.dumps({"op": "p" * 65_600}), 1009)]
)
async def test_messages_that_end_a_connection(start: Start, message: Any, code: int) -> None:
    async with start() as venue, client(venue.running.websocket.port) as link:
        await link.link.send(message)
        assert await link.closed() == code


async def test_what_is_no_json_ten_times_in_a_row(start: Start) -> None:
    async with start() as venue, client(venue.running.websocket.port) as link:
        for n in range(9):
            await link.link.send("{" * (n + 1))
        await link.do("ping")
        for _ in range(10):
            await link.link.send("nonsense")
        assert await link.closed() == 4400
        refused = [answer for answer in link.answers if not answer["success"]]
        assert {(answer["op"], answer["id"], answer["error"]["code"]) for answer in refused} == {
            (None, None, "INVALID_JSON")
        }
        assert len(refused) == 19


@pytest.mark.parametrize(
    ("message", "op", "code"),
    [
        ("[" * 30_000, None, {"INVALID_JSON", "INVALID_BODY"}),
        ('{"op":"ping","id":' + "[" * 20_000 + "]" * 20_000 + "}", None, {"INVALID_JSON", "INVALID_BODY"}),
        (
            '{"op":"place","order":' + '{"a":' * 10_000 + "1" + "}" * 10_000 + "}",
            None,
            {"INVALID_JSON", "UNAUTHORIZED"},
        ),
        ("[]", None, {"INVALID_BODY"}),
        ("null", None, {"INVALID_BODY"}),
        ("{}", None, {"UNKNOWN_COMMAND"}),
        ('{"op":"dance"}', None, {"UNKNOWN_COMMAND"}),
        ('{"op":["ping"]}', None, {"UNKNOWN_COMMAND"}),
        ('{"op":"ping","more":1}', "ping", {"UNKNOWN_FIELD"}),
        ('{"op":"subscribe"}', "subscribe", {"MISSING_FIELD"}),
        ('{"op":"subscribe","channel":"depth"}', "subscribe", {"MISSING_FIELD"}),
        ('{"op":"subscribe","channel":"weather","symbol":"T01/USDT"}', "subscribe", {"UNKNOWN_CHANNEL"}),
        ('{"op":"subscribe","channel":"depth","symbol":"NO/NO"}', "subscribe", {"INVALID_SYMBOL"}),
        ('{"op":"subscribe","channel":"depth","symbol":"T01/USDT","levels":7}', "subscribe", {"INVALID_LEVELS"}),
        ('{"op":"subscribe","channel":"depth","symbol":"T01/USDT","pause_ms":7}', "subscribe", {"INVALID_PAUSE"}),
        ('{"op":"subscribe","channel":"ticker","symbol":"T01/USDT","pause_ms":100}', "subscribe", {"INVALID_PAUSE"}),
        (
            '{"op":"subscribe","channel":"candles","symbol":"T01/USDT","interval":"2m"}',
            "subscribe",
            {"INVALID_INTERVAL"},
        ),
        ('{"op":"ping","id":1.5}', "ping", {"INVALID_BODY"}),
        ('{"op":"ping","id":"' + "i" * 101 + '"}', "ping", {"INVALID_BODY"}),
        ('{"op":"ping","id":99999999999999999999}', "ping", {"INVALID_BODY"}),
        ('{"op":"auth","token":5}', "auth", {"INVALID_BODY"}),
        ('{"op":"ping","id":"\\ud800"}', None, {"INVALID_JSON"}),
    ],
)
async def test_nonsense_is_answered(start: Start, message: str, op: str | None, code: set[str]) -> None:
    async with start() as venue, client(venue.running.websocket.port) as link:
        await link.link.send(message)
        await link.until(lambda: link.answers)
        (answer,) = link.answers
        assert answer["error"]["code"] in code, answer
        assert op is None or answer["op"] == op
        assert (await link.do("ping"))["time"]


async def test_counts_of_a_connection(start: Start) -> None:
    async with start(websocket__max_subscriptions=3) as venue, client(venue.running.websocket.port) as link:
        symbol = venue.market()
        for channel in ("depth", "trades", "book"):
            await link.do("subscribe", channel=channel, symbol=symbol)
        assert await link.refused("subscribe", channel="ticker", symbol=symbol) == "TOO_MANY_SUBSCRIPTIONS"
        await link.do("subscribe", channel="book", symbol=symbol)
        await link.do("unsubscribe", channel="book", symbol=symbol)
        await link.do("subscribe", channel="ticker", symbol=symbol)


async def test_rates_of_commands_and_orders(start: Start) -> None:
    options = {"websocket__commands_per_s": 1, "websocket__commands_burst": 5}
    async with start(**options) as venue, client(venue.running.websocket.port) as link:
        answers = [await link.ask("ping") for _ in range(8)]
        assert [answer["success"] for answer in answers] == [True] * 5 + [False] * 3
        assert {answer["error"]["code"] for answer in answers[5:]} == {"RATE_LIMITED"}


async def test_orders_count_with_those_over_rest(start: Start) -> None:
    async with start(rate_limit__orders_per_s=0.01, rate_limit__orders_burst=4) as venue:
        trader = await rich(venue, venue.market())
        body = {"symbol": "T02/USDT", "side": "BUY", "type": "LIMIT", "quantity": "1", "price": "1.00"}
        async with client(venue.running.websocket.port, bearer(trader)) as link:
            for _ in range(2):
                assert (await trader.post(body)).status_code == 201
                await link.do("place", order=body)
            assert await link.refused("place", order=body) == "RATE_LIMITED"
            assert (await trader.post(body)).status_code == 429


async def test_connections_of_a_user_and_an_address(start: Start) -> None:
    options = {"websocket__connections_per_user": 2, "websocket__connections_per_address": 4}
    async with start(**options) as venue, contextlib.AsyncExitStack() as stack:
        port = venue.running.websocket.port
        token = bearer(await venue.trader(USDT="1"))
        first = await stack.enter_async_context(client(port, token))
        second = await stack.enter_async_context(client(port))
        await second.do("auth", token=token)
        with pytest.raises(InvalidStatus) as caught:
            async with client(port, token):
                pass
        assert caught.value.response.status_code == 429
        async with client(port) as third:
            await third.link.send(json.dumps({"op": "auth", "id": 1, "token": token}))
            assert await third.closed() == 4429
        await first.close()
        await stack.enter_async_context(client(port, token))
        for _ in range(2):
            await stack.enter_async_context(client(port))
        with pytest.raises(InvalidStatus) as caught:
            async with client(port):
                pass
        assert caught.value.response.status_code == 429


async def test_a_client_that_never_pongs_is_closed(start: Start) -> None:
    async with start(websocket__ping_s=0.2, websocket__pong_s=0.3) as venue:
        port = venue.running.websocket.port
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(
            b"GET /ws HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        )
        async with client(port) as alive:
            head = await reader.readuntil(b"\r\n\r\n")
            assert b" 101 " in head
            rest = await asyncio.wait_for(reader.read(), 5)
            assert rest.startswith(b"\x89"), "a ping"
            assert rest[rest.index(b"\x88") + 2 :][:2] == (1011).to_bytes(2, "big")
            writer.close()
            assert (await alive.do("ping"))["time"], "who pongs stays"


async def test_a_reader_that_stalls_for_too_long_is_closed(start: Start) -> None:
    options = {"websocket__buffer_bytes": 1024, "websocket__stalled_s": 0.5, "websocket__ping_s": 0.2}
    async with start(**options) as venue:
        symbol, port = venue.market(), venue.running.websocket.port
        trader = await rich(venue, symbol)
        async with client(port, receive_buffer=4096) as stalled:
            for channel, levels in (("depth", 0), ("depth", 50), ("trades", None), ("book", None)):
                more = {} if levels is None else {"levels": levels}
                await stalled.do("subscribe", channel=channel, symbol=symbol, **more)
            for n in range(60):
                await trader.order(symbol, "BUY", "1", f"{300 + n}.00")
            stalled.pause()
            await stalled.fill(symbol, 500)
            for n in range(200):
                if venue.running.streams.connections == 0:
                    break
                await trader.order(symbol, "BUY", "1", f"{10 + n}.00")
                await asyncio.sleep(0.01)
            assert venue.running.streams.connections == 0
            assert venue.running.streams.hub.counts.slow_closed == 1


async def test_a_server_that_stops_says_goodbye(start: Start) -> None:
    async with start() as venue, client(venue.running.websocket.port) as link:
        await link.do("subscribe", channel="depth", symbol=venue.market())
        stopping = asyncio.create_task(venue.running.stop())
        assert await link.closed() == 1001
        await stopping
