"""The trading scenarios, each by its name, over HTTP against the whole engine."""

import asyncio
from decimal import Decimal

from tests.e2e.venue import Trader, Venue
from trade_engine.domain.scale import UNIT, parse_units


async def _pair(venue: Venue, symbol: str) -> tuple[Trader, Trader]:
    base = symbol.split("/", maxsplit=1)[0]
    return await venue.trader(USDT="1000000"), await venue.trader(**{base: "100"})


async def test_market_order_on_one_level(venue: Venue) -> None:
    symbol = venue.market()
    buyer, seller = await _pair(venue, symbol)
    await seller.order(symbol, "SELL", "2", "100.00")
    order, trades = await buyer.order(symbol, "BUY", "1.5")
    assert (order["status"], order["filled_quantity"], order["average_price"]) == ("FILLED", "1.5", "100")
    assert [(t["price"], t["quantity"], t["is_buyer_maker"]) for t in trades] == [("100.00", "1.5", False)]
    assert await venue.book(symbol) == ([], [("100.00", "0.5", 1)])


async def test_market_order_over_several_levels(venue: Venue) -> None:
    symbol = venue.market()
    buyer, seller = await _pair(venue, symbol)
    for price in ("102.00", "100.00", "101.00"):
        await seller.order(symbol, "SELL", "1", price)
    order, trades = await buyer.order(symbol, "BUY", "2.5")
    assert [(t["price"], t["quantity"]) for t in trades] == [("100.00", "1"), ("101.00", "1"), ("102.00", "0.5")]
    assert order["status"] == "FILLED"
    assert Decimal(order["average_price"]) == Decimal("100.8")


async def test_market_order_on_an_empty_side_is_cancelled_with_a_reason(venue: Venue) -> None:
    symbol = venue.market()
    buyer, seller = await _pair(venue, symbol)
    for trader, side in ((buyer, "BUY"), (seller, "SELL")):
        order, trades = await trader.order(symbol, side, "1")
        assert (order["status"], order["reason"], trades) == ("CANCELLED", "NO_LIQUIDITY", [])


async def test_market_order_larger_than_the_book_is_filled_in_part_and_cancelled(venue: Venue) -> None:
    symbol = venue.market()
    buyer, seller = await _pair(venue, symbol)
    await seller.order(symbol, "SELL", "1", "100.00")
    order, trades = await buyer.order(symbol, "BUY", "3")
    assert (order["status"], order["filled_quantity"], len(trades)) == ("CANCELLED", "1", 1)
    await venue.settled()
    assert (await buyer.balance("USDT"))[:2] == (parse_units("999899.9"), 0)


async def test_limit_that_matches_at_once(venue: Venue) -> None:
    symbol = venue.market()
    buyer, seller = await _pair(venue, symbol)
    await seller.order(symbol, "SELL", "1", "99.00")
    order, trades = await buyer.order(symbol, "BUY", "1", "100.00")
    assert (order["status"], trades[0]["price"]) == ("FILLED", "99.00")


async def test_limit_that_rests_and_is_filled_later(venue: Venue) -> None:
    symbol = venue.market()
    buyer, seller = await _pair(venue, symbol)
    resting, trades = await buyer.order(symbol, "BUY", "1", "100.00")
    assert (resting["status"], trades) == ("OPEN", [])
    await seller.order(symbol, "SELL", "1", "100.00")
    later = await buyer.get(f"/orders/{resting['id']}")
    assert (later["status"], later["filled_quantity"]) == ("FILLED", "1")
    assert later["filled_at"] is not None


async def test_partial_fill(venue: Venue) -> None:
    symbol = venue.market()
    buyer, seller = await _pair(venue, symbol)
    resting, _ = await seller.order(symbol, "SELL", "3", "100.00")
    taker, _ = await buyer.order(symbol, "BUY", "1", "100.00")
    assert taker["status"] == "FILLED"
    resting = await seller.get(f"/orders/{resting['id']}")
    assert (resting["status"], resting["filled_quantity"]) == ("PARTIALLY_FILLED", "1")
    assert await venue.book(symbol) == ([], [("100.00", "2", 1)])


async def test_two_users_trade(venue: Venue) -> None:
    symbol = venue.market()
    base = symbol.split("/")[0]
    buyer, seller = await _pair(venue, symbol)
    await seller.order(symbol, "SELL", "2", "50000.00")
    await buyer.order(symbol, "BUY", "2", "50000.00")
    await venue.settled()
    assert await buyer.balance(base) == (2 * UNIT, 0, 0)
    assert await buyer.balance("USDT") == (parse_units("899900"), 0, 0)
    assert await seller.balance(base) == (98 * UNIT, 0, 0)
    assert await seller.balance("USDT") == (parse_units("99950"), 0, 0)
    for trader, sees, hides in ((buyer, "buyer", "seller"), (seller, "seller", "buyer")):
        trade = (await trader.get("/trades", symbol=symbol, scope="own"))[0]
        assert trade["settlement_status"] == "SETTLED"
        assert trade[f"{sees}_fee"] is not None
        assert trade.get(f"{hides}_order_id") is None


async def test_many_buyers_against_one_seller(venue: Venue) -> None:
    symbol = venue.market()
    base = symbol.split("/")[0]
    seller = await venue.trader(**{base: "10"})
    buyers = [await venue.trader(USDT="1000") for _ in range(10)]
    resting, _ = await seller.order(symbol, "SELL", "10", "100.00")
    answers = await asyncio.gather(*(buyer.order(symbol, "BUY", "1", "100.00") for buyer in buyers))
    assert all(order["status"] == "FILLED" for order, _ in answers)
    assert (await seller.get(f"/orders/{resting['id']}"))["status"] == "FILLED"
    await venue.settled()
    assert [await buyer.balance(base) for buyer in buyers] == [(UNIT, 0, 0)] * 10


async def test_depth_follows_every_change(venue: Venue) -> None:
    symbol = venue.market()
    buyer, seller = await _pair(venue, symbol)
    first, _ = await buyer.order(symbol, "BUY", "1", "99.00")
    assert await venue.book(symbol) == ([("99.00", "1", 1)], [])
    await buyer.order(symbol, "BUY", "2", "99.00")
    await seller.order(symbol, "SELL", "4", "101.00")
    assert await venue.book(symbol) == ([("99.00", "3", 2)], [("101.00", "4", 1)])
    await seller.order(symbol, "SELL", "0.5", "99.00")
    assert await venue.book(symbol) == ([("99.00", "2.5", 2)], [("101.00", "4", 1)])
    assert (await buyer.cancel(first["id"])).status_code == 200
    assert await venue.book(symbol) == ([("99.00", "2", 1)], [("101.00", "4", 1)])
    await buyer.order(symbol, "BUY", "5", "101.00")
    assert await venue.book(symbol) == ([("101.00", "1", 1), ("99.00", "2", 1)], [])


async def test_ten_market_orders_at_once(venue: Venue) -> None:
    symbol = venue.market()
    buyer, seller = await _pair(venue, symbol)
    await seller.order(symbol, "SELL", "10", "100.00")
    answers = await asyncio.gather(*(buyer.order(symbol, "BUY", "1") for _ in range(10)))
    assert sum(parse_units(order["filled_quantity"]) for order, _ in answers) == 10 * UNIT
    assert await venue.book(symbol) == ([], [])


async def test_twenty_limit_orders_over_several_markets_at_once(venue: Venue) -> None:
    symbols = [venue.market() for _ in range(4)]
    buyer = await venue.trader(USDT="1000000")
    placed = await asyncio.gather(*(buyer.order(symbols[n % 4], "BUY", "1", f"{100 + n // 4}.00") for n in range(20)))
    assert {order["status"] for order, _ in placed} == {"OPEN"}
    assert len({order["id"] for order, _ in placed}) == 20
    for symbol in symbols:
        bids, _ = await venue.book(symbol)
        assert [price for price, _, _ in bids] == ["104.00", "103.00", "102.00", "101.00", "100.00"]


async def test_a_hundred_orders_at_once_from_one_token(venue: Venue) -> None:
    symbol = venue.market()
    buyer = await venue.trader(USDT="1000000")
    placed = await asyncio.gather(*(buyer.order(symbol, "BUY", "1", "10.00") for _ in range(100)))
    assert {order["status"] for order, _ in placed} == {"OPEN"}
    assert await venue.book(symbol) == ([("10.00", "100", 100)], [])
    assert (await buyer.balance("USDT"))[1] == parse_units("1001")


async def test_insufficient_balance(venue: Venue) -> None:
    symbol = venue.market()
    buyer = await venue.trader(USDT="100")
    answer = await buyer.post({"symbol": symbol, "side": "BUY", "type": "LIMIT", "quantity": "1", "price": "100.00"})
    assert answer.status_code == 400
    assert answer.json()["error"]["code"] == "INSUFFICIENT_BALANCE"
    assert await buyer.balance("USDT") == (100 * UNIT, 0, 0)
    assert await venue.book(symbol) == ([], [])
    assert await buyer.get("/orders") == []
    stranger = await venue.trader()
    answer = await stranger.post({"symbol": symbol, "side": "SELL", "type": "MARKET", "quantity": "1"})
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "INSUFFICIENT_BALANCE")


async def test_cancel_before_fill(venue: Venue) -> None:
    symbol = venue.market()
    buyer, seller = await _pair(venue, symbol)
    resting, _ = await buyer.order(symbol, "BUY", "1", "100.00")
    first = await buyer.cancel(resting["id"])
    assert (first.status_code, first.json()["data"]["status"]) == (200, "CANCELLED")
    again = await buyer.cancel(resting["id"])
    assert (again.status_code, again.json()["data"]) == (200, first.json()["data"])
    _, trades = await seller.order(symbol, "SELL", "1", "100.00")
    assert trades == []
    await venue.settled()
    assert await buyer.balance("USDT") == (1_000_000 * UNIT, 0, 0)


async def test_cancel_after_fill_is_refused(venue: Venue) -> None:
    symbol = venue.market()
    buyer, seller = await _pair(venue, symbol)
    resting, _ = await buyer.order(symbol, "BUY", "1", "100.00")
    await seller.order(symbol, "SELL", "1", "100.00")
    answer = await buyer.cancel(resting["id"])
    assert (answer.status_code, answer.json()["error"]["code"]) == (409, "ORDER_NOT_CANCELLABLE")


async def test_duplicate_client_order_id(venue: Venue) -> None:
    symbol = venue.market()
    buyer = await venue.trader(USDT="1000")
    first, _ = await buyer.order(symbol, "BUY", "1", "100.00", client_order_id="mine-1")
    body = {"symbol": symbol, "side": "BUY", "type": "LIMIT", "quantity": "2", "price": "90.00"}
    again = await buyer.post(body | {"client_order_id": "mine-1"})
    assert again.status_code == 200
    assert again.json()["data"]["replayed"] is True
    assert again.json()["data"]["order"]["id"] == first["id"]
    assert await venue.book(symbol) == ([("100.00", "1", 1)], [])
    other = await venue.trader(USDT="1000")
    _, trades = await other.order(symbol, "BUY", "1", "80.00", client_order_id="mine-1")
    assert trades == []


async def test_duplicate_client_order_id_while_the_first_is_in_flight(venue: Venue) -> None:
    symbol = venue.market()
    buyer = await venue.trader(USDT="1000")
    body = {"symbol": symbol, "side": "BUY", "type": "LIMIT", "quantity": "1", "price": "10.00"}
    answers = await asyncio.gather(*(buyer.post(body | {"client_order_id": "burst"}) for _ in range(20)))
    assert len({a.json()["data"]["order"]["id"] for a in answers}) == 1
    assert sorted(a.status_code for a in answers) == [200] * 19 + [201]
    assert await venue.book(symbol) == ([("10.00", "1", 1)], [])


async def test_fee_accuracy(venue: Venue) -> None:
    """Many small fills cost what one large one costs: the fee is rounded up once, on the sum."""
    symbol = venue.market()
    base = symbol.split("/")[0]
    buyer, seller = await _pair(venue, symbol)
    for _ in range(7):
        await seller.order(symbol, "SELL", "0.000101", "33.33")
    order, trades = await buyer.order(symbol, "BUY", "0.000707", "33.33")
    assert order["status"] == "FILLED"
    notional = 3333 * 707
    fee = -(-notional * 100_000 // UNIT)
    assert sum(parse_units(t["buyer_fee"]) for t in trades) == fee
    await venue.settled()
    assert await buyer.balance("USDT") == (1_000_000 * UNIT - notional - fee, 0, 0)
    assert (await seller.balance(base))[1] == 0


async def test_price_improvement_is_released(venue: Venue) -> None:
    symbol = venue.market()
    buyer, seller = await _pair(venue, symbol)
    await seller.order(symbol, "SELL", "1", "90.00")
    order, _ = await buyer.order(symbol, "BUY", "2", "100.00")
    assert order["status"] == "PARTIALLY_FILLED"
    await venue.settled()
    spent = parse_units("90.09")
    assert await buyer.balance("USDT") == (1_000_000 * UNIT - spent - parse_units("100.1"), parse_units("100.1"), 0)


async def test_order_quantities_equal_trade_quantities(venue: Venue) -> None:
    symbol = venue.market()
    buyer, seller = await _pair(venue, symbol)
    for n in range(10):
        await seller.order(symbol, "SELL", "0.3", f"{100 + n}.00")
    taker, trades = await buyer.order(symbol, "BUY", "2", "108.00")
    assert sum(parse_units(t["quantity"]) for t in trades) == parse_units(taker["filled_quantity"])
    sold = [parse_units(o["filled_quantity"]) for o in await seller.get("/orders", symbol=symbol)]
    assert sum(sold) == parse_units(taker["filled_quantity"])


async def test_book_never_crossed(venue: Venue) -> None:
    symbol = venue.market()
    buyer, seller = await _pair(venue, symbol)

    async def watch() -> None:
        for _ in range(40):
            bids, asks = await venue.book(symbol)
            if bids and asks:
                assert Decimal(bids[0][0]) < Decimal(asks[0][0])
            await asyncio.sleep(0.005)

    async def trade(trader: Trader, side: str, step: int) -> None:
        for n in range(30):
            await trader.order(symbol, side, "0.1", f"{100 + (n * step) % 11}.00")

    await asyncio.gather(watch(), trade(buyer, "BUY", 7), trade(seller, "SELL", 5))


async def test_somebody_elses_order_is_not_to_be_seen_or_cancelled(venue: Venue) -> None:
    symbol = venue.market()
    buyer, other = await _pair(venue, symbol)
    resting, _ = await buyer.order(symbol, "BUY", "1", "100.00")
    answer = await other.cancel(resting["id"])
    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "ORDER_NOT_FOUND")
    answer = await other.http.get(f"/api/v1/orders/{resting['id']}", headers=other.headers)
    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "ORDER_NOT_FOUND")
    assert (await buyer.get(f"/orders/{resting['id']}"))["status"] == "OPEN"


async def test_self_trade_is_prevented(venue: Venue) -> None:
    symbol = venue.market()
    base = symbol.split("/")[0]
    trader = await venue.trader(USDT="1000", **{base: "10"})
    await trader.order(symbol, "SELL", "1", "100.00")
    order, trades = await trader.order(symbol, "BUY", "1", "100.00")
    assert (order["status"], order["reason"], trades) == ("CANCELLED", "SELF_TRADE", [])
    order, trades = await trader.order(symbol, "BUY", "1", "100.00", self_trade_prevention="NONE")
    assert (order["status"], len(trades)) == ("FILLED", 1)
    await venue.settled()
    assert (await trader.balance(base))[0] == 10 * UNIT
