"""Several orders cancelled at once, and orders that are cancelled because nobody put it off."""

import asyncio
import time
import uuid
from datetime import datetime
from typing import Any

from tests.e2e.venue import Trader, Venue
from trade_engine.client import AsyncClient, NewOrder
from trade_engine.edge.cancel_timers import CancelTimers

_COUNT = "SELECT count(*) FROM cancel_timers WHERE user_id = $1"


async def _after(trader: Trader, body: Any) -> Any:
    return await trader.http.post("/api/v1/orders/cancel-after", json=body, headers=trader.headers)


async def _open(trader: Trader) -> list[str]:
    return [order["symbol"] for order in await trader.get("/orders", status="open")]


async def _until(trader: Trader, symbols: list[str]) -> None:
    until_s = time.monotonic() + 20
    while await _open(trader) != symbols:
        assert time.monotonic() < until_s, await _open(trader)
        await asyncio.sleep(0.05)


async def test_each_of_a_batch_is_cancelled_or_says_why_not(venue: Venue) -> None:
    trader, stranger, symbol = await venue.trader(USDT="1000"), await venue.trader(USDT="1000"), venue.market()
    mine = [(await trader.order(symbol, "BUY", "1", f"{n}.00", client_order_id=f"o{n}"))[0] for n in (10, 11, 12)]
    theirs, _ = await stranger.order(symbol, "BUY", "1", "10.00")
    ids = [mine[0]["id"], "client:o11", theirs["id"], "nonsense", str(uuid.uuid4()), mine[0]["id"]]
    answer = await trader.http.post("/api/v1/orders/cancel-batch", json={"order_ids": ids}, headers=trader.headers)
    results = answer.json()["data"]
    assert [result["success"] for result in results] == [True, True, False, False, False, True]
    assert [result["order"]["id"] for result in results if result["success"]] == [mine[0]["id"], mine[1]["id"], ids[0]]
    assert [result["error"]["code"] for result in results[2:5]] == [
        "ORDER_NOT_FOUND", "INVALID_ORDER_ID", "ORDER_NOT_FOUND",
    ]  # fmt: skip
    assert len(await _open(trader)) == len(await _open(stranger)) == 1
    for body, code in (({"order_ids": []}, "INVALID_BATCH"), ({"order_ids": ["x"] * 51}, "INVALID_BATCH"),
                       ({}, "MISSING_FIELD"), ({"order_ids": "x"}, "INVALID_BATCH")):  # fmt: skip
        answer = await trader.http.post("/api/v1/orders/cancel-batch", json=body, headers=trader.headers)
        assert (answer.status_code, answer.json()["error"]["code"]) == (400, code), answer.text


async def test_orders_are_cancelled_unless_it_is_put_off(venue: Venue) -> None:
    trader, one, other = await venue.trader(USDT="1000"), venue.market(), venue.market()
    await trader.order(one, "BUY", "1", "10.00")
    await trader.order(other, "BUY", "1", "10.00")
    armed = (await _after(trader, {"timeout_s": 1, "symbol": one})).json()["data"]
    assert (armed["symbol"], armed["timeout_s"]) == (one, 1)
    assert (await _after(trader, {"timeout_s": 3_600, "symbol": one})).status_code == 200
    assert (await _after(trader, {"timeout_s": 1, "symbol": other})).status_code == 200
    await _until(trader, [one])
    off = (await _after(trader, {"timeout_s": 0, "symbol": one})).json()["data"]
    assert off["cancel_at"] is None
    assert await venue.running.pool.fetchval(_COUNT, trader.user_id) == 0
    # What comes afterwards is not touched, until it is armed again.
    await trader.order(other, "BUY", "1", "10.00")
    assert (await _after(trader, {"timeout_s": 1})).json()["data"]["symbol"] is None
    await _until(trader, [])
    for body, code in (({"timeout_s": -1}, "INVALID_TIMEOUT"), ({"timeout_s": 86_401}, "INVALID_TIMEOUT"),
                       ({"timeout_s": 1.5}, "INVALID_TIMEOUT"), ({}, "MISSING_FIELD"),
                       ({"timeout_s": 1, "symbol": "NO/NE"}, "INVALID_SYMBOL")):  # fmt: skip
        answer = await _after(trader, body)
        assert (answer.status_code, answer.json()["error"]["code"]) == (400, code), answer.text


async def test_a_timer_outlives_the_engine_that_set_it(venue: Venue) -> None:
    trader, symbol = await venue.trader(USDT="1000"), venue.market()
    await trader.order(symbol, "BUY", "1", "10.00")
    # As an engine that ended before the time was over left it.
    await venue.running.pool.execute(
        "INSERT INTO cancel_timers VALUES ($1, 0, now() - INTERVAL '1 second')", trader.user_id
    )
    timers = CancelTimers(venue.running.pool, venue.running.services.desk)
    running = asyncio.create_task(timers.keep_running())
    try:
        await _until(trader, [])
        while await venue.running.pool.fetchval(_COUNT, trader.user_id):
            await asyncio.sleep(0.02)
    finally:
        running.cancel()


async def test_the_client_speaks_of_pairs_batches_and_timers(venue: Venue) -> None:
    trader, symbol = await venue.trader(USDT="1000"), venue.market()
    token = trader.headers["Authorization"].removeprefix("Bearer ")
    async with AsyncClient(str(venue.http.base_url), token=token) as client:
        limit = NewOrder(symbol, "BUY", "1", "90.00")
        stop = NewOrder(symbol, "BUY", "1", "120.00", type="STOP_LIMIT", stop_price="110.00")
        placed = await client.place_pair(limit, stop, "mine")
        assert (placed.client_pair_id, placed.is_open, len(placed.legs)) == ("mine", True, 2)
        assert await client.pair(placed.legs[0].id) == placed
        armed = await client.cancel_after(60, symbol)
        assert isinstance(armed.cancel_at, datetime)
        assert (await client.cancel_after(0, symbol)).cancel_at is None
        [result] = await client.cancel_many([placed.legs[1].id])
        assert (result.success, result.order and result.order.status) == (True, "CANCELLED")
        assert not (await client.pair(placed.legs[0].id)).is_open
