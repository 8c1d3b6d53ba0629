"""Logins, private channels and orders over WebSocket: complete, one's own, and nobody else's."""

import asyncio
import json
import time
import uuid
from typing import Any

import pytest
from websockets.exceptions import InvalidStatus

from tests.e2e.venue import Trader
from tests.e2e.ws.client import Client, client
from tests.e2e.ws.conftest import Start
from tests.e2e.ws.flow import bearer, load, rich

PRIVATE = ("orders", "fills", "balances")


def limit(symbol: str, side: str = "BUY", quantity: str = "1", price: str = "10.00", **more: str) -> dict[str, str]:
    return {"symbol": symbol, "side": side, "type": "LIMIT", "quantity": quantity, "price": price} | more


async def follow(link: Client) -> None:
    for channel in PRIVATE:
        assert await link.do("subscribe", channel=channel) == {"channel": channel}
    await link.until(lambda: all(link.messages[channel, None] for channel in PRIVATE))


def checked(link: Client, channel: str) -> list[dict[str, Any]]:
    """The messages of a private channel, counted from 1 without a gap on one stream."""
    found = link.messages[channel, None]
    assert [message["sequence"] for message in found] == list(range(1, len(found) + 1))
    assert len({message["stream"] for message in found}) == 1
    assert found[0]["snapshot"] is True
    return found[1:]


async def test_private_channels_are_complete_and_ones_own(start: Start) -> None:
    async with start() as venue:
        symbol, port = venue.market(), venue.running.websocket.port
        mine, stranger = await rich(venue, symbol), await rich(venue, symbol)
        base = symbol.partition("/")[0]
        async with client(port, bearer(mine)) as link, client(port, bearer(stranger)) as other:
            await follow(link)
            await follow(other)
            quiet = await load(venue, [symbol], 0.5, 5)
            placed: list[str] = []
            for n in range(15):
                order, _ = await mine.order(symbol, ("BUY", "SELL")[n % 2], "0.5", ("100.40", "99.60")[n % 2])
                placed.append(order["id"])
            for order_id in placed:
                assert (await mine.cancel(order_id)).status_code in (200, 409)
            await venue.settled()
            own_orders = {order["id"]: order for order in await mine.get("/orders", limit=500)}
            own_trades = [trade["id"] for trade in await mine.get("/trades", scope="own", limit=500)]
            balances = {row["asset"]: row for row in await mine.get("/balances")}
            last: dict[str, Any] = {}

            def complete() -> bool:
                last.update({m["data"]["id"]: m["data"] for m in checked(link, "orders")})
                told = {row["asset"]: row for m in link.messages["balances", None] for row in m["data"]}
                fills = [m["data"]["id"] for m in checked(link, "fills")]
                return last == own_orders and sorted(fills) == sorted(own_trades) and told == balances

            await link.until(complete)
            assert len(own_trades) > 5
            assert {order["user_id"] for order in last.values()} == {mine.user_id}
            for message in checked(link, "fills"):
                sides = {name.partition("_")[0] for name in message["data"] if name.endswith("_order_id")}
                ids = {message["data"][f"{side}_order_id"] for side in sides}
                assert ids <= own_orders.keys()
            assert all(len(other.messages[channel, None]) == 1 for channel in PRIVATE), "others' matters are not told"
            assert {row["asset"] for row in other.messages["balances", None][0]["data"]} == {base, "USDT"}
            assert all(user.user_id not in str(link.messages) for user in (stranger, *quiet))


async def test_who_is_not_logged_in_sees_and_does_nothing(start: Start) -> None:
    async with start() as venue:
        symbol, admin = venue.market(), venue.token(str(uuid.uuid4()), ("admin",))
        async with client(venue.running.websocket.port) as link:
            for channel in PRIVATE:
                assert await link.refused("subscribe", channel=channel) == "UNAUTHORIZED"
            commands: list[tuple[str, dict[str, Any]]] = [
                ("place", {"order": limit(symbol)}), ("cancel", {"order_id": str(uuid.uuid4())}), ("cancel_all", {}),
                ("amend", {"order_id": str(uuid.uuid4()), "change": {"quantity": "1"}}),
                ("cancel_on_disconnect", {"enabled": True}),
            ]  # fmt: skip
            for op, fields in commands:
                assert await link.refused(op, **fields) == "UNAUTHORIZED"
            assert (await link.do("auth", token=admin))["user_id"]
            assert await link.refused("subscribe", channel="orders") == "FORBIDDEN"
            assert await link.refused("place", order=limit(symbol)) == "FORBIDDEN"


async def test_the_ways_to_log_in(start: Start) -> None:
    async with start() as venue:
        trader, port = await venue.trader(USDT="100"), venue.running.websocket.port
        token = bearer(trader)
        async with client(port, token) as by_header:
            await by_header.do("subscribe", channel="orders")
        async with client(port, address=f"ws://127.0.0.1:{port}/ws?token={token}") as by_query:
            await by_query.do("subscribe", channel="orders")
        async with client(port) as by_message:
            assert (await by_message.do("auth", token=token))["user_id"] == trader.user_id
            await by_message.do("subscribe", channel="orders")
        for bad in ("nonsense", token[:-6] + "abcdef", venue.running.issue_token(trader.user_id, ttl_s=-10)):
            for attempt in ({"token": bad}, {"address": f"ws://127.0.0.1:{port}/ws?token={bad}"}):
                with pytest.raises(InvalidStatus) as caught:
                    async with client(port, **attempt):
                        pass
                assert caught.value.response.status_code == 401
                assert json.loads(caught.value.response.body or b"")["error"]["code"] in (
                    "INVALID_TOKEN",
                    "TOKEN_EXPIRED",
                )
            async with client(port) as link:
                assert await link.refused("auth", token=bad) in ("INVALID_TOKEN", "TOKEN_EXPIRED")
                assert await link.refused("subscribe", channel="orders") == "UNAUTHORIZED"
                assert await link.refused("auth") == "MISSING_FIELD"
        with pytest.raises(InvalidStatus) as caught:
            async with client(port, address=f"ws://127.0.0.1:{port}/elsewhere"):
                pass
        assert caught.value.response.status_code == 404


async def test_a_login_ends_and_may_be_carried_on(start: Start) -> None:
    async with start(websocket__ping_s=0.2) as venue:
        trader, port = await venue.trader(USDT="100"), venue.running.websocket.port
        issue = venue.running.issue_token
        async with client(port, issue(trader.user_id, ttl_s=2)) as ends, client(port) as stays:
            await stays.do("auth", token=issue(trader.user_id, ttl_s=2))
            await stays.do("subscribe", channel="orders")
            assert await stays.refused("auth", token=venue.token(str(uuid.uuid4()))) == "FORBIDDEN"
            await stays.do("auth", token=issue(trader.user_id, ttl_s=600))
            started = time.monotonic()
            assert await ends.closed() == 4401
            assert time.monotonic() - started < 15
            await trader.order(venue.market(), "BUY", "1", "1.00")
            await stays.until(lambda: len(stays.messages["orders", None]) == 2)


async def test_orders_over_websocket(start: Start) -> None:
    async with start() as venue:
        symbol, port = venue.market(), venue.running.websocket.port
        mine, other = await rich(venue, symbol), await rich(venue, symbol)
        async with client(port, bearer(mine)) as link:
            first = await link.do("place", order=limit(symbol, client_order_id="a-1"))
            assert first["order"]["status"] == "OPEN"
            assert first["trades"] == []
            again = await link.do("place", order=limit(symbol, client_order_id="a-1"))
            assert again["replayed"] is True
            order_id = first["order"]["id"]
            assert again["order"]["id"] == order_id
            amended = await link.do("amend", order_id=order_id, change={"quantity": "2"})
            assert amended["order"]["quantity"] == "2"
            assert amended["order"] == await mine.get(f"/orders/{order_id}")
            for order, code in (
                (limit(symbol, price="1.001"), "INVALID_PRICE"), (limit("NO/SUCH"), "INVALID_SYMBOL"),
                (limit(symbol, side="BOTH"), "INVALID_SIDE"), (limit(symbol, colour="red"), "UNKNOWN_FIELD"),
                (limit(symbol, quantity="900000", price="100000.00"), "INSUFFICIENT_BALANCE"), ([], "INVALID_BODY"),
            ):  # fmt: skip
                assert await link.refused("place", order=order) == code
            assert await link.refused("place") == "MISSING_FIELD"
            assert await link.refused("cancel", order_id="x") == "INVALID_ORDER_ID"
            assert await link.refused("cancel", order_id=str(uuid.uuid4())) == "ORDER_NOT_FOUND"
            async with client(port, bearer(other)) as stranger:
                assert await stranger.refused("cancel", order_id=order_id) == "ORDER_NOT_FOUND"
                change = {"quantity": "3"}
                assert await stranger.refused("amend", order_id=order_id, change=change) == "ORDER_NOT_FOUND"
                assert await stranger.do("cancel_all") == {"cancelled": 0}
                trades = (await stranger.do("place", order=limit(symbol, "SELL", "0.5")))["trades"]
                assert [trade["quantity"] for trade in trades] == ["0.5"]
            assert (await link.do("cancel", order_id=order_id))["status"] == "CANCELLED"
            for n in range(3):
                await link.do("place", order=limit(symbol, price=f"{5 + n}.00"))
            assert await link.do("cancel_all", symbol=symbol) == {"cancelled": 3}
            assert (await venue.book(symbol))[0] == []


async def test_an_engine_that_is_away_says_so(start: Start) -> None:
    async with start() as venue:
        symbol = venue.market()
        trader = await rich(venue, symbol)
        async with client(venue.running.websocket.port, bearer(trader)) as link:
            await venue.running.engine.stop()
            assert await link.refused("place", order=limit(symbol)) == "ENGINE_UNAVAILABLE"
            assert (await link.do("ping"))["time"]


@pytest.mark.parametrize("end", ["close", "reset"])
async def test_orders_end_with_their_connection_if_asked_to(start: Start, end: str) -> None:
    async with start() as venue:
        symbol, port = venue.market(), venue.running.websocket.port
        trader = await rich(venue, symbol)
        by_rest, _ = await trader.order(symbol, "BUY", "1", "3.00")
        async with client(port, bearer(trader)) as plain, client(port, bearer(trader)) as bound:
            kept = (await plain.do("place", order=limit(symbol, price="4.00")))["order"]["id"]
            assert await bound.do("cancel_on_disconnect", enabled=True) == {"enabled": True}
            ended = [(await bound.do("place", order=limit(symbol)))["order"]["id"] for _ in range(5)]
            if end == "close":
                await bound.close()
            else:
                bound.reset()
            assert await live(trader, but=ended) == {kept, by_rest["id"]}
        assert await live(trader, but=[]) == {kept, by_rest["id"]}


async def live(trader: Trader, but: list[str]) -> set[str]:
    """Open orders once those named have ended."""
    until = time.monotonic() + 5
    while (found := {order["id"] for order in await trader.get("/orders", status="open")}) & set(but):
        assert time.monotonic() < until, "orders outlive their connection"
        await asyncio.sleep(0.02)
    return found


async def test_private_messages_left_unread_end_that_connection_alone(start: Start) -> None:
    small = {"websocket__private_bytes": 8192, "websocket__buffer_bytes": 1024, "websocket__socket_bytes": 4096}
    async with start(**small) as venue:
        symbol, port = venue.market(), venue.running.websocket.port
        trader = await rich(venue, symbol)
        token = bearer(trader)
        async with (
            client(port, token, receive_buffer=4096) as stalled,
            client(port, token) as first,
            client(port, token) as second,
        ):
            for link in (stalled, first, second):
                await link.do("subscribe", channel="orders")
            stalled.pause()
            placed: list[str] = []
            while venue.running.streams.connections == 3:
                assert len(placed) < 2000, "nothing ends it"
                placed.append((await trader.order(symbol, "BUY", "0.001", "10.00"))[0]["id"])
                await trader.cancel(placed[-1])
            for link in (first, second):
                messages = link.messages["orders", None]
                await link.until(lambda: len(messages) > 2 * len(placed))  # noqa: B023
                told = [message["data"]["id"] for message in checked(link, "orders")]
                assert told == [order_id for order_id in placed for _ in range(2)]
