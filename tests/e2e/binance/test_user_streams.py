"""User streams by listen key: every execution in order, balances, and who may listen."""

import asyncio
import time
from decimal import Decimal as D  # noqa: N817 - it is all over the page
from typing import Any

import pytest
from websockets.exceptions import InvalidStatus

from tests.e2e.binance.conftest import Face, Key, refusal
from tests.e2e.binance.socket import Socket, socket
from tests.e2e.binance.test_order_lists import LEGS, LIST
from tests.e2e.binance.test_streams import port
from trade_engine.domain.scale import parse_units
from trade_engine.edge.auth import listen_keys
from trade_engine.edge.binance.ws.face import BinanceFace
from trade_engine.edge.views import BalanceView

PATH = "/api/v3/userDataStream"


async def listen_key(key: Key) -> str:
    """The stream's key of an API key."""
    answer = await key.http.post(PATH, headers=key.headers)
    assert answer.status_code == 200, answer.text
    return str(answer.json()["listenKey"])


def told(link: Socket) -> list[tuple[Any, ...]]:
    """Execution, status, last and cumulative quantity of each report."""
    return [(e["x"], e["X"], D(e["l"]), D(e["z"])) for e in link.events("executionReport")]


async def test_every_execution_in_order(face: Face) -> None:
    symbol, joined = face.market()
    base = symbol.split("/", maxsplit=1)[0]
    me, other = await face.key(USDT="100000"), await face.rich(base, "1000")
    limit = {"symbol": joined, "timeInForce": "GTC"}
    async with (
        socket(port(face), f"/ws/{await listen_key(me)}") as link,
        socket(port(face), f"/stream?streams={await listen_key(other)}") as theirs,
    ):
        placed = await me.order("BUY", "LIMIT", quantity="2", price="100", newClientOrderId="mine", **limit)
        await other.order("SELL", "LIMIT", quantity="0.5", price="100", **limit)
        await other.order("SELL", "LIMIT", quantity="3", price="100", **(limit | {"timeInForce": "IOC"}))
        again = await me.order("BUY", "LIMIT", quantity="1", price="99", **limit)
        await me.good("DELETE", "/api/v3/order", symbol=joined, orderId=again["orderId"])
        await other.order("SELL", "LIMIT", quantity="1", price="105", **limit)
        bought = await me.order("BUY", "MARKET", symbol=joined, quoteOrderQty="52.5525")
        await link.event("executionReport", 7)
        assert told(link) == [
            ("NEW", "NEW", D(0), D(0)),
            ("TRADE", "PARTIALLY_FILLED", D("0.5"), D("0.5")),
            ("TRADE", "FILLED", D("1.5"), D(2)),
            ("NEW", "NEW", D(0), D(0)),
            ("CANCELED", "CANCELED", D(0), D(0)),
            ("NEW", "NEW", D(0), D(0)),
            ("TRADE", "FILLED", D("0.5"), D("0.5")),
        ]
        await theirs.event("executionReport", 7)
        assert told(theirs) == [
            ("NEW", "NEW", D(0), D(0)),
            ("TRADE", "FILLED", D("0.5"), D("0.5")),
            ("NEW", "NEW", D(0), D(0)),
            ("TRADE", "PARTIALLY_FILLED", D("1.5"), D("1.5")),
            ("EXPIRED", "EXPIRED", D(0), D("1.5")),
            ("NEW", "NEW", D(0), D(0)),
            ("TRADE", "PARTIALLY_FILLED", D("0.5"), D("0.5")),
        ]
        first, trade = link.events("executionReport")[:2]
        assert (first["c"], first["i"], first["S"], first["o"], first["q"], first["p"], first["w"]) == (
            "mine", placed["orderId"], "BUY", "LIMIT", "2.00000000", "100.00000000", True,
        )  # fmt: skip
        mine = (await me.good("GET", "/api/v3/myTrades", symbol=joined))[0]
        assert [trade[key] for key in ("t", "L", "l", "Y", "n", "N", "T", "m")] == [
            mine[key] for key in ("id", "price", "qty", "quoteQty", "commission", "commissionAsset", "time", "isMaker")
        ]
        assert theirs.events("executionReport")[4]["eR"] == "UNFILLED_IOC_QUANTITY_EXPIRED"
        assert link.events("executionReport")[4]["C"] == again["clientOrderId"]
        assert link.events("executionReport")[6]["i"] == bought["orderId"]


async def test_stops_makers_and_self_trades(face: Face) -> None:
    symbol, joined = face.market()
    base = symbol.split("/", maxsplit=1)[0]
    me, other = (
        await face.key(await face.trader(USDT="100000", **{base: "10"})),
        await face.key(await face.trader(USDT="100000", **{base: "1000"})),
    )
    limit = {"symbol": joined, "timeInForce": "GTC"}
    await other.order("SELL", "LIMIT", quantity="1", price="100", **limit)
    async with socket(port(face), f"/ws/{await listen_key(me)}") as link:
        await me.refused(
            "POST", "/api/v3/order", symbol=joined, side="BUY", type="LIMIT_MAKER", quantity="1", price="101"
        )
        refused = await link.event("executionReport")
        assert (refused["x"], refused["X"], refused["r"]) == ("REJECTED", "REJECTED", "WOULD_MATCH_IMMEDIATELY")
        await other.good("DELETE", "/api/v3/openOrders", symbol=joined)
        await me.order("SELL", "LIMIT", quantity="1", price="100", **limit)
        await me.order("BUY", "LIMIT", quantity="1", price="100", **limit)
        stopped = await link.event("executionReport", 4)
        assert (stopped["x"], stopped["X"]) == ("TRADE_PREVENTION", "EXPIRED_IN_MATCH")
        await me.order("BUY", "STOP_LOSS_LIMIT", quantity="1", price="112", stopPrice="110", **limit)
        await me.good("DELETE", "/api/v3/openOrders", symbol=joined)
        await link.event("executionReport", 7)
        await me.order("BUY", "STOP_LOSS_LIMIT", quantity="1", price="112", stopPrice="110", **limit)
        await other.order("SELL", "LIMIT", quantity="2", price="110", **limit)
        await other.order("BUY", "LIMIT", quantity="1", price="110", selfTradePreventionMode="NONE", **limit)
        await link.event("executionReport", 10)
        stop = link.events("executionReport")[7:]
        assert [(e["x"], e["X"], e["w"]) for e in stop] == [
            ("NEW", "NEW", False), ("NEW", "NEW", True), ("TRADE", "FILLED", False)
        ]  # fmt: skip
        assert ("W" in stop[0], "W" in stop[1]) == (False, True)


async def test_order_lists_begin_and_end(face: Face) -> None:
    symbol, joined = face.market()
    me, other = await face.rich(symbol.split("/", maxsplit=1)[0], "10"), await face.key(USDT="10000")
    limit = {"symbol": joined, "timeInForce": "GTC"}
    names = {"listClientOrderId": "pair", "aboveClientOrderId": "up", "belowClientOrderId": "down"}
    async with (
        socket(port(face), f"/ws/{await listen_key(me)}") as link,
        socket(port(face), f"/ws/{await listen_key(other)}") as theirs,
    ):
        placed = await me.good("POST", f"{LIST}/oco", symbol=joined, **LEGS, **names)
        begun = await link.event("listStatus")
        assert {name: value for name, value in begun.items() if name not in "ET"} == {
            "e": "listStatus", "s": joined, "g": placed["orderListId"], "c": "OCO", "l": "EXEC_STARTED",
            "L": "EXECUTING", "r": "NONE", "C": "pair",
            "O": [{"s": row["symbol"], "i": row["orderId"], "c": row["clientOrderId"]} for row in placed["orders"]],
        }  # fmt: skip
        await other.order("BUY", "LIMIT", quantity="0.4", price="110", **limit)
        await link.event("executionReport", 4)
        await other.order("BUY", "LIMIT", quantity="0.6", price="110", **limit)
        ended = await link.event("listStatus", 2)
        assert ended | {"E": 0, "T": 0} == begun | {"E": 0, "T": 0, "l": "ALL_DONE", "L": "ALL_DONE"}
        reports = link.events("executionReport")
        assert [(e["c"], e["x"], e["X"]) for e in reports[2:]] == [
            ("up", "TRADE", "PARTIALLY_FILLED"), ("down", "EXPIRED", "EXPIRED"), ("up", "TRADE", "FILLED"),
        ]  # fmt: skip
        assert {e["g"] for e in reports} == {placed["orderListId"]}
        again = await me.good("POST", f"{LIST}/oco", symbol=joined, **LEGS)
        await me.good("DELETE", LIST, symbol=joined, orderListId=again["orderListId"])
        await link.event("listStatus", 4)
        assert [(e["g"], e["L"]) for e in link.events("listStatus")[2:]] == [
            (again["orderListId"], "EXECUTING"), (again["orderListId"], "ALL_DONE"),
        ]  # fmt: skip
        assert [e["g"] for e in theirs.events("executionReport")] == [-1] * 4
        assert theirs.events("listStatus") == []


async def test_balances_and_what_moves_them_beside_trades(face: Face) -> None:
    symbol, joined = face.market()
    base = symbol.split("/", maxsplit=1)[0]
    me, other = await face.key(USDT="1000"), await face.rich(base, "10")
    limit = {"symbol": joined, "timeInForce": "GTC"}

    def held(link: Socket) -> dict[str, tuple[Any, Any]]:
        found: dict[str, tuple[Any, Any]] = {}
        for event in link.events("outboundAccountPosition"):
            found |= {row["a"]: (D(row["f"]), D(row["l"])) for row in event["B"]}
        return found

    async with socket(port(face), f"/ws/{await listen_key(me)}") as link:
        await me.order("BUY", "LIMIT", quantity="1", price="100", **limit)
        await link.until(lambda: held(link).get("USDT") == (D("899.9"), D("100.1")))
        await other.order("SELL", "LIMIT", quantity="1", price="100", **limit)
        await link.until(lambda: held(link) == {"USDT": (D("899.95"), D(0)), base: (D(1), D(0))})
        wallet = face.venue.running.wallet
        assert (
            await wallet.deposit(me.user_id, "USDT", parse_units("25.5"), "0190b3f0-0000-7000-8000-000000000001")
        ).ok
        face.venue.running.streams.moved([me.user_id])
        event = await link.event("balanceUpdate")
        assert (event["a"], event["d"]) == ("USDT", "25.50000000")
        assert held(link)["USDT"] == (D("925.45"), D(0))
        assert len(link.events("balanceUpdate")) == 1


async def test_an_order_before_the_first_look_at_balances_is_told(face: Face, monkeypatch: pytest.MonkeyPatch) -> None:
    _, joined = face.market()
    me = await face.key(USDT="1000")
    [theirs] = [one for one in face.venue.running.streams._faces if isinstance(one, BinanceFace)]
    real, may_look = theirs.users._balances, asyncio.Event()

    async def late(user_id: str) -> list[BalanceView]:
        await may_look.wait()
        return await real(user_id)

    monkeypatch.setattr(theirs.users, "_balances", late)
    async with socket(port(face), f"/ws/{await listen_key(me)}") as link:
        await me.order("BUY", "LIMIT", symbol=joined, timeInForce="GTC", quantity="1", price="100")
        await link.event("executionReport")
        may_look.set()
        event = await link.event("outboundAccountPosition")
        assert event["B"] == [{"a": "USDT", "f": "899.90000000", "l": "100.10000000"}]


async def test_listen_keys_live_an_hour_and_only_read(face: Face, monkeypatch: pytest.MonkeyPatch) -> None:
    _, joined = face.market()
    me, other = await face.key(USDT="1000"), await face.key()
    found = await listen_key(me)
    assert await listen_key(me) == found
    assert len(found) == 64
    given = {"listenKey": found}
    assert refusal(await other.http.put(PATH, params=given, headers=other.headers))[:2] == (400, -1125)
    assert refusal(await other.http.delete(PATH, params=given, headers=other.headers))[:2] == (400, -1125)
    assert refusal(await me.http.post(PATH))[:2] == (401, -2014)
    assert refusal(await me.http.post(PATH, headers={"X-MBX-APIKEY": "tek_" + "0" * 32}))[:2] == (401, -2015)
    assert refusal(await me.http.get("/api/v3/account", headers={"X-MBX-APIKEY": found}))[:2] == (401, -2014)
    async with socket(port(face), f"/ws/{found}") as link:
        answer = await link.ask("SUBSCRIBE", [f"{joined.lower()}@trade"])
        assert answer["result"] is None
        assert (await link.ask("SUBSCRIBE", ["f" * 64]))["code"] == 2
        held = face.venue.running.services.listen_keys
        monkeypatch.setattr(held, "_clock", lambda: time.monotonic() + listen_keys.LIFE_S - 30)
        assert (await me.http.put(PATH, params=given, headers=me.headers)).json() == {}
        monkeypatch.setattr(held, "_clock", lambda: time.monotonic() + 2 * listen_keys.LIFE_S - 60)
        assert held.owner_of(found) is not None
        monkeypatch.setattr(held, "_clock", lambda: time.monotonic() + 2 * listen_keys.LIFE_S)
        assert (await link.event("listenKeyExpired"))["listenKey"] == found
        assert await link.closed() == 4401
    with pytest.raises(InvalidStatus) as refused:
        async with socket(port(face), f"/ws/{found}"):
            pass
    assert refused.value.response.status_code == 400
    assert b"-1125" in refused.value.response.body


async def test_a_listen_key_ends_its_streams(face: Face) -> None:
    me = await face.key(USDT="1000")
    found = await listen_key(me)
    async with socket(port(face), f"/ws/{found}") as link:
        assert (await me.http.delete(PATH, params={"listenKey": found}, headers=me.headers)).json() == {}
        assert await link.closed() == 4401


async def test_nobody_is_left_in_doubt_after_the_engine_built_itself_anew(face: Face) -> None:
    me = await face.key(USDT="1000")
    async with socket(port(face), f"/ws/{await listen_key(me)}") as link:
        face.venue.running.streams.rebuilt()
        assert await link.closed() == 1012
