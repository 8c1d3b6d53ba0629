"""Orders replaced and made smaller, over the face that clients of Binance know."""

from typing import Any

from tests.e2e.binance.conftest import Face, Key
from tests.e2e.binance.test_order_lists import verified
from tests.e2e.binance.test_orders import LIMIT, ORDER, two

REPLACE = "/api/v3/order/cancelReplace"
AMEND = "/api/v3/order/amend/keepPriority"
NEW: dict[str, Any] = {"side": "BUY", "type": "LIMIT", "quantity": "1", "price": "900", "timeInForce": "GTC"}
UNKNOWN = {"code": -2011, "msg": "Unknown order sent."}
POOR = {"code": -2010, "msg": "Account has insufficient balance for requested action."}


async def replace(key: Key, **given: Any) -> tuple[int, Any]:
    answer = await key.ask("POST", REPLACE, **(NEW | given))
    return answer.status_code, answer.json()


async def test_an_order_is_replaced_by_one_that_needs_its_funds(face: Face) -> None:
    joined, _, _ = await two(face)
    key = await face.key(USDT="1000")
    first = await key.order("BUY", "LIMIT", symbol=joined, quantity="1", price="950", **LIMIT)
    terms: dict[str, Any] = {"symbol": joined, "cancelReplaceMode": "STOP_ON_FAILURE"}
    status, outcome = await replace(key, cancelOrderId=first["orderId"], newClientOrderId="next", **terms)
    assert (status, outcome["cancelResult"], outcome["newOrderResult"]) == (200, "SUCCESS", "SUCCESS"), outcome
    assert (outcome["cancelResponse"]["status"], outcome["newOrderResponse"]["status"]) == ("CANCELED", "NEW")
    # What is gone cannot be cancelled: the new one is tried, or not.
    failed = {"cancelResult": "FAILURE", "newOrderResult": "NOT_ATTEMPTED", "cancelResponse": UNKNOWN}
    status, answer = await replace(key, cancelOrderId=first["orderId"], **terms)
    assert (status, answer["code"], answer["msg"]) == (400, -2022, "Order cancel-replace failed.")
    assert answer["data"] == failed | {"newOrderResponse": None}
    terms["cancelReplaceMode"] = "ALLOW_FAILURE"
    status, answer = await replace(key, cancelOrderId=first["orderId"], **terms)
    assert (status, answer["code"], answer["data"]["newOrderResponse"]) == (400, -2022, POOR)
    status, answer = await replace(key, cancelOrderId=first["orderId"], **(terms | {"price": "50"}))
    assert (status, answer["code"], answer["data"]["cancelResult"]) == (409, -2021, "FAILURE")
    assert answer["data"]["newOrderResponse"]["status"] == "NEW"
    # The cancel succeeds, the new order does not.
    status, answer = await replace(key, cancelOrigClientOrderId="next", **(terms | {"price": "5000"}))
    assert (status, answer["code"], answer["msg"]) == (409, -2021, "Order cancel-replace partially failed.")
    assert (answer["data"]["cancelResult"], answer["data"]["newOrderResponse"]) == ("SUCCESS", POOR)
    [left] = await key.good("GET", "/api/v3/openOrders")
    assert left["price"] == "50.00000000"
    await verified(face)


async def test_filters_come_before_the_cancel(face: Face) -> None:
    joined, buyer, _ = await two(face)
    order = await buyer.order("BUY", "LIMIT", symbol=joined, quantity="1", price="50", **LIMIT)
    terms = {"symbol": joined, "cancelReplaceMode": "ALLOW_FAILURE", "cancelOrderId": order["orderId"]}
    assert await replace(buyer, **terms, quantity="0.00000001") == (
        400, {"code": -1013, "msg": "Filter failure: LOT_SIZE"},
    )  # fmt: skip
    assert (await replace(buyer, **(terms | {"cancelReplaceMode": "EVER"})))[1]["code"] == -1102
    status, answer = await replace(buyer, **terms, cancelRestrictions="ONLY_PARTIALLY_FILLED", price="40")
    assert answer["data"]["cancelResponse"]["msg"] == "Order was not canceled due to cancel restrictions."
    found = await buyer.good("GET", ORDER, symbol=joined, orderId=order["orderId"])
    assert (status, found["status"]) == (409, "NEW")


async def test_an_order_is_made_smaller_and_keeps_its_place(face: Face) -> None:
    joined, buyer, seller = await two(face)
    other = await face.key(USDT="1000")
    first = await buyer.order("BUY", "LIMIT", symbol=joined, quantity="2", price="100", newClientOrderId="a", **LIMIT)
    await other.order("BUY", "LIMIT", symbol=joined, quantity="1", price="100", **LIMIT)
    terms = {"symbol": joined, "orderId": first["orderId"]}
    changed = (await buyer.good("PUT", AMEND, newQty="1.5", **terms))["amendedOrder"]
    assert (changed["qty"], changed["status"], changed["clientOrderId"]) == ("1.50000000", "NEW", "a")
    await seller.order("SELL", "LIMIT", symbol=joined, quantity="1", price="100", **LIMIT)
    found = await buyer.good("GET", ORDER, **terms)
    assert (found["executedQty"], found["origQty"]) == ("1.00000000", "1.50000000")
    up = (400, -2038, "Order amend (quantity increase) is not supported.")
    assert await buyer.refused("PUT", AMEND, newQty="1.5", **terms) == up
    assert (await buyer.refused("PUT", AMEND, newQty="1", **terms))[2] == "Filter failure: LOT_SIZE"
    assert (await buyer.refused("PUT", AMEND, newQty="1.2", newClientOrderId="b", **terms))[1] == -2038
    assert await other.refused("PUT", AMEND, newQty="1", **terms) == (400, -2013, "Order does not exist.")
    await verified(face)
