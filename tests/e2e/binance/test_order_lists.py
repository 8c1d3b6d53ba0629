"""Order lists over the face that clients of Binance know: pairs of which one leg cancels the other."""

from typing import Any

from tests.e2e.binance.conftest import Face
from tests.e2e.binance.test_orders import LIMIT, ORDER, two
from trade_engine.sequencer.verify import verify

LIST = "/api/v3/orderList"
#: A SELL pair: take profit at 110, stop loss at 90.
LEGS = {
    "side": "SELL", "quantity": "1", "aboveType": "LIMIT_MAKER", "abovePrice": "110", "belowType": "STOP_LOSS_LIMIT",
    "belowStopPrice": "90", "belowPrice": "89", "belowTimeInForce": "GTC",
}  # fmt: skip
OLD = {
    "side": "SELL", "quantity": "1", "price": "110", "stopPrice": "90", "stopLimitPrice": "89",
    "stopLimitTimeInForce": "GTC",
}  # fmt: skip


async def verified(face: Face) -> None:
    """Everything settled, and nothing differs."""
    await face.venue.settled()
    async with face.venue.running.pool.acquire() as connection:
        assert (await verify(connection, face.venue.running.new_book)).differences == []
    assert (await face.venue.running.reconciler.run()).differences == []


async def test_a_pair_is_placed_shown_and_cancelled(face: Face) -> None:
    joined, _, seller = await two(face)
    names = {"listClientOrderId": "list-1", "aboveClientOrderId": "up", "belowClientOrderId": "down"}
    placed = await seller.good("POST", f"{LIST}/oco", symbol=joined, **LEGS, **names)
    number, (stop, limit) = placed["orderListId"], placed["orderReports"]
    assert {name: placed[name] for name in list(placed)[1:5]} == {
        "contingencyType": "OCO", "listStatusType": "EXEC_STARTED", "listOrderStatus": "EXECUTING",
        "listClientOrderId": "list-1",
    }  # fmt: skip
    assert [order["clientOrderId"] for order in placed["orders"]] == ["down", "up"]
    assert [(leg["type"], leg["status"], leg["orderListId"]) for leg in (stop, limit)] == [
        ("STOP_LOSS_LIMIT", "NEW", number), ("LIMIT_MAKER", "NEW", number),
    ]  # fmt: skip
    [held] = [row for row in (await seller.good("GET", "/api/v3/account"))["balances"] if float(row["locked"])]
    assert held["locked"] == "1.00000000"
    shown = {name: value for name, value in placed.items() if name != "orderReports"}
    assert await seller.good("GET", LIST, orderListId=number) == shown
    assert await seller.good("GET", LIST, origClientOrderId="list-1") == shown
    assert await seller.good("GET", "/api/v3/openOrderList") == [shown]
    seen = await seller.good("GET", ORDER, symbol=joined, origClientOrderId="up")
    assert seen["orderListId"] == number
    assert await seller.refused("POST", f"{LIST}/oco", symbol=joined, **LEGS, **names) == (
        400, -2010, "Duplicate order sent.",
    )  # fmt: skip
    gone = await seller.good("DELETE", LIST, symbol=joined, orderListId=number)
    assert (gone["listStatusType"], gone["listOrderStatus"]) == ("ALL_DONE", "ALL_DONE")
    assert {leg["status"] for leg in gone["orderReports"]} == {"CANCELED"}
    assert await seller.good("GET", "/api/v3/openOrderList") == []
    [ended] = await seller.good("GET", "/api/v3/allOrderList")
    assert (ended["orderListId"], ended["listOrderStatus"]) == (number, "ALL_DONE")
    assert await seller.good("GET", "/api/v3/allOrderList", fromId=number + 1) == []
    assert await seller.refused("DELETE", LIST, symbol=joined, orderListId=number) == (
        400, -2011, "Unknown order sent.",
    )  # fmt: skip
    await verified(face)


async def test_a_fill_of_one_leg_ends_the_other(face: Face) -> None:
    joined, buyer, seller = await two(face)
    placed = await seller.good("POST", "/api/v3/order/oco", symbol=joined, **OLD)
    stop, limit = placed["orderReports"]
    await buyer.order("BUY", "LIMIT", symbol=joined, quantity="0.4", price="110", **LIMIT)
    stop = await seller.good("GET", ORDER, symbol=joined, orderId=stop["orderId"])
    limit = await seller.good("GET", ORDER, symbol=joined, orderId=limit["orderId"])
    assert (stop["status"], limit["status"]) == ("EXPIRED", "PARTIALLY_FILLED")
    assert (await seller.good("GET", LIST, orderListId=placed["orderListId"]))["listOrderStatus"] == "EXECUTING"
    await buyer.order("BUY", "LIMIT", symbol=joined, quantity="0.6", price="110", **LIMIT)
    assert (await seller.good("GET", LIST, orderListId=placed["orderListId"]))["listOrderStatus"] == "ALL_DONE"
    await verified(face)


async def test_a_trigger_of_one_leg_ends_the_other(face: Face) -> None:
    joined, buyer, seller = await two(face)
    placed = await seller.good("POST", f"{LIST}/oco", symbol=joined, **LEGS)
    await buyer.order("BUY", "LIMIT", symbol=joined, quantity="3", price="90", **LIMIT)
    other = await face.key(await face.trader(**{joined.removesuffix("USDT"): "1"}))
    await other.order("SELL", "LIMIT", symbol=joined, quantity="1", price="90", **LIMIT)
    stop, limit = [
        await seller.good("GET", ORDER, symbol=joined, orderId=leg["orderId"]) for leg in placed["orderReports"]
    ]
    assert (stop["status"], stop["executedQty"], limit["status"]) == ("FILLED", "1.00000000", "EXPIRED")
    await verified(face)


async def test_what_is_no_pair_is_refused(face: Face) -> None:
    joined, buyer, seller = await two(face)
    prices = (400, -2010, "The relationship of the prices for the orders is not correct.")
    oco: dict[str, Any] = {"symbol": joined} | LEGS

    async def refused(**given: str) -> tuple[int, int, str]:
        return await seller.refused("POST", f"{LIST}/oco", **(oco | given))

    assert await refused(abovePrice="80") == prices
    assert (await refused(aboveType="LIMIT"))[1] == -1116
    assert (await refused(aboveType="STOP_LOSS_LIMIT"))[1] == -1102
    assert (await refused(belowTimeInForce="IOC"))[1] == -1014
    assert (await refused(belowTrailingDelta="10"))[1] == -2010
    assert (await refused(quantity="100000"))[2] == "Account has insufficient balance for requested action."
    assert await seller.refused("POST", f"{LIST}/oco", symbol=joined, side="SELL") == (
        400, -1102, "Mandatory parameter 'quantity' was not sent, was empty/null, or malformed.",
    )  # fmt: skip
    assert await buyer.refused("GET", LIST, orderListId="9999999") == (400, -2018, "Order list does not exist.")
    assert await seller.good("GET", "/api/v3/openOrders") == []
    await verified(face)
