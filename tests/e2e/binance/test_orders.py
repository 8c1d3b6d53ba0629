"""Orders over the face that clients of Binance know: placed, shown, cancelled, listed and refused as they expect it."""

from typing import Any

from tests.e2e.binance.conftest import Face, Key
from trade_engine.domain.enums import MarketState
from trade_engine.sequencer.verify import verify

ORDER = "/api/v3/order"
LIMIT = {"timeInForce": "GTC"}


async def two(face: Face) -> tuple[str, Key, Key]:
    """A market with a buyer and a seller."""
    _, joined = face.market()
    return (
        joined,
        await face.key(USDT="100000"),
        await face.key(await face.trader(**{joined.removesuffix("USDT"): "1000"})),
    )


async def test_an_order_rests_is_filled_in_part_and_wholly(face: Face) -> None:
    joined, buyer, seller = await two(face)
    full = await buyer.order("BUY", "LIMIT", symbol=joined, quantity="2", price="100", newClientOrderId="mine", **LIMIT)
    assert full == {
        "symbol": joined, "orderId": full["orderId"], "orderListId": -1, "clientOrderId": "mine",
        "transactTime": full["transactTime"], "price": "100.00000000", "origQty": "2.00000000",
        "executedQty": "0.00000000", "origQuoteOrderQty": "0.00000000", "cummulativeQuoteQty": "0.00000000",
        "status": "NEW", "timeInForce": "GTC", "type": "LIMIT", "side": "BUY",
        "workingTime": full["transactTime"], "selfTradePreventionMode": "EXPIRE_TAKER", "fills": [],
    }  # fmt: skip
    sold = await seller.order("SELL", "MARKET", symbol=joined, quantity="0.5")
    assert (sold["status"], sold["executedQty"], sold["cummulativeQuoteQty"]) == ("FILLED", "0.50000000", "50.00000000")
    [fill] = sold["fills"]
    assert fill | {"tradeId": 0} == {
        "price": "100.00000000", "qty": "0.50000000", "commission": "0.05000000", "commissionAsset": "USDT",
        "tradeId": 0,
    }  # fmt: skip
    seen = await buyer.good("GET", ORDER, symbol=joined, orderId=full["orderId"])
    assert (seen["status"], seen["executedQty"], seen["isWorking"]) == ("PARTIALLY_FILLED", "0.50000000", True)
    assert await buyer.good("GET", ORDER, symbol=joined, origClientOrderId="mine") == seen
    assert await buyer.good("GET", "/api/v3/openOrders", symbol=joined) == [seen]
    assert seen in await buyer.good("GET", "/api/v3/openOrders")
    await seller.order("SELL", "LIMIT", symbol=joined, quantity="1.5", price="100", **LIMIT)
    seen = await buyer.good("GET", ORDER, symbol=joined, orderId=full["orderId"])
    assert (seen["status"], seen["executedQty"]) == ("FILLED", "2.00000000")
    assert await buyer.good("GET", "/api/v3/openOrders", symbol=joined) == []
    # Nobody else finds it, and nobody finds it in another market.
    none = (400, -2013, "Order does not exist.")
    assert await seller.refused("GET", ORDER, symbol=joined, orderId=full["orderId"]) == none
    assert await seller.refused("GET", ORDER, symbol=joined, origClientOrderId="mine") == none
    assert await buyer.refused("GET", ORDER, symbol="T60USDT", orderId=full["orderId"]) == none
    assert await buyer.refused("GET", ORDER, symbol=joined, orderId=full["orderId"] + 1) == none
    assert await buyer.refused("GET", ORDER, symbol=joined, orderId=full["orderId"], origClientOrderId="x") == none


async def test_answers_as_long_as_asked_for(face: Face) -> None:
    joined, buyer, _ = await two(face)
    terms: dict[str, Any] = {"symbol": joined, "quantity": "1", "price": "10"}
    ack = await buyer.order("BUY", "LIMIT", newOrderRespType="ACK", **terms, **LIMIT)
    assert set(ack) == {"symbol", "orderId", "orderListId", "clientOrderId", "transactTime"}
    assert len(ack["clientOrderId"]) == 36
    named = await buyer.good("GET", ORDER, symbol=joined, origClientOrderId=ack["clientOrderId"])
    assert named["orderId"] == ack["orderId"]
    result = await buyer.order("BUY", "LIMIT", newOrderRespType="RESULT", **terms, **LIMIT)
    assert result["status"] == "NEW"
    assert "fills" not in result
    assert "status" not in await buyer.order("BUY", "LIMIT_MAKER", **terms)
    assert (await buyer.refused("POST", ORDER, side="BUY", type="LIMIT", newOrderRespType="x", **terms, **LIMIT))[
        1
    ] == -1130


async def test_market_orders_by_quantity_and_by_amount(face: Face) -> None:
    joined, buyer, seller = await two(face)
    nothing = await buyer.order("BUY", "MARKET", symbol=joined, quoteOrderQty="50")
    assert (nothing["status"], nothing["executedQty"], nothing["fills"]) == ("EXPIRED", "0.00000000", [])
    await seller.order("SELL", "LIMIT", symbol=joined, quantity="1", price="100", **LIMIT)
    bought = await buyer.order("BUY", "MARKET", symbol=joined, quoteOrderQty="50")
    assert (bought["status"], bought["origQuoteOrderQty"]) == ("FILLED", "50.00000000")
    # The fee comes on top, so what is bought is worth a little less than the amount.
    assert bought["cummulativeQuoteQty"] < "50"
    assert bought["origQty"] == bought["executedQty"]
    rest = await buyer.order("BUY", "MARKET", symbol=joined, quantity="5")
    assert (rest["status"], rest["origQty"]) == ("EXPIRED", "5.00000000")
    assert rest["executedQty"] > "0.5"
    for given, number in (
        ({}, -1102), ({"quantity": 1, "quoteOrderQty": 1}, -1106), ({"quantity": 1, "timeInForce": "GTC"}, -1106),
        ({"quantity": 1, "price": 1}, -1106),
    ):  # fmt: skip
        refused = await buyer.refused("POST", ORDER, symbol=joined, side="BUY", type="MARKET", **given)
        assert refused[1] == number, given
    selling = await seller.refused("POST", ORDER, symbol=joined, side="SELL", type="MARKET", quoteOrderQty=1)
    assert selling == (400, -2010, "Quote order qty market orders are not support for this symbol.")


async def test_ends_that_nobody_asked_for(face: Face) -> None:
    joined, buyer, seller = await two(face)
    await seller.order("SELL", "LIMIT", symbol=joined, quantity="1", price="100", **LIMIT)
    taken = await buyer.order("BUY", "LIMIT", symbol=joined, quantity="3", price="100", timeInForce="IOC")
    assert (taken["status"], taken["executedQty"]) == ("EXPIRED", "1.00000000")
    whole = await buyer.order("BUY", "LIMIT", symbol=joined, quantity="3", price="100", timeInForce="FOK")
    assert (whole["status"], whole["executedQty"]) == ("EXPIRED", "0.00000000")
    maker = await buyer.order("BUY", "LIMIT", symbol=joined, quantity="1", price="90", **LIMIT)
    own = await buyer.refused("POST", ORDER, symbol=joined, side="BUY", type="LIMIT_MAKER", quantity=1, price="0")
    assert own == (400, -1013, "Invalid price.")
    # The buyer has bought one, once that is settled: he meets himself.
    await face.venue.settled()
    met = await buyer.order("SELL", "LIMIT", symbol=joined, quantity="0.5", price="90", **LIMIT)
    assert met["status"] == "EXPIRED_IN_MATCH"
    met = await buyer.order(
        "SELL", "LIMIT", symbol=joined, quantity="0.5", price="90", selfTradePreventionMode="EXPIRE_MAKER", **LIMIT
    )
    assert (met["status"], met["selfTradePreventionMode"]) == ("NEW", "EXPIRE_MAKER")
    gone = await buyer.good("GET", ORDER, symbol=joined, orderId=maker["orderId"])
    assert gone["status"] == "EXPIRED_IN_MATCH"


async def test_stops_makers_and_icebergs(face: Face) -> None:
    joined, buyer, seller = await two(face)
    await seller.order("SELL", "LIMIT", symbol=joined, quantity="1", price="100", **LIMIT)
    await buyer.order("BUY", "LIMIT", symbol=joined, quantity="1", price="100", **LIMIT)
    stop = await buyer.order(
        "BUY", "STOP_LOSS_LIMIT", symbol=joined, quantity="1", price="111", stopPrice="110",
        newOrderRespType="RESULT", **LIMIT,
    )  # fmt: skip
    assert (stop["status"], stop["stopPrice"], stop["workingTime"]) == ("NEW", "110.00000000", -1)
    assert set(await seller.order("SELL", "STOP_LOSS", symbol=joined, quantity="1", stopPrice="90")) >= {"orderId"}
    reached = {"symbol": joined, "type": "STOP_LOSS", "quantity": 1}
    at_once = (400, -2010, "Order would trigger immediately.")
    assert await buyer.refused("POST", ORDER, side="BUY", stopPrice=99, **reached) == at_once
    assert await seller.refused("POST", ORDER, side="SELL", stopPrice=101, **reached) == at_once
    profit = reached | {"type": "TAKE_PROFIT", "side": "SELL"}
    assert await seller.refused("POST", ORDER, stopPrice=99, **profit) == at_once
    assert await buyer.refused("POST", ORDER, **profit | {"side": "BUY"}, stopPrice=101) == at_once
    taking = await seller.good("POST", ORDER, **profit, stopPrice=130)
    waiting = await seller.good("GET", ORDER, symbol=joined, orderId=taking["orderId"])
    assert (waiting["type"], waiting["status"], waiting["isWorking"]) == ("TAKE_PROFIT", "NEW", False)
    await seller.good("DELETE", ORDER, symbol=joined, orderId=taking["orderId"])
    await seller.order("SELL", "LIMIT", symbol=joined, quantity="2", price="110", **LIMIT)
    await buyer.order("BUY", "LIMIT", symbol=joined, quantity="1", price="110", **LIMIT)
    entered = await buyer.good("GET", ORDER, symbol=joined, orderId=stop["orderId"])
    assert (entered["status"], entered["type"], entered["isWorking"]) == ("FILLED", "STOP_LOSS_LIMIT", True)
    await seller.order("SELL", "LIMIT", symbol=joined, quantity="1", price="120", **LIMIT)
    take = await buyer.refused("POST", ORDER, symbol=joined, side="BUY", type="LIMIT_MAKER", quantity=1, price=120)
    assert take == (400, -2010, "Order would immediately match and take.")
    iceberg = await buyer.order(
        "BUY", "LIMIT", symbol=joined, quantity="10", price="90", icebergQty="1", newOrderRespType="RESULT", **LIMIT
    )
    assert iceberg["icebergQty"] == "1.00000000"
    hidden = {"symbol": joined, "side": "BUY", "type": "LIMIT", "quantity": 10, "price": 90}
    for given, number in (
        ({"icebergQty": "0.1", "timeInForce": "GTC"}, -1013), ({"icebergQty": "11", "timeInForce": "GTC"}, -2010),
        ({"icebergQty": "1", "timeInForce": "IOC"}, -1014), ({"icebergQty": "1.0000001", "timeInForce": "GTC"}, -1013),
    ):  # fmt: skip
        assert (await buyer.refused("POST", ORDER, **hidden, **given))[1] == number, given


async def test_refusals_have_their_numbers(face: Face) -> None:
    joined, buyer, _ = await two(face)
    good: dict[str, Any] = {
        "symbol": joined, "side": "BUY", "type": "LIMIT", "timeInForce": "GTC", "quantity": "1", "price": "10",
    }  # fmt: skip
    cases: list[tuple[dict[str, Any], int, str]] = [
        ({"symbol": "NOSUCH"}, -1121, "Invalid symbol."),
        ({"side": "buy"}, -1117, "Invalid side."),
        ({"type": "STOP"}, -1116, "Invalid orderType."),
        ({"timeInForce": "DAY"}, -1115, "Invalid timeInForce."),
        ({"timeInForce": None}, -1102, "'timeInForce'"),
        ({"quantity": None}, -1102, "'quantity'"),
        ({"price": None}, -1102, "'price'"),
        ({"stopPrice": "1"}, -1106, "'stopPrice'"),
        ({"quantity": "0"}, -1013, "Invalid quantity."),
        ({"quantity": "0.00001"}, -1013, "Filter failure: LOT_SIZE"),
        ({"quantity": "1.0000001"}, -1013, "Filter failure: LOT_SIZE"),
        ({"quantity": "1000001"}, -1013, "Filter failure: LOT_SIZE"),
        ({"quantity": "1.123456789"}, -1111, "Parameter 'quantity' has too much precision."),
        ({"quantity": "1e3"}, -1100, "'quantity'"),
        ({"quantity": "-1"}, -1100, "'quantity'"),
        ({"price": "10.001"}, -1013, "Filter failure: PRICE_FILTER"),
        ({"price": "900000000000"}, -1108, "'price'"),
        ({"price": "80000000000", "quantity": "10"}, -1013, "Filter failure: NOTIONAL"),
        ({"price": "100001"}, -2010, "Account has insufficient balance for requested action."),
        ({"newClientOrderId": "a b"}, -1100, "'newClientOrderId'"),
        ({"newClientOrderId": "x" * 37}, -1100, "'newClientOrderId'"),
        ({"selfTradePreventionMode": "TRANSFER"}, -1130, "selfTradePreventionMode"),
        ({"trailingDelta": "100"}, -2010, "Trailing stop orders are not supported for this symbol."),
        ({"pegPriceType": "PRIMARY_PEG"}, -2010, "Pegged orders are not supported for this symbol."),
    ]
    for changes, number, text in cases:
        given = {name: value for name, value in (good | changes).items() if value is not None}
        status, code, said = await buyer.refused("POST", ORDER, **given)
        assert (status, code) == (400, number), (changes, code, said)
        assert text in said, (changes, said)
        # What is wrong is wrong without being placed, too; funds are not looked at there.
        tested = await buyer.ask("POST", f"{ORDER}/test", **given)
        assert number == -2010 or tested.json()["code"] == number, changes
    assert await buyer.good("GET", "/api/v3/openOrders", symbol=joined) == []


async def test_trying_an_order_places_none(face: Face) -> None:
    joined, buyer, _ = await two(face)
    good: dict[str, Any] = {"symbol": joined, "side": "BUY", "type": "LIMIT", "quantity": "1", "price": "10"} | LIMIT
    assert await buyer.good("POST", f"{ORDER}/test", **good) == {}
    rates = await buyer.good("POST", f"{ORDER}/test", computeCommissionRates="true", **good)
    assert rates["standardCommissionForOrder"] == {"maker": "0.00050000", "taker": "0.00100000"}
    assert await buyer.good("GET", "/api/v3/allOrders", symbol=joined) == []


async def test_a_live_client_order_id_is_taken(face: Face) -> None:
    joined, buyer, seller = await two(face)
    terms: dict[str, Any] = {"symbol": joined, "quantity": "1", "price": "100", "newClientOrderId": "once"} | LIMIT
    await buyer.order("BUY", "LIMIT", **terms)
    assert await buyer.refused("POST", ORDER, side="BUY", type="LIMIT", **terms) == (
        400,
        -2010,
        "Duplicate order sent.",
    )
    await seller.order("SELL", "LIMIT", **terms)
    assert len(await buyer.good("GET", "/api/v3/allOrders", symbol=joined)) == 1
    # Once it has ended its id may be another's; which one it is then, is the newest.
    again = await buyer.order("BUY", "LIMIT", **terms)
    found = await buyer.good("GET", ORDER, symbol=joined, origClientOrderId="once")
    assert (found["orderId"], found["status"]) == (again["orderId"], "NEW")
    assert (await buyer.refused("POST", ORDER, side="BUY", type="LIMIT", **terms))[2] == "Duplicate order sent."
    async with face.venue.running.pool.acquire() as connection:
        assert (await verify(connection, face.venue.running.new_book)).differences == []


async def test_cancels(face: Face) -> None:
    joined, buyer, seller = await two(face)
    unknown = (400, -2011, "Unknown order sent.")
    terms: dict[str, Any] = {"symbol": joined, "quantity": "1", "price": "10"} | LIMIT
    placed = await buyer.order("BUY", "LIMIT", newClientOrderId="a", **terms)
    assert await seller.refused("DELETE", ORDER, symbol=joined, orderId=placed["orderId"]) == unknown
    assert await buyer.refused("DELETE", ORDER, symbol="T60USDT", orderId=placed["orderId"]) == unknown
    assert (await buyer.refused("DELETE", ORDER, symbol=joined))[1] == -1102
    ended = await buyer.good("DELETE", ORDER, symbol=joined, origClientOrderId="a", newClientOrderId="the-end")
    assert (ended["status"], ended["origClientOrderId"], ended["clientOrderId"]) == ("CANCELED", "a", "the-end")
    assert ended["orderId"] == placed["orderId"]
    assert await buyer.refused("DELETE", ORDER, symbol=joined, origClientOrderId="a") == unknown
    assert await buyer.refused("DELETE", ORDER, symbol=joined, orderId=10**18) == unknown
    assert await buyer.refused("DELETE", "/api/v3/openOrders", symbol=joined) == unknown
    numbers = [(await buyer.order("BUY", "LIMIT", **terms))["orderId"] for _ in range(3)]
    ended = await buyer.good("DELETE", "/api/v3/openOrders", symbol=joined)
    assert [(row["orderId"], row["status"]) for row in ended] == [(number, "CANCELED") for number in numbers]
    assert await buyer.good("GET", "/api/v3/openOrders", symbol=joined) == []


async def test_lists_of_orders(face: Face) -> None:
    joined, buyer, _ = await two(face)
    terms: dict[str, Any] = {"symbol": joined, "quantity": "1", "price": "10"} | LIMIT
    placed = [await buyer.order("BUY", "LIMIT", **terms) for _ in range(5)]
    numbers = [row["orderId"] for row in placed]
    await buyer.good("DELETE", ORDER, symbol=joined, orderId=numbers[1])

    async def listed(**given: Any) -> list[int]:
        return [row["orderId"] for row in await buyer.good("GET", "/api/v3/allOrders", symbol=joined, **given)]

    assert await listed() == numbers
    assert await listed(limit=2) == numbers[-2:]
    assert await listed(orderId=numbers[2], limit=2) == numbers[2:4]
    assert await listed(orderId=numbers[-1] + 1) == []
    times = [row["transactTime"] for row in placed]
    assert await listed(startTime=times[0], limit=2) == numbers[:2]
    assert await listed(startTime=times[0], endTime=times[-1]) == numbers
    assert await listed(startTime=times[-1] + 1) == []
    assert await listed(endTime=times[0] - 1) == []
    assert (await buyer.refused("GET", "/api/v3/allOrders", symbol=joined, orderId=1, startTime=1))[1] == -1128
    open_ones = await buyer.good("GET", "/api/v3/openOrders", symbol=joined)
    assert [row["orderId"] for row in open_ones] == [numbers[0], *numbers[2:]]


async def test_halted_markets(face: Face) -> None:
    joined, buyer, _ = await two(face)
    terms: dict[str, Any] = {"symbol": joined, "quantity": "1", "price": "10"} | LIMIT
    placed = await buyer.order("BUY", "LIMIT", **terms)
    symbol = f"{joined.removesuffix('USDT')}/USDT"
    operations = face.venue.running.services.operations
    await operations.set_market_state(symbol, MarketState.HALTED)
    assert (await face.get("exchangeInfo", symbol=joined))["symbols"][0]["status"] == "HALT"
    closed = "Market is closed."
    assert await buyer.refused("POST", ORDER, side="BUY", type="LIMIT", **terms) == (400, -2010, closed)
    assert await buyer.refused("POST", f"{ORDER}/test", side="BUY", type="LIMIT", **terms) == (400, -2010, closed)
    assert await buyer.refused("DELETE", ORDER, symbol=joined, orderId=placed["orderId"]) == (400, -2011, closed)
