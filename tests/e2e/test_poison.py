"""Orders that once broke a batch, and with it everybody's memory: each is right, or refused alone with its code."""

from typing import Any

from tests.e2e.venue import Venue
from trade_engine.sequencer.verify import verify


async def test_a_buy_by_amount_that_decrements_meets_an_own_order_and_trades(venue: Venue) -> None:
    symbol = venue.market()
    trader, other = await venue.trader(USDT="10000", T01="10"), await venue.trader(T01="10")
    await trader.order(symbol, "SELL", "0.001", "50000.00")
    await other.order(symbol, "SELL", "0.001", "50000.01")
    body = {"symbol": symbol, "side": "BUY", "type": "MARKET", "quote_amount": "90"}
    answer = await trader.post(body | {"self_trade_prevention": "DECREMENT"})
    assert answer.status_code == 201, answer.text
    order, trades = answer.json()["data"]["order"], answer.json()["data"]["trades"]
    # 50 of its 89.91 (fee taken off) went with the own order; the rest buys 0.000798 of the other's.
    assert (order["quantity"], order["filled_quantity"], order["status"]) == ("0.000798", "0.000798", "FILLED")
    assert [trade["quantity"] for trade in trades] == ["0.000798"]
    await _nobody_noticed(venue)
    assert (await trader.balance("USDT"))[1] == 0


async def test_amounts_that_pay_for_nothing_or_for_more_than_there_is_are_refused(venue: Venue) -> None:
    """The smallest amount and the largest cost, each alone: what is placed beside them goes through."""
    symbol = venue.market()
    trader = await venue.trader(USDT="10000")
    by_amount = {"symbol": symbol, "side": "BUY", "type": "MARKET"}
    dear_stop = {"symbol": symbol, "side": "BUY", "type": "STOP", "quantity": "15", "stop_price": "10000000000"}
    good = {"symbol": symbol, "side": "BUY", "type": "LIMIT", "quantity": "1", "price": "10.00"}
    orders: list[tuple[dict[str, Any], str | None, str | None]] = [
        (by_amount | {"quote_amount": "0.00000001"}, "INVALID_QUOTE_AMOUNT", "0.00000002"),
        (dear_stop, "NOTIONAL_OVERFLOW", "90000000000"),
        (good, None, None),
        (good | {"display_quantity": "0.049999"}, "INVALID_DISPLAY_QUANTITY", "0.05"),
        (good | {"display_quantity": "0.05"}, None, None),
    ]
    answer = await trader.http.post(
        "/api/v1/orders/batch", json={"orders": [body for body, _, _ in orders]}, headers=trader.headers
    )
    for result, (body, code, limit) in zip(answer.json()["data"], orders, strict=True):
        refusal = result.get("error", {})
        assert (refusal.get("code"), refusal.get("details", {}).get("limit")) == (code, limit), body
        assert code is None or refusal["details"]["field"] in ("quote_amount", "quantity", "display_quantity")
    await _nobody_noticed(venue)


async def test_an_iceberg_keeps_its_share_when_it_is_amended(venue: Venue) -> None:
    symbol = venue.market()
    trader = await venue.trader(USDT="10000")
    order, _ = await trader.order(symbol, "BUY", "1", "10.00", display_quantity="0.05")

    async def amend(**change: str) -> tuple[int, str | None]:
        answer = await trader.http.patch(f"/api/v1/orders/{order['id']}", json=change, headers=trader.headers)
        return answer.status_code, answer.json().get("error", {}).get("details", {}).get("limit")

    assert await amend(quantity="1.1") == (400, "0.055")
    assert await amend(price="11.00") == (200, None)
    await venue.running.engine.operations.change_market(symbol, min_display_ppm=100_000)
    assert (await trader.get(f"/orders/{order['id']}"))["status"] == "OPEN", "what is open stays"
    assert await amend(price="12.00") == (400, "0.1")
    assert await amend(quantity="0.9") == (200, None), "less of it is always allowed"
    assert await amend(quantity="0.5", price="12.00") == (200, None)


async def _nobody_noticed(venue: Venue) -> None:
    """Memory was not rebuilt, and everything verifies."""
    assert await venue.running.pool.fetchval("SELECT epoch FROM engine_state") == 1
    await venue.settled()
    async with venue.running.pool.acquire() as connection:
        assert (await verify(connection, venue.running.new_book)).differences == []
