"""Stops, time in force, amendments and mass cancels, over HTTP, each followed by verification of the whole database."""

import asyncio
from datetime import UTC, datetime, timedelta

from tests.e2e.venue import Trader, Venue
from trade_engine.domain.enums import MarketState
from trade_engine.domain.scale import UNIT, parse_units
from trade_engine.sequencer.verify import verify


async def _pair(venue: Venue, symbol: str) -> tuple[Trader, Trader]:
    return await venue.trader(USDT="10000"), await venue.trader(**{symbol.split("/", maxsplit=1)[0]: "100"})


async def _verified(venue: Venue) -> None:
    await venue.settled()
    async with venue.running.pool.acquire() as connection:
        report = await verify(connection, venue.running.new_book)
    assert report.differences == []


async def test_a_stop_waits_and_enters_when_the_price_comes(venue: Venue) -> None:
    symbol = venue.market()
    buyer, seller = await _pair(venue, symbol)
    stopper = await venue.trader(USDT="1000")
    body = {"symbol": symbol, "side": "BUY", "type": "STOP", "quantity": "1", "stop_price": "105.00"}
    stop = (await stopper.post(body)).json()["data"]["order"]
    assert (stop["status"], stop["stop_price"], stop["price"]) == ("PENDING", "105.00", None)
    await seller.order(symbol, "SELL", "1", "105.00")
    await seller.order(symbol, "SELL", "5", "105.00")
    assert await venue.book(symbol) == ([], [("105.00", "6", 2)])
    await buyer.order(symbol, "BUY", "1", "105.00")
    after = await stopper.get(f"/orders/{stop['id']}")
    assert (after["status"], after["filled_quantity"]) == ("FILLED", "1")
    await _verified(venue)
    assert await stopper.balance("USDT") == (1000 * UNIT - parse_units("105.105"), 0, 0)


async def test_a_stop_limit_can_be_cancelled_and_amended_while_it_waits(venue: Venue) -> None:
    symbol = venue.market()
    trader, _ = await _pair(venue, symbol)
    body = {"symbol": symbol, "side": "BUY", "type": "STOP_LIMIT", "quantity": "1", "stop_price": "105.00"}
    stop = (await trader.post(body | {"price": "106.00"})).json()["data"]["order"]
    answer = await trader.http.patch(
        f"/api/v1/orders/{stop['id']}", json={"stop_price": "110.00", "price": "111.00"}, headers=trader.headers
    )
    changed = answer.json()["data"]["order"]
    assert (changed["status"], changed["stop_price"], changed["price"]) == ("PENDING", "110.00", "111.00")
    assert (await trader.balance("USDT"))[1] == parse_units("111.111")
    assert (await trader.cancel(stop["id"])).json()["data"]["status"] == "CANCELLED"
    await _verified(venue)
    assert await trader.balance("USDT") == (10_000 * UNIT, 0, 0)


async def test_a_good_till_date_order_expires(venue: Venue) -> None:
    symbol = venue.market()
    trader, _ = await _pair(venue, symbol)
    soon = (datetime.now(UTC) + timedelta(milliseconds=300)).isoformat()
    order, _ = await trader.order(symbol, "BUY", "1", "100.00", time_in_force="GTD", expires_at=soon)
    assert order["status"] == "OPEN"
    for _ in range(100):
        order = await trader.get(f"/orders/{order['id']}")
        if order["status"] != "OPEN":
            break
        await asyncio.sleep(0.02)
    assert (order["status"], order["reason"]) == ("EXPIRED", "GOOD_TILL_DATE")
    assert await venue.book(symbol) == ([], [])
    await _verified(venue)
    assert await trader.balance("USDT") == (10_000 * UNIT, 0, 0)


async def test_a_day_order_ends_at_midnight(venue: Venue) -> None:
    trader, _ = await _pair(venue, symbol := venue.market())
    order, _ = await trader.order(symbol, "BUY", "1", "100.00", time_in_force="DAY")
    assert order["expires_at"].endswith("T00:00:00.000000Z")
    assert datetime.fromisoformat(order["expires_at"]) - datetime.now(UTC) <= timedelta(days=1)


async def test_amend_down_keeps_priority_and_releases_the_difference(venue: Venue) -> None:
    symbol = venue.market()
    first, seller = await _pair(venue, symbol)
    second = await venue.trader(USDT="1000")
    mine, _ = await first.order(symbol, "BUY", "3", "100.00")
    await second.order(symbol, "BUY", "1", "100.00")
    answer = await first.http.patch(f"/api/v1/orders/{mine['id']}", json={"quantity": "2"}, headers=first.headers)
    assert answer.json()["data"]["order"]["quantity"] == "2"
    await seller.order(symbol, "SELL", "1", "100.00")
    assert (await first.get(f"/orders/{mine['id']}"))["filled_quantity"] == "1", "it kept its place"
    await _verified(venue)
    assert (await first.balance("USDT"))[1] == parse_units("100.1")


async def test_amend_up_reserves_more_and_may_match(venue: Venue) -> None:
    symbol = venue.market()
    buyer, seller = await _pair(venue, symbol)
    await seller.order(symbol, "SELL", "1", "110.00")
    mine, _ = await buyer.order(symbol, "BUY", "1", "100.00")
    answer = await buyer.http.patch(
        f"/api/v1/orders/{mine['id']}", json={"price": "112.00", "quantity": "2"}, headers=buyer.headers
    )
    data = answer.json()["data"]
    assert (data["order"]["status"], len(data["trades"]), data["trades"][0]["price"]) == (
        "PARTIALLY_FILLED",
        1,
        "110.00",
    )
    await _verified(venue)
    spent = parse_units("110.11")
    assert await buyer.balance("USDT") == (10_000 * UNIT - spent - parse_units("112.112"), parse_units("112.112"), 0)
    answer = await buyer.http.patch(f"/api/v1/orders/{mine['id']}", json={"price": "20000.00"}, headers=buyer.headers)
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "INSUFFICIENT_BALANCE")
    await _verified(venue)


async def test_amending_what_is_gone_or_somebody_elses(venue: Venue) -> None:
    symbol = venue.market()
    buyer, other = await _pair(venue, symbol)
    mine, _ = await buyer.order(symbol, "BUY", "1", "100.00")
    path, body = f"/api/v1/orders/{mine['id']}", {"quantity": "2"}
    answer = await other.http.patch(path, json=body, headers=other.headers)
    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "ORDER_NOT_FOUND")
    await buyer.cancel(mine["id"])
    answer = await buyer.http.patch(path, json=body, headers=buyer.headers)
    assert (answer.status_code, answer.json()["error"]["code"]) == (409, "NOT_AMENDABLE")
    answer = await buyer.http.patch(path, json={}, headers=buyer.headers)
    assert answer.status_code == 400
    await _verified(venue)


async def test_cancel_all_by_market_and_everywhere(venue: Venue) -> None:
    one, two = venue.market(), venue.market()
    trader, other = await _pair(venue, one)
    for symbol in (one, one, two):
        await trader.order(symbol, "BUY", "1", "10.00")
    await other.order(one, "SELL", "1", "20.00")
    answer = await trader.http.delete("/api/v1/orders", params={"symbol": one}, headers=trader.headers)
    assert answer.json()["data"] == {"cancelled": 2}
    answer = await trader.http.delete("/api/v1/orders", headers=trader.headers)
    assert answer.json()["data"] == {"cancelled": 1}
    assert await venue.book(one) == ([], [("20.00", "1", 1)])
    await _verified(venue)
    assert await trader.balance("USDT") == (10_000 * UNIT, 0, 0)


async def test_market_buy_by_amount(venue: Venue) -> None:
    symbol = venue.market()
    buyer, seller = await _pair(venue, symbol)
    await seller.order(symbol, "SELL", "50", "100.00")
    body = {"symbol": symbol, "side": "BUY", "type": "MARKET", "quote_amount": "250.25"}
    data = (await buyer.post(body)).json()["data"]
    assert (data["order"]["status"], data["order"]["filled_quantity"]) == ("FILLED", "2.5")
    await _verified(venue)
    assert await buyer.balance("USDT") == (10_000 * UNIT - parse_units("250.25"), 0, 0)


async def test_an_iceberg_shows_its_part_and_post_only_does_not_take(venue: Venue) -> None:
    symbol = venue.market()
    buyer, seller = await _pair(venue, symbol)
    await seller.order(symbol, "SELL", "10", "100.00", display_quantity="2")
    assert await venue.book(symbol) == ([], [("100.00", "2", 1)])
    await buyer.order(symbol, "BUY", "3", "100.00")
    assert await venue.book(symbol) == ([], [("100.00", "1", 1)])
    body = {"symbol": symbol, "side": "BUY", "type": "LIMIT", "quantity": "1", "price": "100.00", "post_only": True}
    answer = await buyer.post(body)
    assert (answer.status_code, answer.json()["error"]["code"]) == (422, "POST_ONLY_WOULD_TAKE")
    await _verified(venue)


async def test_a_halted_market_refuses_and_opens_again(venue: Venue) -> None:
    symbol = venue.market()
    buyer, _ = await _pair(venue, symbol)
    order, _ = await buyer.order(symbol, "BUY", "1", "100.00")
    body = {"symbol": symbol, "side": "BUY", "type": "LIMIT", "quantity": "1", "price": "100.00"}
    await venue.running.engine.operations.set_market_state(symbol, MarketState.CANCEL_ONLY)
    answer = await buyer.post(body)
    assert (answer.status_code, answer.json()["error"]["code"]) == (422, "MARKET_CANCEL_ONLY")
    assert (await buyer.cancel(order["id"])).status_code == 200
    await venue.running.engine.operations.set_market_state(symbol, MarketState.OPEN)
    assert (await buyer.post(body)).status_code == 201
    await _verified(venue)
    assert (await buyer.balance("USDT"))[1] == parse_units("100.1")


async def test_a_take_profit_waits_for_the_better_price(venue: Venue) -> None:
    symbol = venue.market()
    buyer, seller = await _pair(venue, symbol)
    holder = await venue.trader(USDT="1000", **{symbol.split("/")[0]: "2"})
    sells = {"symbol": symbol, "side": "SELL", "type": "STOP_LIMIT", "quantity": "1", "take_profit": True}
    profit = (await holder.post(sells | {"stop_price": "105.00", "price": "104.00"})).json()["data"]["order"]
    assert (profit["status"], profit["take_profit"]) == ("PENDING", True)
    buys = {"symbol": symbol, "side": "BUY", "type": "STOP", "quantity": "1", "take_profit": True}
    dip = (await holder.post(buys | {"stop_price": "95.00"})).json()["data"]["order"]
    plain, _ = await holder.order(symbol, "SELL", "0.5", "200.00")
    assert "take_profit" not in plain
    await seller.order(symbol, "SELL", "1", "105.00")
    await buyer.order(symbol, "BUY", "1", "105.00")
    assert (await holder.get(f"/orders/{profit['id']}"))["status"] == "OPEN"
    assert (await holder.get(f"/orders/{dip['id']}"))["status"] == "PENDING"
    await buyer.order(symbol, "BUY", "1", "104.00")
    await seller.order(symbol, "SELL", "3", "95.00")
    await buyer.order(symbol, "BUY", "1", "95.00")
    assert (await holder.get(f"/orders/{dip['id']}"))["status"] == "FILLED"
    refused = await holder.post({**buys, "type": "MARKET"})
    assert (refused.status_code, refused.json()["error"]["details"]["field"]) == (400, "take_profit")
    await _verified(venue)
