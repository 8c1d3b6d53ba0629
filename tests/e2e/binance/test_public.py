"""What the face tells everybody, in the forms that its clients read."""

import time
from typing import Any

import httpx

from tests.e2e.binance.conftest import Face, refusal

MINUTE = 60_000


async def traded(face: Face) -> tuple[str, str]:
    """A market in which one taker bought at two prices, the second of them from two makers, and one sold."""
    symbol, joined = face.market()
    base = joined.removesuffix("USDT")
    seller = await face.trader(**{base: "100"})
    buyer = await face.trader(USDT="100000")
    for quantity, price in (("1", "100.00"), ("2", "101.00"), ("3", "101.00")):
        await seller.order(symbol, "SELL", quantity, price)
    await buyer.order(symbol, "BUY", "5", "101.00")
    await buyer.order(symbol, "BUY", "4", "99.00")
    await seller.order(symbol, "SELL", "0.5", "99.00")
    return symbol, joined


async def test_ping_time_and_unknown_paths(face: Face) -> None:
    assert await face.get("ping") == {}
    assert abs((await face.get("time"))["serverTime"] - time.time() * 1000) < 60_000
    for path in (
        "/api/v3/nothing", "/api/v3", "/api/v3/", "/sapi", "/sapi/v1/nothing", "/api/v3/orderList/oto",
        "/api/v3/ping/x", "/api/v3//ping", "/api/v3/ping/", "/api/v3/%2e%2e/v1/orders", "/api/v3/ping%0a",
        "/api/v3/ping;x",
    ):  # fmt: skip
        answer = await face.http.get(path)
        assert refusal(answer) == (404, -1020, "This operation is not supported."), path
        assert answer.headers["content-type"] == "application/json"
    wrong = await face.http.post("/api/v3/ping")
    assert (refusal(wrong)[:2], wrong.headers["allow"]) == ((405, -1020), "GET")
    # Our own face is where it was, and answers as it did.
    assert (await face.http.get("/api/v1/nothing")).json()["error"]["code"] == "ROUTE_NOT_FOUND"
    assert (await face.http.get("/api/v3x")).json()["error"]["code"] == "ROUTE_NOT_FOUND"


async def test_exchange_info(face: Face) -> None:
    _, joined = face.market()
    everything = await face.get("exchangeInfo")
    assert {"timezone", "serverTime", "rateLimits", "exchangeFilters", "symbols"} == set(everything)
    assert everything["rateLimits"] == [
        {"rateLimitType": "REQUEST_WEIGHT", "interval": "MINUTE", "intervalNum": 1, "limit": 6000}
    ]
    one = (await face.get("exchangeInfo", symbol=joined))["symbols"]
    assert one == [row for row in everything["symbols"] if row["symbol"] == joined]
    assert (one[0]["status"], one[0]["baseAsset"], one[0]["quoteAsset"]) == ("TRADING", joined[:-4], "USDT")
    filters = {row["filterType"]: row for row in one[0]["filters"]}
    sizes = {"minQty": "0.00010000", "maxQty": "1000000.00000000", "stepSize": "0.00000100"}
    assert filters["PRICE_FILTER"]["tickSize"] == filters["PRICE_FILTER"]["minPrice"] == "0.01000000"
    assert filters["LOT_SIZE"] == {"filterType": "LOT_SIZE"} | sizes
    assert filters["MARKET_LOT_SIZE"] == {"filterType": "MARKET_LOT_SIZE"} | sizes
    assert filters["ICEBERG_PARTS"]["limit"] == 20
    assert filters["NOTIONAL"]["minNotional"] == "0.00000000"
    two = await face.get("exchangeInfo", symbols=f'["{joined}","T60USDT"]')
    assert [row["symbol"] for row in two["symbols"]] == [joined, "T60USDT"]
    assert (await face.get("exchangeInfo", permissions="MARGIN"))["symbols"] == []
    assert (await face.get("exchangeInfo", permissions='["SPOT","MARGIN"]'))["symbols"] == everything["symbols"]


async def test_wrong_parameters(face: Face) -> None:
    _, joined = face.market()
    invalid = (400, -1121, "Invalid symbol.")
    assert await face.refused("depth", symbol="NOSUCH") == invalid
    assert await face.refused("depth", symbol=joined.lower()) == invalid
    assert (await face.refused("depth", symbol="T01/USDT"))[:2] == (400, -1100)
    assert await face.refused("exchangeInfo", symbol="NOSUCH") == invalid
    assert await face.refused("exchangeInfo", symbols='["NOSUCH"]') == invalid
    for wrong in ("[", "[]", "1", "{}", "[1]", "[[]]", '"a"', f'["{joined}",'):
        assert (await face.refused("ticker/price", symbols=wrong))[:2] == (400, -1100), wrong
    assert (await face.refused("ticker/price", symbols=f'["{joined}","{joined}"]'))[:2] == (400, -1151)
    assert (await face.refused("ticker/price", symbol=joined, symbols=f'["{joined}"]'))[:2] == (400, -1128)
    missing = "Mandatory parameter 'symbol' was not sent, was empty/null, or malformed."
    assert await face.refused("depth") == (400, -1102, missing)
    assert (await face.refused("ticker"))[:2] == (400, -1102)
    assert await face.refused("depth", symbol="") == (400, -1105, "Parameter 'symbol' was empty.")
    assert (await face.refused("depth", symbol=joined, other="1"))[:2] == (400, -1104)
    twice = await face.http.get(f"/api/v3/depth?symbol={joined}&symbol={joined}")
    assert refusal(twice) == (400, -1101, "Duplicate values for a parameter detected.")
    for limit in ("-1", "x", "1.5", " 1", "\u0661"):
        assert (await face.refused("depth", symbol=joined, limit=limit))[:2] == (400, -1100), limit
    assert (await face.refused("depth", symbol=joined, limit="0"))[:2] == (400, -1130)
    assert await face.refused("klines", symbol=joined, interval="7m") == (400, -1120, "Invalid interval.")
    assert (await face.refused("klines", symbol=joined))[:2] == (400, -1102)
    assert (await face.refused("ticker", symbol=joined, windowSize="60m"))[:2] == (400, -1130)
    assert (await face.refused("ticker/24hr", symbol=joined, type="SOME"))[:2] == (400, -1130)
    odd = await face.http.get("/api/v3/depth?symbol=%FF")
    assert refusal(odd)[:2] == (400, -1100)
    assert (await face.refused("aggTrades", symbol=joined, startTime=2, endTime=1))[:2] == (400, -1127)
    assert (await face.refused("aggTrades", symbol=joined, startTime=2, fromId=1))[:2] == (400, -1128)


async def test_the_book_and_prices(face: Face) -> None:
    symbol, joined = await traded(face)
    ours = (await face.http.get(f"/api/v1/orderbook/{symbol.replace('/', '-')}")).json()["data"]
    assert await face.get("depth", symbol=joined) == {
        "lastUpdateId": ours["sequence"],
        "bids": [["99.00000000", "3.50000000"]],
        "asks": [["101.00000000", "1.00000000"]],
    }
    best = {
        "symbol": joined, "bidPrice": "99.00000000", "bidQty": "3.50000000", "askPrice": "101.00000000",
        "askQty": "1.00000000",
    }  # fmt: skip
    assert await face.get("ticker/bookTicker", symbol=joined) == best
    assert best in await face.get("ticker/bookTicker")
    assert await face.get("ticker/price", symbol=joined) == {"symbol": joined, "price": "99.00000000"}
    assert await face.get("ticker/price", symbols=f'["{joined}"]') == [{"symbol": joined, "price": "99.00000000"}]
    average = await face.get("avgPrice", symbol=joined)
    # 1 x 100 + 2 x 101 + 2 x 101 + 0.5 x 99 over 5.5
    assert (average["mins"], average["price"]) == (5, "100.63636363")


async def test_trades_and_aggregates(face: Face) -> None:
    _, joined = await traded(face)
    trades = await face.get("trades", symbol=joined)
    assert [(row["price"], row["qty"], row["quoteQty"], row["isBuyerMaker"]) for row in trades] == [
        ("100.00000000", "1.00000000", "100.00000000", False),
        ("101.00000000", "2.00000000", "202.00000000", False),
        ("101.00000000", "2.00000000", "202.00000000", False),
        ("99.00000000", "0.50000000", "49.50000000", True),
    ]
    ids = [row["id"] for row in trades]
    assert ids == sorted(ids)
    assert await face.get("trades", symbol=joined, limit=2) == trades[-2:]
    assert await face.get("historicalTrades", symbol=joined) == trades
    assert await face.get("historicalTrades", symbol=joined, fromId=ids[1], limit=2) == trades[1:3]
    assert await face.get("historicalTrades", symbol=joined, fromId=ids[-1] + 1) == []
    groups = await face.get("aggTrades", symbol=joined)
    assert [(row["a"], row["f"], row["l"], row["p"], row["q"], row["m"]) for row in groups] == [
        (ids[0], ids[0], ids[0], "100.00000000", "1.00000000", False),
        (ids[1], ids[1], ids[2], "101.00000000", "4.00000000", False),
        (ids[3], ids[3], ids[3], "99.00000000", "0.50000000", True),
    ]
    assert await face.get("aggTrades", symbol=joined, fromId=groups[1]["a"]) == groups[1:]
    # One that begins before is not shown in part.
    assert await face.get("aggTrades", symbol=joined, fromId=ids[2]) == groups[2:]
    assert await face.get("aggTrades", symbol=joined, fromId=0, limit=1) == groups[:1]
    assert await face.get("aggTrades", symbol=joined, startTime=groups[0]["T"], endTime=groups[-1]["T"]) == groups
    assert await face.get("aggTrades", symbol=joined, endTime=groups[0]["T"] - 1) == []


async def test_candles(face: Face) -> None:
    _, joined = await traded(face)
    now = (await face.get("time"))["serverTime"]
    rows: list[Any] = await face.get("klines", symbol=joined, interval="1m")
    assert await face.get("uiKlines", symbol=joined, interval="1m") == rows
    traded_rows = [row for row in rows if row[8]]
    opened = traded_rows[0][0]
    assert opened % MINUTE == 0
    assert now - 5 * MINUTE < opened <= now
    assert sum(row[8] for row in rows) == 4
    assert traded_rows[0][1] == "100.00000000"
    assert traded_rows[-1][4] == "99.00000000"
    assert all(row[6] == row[0] + MINUTE - 1 and len(row) == 12 for row in rows)
    assert [row[0] for row in rows] == list(range(opened, rows[-1][0] + 1, MINUTE))
    # The market's first trade is where its candles begin.
    assert await face.get("klines", symbol=joined, interval="1m", startTime=0, limit=1) == rows[:1]
    day = await face.get("klines", symbol=joined, interval="1d", startTime=opened - 86_400_000)
    assert sum(row[8] for row in day) == 4
    assert await face.get("klines", symbol="T60USDT", interval="1h") == []
    for interval in ("3m", "30m", "2h", "6h", "8h", "12h", "3d", "1w", "1M"):
        wide = await face.get("klines", symbol=joined, interval=interval)
        assert sum(row[8] for row in wide) == 4, interval
        assert all(row[0] <= opened + MINUTE * 5 and row[6] > row[0] for row in wide)
    month = await face.get("klines", symbol=joined, interval="1M", limit=1)
    assert time.gmtime(month[0][0] // 1000)[2:6] == (1, 0, 0, 0)
    assert time.gmtime((month[0][6] + 1) // 1000)[2:6] == (1, 0, 0, 0)


async def test_windows(face: Face) -> None:
    _, joined = await traded(face)
    day = await face.get("ticker/24hr", symbol=joined)
    shown = {
        "symbol": joined, "openPrice": "100.00000000", "highPrice": "101.00000000", "lowPrice": "99.00000000",
        "lastPrice": "99.00000000", "volume": "5.50000000", "quoteVolume": "553.50000000", "count": 4,
    }  # fmt: skip
    changes = {
        "priceChange": "-1.00000000", "priceChangePercent": "-1.000", "weightedAvgPrice": "100.63636363"
    }  # fmt: skip
    more = {"prevClosePrice": "100.00000000", "lastQty": "0.50000000", "bidPrice": "99.00000000"}
    assert shown.items() <= day.items()
    assert changes.items() <= day.items()
    assert more.items() <= day.items()
    last = (await face.get("trades", symbol=joined, limit=1))[0]["id"]
    assert day["lastId"] == last
    assert day["firstId"] <= last
    mini = await face.get("ticker/24hr", symbol=joined, type="MINI")
    assert set(mini) == set(day) - set(changes) - {
        "prevClosePrice", "lastQty", "bidPrice", "bidQty", "askPrice", "askQty"
    }  # fmt: skip
    for size in ("1h", "2d"):
        window = await face.get("ticker", symbol=joined, windowSize=size)
        assert shown.items() <= window.items(), size
        assert changes.items() <= window.items()
        assert window["openTime"] % MINUTE == 0
    quiet = await face.get("ticker/24hr", symbol="T60USDT")
    assert (quiet["firstId"], quiet["lastId"], quiet["count"], quiet["lastQty"]) == (-1, -1, 0, "0.00000000")
    assert {row["symbol"] for row in await face.get("ticker/24hr")} >= {joined, "T60USDT"}


async def test_weights(face: Face) -> None:
    _, joined = face.market()

    async def used(path: str, **given: Any) -> int:
        answer = await face.http.get(f"/api/v3/{path}", params=given)
        assert answer.headers["x-mbx-used-weight-1m"] == answer.headers["x-mbx-used-weight"]
        return int(answer.headers["x-mbx-used-weight-1m"])

    before = await used("ping")
    assert 19 <= await used("exchangeInfo") - before <= 20
    level = await used("ping")
    assert 245 <= await used("depth", symbol=joined, limit=5000) - level <= 250


async def test_too_much_weight(face: Face) -> None:
    answers: list[httpx.Response] = []
    for _ in range(200):
        answers.append(await face.http.get("/api/v3/depth", params={"symbol": "T60USDT", "limit": "5000"}))
        if answers[-1].status_code != 200:
            break
    assert refusal(answers[-1])[:2] == (429, -1003)
    assert "6000 request weight per 1 MINUTE" in answers[-1].text
    assert 0 < int(answers[-1].headers["retry-after"]) <= 60
    # Our own face does not weigh.
    assert (await face.http.get("/api/v1/time")).status_code == 200
