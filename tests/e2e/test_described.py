"""A walk over the routes: every answer is held against the description (by the ``venue``'s client)."""

import time
import uuid
from typing import Any

import httpx
import pytest

from tests.e2e.venue import Venue
from tests.harness.description import check_answer
from trade_engine.edge.auth.authenticator import sign


def signed(key: Any, secret: str, method: str, target: str) -> dict[str, str]:
    """The headers of a request signed with an API key."""
    stamp, nonce = str(int(time.time() * 1000)), uuid.uuid4().hex
    signature = sign(secret, stamp, nonce, method, target)
    names = ("X-API-Key", "X-API-Timestamp", "X-API-Nonce", "X-API-Signature")
    return dict(zip(names, (key["key_id"], stamp, nonce, signature), strict=True))


async def test_trading_and_looking(venue: Venue) -> None:
    symbol = venue.market()
    base = symbol.split("/", maxsplit=1)[0]
    buyer, seller = await venue.trader(USDT="100000"), await venue.trader(**{base: "10"})
    order, _ = await buyer.order(symbol, "BUY", "1", "100.00", client_order_id="walk")
    path = f"/api/v1/orders/{order['id']}"
    amended = await venue.http.patch(path, json={"quantity": "2"}, headers=buyer.headers)
    assert amended.status_code == 200
    batch = {"orders": [{"symbol": symbol, "side": "SELL", "type": "MARKET", "quantity": "1"}, {"symbol": symbol}]}
    results = (await venue.http.post("/api/v1/orders/batch", json=batch, headers=seller.headers)).json()["data"]
    assert [result["success"] for result in results] == [True, False]
    await venue.settled()
    for trader in (buyer, seller):
        assert await trader.get("/balances")
        assert await trader.get("/orders", symbol=symbol)
        assert await trader.get("/trades", symbol=symbol, scope="own")
    assert await buyer.get("/trades", symbol=symbol)
    assert await buyer.get(f"/markets/{symbol}/candles", interval="1m")
    for public in (f"/markets/{symbol}/ticker", f"/markets/{symbol}", "/markets", "/status", "/time"):
        assert await buyer.get(public)
    assert (await venue.http.delete(path, headers=buyer.headers)).status_code == 200
    assert (await venue.http.delete("/api/v1/orders", headers=buyer.headers)).json()["data"] == {"cancelled": 0}
    for health in ("/health", "/health/live", "/health/ready", "/ready"):
        assert (await venue.http.get(health)).status_code == 200


async def test_operating(venue: Venue) -> None:
    headers = {"Authorization": f"Bearer {venue.token(str(uuid.uuid4()), ('admin',))}"}
    for path in ("markets", "engine", "audit", "dead-letters", "reconciliation"):
        assert (await venue.http.get(f"/api/v1/admin/{path}", headers=headers)).status_code == 200
    done = await venue.http.post("/api/v1/admin/reconciliation", json={}, headers=headers)
    assert done.status_code == 200
    halted = await venue.http.post("/api/v1/admin/markets/T01-USDT/halt", json={"reason": "drill"}, headers=headers)
    assert halted.json()["data"]["state"] == "HALTED"
    meant = {"reason": "drill", "confirm": "ALL"}
    gone = await venue.http.delete("/api/v1/admin/orders", params=meant, headers=headers)
    assert gone.json()["data"] == {"cancelled": 0}


async def test_api_keys(venue: Venue) -> None:
    trader = await venue.trader(USDT="10")
    made = await venue.http.post("/api/v1/api-keys", json={"name": "walk"}, headers=trader.headers)
    assert made.status_code == 201
    key, secret = made.json()["data"]["key"], made.json()["data"]["secret"]
    balances = "/api/v1/balances"
    login = signed(key, secret, "GET", balances)
    assert (await venue.http.get(balances, headers=login)).status_code == 200
    codes = {
        "NONCE_REUSED": await venue.http.get(balances, headers=login),
        "INVALID_SIGNATURE": await venue.http.get(balances, headers=signed(key, "other", "GET", balances)),
        "SCOPE_MISSING": await venue.http.delete(
            "/api/v1/orders", headers=signed(key, secret, "DELETE", "/api/v1/orders")
        ),
        "TOKEN_REQUIRED": await venue.http.get(
            "/api/v1/api-keys", headers=signed(key, secret, "GET", "/api/v1/api-keys")
        ),
        "API_KEY_NOT_FOUND": await venue.http.delete("/api/v1/api-keys/tek_%00", headers=trader.headers),
    }
    assert {code: answer.json()["error"]["code"] for code, answer in codes.items()} == {code: code for code in codes}
    listed = (await venue.http.get("/api/v1/api-keys", headers=trader.headers)).json()["data"]
    assert [row["key_id"] for row in listed] == [key["key_id"]]
    revoked = await venue.http.delete(f"/api/v1/api-keys/{key['key_id']}", headers=trader.headers)
    assert revoked.json()["data"]["revoked_at"]
    refused = await venue.http.get(balances, headers=signed(key, secret, "GET", balances))
    assert (refused.status_code, refused.json()["error"]["code"]) == (401, "INVALID_API_KEY")


async def test_an_answer_that_is_not_described_is_noticed(venue: Venue) -> None:
    good = await venue.http.get("/api/v1/time")
    content = good.json()
    await check_answer(good)

    def answer(status: int = 200, without: str = "", **changes: Any) -> httpx.Response:
        headers = {name: value for name, value in good.headers.items() if name in ("x-request-id", "content-type")}
        headers.pop(without, None)
        return httpx.Response(status, headers=headers, json=content | changes, request=good.request)

    await check_answer(answer())
    time_and_more = content["data"] | {"more": 1}
    for wrong in (
        answer(418),
        answer(data=time_and_more),
        answer(data={"time": content["data"]["time"]}),
        answer(data=content["data"] | {"milliseconds": "1"}),
        answer(meta={}),
        answer(without="x-request-id"),
    ):
        with pytest.raises(AssertionError):
            await check_answer(wrong)
