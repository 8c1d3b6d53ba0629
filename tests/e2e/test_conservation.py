"""Conservation of every asset to the last unit, under a random flow of many users, proved from every side."""

import asyncio
import os
import random

from tests.e2e.venue import RECEIVED, Trader, Venue
from trade_engine.domain.scale import UNIT
from trade_engine.sequencer.verify import verify

USERS, ACTIONS = 12, 60


async def test_conservation_of_every_asset(venue: Venue) -> None:
    seed = int(os.environ.get("TRADE_ENGINE_TEST_SEED", random.randrange(1 << 30)))
    print(f"seed {seed}")
    symbol = venue.market()
    base = symbol.split("/")[0]
    traders = [await venue.trader(USDT="10000", **{base: "100"}) for _ in range(USERS)]

    async def act(trader: Trader, rng: random.Random) -> None:
        mine: list[str] = []
        for _ in range(ACTIONS):
            if mine and rng.random() < 0.3:
                answer = await trader.cancel(mine.pop(rng.randrange(len(mine))))
                assert answer.status_code in (200, 409)
                continue
            body = {
                "symbol": symbol,
                "side": rng.choice(["BUY", "SELL"]),
                "type": "LIMIT",
                "quantity": f"{rng.randint(100, 30_000) / 10_000}",
                "price": f"{rng.randint(9_000, 11_000) / 100:.2f}",
                "time_in_force": rng.choice(["GTC", "GTC", "GTC", "IOC", "FOK"]),
            }
            if rng.random() < 0.15:
                body |= {"type": "MARKET"}
                del body["price"], body["time_in_force"]
            answer = await trader.post(body)
            assert answer.status_code in (201, 400), answer.text
            if answer.status_code == 400:
                assert answer.json()["error"]["code"] == "INSUFFICIENT_BALANCE"
            elif answer.json()["data"]["order"]["status"] in ("OPEN", "PARTIALLY_FILLED"):
                mine.append(answer.json()["data"]["order"]["id"])

    await asyncio.gather(*(act(trader, random.Random(seed + n)) for n, trader in enumerate(traders)))
    await venue.settled()
    pool = venue.running.pool
    async with pool.acquire() as connection:
        report = await verify(connection, venue.running.new_book)
    assert report.differences == []
    held = [sum((await trader.balance(asset))[:2]) for trader in traders for asset in (base,)]
    assert sum(held) == USERS * 100 * UNIT, "base pays no fees, so the users still hold all of it"
    fees = await pool.fetchval(
        "SELECT (sum(buyer_fee + seller_fee) * 100000000)::BIGINT FROM trades t JOIN markets m USING (market_id)"
        " WHERE m.symbol = $1",
        symbol,
    )
    quote = sum([sum((await trader.balance("USDT"))[:2]) for trader in traders])
    assert quote + fees == USERS * 10_000 * UNIT
    bids, asks = await venue.book(symbol)
    assert not (bids and asks) or float(bids[0][0]) < float(asks[0][0])
    for trader in traders:
        await _holds_match_open_orders(trader, symbol)


async def test_a_buyer_pays_in_what_he_receives_where_the_market_says_so(venue: Venue) -> None:
    """Fee asset RECEIVED: the buyer pays in base, out of what he gets; his order reserves the notional alone."""
    buyer, seller = await venue.trader(USDT="1000"), await venue.trader(RCV="10")
    resting, _ = await buyer.order(RECEIVED, "BUY", "3", "100.00")
    assert await buyer.balance("USDT") == (700 * UNIT, 300 * UNIT, 0)
    await seller.order(RECEIVED, "SELL", "1", "100.00")
    _, trades = await seller.order(RECEIVED, "SELL", "0.000001", "100.00")
    assert (trades[0]["seller_fee_asset"], trades[0]["seller_fee"]) == ("USDT", "0.0000001")
    await venue.settled()
    taker, trades = await buyer.order(RECEIVED, "SELL", "0.5", "200.00")
    assert (taker["status"], trades) == ("OPEN", [])
    await venue.settled()
    bought = UNIT + 100
    fee = -(-bought * 50_000 // UNIT)
    assert await buyer.balance("RCV") == (bought - fee - UNIT // 2, UNIT // 2, 0)
    assert (await buyer.get(f"/orders/{resting['id']}"))["status"] == "PARTIALLY_FILLED"
    async with venue.running.pool.acquire() as connection:
        report = await verify(connection, venue.running.new_book)
    assert report.differences == []


async def _holds_match_open_orders(trader: Trader, symbol: str) -> None:
    """What is reserved is what the user's open orders can still need, to the unit."""
    orders = await trader.get("/orders", symbol=symbol, status="open", limit=500)
    base = sum(_units(o["quantity"]) - _units(o["filled_quantity"]) for o in orders if o["side"] == "SELL")
    assert (await trader.balance(symbol.split("/", maxsplit=1)[0]))[1] == base


def _units(text: str) -> int:
    whole, _, fraction = text.partition(".")
    return int(whole) * UNIT + int(fraction.ljust(8, "0"))
