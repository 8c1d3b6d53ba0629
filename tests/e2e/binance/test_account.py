"""Balances, trades, rates and counts over the face that clients of Binance know."""

from pathlib import Path
from typing import Any

import httpx

from tests.e2e.binance.conftest import Face, refusal
from tests.e2e.conftest import engine_config
from tests.e2e.venue import Venue
from trade_engine.roles.all import TradeEngine

LIMIT = {"timeInForce": "GTC"}


async def test_balances(face: Face) -> None:
    _, joined = face.market()
    key = await face.key(USDT="1000")
    await key.order("BUY", "LIMIT", symbol=joined, quantity="1", price="100", **LIMIT)
    account = await key.good("GET", "/api/v3/account")
    rows = {row["asset"]: row for row in account["balances"]}
    # Reserved is the price and the higher fee.
    assert rows["USDT"] == {"asset": "USDT", "free": "899.90000000", "locked": "100.10000000"}
    assert rows["T60"] == {"asset": "T60", "free": "0.00000000", "locked": "0.00000000"}
    assert (account["accountType"], account["canTrade"], account["permissions"]) == ("SPOT", True, ["SPOT"])
    assert (account["makerCommission"], account["takerCommission"]) == (5, 10)
    assert account["commissionRates"]["taker"] == "0.00100000"
    assert 0 <= account["uid"] < 2**53
    some = await key.good("GET", "/api/v3/account", omitZeroBalances="true")
    assert [row["asset"] for row in some["balances"]] == ["USDT"]
    coins = {row["coin"]: row for row in await key.good("GET", "/sapi/v1/capital/config/getall")}
    assert (coins["USDT"]["free"], coins["USDT"]["locked"]) == ("899.90000000", "100.10000000")
    assert coins["T60"]["networkList"] == []


async def test_rates(face: Face) -> None:
    _, joined = face.market()
    key = await face.key()
    rates = await key.good("GET", "/api/v3/account/commission", symbol=joined)
    assert rates["symbol"] == joined
    assert rates["standardCommission"] == {
        "maker": "0.00050000", "taker": "0.00100000", "buyer": "0.00000000", "seller": "0.00000000",
    }  # fmt: skip
    fee = {"symbol": joined, "makerCommission": "0.00050000", "takerCommission": "0.00100000"}
    assert await key.good("GET", "/sapi/v1/asset/tradeFee", symbol=joined) == [fee]
    assert fee in await key.good("GET", "/sapi/v1/asset/tradeFee")
    for name in ("allPairs", "isolated/allPairs"):
        answer = await face.http.get(f"/sapi/v1/margin/{name}")
        assert (answer.status_code, answer.json()) == (200, [])


async def test_own_trades(face: Face) -> None:
    _, joined = face.market()
    buyer, seller = (
        await face.key(USDT="10000"),
        await face.key(await face.trader(**{joined.removesuffix("USDT"): "100"})),
    )
    orders = []
    for price in ("100", "101", "102"):
        await seller.order("SELL", "LIMIT", symbol=joined, quantity="1", price=price, **LIMIT)
        orders.append(await buyer.order("BUY", "MARKET", symbol=joined, quantity="1"))

    async def trades(**given: Any) -> Any:
        return await buyer.good("GET", "/api/v3/myTrades", symbol=joined, **given)

    every = await trades()
    assert [row["orderId"] for row in every] == [order["orderId"] for order in orders]
    assert every[0] == {
        "symbol": joined, "id": every[0]["id"], "orderId": orders[0]["orderId"], "orderListId": -1,
        "price": "100.00000000", "qty": "1.00000000", "quoteQty": "100.00000000", "commission": "0.10000000",
        "commissionAsset": "USDT", "time": every[0]["time"], "isBuyer": True, "isMaker": False, "isBestMatch": True,
    }  # fmt: skip
    assert await trades(limit=2) == every[-2:]
    assert await trades(orderId=orders[1]["orderId"]) == every[1:2]
    assert await trades(fromId=every[1]["id"], limit=1) == every[1:2]
    assert await trades(fromId=0) == every
    assert await trades(startTime=every[0]["time"], limit=2) == every[:2]
    assert await trades(endTime=every[0]["time"] - 1) == []
    assert await trades(orderId=1) == []
    assert (await buyer.refused("GET", "/api/v3/myTrades", symbol=joined, fromId=1, startTime=1))[1] == -1128
    [sold, *_] = await seller.good("GET", "/api/v3/myTrades", symbol=joined)
    assert (sold["id"], sold["isBuyer"], sold["isMaker"], sold["commission"]) == (
        every[0]["id"], False, True, "0.05000000",
    )  # fmt: skip
    assert sold["orderId"] != every[0]["orderId"]


async def test_order_counts_and_limits(database_url: str, tmp_path: Path) -> None:
    limits = {"rate_limit.orders_per_s": 0.5, "rate_limit.orders_burst": 5}
    engine = TradeEngine(engine_config(database_url, limits), tmp_path)
    await engine.start()
    try:
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{engine.api.port}", timeout=30) as http:
            face = Face(http, Venue(http, engine))
            _, joined = face.market()
            key = await face.key(USDT="1000")
            [row] = [row for row in (await face.get("exchangeInfo"))["rateLimits"] if row["rateLimitType"] == "ORDERS"]
            assert row == {"rateLimitType": "ORDERS", "interval": "SECOND", "intervalNum": 10, "limit": 5}
            terms: dict[str, Any] = {
                "symbol": joined,
                "side": "BUY",
                "type": "LIMIT",
                "quantity": 1,
                "price": 1,
            } | LIMIT
            first = await key.ask("POST", "/api/v3/order", **terms)
            assert first.headers["x-mbx-order-count-10s"] == "1"
            assert await key.good("GET", "/api/v3/rateLimit/order") == [row | {"count": 1}]
            answers = [await key.ask("POST", "/api/v3/order", **terms) for _ in range(8)]
            refused = [answer for answer in answers if answer.status_code != 200]
            assert refusal(refused[0]) == (429, -1015, "Too many new orders; current limit is 5 orders per 10 SECOND.")
            assert int(refused[0].headers["retry-after"]) >= 1
    finally:
        await engine.stop()
