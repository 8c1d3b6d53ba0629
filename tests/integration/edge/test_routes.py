"""The routes: what they take and what they show."""

import uuid
from typing import Any

import asyncpg

from tests.integration.edge.conftest import Api
from tests.integration.edge.test_queries import ALICE, BOB, Book
from tests.integration.edge.test_requests import ORDER, problem
from trade_engine.domain.scale import UNIT

ORDER_FIELDS = {
    "id", "sequence", "client_order_id", "user_id", "institution_id", "symbol", "side", "type", "time_in_force",
    "status", "quantity", "filled_quantity", "average_price", "price", "stop_price", "reason", "created_at",
    "updated_at", "filled_at", "cancelled_at",
}  # fmt: skip


async def place(api: Api, headers: dict[str, str], **changes: Any) -> Any:
    answer = await api.http.post("/api/v1/orders", json=ORDER | changes, headers=headers)
    assert answer.status_code == 201, answer.text
    return answer.json()["data"]


async def test_an_order_is_placed_looked_up_and_cancelled(api: Api) -> None:
    user_id = str(uuid.uuid4())
    headers = api.headers(user_id, institution_id="acme")
    placed = await place(api, headers, side="buy", type="limit", time_in_force="gtc", client_order_id="first")
    order = placed["order"]
    assert order.keys() >= ORDER_FIELDS
    assert placed["trades"] == []
    shown = {"user_id": user_id, "institution_id": "acme", "symbol": "BTC/USDT", "side": "BUY", "type": "LIMIT",
             "time_in_force": "GTC", "status": "OPEN", "quantity": "0.5", "filled_quantity": "0",
             "average_price": None, "price": "50000.00", "reason": None, "client_order_id": "first"}  # fmt: skip
    assert {name: order[name] for name in shown} == shown
    path = f"/api/v1/orders/{order['id']}"
    assert (await api.http.get(path, headers=headers)).json()["data"] == order
    ended = (await api.http.delete(path, headers=headers)).json()["data"]
    assert (ended["status"], ended["reason"]) == ("CANCELLED", "USER_REQUEST")
    assert ended["cancelled_at"]
    assert (await api.http.delete(path, headers=headers)).json()["data"] == ended


async def test_a_repeated_client_order_id_gives_the_first_answer(api: Api) -> None:
    headers = api.headers()
    first = await place(api, headers, client_order_id="again")
    answer = await api.http.post("/api/v1/orders", json=ORDER | {"client_order_id": "again"}, headers=headers)
    assert answer.status_code == 200
    assert answer.headers["idempotent-replayed"] == "true"
    assert answer.json()["data"] == first | {"replayed": True}


async def test_a_trade_shows_a_party_its_own_side_only(api: Api) -> None:
    buyer, seller = api.headers(), api.headers()
    bought = (await place(api, buyer))["order"]
    sold = await place(api, seller, side="SELL")
    (trade,) = sold["trades"]
    assert (trade["price"], trade["quantity"], trade["is_buyer_maker"]) == ("50000.00", "0.5", True)
    assert trade["settlement_status"] == "PENDING"
    assert trade["seller_order_id"] == sold["order"]["id"]
    assert (trade["seller_fee"], trade["seller_fee_asset"]) == ("25", "USDT")
    assert not [name for name in trade if name.startswith("buyer")]
    assert bought["id"] not in str(trade)
    order = (await api.http.get(f"/api/v1/orders/{bought['id']}", headers=buyer)).json()["data"]
    assert (order["status"], order["filled_quantity"]) == ("FILLED", "0.5")
    assert float(order["average_price"]) == 50_000
    refused = await api.http.delete(f"/api/v1/orders/{bought['id']}", headers=buyer)
    assert problem(refused) == (409, "ORDER_NOT_CANCELLABLE")
    assert refused.json()["error"]["details"]["status"] == "FILLED"


async def test_an_order_of_somebody_else_is_not_found(api: Api) -> None:
    order = (await place(api, api.headers()))["order"]
    for method in ("GET", "DELETE"):
        answer = await api.http.request(method, f"/api/v1/orders/{order['id']}", headers=api.headers())
        assert problem(answer) == (404, "ORDER_NOT_FOUND")
    body = {"quantity": "0.1"}
    answer = await api.http.patch(f"/api/v1/orders/{order['id']}", json=body, headers=api.headers())
    assert problem(answer) == (404, "ORDER_NOT_FOUND")
    answer = await api.http.get("/api/v1/orders/17", headers=api.headers())
    assert problem(answer) == (400, "INVALID_ORDER_ID")


BAD: list[tuple[dict[str, Any], str, str, str | None]] = [
    ({"quantity": 1.5}, "INVALID_QUANTITY", "quantity", "1.5"),
    ({"price": 50000}, "INVALID_PRICE", "price", "50000"),
    ({"price": True}, "INVALID_PRICE", "price", "true"),
    ({"price": [1]}, "INVALID_PRICE", "price", "[1]"),
    ({"price": "1e5"}, "INVALID_PRICE", "price", "1e5"),
    ({"price": "-1"}, "INVALID_PRICE", "price", "-1"),
    ({"price": "0"}, "INVALID_PRICE", "price", "0"),
    ({"price": "50000.001"}, "INVALID_PRICE", "price", "50000.001"),
    ({"stop_price": "1"}, "INVALID_STOP_PRICE", "stop_price", "1"),
    ({"type": "STOP", "price": None}, "INVALID_STOP_PRICE", "stop_price", None),
    ({"side": 1}, "INVALID_SIDE", "side", "1"),
    ({"side": "HOLD"}, "INVALID_SIDE", "side", "HOLD"),
    ({"type": "LIMITED"}, "INVALID_ORDER_TYPE", "type", "LIMITED"),
    ({"time_in_force": "GTX"}, "INVALID_TIME_IN_FORCE", "time_in_force", "GTX"),
    ({"self_trade_prevention": "?"}, "INVALID_SELF_TRADE_PREVENTION", "self_trade_prevention", "?"),
    ({"symbol": "BTC/EUR"}, "INVALID_SYMBOL", "symbol", "BTC/EUR"),
    ({"symbol": 7}, "INVALID_SYMBOL", "symbol", "7"),
    ({"client_order_id": ""}, "INVALID_CLIENT_ORDER_ID", "client_order_id", ""),
    ({"client_order_id": "a\nb"}, "INVALID_CLIENT_ORDER_ID", "client_order_id", "a\nb"),
    ({"client_order_id": 5}, "INVALID_CLIENT_ORDER_ID", "client_order_id", "5"),
    ({"post_only": 1}, "INVALID_FLAGS", "post_only", "1"),
    ({"expires_at": "soon"}, "INVALID_EXPIRY", "expires_at", "soon"),
    ({"colour": "red"}, "UNKNOWN_FIELD", "colour", '"red"'),
]


async def test_a_wrong_field_is_named_with_what_came(api: Api) -> None:
    headers = api.headers()
    for change, code, field, provided in BAD:
        answer = await api.http.post("/api/v1/orders", json=ORDER | change, headers=headers)
        assert problem(answer) == (400, code), change
        details = answer.json()["error"]["details"]
        assert (details["field"], details.get("provided")) == (field, provided)
    assert not api.orders


async def test_a_json_number_is_told_to_be_a_string(api: Api) -> None:
    answer = await api.http.post("/api/v1/orders", json=ORDER | {"price": 1.5}, headers=api.headers())
    assert "decimal string" in answer.json()["error"]["message"]
    answer = await api.http.post("/api/v1/orders", json=ORDER | {"side": 1}, headers=api.headers())
    assert "decimal string" not in answer.json()["error"]["message"]


SPELLINGS = ("BTC/USDT", "BTC%2FUSDT", "BTC%2fUSDT", "BTC-USDT", "BTCUSDT", "btc-usdt")


async def test_a_symbol_may_be_spelled_in_all_ways(api: Api) -> None:
    for symbol in SPELLINGS:
        for path in (f"/orderbook/{symbol}", f"/markets/{symbol}", f"/markets/{symbol}/ticker"):
            answer = await api.http.get(f"/api/v1{path}")
            assert answer.status_code == 200, answer.text
            assert answer.json()["data"]["symbol"] == "BTC/USDT"
        trades = await api.http.get(f"/api/v1/trades?symbol={symbol}")
        assert trades.json()["data"] == []


async def test_an_unknown_symbol_is_refused(api: Api) -> None:
    for path in ("/orderbook/NOPE", "/markets/NO/PE", "/markets/NO-PE/ticker", "/trades?symbol=NOPE"):
        assert problem(await api.http.get(f"/api/v1{path}")) == (400, "INVALID_SYMBOL"), path


async def test_the_order_book_shows_levels_and_spread(api: Api) -> None:
    headers = api.headers()
    await place(api, headers)
    await place(api, headers, price="49999.00")
    await place(api, headers, side="SELL", price="50000.50", quantity="2")
    book = (await api.http.get("/api/v1/orderbook/BTC-USDT?depth=1")).json()["data"]
    assert book["bids"] == [{"price": "50000.00", "quantity": "0.5", "num_orders": 1}]
    assert book["asks"] == [{"price": "50000.50", "quantity": "2", "num_orders": 1}]
    assert (book["spread"], book["sequence"]) == ("0.50", 7)
    empty = (await api.http.get("/api/v1/orderbook/ETH-USDT")).json()["data"]
    assert (empty["bids"], empty["asks"], empty["spread"]) == ([], [], None)


async def test_a_wrong_parameter_is_refused(api: Api) -> None:
    for query in ("=0", "=1001", "=x", "=1e2", "=-1", "=1&depth=2", "er=1", "=%D9%A3"):
        answer = await api.http.get(f"/api/v1/orderbook/BTC-USDT?depth{query}")
        assert problem(answer) == (400, "INVALID_PARAMETER"), query


async def test_the_ticker_shows_the_change(api: Api) -> None:
    empty = (await api.http.get("/api/v1/markets/BTC-USDT/ticker")).json()["data"]
    assert (empty["last_price"], empty["24h_volume"], empty["best_bid"]) == (None, "0", None)
    for price in ("50000.00", "51000.00"):
        await place(api, api.headers(), price=price)
        await place(api, api.headers(), side="SELL", price=price)
    ticker = (await api.http.get("/api/v1/markets/BTC-USDT/ticker")).json()["data"]
    assert (ticker["last_price"], ticker["24h_open"], ticker["24h_low"]) == ("51000.00", "50000.00", "50000.00")
    assert (ticker["change"], ticker["change_percent"]) == ("1000.00", "2")


async def test_markets_are_listed_with_their_rules(api: Api) -> None:
    markets = (await api.http.get("/api/v1/markets")).json()["data"]
    assert len(markets) == 10
    btc = (await api.http.get("/api/v1/markets/BTC-USDT")).json()["data"]
    assert btc in markets
    assert (btc["tick_size"], btc["lot_size"], btc["taker_fee"]) == ("0.01", "0.000001", "0.001")


async def test_balances_show_what_is_to_come(api: Api) -> None:
    user_id = str(uuid.uuid4())
    await api.wallet.deposit(user_id, "USDT", 100 * UNIT, "one")
    rows = (await api.http.get("/api/v1/balances", headers=api.headers(user_id, funded=False))).json()["data"]
    assert rows == [
        {"asset": "BTC", "available": "0", "reserved": "0", "pending": "0.5", "total": "0.5"},
        {"asset": "USDT", "available": "100", "reserved": "0", "pending": "0", "total": "100"},
    ]


async def test_an_order_is_amended_and_all_are_cancelled(api: Api) -> None:
    headers = api.headers()
    order = (await place(api, headers))["order"]
    path = f"/api/v1/orders/{order['id']}"
    changed = (await api.http.patch(path, json={"quantity": "0.25"}, headers=headers)).json()["data"]
    assert changed["order"]["quantity"] == "0.25"
    assert problem(await api.http.patch(path, json={}, headers=headers)) == (400, "MISSING_FIELD")
    assert problem(await api.http.patch(path, json={"price": "0"}, headers=headers)) == (400, "INVALID_PRICE")
    assert problem(await api.http.patch(path, json={"price": 7}, headers=headers)) == (400, "INVALID_PRICE")
    await place(api, headers, symbol="ETH/USDT")
    answer = await api.http.delete("/api/v1/orders?symbol=ETHUSDT", headers=headers)
    assert answer.json()["data"] == {"cancelled": 1}
    assert (await api.http.delete("/api/v1/orders", headers=headers)).json()["data"] == {"cancelled": 1}


async def test_orders_and_trades_are_listed_from_the_database(api: Api, pool: asyncpg.Pool) -> None:
    book = Book(pool)
    await book.markets()
    first = await book.trade()
    second = await book.trade(buyer=BOB, seller=ALICE)
    headers = api.headers(ALICE)

    async def listed(path: str) -> tuple[list[Any], str | None]:
        answer = await api.http.get(f"/api/v1{path}", headers=headers)
        assert answer.status_code == 200, answer.text
        return answer.json()["data"], answer.json()["meta"]["next_cursor"]

    page, cursor = await listed("/orders?limit=1&symbol=BTC-USDT&status=open,filled&side=sell")
    assert [order["side"] for order in page] == ["SELL"]
    assert cursor is None
    page, cursor = await listed("/orders?limit=1&start_time=2026-01-01T00:00:00Z")
    rest, end = await listed(f"/orders?cursor={cursor}")
    assert (len(page), len(rest), end) == (1, 1, None)
    own, _ = await listed("/trades")
    assert [trade["id"] for trade in own] == [second, first]
    assert [trade["side"] for trade in own] == ["SELL", "BUY"]
    assert (await listed("/trades?scope=own&symbol=ETH-USDT"))[0] == []
    public = (await api.http.get("/api/v1/trades?symbol=BTC-USDT")).json()["data"]
    assert [trade["id"] for trade in public] == [second, first]
    assert not [name for trade in public for name in trade if "order" in name or "user" in name or "fee" in name]


async def test_a_wrong_filter_is_refused(api: Api) -> None:
    queries = {
        "/orders?status=SLEEPING": "INVALID_PARAMETER",
        "/orders?side=up": "INVALID_PARAMETER",
        "/orders?limit=501": "INVALID_PARAMETER",
        "/orders?start_time=yesterday": "INVALID_PARAMETER",
        "/orders?cursor=x": "INVALID_CURSOR",
        "/orders?symbol=NOPE": "INVALID_SYMBOL",
        "/trades?scope=all": "INVALID_PARAMETER",
        "/trades?scope=market": "INVALID_SYMBOL",
        "/balances?asset=BTC": "INVALID_PARAMETER",
    }
    headers = api.headers()
    for query, code in queries.items():
        assert problem(await api.http.get(f"/api/v1{query}", headers=headers)) == (400, code), query


async def test_own_trades_need_a_token(api: Api) -> None:
    assert problem(await api.http.get("/api/v1/trades"))[0] == 400
    assert problem(await api.http.get("/api/v1/trades?scope=own"))[0] in (400, 401)
