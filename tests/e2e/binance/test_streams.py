"""Market streams: what each shows, how they are subscribed to, and that diffs stitch with the book."""

import functools
import itertools
import json
from typing import Any

import pytest
from websockets.exceptions import InvalidStatus

from tests.e2e.binance.conftest import Face
from tests.e2e.binance.socket import Socket, socket
from tests.e2e.ws.client import client
from trade_engine.marketdata.intervals import INTERVALS


def port(face: Face) -> int:
    """Where streams are."""
    return int(face.venue.running.websocket.port)


async def quoted(face: Face, symbol: str) -> tuple[Any, Any]:
    """A buyer at 99 and a seller at 101."""
    base = symbol.split("/", maxsplit=1)[0]
    buyer, seller = await face.trader(USDT="100000"), await face.trader(**{base: "1000"})
    await buyer.order(symbol, "BUY", "1", "99")
    await seller.order(symbol, "SELL", "2", "101")
    return buyer, seller


async def test_trades_and_aggregates(face: Face) -> None:
    symbol, joined = face.market()
    buyer, seller = await quoted(face, symbol)
    await seller.order(symbol, "SELL", "1", "101")
    name = joined.lower()
    async with socket(port(face), f"/stream?streams={name}@trade/{name}@aggTrade") as link:
        assert (await link.ask("LIST_SUBSCRIPTIONS"))["result"] == [f"{name}@trade", f"{name}@aggTrade"]
        await buyer.order(symbol, "BUY", "3", "101")
        first, second = await link.event("trade"), await link.event("trade", 2)
        whole = await link.event("aggTrade")
        assert all(message["stream"].startswith(name) for message in link.messages if "stream" in message)
        rows = await face.get("trades", symbol=joined)
        assert [(event["t"], event["p"], event["q"], event["T"], event["m"]) for event in (first, second)] == [
            (row["id"], row["price"], row["qty"], row["time"], row["isBuyerMaker"]) for row in rows
        ]
        [row] = await face.get("aggTrades", symbol=joined)
        assert {key: whole[key] for key in row} == row
        assert whole["s"] == joined


async def test_the_best_prices_and_levels(face: Face) -> None:
    symbol, joined = face.market()
    buyer, seller = await quoted(face, symbol)
    name = joined.lower()
    async with socket(port(face), f"/ws/{name}@bookTicker") as link:
        first = (await link.until(lambda: link.messages))[0]
        assert (first["s"], first["b"], first["B"]) == (joined, "99.00000000", "1.00000000")
        assert (first["a"], first["A"]) == ("101.00000000", "2.00000000")
        await buyer.order(symbol, "BUY", "5", "100")
        assert (await link.until(lambda: link.messages[1:]))[0]["b"] == "100.00000000"
        assert (await face.get("depth", symbol=joined))["lastUpdateId"] == link.messages[1]["u"]
    async with socket(port(face), f"/ws/{name}@depth5@100ms") as link:
        assert (await link.until(lambda: link.messages))[0] == await face.get("depth", symbol=joined, limit=5)
        await seller.order(symbol, "SELL", "1", "102")
        assert (await link.until(lambda: link.messages[1:]))[0]["asks"][1] == ["102.00000000", "1.00000000"]


async def test_the_day_and_candles(face: Face) -> None:
    symbol, joined = face.market()
    buyer, _ = await quoted(face, symbol)
    name = joined.lower()
    async with socket(port(face)) as link:
        wanted = [f"{name}@ticker", f"{name}@miniTicker", f"{name}@kline_1m", "!miniTicker@arr", "!ticker@arr"]
        assert await link.ask("SUBSCRIBE", wanted) == {"result": None, "id": 1_000}
        await buyer.order(symbol, "BUY", "1", "101")
        full = await link.until(lambda: [event for event in link.events("24hrTicker") if event["n"] == 1])
        [shown] = await face.get("ticker/24hr", symbols=f'["{joined}"]')
        pairs = {
            "p": "priceChange", "P": "priceChangePercent", "w": "weightedAvgPrice", "x": "prevClosePrice",
            "c": "lastPrice", "Q": "lastQty", "b": "bidPrice", "B": "bidQty", "a": "askPrice", "A": "askQty",
            "o": "openPrice", "h": "highPrice", "l": "lowPrice", "v": "volume", "q": "quoteVolume", "n": "count",
            "F": "firstId", "L": "lastId",
        }  # fmt: skip
        assert {key: full[-1][key] for key in pairs} == {key: shown[theirs] for key, theirs in pairs.items()}
        mini = await link.until(
            lambda: [event for event in link.events("24hrMiniTicker") if event["c"] != "0.00000000"]
        )
        assert (mini[-1]["c"], mini[-1]["v"]) == ("101.00000000", "1.00000000")
        every = await link.until(lambda: [m for m in link.messages if isinstance(m, list)])
        assert joined in {event["s"] for event in every[-1]}
        candle = (await link.event("kline"))["k"]
        [row] = await face.get("klines", symbol=joined, interval="1m", limit=1)
        assert [candle[key] for key in ("t", "o", "h", "l", "c", "v", "T", "q", "n")] == row[:9]
        assert (candle["i"], candle["x"], candle["f"], candle["L"]) == ("1m", False, 1, full[-1]["L"])


async def test_every_interval_has_candles(face: Face) -> None:
    symbol, joined = face.market()
    buyer, _ = await quoted(face, symbol)
    await buyer.order(symbol, "BUY", "1", "101")
    async with socket(port(face), "/ws/0") as link:
        await link.ask("SUBSCRIBE", [f"{joined.lower()}@kline_{interval}" for interval in INTERVALS])
        await link.event("kline", len(INTERVALS))
        for event in link.events("kline"):
            candle = event["k"]
            [row] = await face.get("klines", symbol=joined, interval=candle["i"], limit=1)
            assert [candle[key] for key in ("t", "c", "T", "n")] == [row[0], row[4], row[6], row[8]]


def stitch(book: dict[str, dict[str, str]], last: int, events: list[Any]) -> int:
    """Fold diffs into a book that is at update ``last``; where it is then.  AssertionError where one is missing."""
    for event in events:
        if event["u"] <= last:
            continue
        assert event["U"] <= last + 1, (event["U"], last)
        for side, levels in (("bids", event["b"]), ("asks", event["a"])):
            for price, quantity in levels:
                book[side][price] = quantity
                if quantity == "0.00000000":
                    del book[side][price]
        last = event["u"]
    return last


@pytest.mark.parametrize("pace", ["", "@100ms"])
async def test_diffs_stitch_with_the_book(face: Face, pace: str) -> None:
    symbol, joined = face.market()
    buyer, seller = await quoted(face, symbol)
    async with socket(port(face), f"/ws/{joined.lower()}@depth{pace}") as link:
        found = await face.get("depth", symbol=joined, limit=1_000)
        book = {side: dict(map(tuple, found[side])) for side in ("bids", "asks")}
        for n in range(60):
            await buyer.order(symbol, "BUY", "0.1", f"{90 + n % 9}")
            order, _ = await seller.order(symbol, "SELL", "0.1", f"{101 + n % 7}")
            if n % 3 == 0:
                await seller.cancel(order["id"])
            if n % 10 == 0:
                await buyer.order(symbol, "BUY", "0.5", "101")
        end = await face.get("depth", symbol=joined, limit=1_000)
        await link.until(lambda: [event for event in link.events("depthUpdate") if event["u"] >= end["lastUpdateId"]])
        events = link.events("depthUpdate")
        assert all(after["U"] == before["u"] + 1 for before, after in itertools.pairwise(events))
        stitch(book, found["lastUpdateId"], events)
        assert {side: sorted(book[side].items()) for side in book} == {
            side: sorted(map(tuple, end[side])) for side in ("bids", "asks")
        }


def reached(link: Socket, last: int) -> bool:
    """Whether the diffs have come so far."""
    return any(event["u"] == last for event in link.events("depthUpdate"))


async def test_properties_move_streams_without_a_gap(face: Face) -> None:
    symbol, joined = face.market()
    buyer, _ = await quoted(face, symbol)
    name = f"{joined.lower()}@depth@100ms"
    async with socket(port(face)) as link, socket(port(face), f"/stream?streams={name}") as other:
        await link.ask("SUBSCRIBE", [name])
        for n in range(12):
            await buyer.order(symbol, "BUY", "1", f"{50 + n}")
            if n % 4 == 3:
                assert (await link.ask("SET_PROPERTY", ["combined", n % 8 == 3]))["result"] is None
        assert (await link.ask("GET_PROPERTY", ["combined"]))["result"] is True
        await buyer.order(symbol, "BUY", "1", "70")
        last = (await face.get("depth", symbol=joined))["lastUpdateId"]
        for one in (link, other):
            await one.until(functools.partial(reached, one, last))
            events = one.events("depthUpdate")
            assert len(events) > 1
            assert all(after["U"] == before["u"] + 1 for before, after in itertools.pairwise(events))
        [bare] = [message for message in other.messages if "stream" not in message] or [None]
        assert bare is None
        assert {"stream": name, "data": link.events("depthUpdate")[-1]} in link.messages
        assert (await link.ask("UNSUBSCRIBE", [name]))["result"] is None
        assert (await link.ask("LIST_SUBSCRIPTIONS"))["result"] == []


async def test_the_first_message_decides_whose_the_path_is(face: Face) -> None:
    symbol, joined = face.market()
    await quoted(face, symbol)
    async with client(port(face)) as ours:
        await ours.do("subscribe", channel="ticker", symbol=symbol)
        assert not (await ours.ask("SUBSCRIBE"))["success"]
    async with socket(port(face)) as theirs:
        assert await theirs.ask("SUBSCRIBE", [f"{joined.lower()}@bookTicker"]) == {"result": None, "id": 1_000}
        assert (await theirs.ask("x", op="ping"))["code"] == 2
    trader = await face.trader()
    token = trader.headers["Authorization"].removeprefix("Bearer ")
    async with socket(port(face), f"/ws?token={token}") as ours_by_token:
        assert (await ours_by_token.ask("SUBSCRIBE", [f"{joined.lower()}@bookTicker"], op="ping"))["success"] is False


async def said(link: Socket, message: str) -> Any:
    """What is answered to a message as it is."""
    before = len(link.messages)
    await link.link.send(message)
    return (await link.until(lambda: link.messages[before:]))[0]


MISTAKES = [
    ("{", 3),
    ("[]", 2),
    ('{"id":1}', 2),
    ('{"method":"subscribe","id":1}', 2),
    ('{"method":["SUBSCRIBE"],"id":1}', 2),
    ('{"method":"SUBSCRIBE","id":1}', 2),
    ('{"method":"SUBSCRIBE","params":"x","id":1}', 2),
    ('{"method":"SUBSCRIBE","params":[1],"id":1}', 2),
    ('{"method":"SUBSCRIBE","params":["nosuch@trade"],"id":1}', 2),
    ('{"method":"SUBSCRIBE","params":["t01usdt@weather"],"id":1}', 2),
    ('{"method":"SUBSCRIBE","params":["t01usdt@kline_7m"],"id":1}', 2),
    ('{"method":"SUBSCRIBE","params":["T01USDT@trade"],"id":1}', 2),
    ('{"method":"SUBSCRIBE","params":["' + "x" * 101 + '"],"id":1}', 2),
    ('{"method":"SUBSCRIBE","params":["t01usdt@trade"],"id":{}}', 2),
    ('{"method":"SUBSCRIBE","params":["t01usdt@trade"],"id":99999999999999999999}', 2),
    ('{"method":"SUBSCRIBE","params":["t01usdt@trade"],"id":"' + "1" * 37 + '"}', 2),
    ('{"method":"LIST_SUBSCRIPTIONS","more":1,"id":1}', 2),
    ('{"method":"SET_PROPERTY","params":["speed",true],"id":1}', 0),
    ('{"method":"SET_PROPERTY","params":["combined",1],"id":1}', 1),
    ('{"method":"SET_PROPERTY","params":[true],"id":1}', 2),
    ('{"method":"GET_PROPERTY","params":["combined",1],"id":1}', 2),
]


async def test_requests_that_cannot_be_carried_out(face: Face) -> None:
    async with socket(port(face), "/stream") as link:
        for message, number in MISTAKES:
            answer = await said(link, message)
            assert answer["code"] == number, message
            assert answer["error"] == {"code": number, "msg": answer["msg"]}
        assert (await link.ask("LIST_SUBSCRIPTIONS"))["result"] == []


NOWHERE = [
    ("/ws/nosuch@trade", 400, -1121),
    ("/ws/t01usdt@nothing", 400, -1130),
    ("/stream?streams=t01usdt@trade/t01usdt@kline_1x", 400, -1120),
    ("/stream?streams=" + "/".join(f"x{n}" for n in range(1_025)), 400, -1101),
    ("/stream?streams=t01usdt@trade&timeUnit=MICROSECOND", 400, -1130),
]


async def test_paths_that_lead_nowhere(face: Face) -> None:
    for path, status, number in NOWHERE:
        with pytest.raises(InvalidStatus) as refused:
            async with socket(port(face), path):
                pass
        answer = refused.value.response
        assert (answer.status_code, json.loads(answer.body)["code"]) == (status, number), path
