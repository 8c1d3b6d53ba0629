"""A restart brings back every book, stop, iceberg and figure as they were, and the state hash proves it."""

import asyncio
import os
import random
from pathlib import Path

import httpx

from tests.e2e.conftest import engine_config
from tests.e2e.venue import Venue
from trade_engine.roles.all import TradeEngine
from trade_engine.sequencer.verify import verify

KINDS = ("LIMIT", "LIMIT", "LIMIT", "MARKET", "STOP", "STOP_LIMIT")


async def _random_flow(venue: Venue, symbols: list[str], seed: int, actions: int) -> None:
    rng = random.Random(seed)
    base_funds = {symbol.split("/")[0]: "1000" for symbol in symbols}
    traders = [await venue.trader(USDT="1000000", **base_funds) for _ in range(5)]
    mine: list[tuple[int, str]] = []
    for _ in range(actions):
        number = rng.randrange(len(traders))
        if mine and rng.random() < 0.25:
            owner, order_id = mine.pop(rng.randrange(len(mine)))
            trader = traders[owner]
            if rng.random() < 0.5:
                await trader.cancel(order_id)
            else:
                change = {"quantity": f"{rng.randint(1, 40) / 10}"}
                await trader.http.patch(f"/api/v1/orders/{order_id}", json=change, headers=trader.headers)
                mine.append((owner, order_id))
            continue
        kind = rng.choice(KINDS)
        price = f"{rng.randint(95, 105)}.00"
        body = {
            "symbol": rng.choice(symbols),
            "side": rng.choice(["BUY", "SELL"]),
            "type": kind,
            "quantity": f"{rng.randint(1, 40) / 10}",
        }
        if kind in ("LIMIT", "STOP_LIMIT"):
            body["price"] = price
        if kind in ("STOP", "STOP_LIMIT"):
            body["stop_price"] = f"{rng.randint(90, 110)}.00"
        if kind == "LIMIT" and rng.random() < 0.3:
            # 5 % of the largest quantity; no more than the smallest.
            body["quantity"] = f"{max(2, int(10 * float(body['quantity']))) / 10}"
            body["display_quantity"] = "0.2"
        answer = await traders[number].post(body)
        assert answer.status_code in (201, 422), answer.text
        if answer.status_code == 201:
            mine.append((number, answer.json()["data"]["order"]["id"]))


async def test_a_restart_brings_everything_back(venue: Venue, database_url: str, tmp_path: Path) -> None:
    seed = int(os.environ.get("TRADE_ENGINE_TEST_SEED", random.randrange(1 << 30)))
    print(f"seed {seed}")
    symbols = [venue.market(), venue.market()]
    await _random_flow(venue, symbols, seed, 250)
    await venue.settled()
    before = venue.running
    books = {symbol: await venue.book(symbol) for symbol in symbols}
    tickers = [await venue.http.get(f"/api/v1/markets/{symbol}/ticker") for symbol in symbols]
    live = {order.order_id: order for order in before.sequencer.memory.live.by_id.values()}
    state_hash = before.sequencer.memory.books.state_hash()
    assert any(order.status.name == "PENDING" for order in live.values()), "the flow left no stop waiting"
    await before.stop()

    again = TradeEngine(engine_config(database_url), tmp_path)
    await again.start()
    try:
        assert again.sequencer.memory.books.state_hash() == state_hash
        assert again.sequencer.memory.live.by_id == live
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{again.api.port}") as http:
            after = Venue(http, again)
            assert {symbol: await after.book(symbol) for symbol in symbols} == books
            for old, symbol in zip(tickers, symbols, strict=True):
                assert (await http.get(f"/api/v1/markets/{symbol}/ticker")).json()["data"] == old.json()["data"]
            await _random_flow(after, symbols, seed + 1, 100)
            await after.settled()
        async with again.pool.acquire() as connection:
            assert (await verify(connection, again.new_book)).differences == []
    finally:
        await again.stop()
        await asyncio.sleep(0)
