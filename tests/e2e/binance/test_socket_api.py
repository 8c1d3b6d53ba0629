"""The API over WebSocket: methods, logins, limits, errors, and the streams that a connection subscribes to."""

import functools
import json
from collections.abc import Mapping
from decimal import Decimal as D  # noqa: N817 - it is all over the page
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ed25519

from tests.e2e.binance.conftest import Face, Key
from tests.e2e.binance.socket import Socket, socket
from tests.e2e.binance.test_private_keys import pem, register, signs
from tests.e2e.binance.test_streams import port
from trade_engine.edge.settings import LimitSettings, RateLimit

PATH = "/ws-api/v3"


def signed(key: Key, given: Mapping[str, Any], **more: Any) -> dict[str, Any]:
    """Parameters with a login: signed by name, each as JSON has it."""
    terms = dict(given) | {"apiKey": key.key_id, "timestamp": key.now_ms()} | more
    text = "&".join(f"{name}={json.dumps(terms[name]).strip(chr(34))}" for name in sorted(terms))
    return terms | {"signature": key.digest(text)}


async def good(link: Socket, key: Key | None, method: str, **given: Any) -> Any:
    """The result of a request that must pass."""
    answer = await link.ask(method, given if key is None else signed(key, given))
    assert answer["status"] == 200, answer
    return answer["result"]


async def refused(link: Socket, method: str, given: Any = None) -> tuple[int, int]:
    """Status and number of a refusal."""
    answer = await link.ask(method, given)
    assert "result" not in answer
    return answer["status"], answer["error"]["code"]


def ended(link: Socket) -> list[Any]:
    """What was said of streams that ended."""
    return [m for m in link.messages if m.get("event", {}).get("e") == "eventStreamTerminated"]


async def test_what_is_open_to_all_is_as_over_rest(face: Face) -> None:
    symbol, joined = face.market()
    base = symbol.split("/", maxsplit=1)[0]
    me, other = await face.trader(USDT="100000"), await face.trader(**{base: "1000"})
    await other.order(symbol, "SELL", "2", "100")
    await me.order(symbol, "BUY", "1", "100")
    async with socket(port(face), PATH) as link:
        assert await good(link, None, "ping") == {}
        assert set(await good(link, None, "time")) == {"serverTime"}
        for method, path, given in (
            ("depth", "depth", {"symbol": joined, "limit": 5}),
            ("trades.recent", "trades", {"symbol": joined}),
            ("trades.historical", "historicalTrades", {"symbol": joined, "fromId": 1}),
            ("trades.aggregate", "aggTrades", {"symbol": joined}),
            ("klines", "klines", {"symbol": joined, "interval": "1m"}),
            ("uiKlines", "uiKlines", {"symbol": joined, "interval": "1h"}),
            ("avgPrice", "avgPrice", {"symbol": joined}),
            ("ticker.price", "ticker/price", {"symbol": joined}),
            ("ticker.book", "ticker/bookTicker", {"symbol": joined}),
        ):
            assert await good(link, None, method, **given) == await face.get(path, **given), method
        [market] = (await good(link, None, "exchangeInfo", symbols=[joined]))["symbols"]
        assert market["symbol"] == joined
        for method in ("ticker.24hr", "ticker"):
            [day] = await good(link, None, method, symbols=[joined])
            assert (day["lastPrice"], day["count"]) == ("100.00000000", 1)
        assert (await link.ask("v3/ping"))["status"] == 200


async def test_orders_from_place_to_cancel(face: Face) -> None:
    symbol, joined = face.market()
    base = symbol.split("/", maxsplit=1)[0]
    me, other = await face.key(USDT="100000"), await face.rich(base, "1000")
    limit = {"symbol": joined, "type": "LIMIT", "timeInForce": "GTC"}
    async with socket(port(face), PATH) as link:
        placed = await good(link, me, "order.place", side="BUY", quantity="1", price=100.5, **limit)
        assert (placed["status"], placed["price"]) == ("NEW", "100.50000000")
        found = await good(link, me, "order.status", symbol=joined, orderId=placed["orderId"])
        assert found == await me.good("GET", "/api/v3/order", symbol=joined, orderId=placed["orderId"])
        sold = await good(link, other, "order.place", side="SELL", quantity="0.4", price="100.5", **limit)
        assert [D(fill["qty"]) for fill in sold["fills"]] == [D("0.4")]
        assert await good(link, me, "order.test", side="BUY", quantity="1", price="100", **limit) == {}
        [trade] = await good(link, me, "myTrades", symbol=joined)
        assert (trade["orderId"], trade["qty"]) == (placed["orderId"], "0.40000000")
        assert (await good(link, me, "account.status", omitZeroBalances=True))["canTrade"] is True
        assert (await good(link, me, "account.commission", symbol=joined))["symbol"] == joined
        [open_one] = await good(link, me, "openOrders.status", symbol=joined)
        assert open_one["orderId"] == placed["orderId"]
        ended = await good(link, me, "order.cancel", symbol=joined, orderId=placed["orderId"])
        assert (ended["status"], ended["executedQty"]) == ("CANCELED", "0.40000000")
        for price in ("98", "99"):
            await good(link, me, "order.place", side="BUY", quantity="1", price=price, **limit)
        assert len(await good(link, me, "openOrders.cancelAll", symbol=joined)) == 2
        statuses = [order["status"] for order in await good(link, me, "allOrders", symbol=joined)]
        assert statuses == ["CANCELED", "CANCELED", "CANCELED"]
        assert await good(link, me, "account.rateLimits.orders") == []


async def test_refusals_have_the_numbers_of_rest(face: Face) -> None:
    _, joined = face.market()
    me = await face.key(USDT="100")
    reads = await face.key(scopes=("read",))
    order = {"symbol": joined, "side": "BUY", "type": "LIMIT", "timeInForce": "GTC", "quantity": "1", "price": "100"}
    async with socket(port(face), PATH) as link:
        assert await refused(link, "order.place", signed(me, order)) == (400, -2010)
        assert await refused(link, "order.place", signed(me, order | {"price": "0.001"})) == (400, -1013)
        assert await refused(link, "order.place", signed(me, order | {"symbol": "NOSUCH"})) == (400, -1121)
        assert await refused(link, "order.place", signed(me, order | {"colour": "red"})) == (400, -2010)
        assert await refused(link, "order.place", signed(reads, order)) == (401, -2015)
        assert await refused(link, "order.place", order) == (400, -1102)
        assert await refused(link, "order.place", order | {"apiKey": "x"}) == (401, -2014)
        late = signed(me, order, timestamp=me.now_ms() - 10_000)
        assert await refused(link, "order.place", late) == (400, -1021)
        assert await refused(link, "order.place", signed(me, order) | {"price": "99"}) == (400, -1022)
        assert await refused(link, "order.status", signed(me, {"symbol": joined, "orderId": 1})) == (400, -2013)
        assert await refused(link, "order.cancel", signed(me, {"symbol": joined, "orderId": 1})) == (400, -2011)
        taken = signed(me, order | {"quantity": "0.5"})
        assert (await link.ask("order.place", taken))["status"] == 200
        assert await refused(link, "order.place", taken) == (400, -1022)
        for method in ("nosuch", "order.nosuch", "sor.order.place", "x" * 5_000):
            assert await refused(link, method, {}) == (400, -1020)


async def test_what_cannot_be_read(face: Face) -> None:
    async with socket(port(face), PATH) as link:
        for message, number in (
            ("{", -1135),
            ("[]", -1135),
            ('{"id":1}', -1102),
            ('{"id":1,"method":7}', -1102),
            ('{"id":1,"method":"time","more":1}', -1104),
            ('{"id":1,"method":"time","params":[]}', -1135),
            ('{"id":1,"method":"time","params":{"a":{}}}', -1135),
            ('{"id":1,"method":"time","params":{"a":null}}', -1135),
            ('{"id":1,"method":"time","params":{"symbol":""}}', -1105),
        ):
            before = len(link.messages)
            await link.link.send(message)
            [answer] = await link.until(functools.partial(lambda at: link.messages[at:], before))
            assert answer["error"]["code"] == number, message
            await good(link, None, "ping")
        for bad in ('{"id":{},"method":"ping"}', '{"id":"' + "1" * 101 + '","method":"ping"}', "[" * 30_000):
            await link.link.send(bad)
            await link.until(lambda: link.messages[-1].get("error", {}).get("code") == -1135)
            assert link.messages.pop()["id"] is None
        for _ in range(10):
            await link.link.send("nonsense")
        assert await link.closed() == 1008


async def test_sessions(face: Face) -> None:
    me = await face.key(USDT="100000")
    async with socket(port(face), f"{PATH}?returnRateLimits=false") as link:
        status = await good(link, None, "session.status")
        assert (status["apiKey"], status["returnRateLimits"], status["userDataStream"]) == (None, False, False)
        assert await refused(link, "userDataStream.subscribe") == (400, -1102)
        assert await refused(link, "session.logon", signed(me, {}) | {"signature": "0" * 64}) == (400, -1022)
        assert (await good(link, me, "session.logon"))["apiKey"] == me.key_id
        answer = await link.ask("account.status", {"timestamp": me.now_ms()})
        assert answer["status"] == 200
        assert "rateLimits" not in answer
        assert await refused(link, "account.status", {}) == (400, -1102)
        assert await refused(link, "account.status", {"timestamp": me.now_ms() - 10_000}) == (400, -1021)
        assert await good(link, None, "userDataStream.subscribe", timestamp=me.now_ms()) == {"subscriptionId": 0}
        assert await refused(link, "userDataStream.subscribe.signature", signed(me, {})) == (400, -1130)
        assert await good(link, None, "session.subscriptions") == [{"subscriptionId": 0}]
        assert (await good(link, None, "session.status"))["userDataStream"] is True
        assert (await good(link, None, "session.logout"))["apiKey"] is None
        assert await good(link, None, "session.subscriptions") == []
        await link.until(lambda: ended(link))
        assert await refused(link, "account.status", {"timestamp": me.now_ms()}) == (400, -1102)


async def test_who_logs_on_with_a_private_key_signs_nothing_more(face: Face) -> None:
    _, joined = face.market()
    private = ed25519.Ed25519PrivateKey.generate()
    _, me = await register(face, pem(private), USDT="100000")
    me.private = signs(private)
    async with socket(port(face), PATH) as link:
        assert (await good(link, me, "session.logon"))["apiKey"] == me.key_id
        limit = {"symbol": joined, "side": "BUY", "type": "LIMIT", "timeInForce": "GTC", "quantity": "1"}
        placed = await good(link, None, "order.place", price="100", timestamp=me.now_ms(), **limit)
        replace = {"cancelReplaceMode": "STOP_ON_FAILURE", "cancelOrderId": placed["orderId"]} | limit
        done = await good(link, None, "order.cancelReplace", price="101", timestamp=me.now_ms(), **replace)
        assert (done["cancelResult"], done["newOrderResult"]) == ("SUCCESS", "SUCCESS")
        again = await link.ask("order.cancelReplace", replace | {"price": "102", "timestamp": me.now_ms()})
        assert (again["status"], again["error"]["code"]) == (400, -2022)
        assert again["error"]["data"]["cancelResult"] == "FAILURE"


async def test_streams_of_several_users_on_one_connection(face: Face) -> None:
    symbol, joined = face.market()
    base = symbol.split("/", maxsplit=1)[0]
    me, other = await face.key(USDT="100000"), await face.rich(base, "1000")
    limit = {"symbol": joined, "type": "LIMIT", "timeInForce": "GTC", "quantity": "1", "price": "100"}
    async with socket(port(face), PATH) as link:
        for number, key in enumerate((me, other)):
            found = await good(link, key, "userDataStream.subscribe.signature")
            assert found == {"subscriptionId": number}
        await good(link, me, "order.place", side="BUY", **limit)
        await good(link, other, "order.place", side="SELL", **limit)

        def reports() -> list[tuple[int, str, str]]:
            events = [m for m in link.messages if m.get("event", {}).get("e") == "executionReport"]
            return [(m["subscriptionId"], m["event"]["x"], m["event"]["X"]) for m in events]

        await link.until(lambda: len(reports()) == 4)
        assert sorted(reports()) == [
            (0, "NEW", "NEW"), (0, "TRADE", "FILLED"), (1, "NEW", "NEW"), (1, "TRADE", "FILLED")
        ]  # fmt: skip
        assert await refused(link, "userDataStream.unsubscribe", {"subscriptionId": 7}) == (400, -1130)
        assert await good(link, None, "userDataStream.unsubscribe", subscriptionId=1) == {}
        assert await good(link, None, "session.subscriptions") == [{"subscriptionId": 0}]
        face.venue.running.streams.rebuilt()
        await link.until(
            lambda: (
                len(
                    [
                        m
                        for m in link.messages
                        if "event" in m and "subscriptionId" in m and m["event"]["e"] == "eventStreamTerminated"
                    ]
                )
                == 2
            )
        )
        assert await good(link, None, "session.subscriptions") == []


async def test_a_revoked_key_ends_its_connections(face: Face) -> None:
    owner = await face.trader(USDT="1000")
    key = await face.key(owner)
    async with socket(port(face), PATH) as link:
        await good(link, key, "userDataStream.subscribe.signature")
        answer = await owner.http.delete(f"/api/v1/api-keys/{key.key_id}", headers=owner.headers)
        assert answer.status_code == 200, answer.text
        assert await link.closed() == 4401


async def test_limits_are_told_and_kept(face: Face) -> None:
    _, joined = face.market()
    me = await face.key(USDT="100000")
    limits = face.venue.running.services.limits
    async with socket(port(face), PATH) as link:
        answer = await link.ask("depth", {"symbol": joined, "limit": 1_000})
        [weight] = answer["rateLimits"]
        assert (weight["rateLimitType"], weight["interval"], weight["limit"]) == ("REQUEST_WEIGHT", "MINUTE", 6_000)
        assert (await link.ask("ping", {"returnRateLimits": False})).keys() == {"id", "status", "result"}
        off = RateLimit(0, 1)
        limits.set_limits(
            LimitSettings(orders=RateLimit(0.01, 1), queries=off, public=off, address=off, weight=RateLimit(0.01, 100))
        )
        order = {"symbol": joined, "side": "BUY", "type": "LIMIT", "timeInForce": "GTC", "quantity": "1"}
        first = await link.ask("order.place", signed(me, order, price="10"))
        assert [row["rateLimitType"] for row in first["rateLimits"]] == ["REQUEST_WEIGHT", "ORDERS"]
        refusal = await link.ask("order.place", signed(me, order, price="11"))
        assert (refusal["status"], refusal["error"]["code"]) == (429, -1015)
        assert refusal["error"]["data"]["retryAfter"] > refusal["error"]["data"]["serverTime"]
        assert await refused(link, "depth", {"symbol": joined, "limit": 5_000}) == (429, -1003)
        # The connection goes on.
        limits.set_limits(LimitSettings(weight=off))
        await good(link, None, "ping")
