"""The admin API: markets, anybody's orders, the engine, the audit; for admins only, each change with a reason."""

import uuid
from typing import Any

import asyncpg
import pytest

from tests.integration.edge.conftest import Api
from tests.integration.edge.test_requests import ORDER, problem
from tests.integration.edge.test_routes import place
from trade_engine.domain.enums import MarketState
from trade_engine.domain.errors import Unavailable

ADMIN_ID = "0190a0b0-0000-7000-8000-000000000001"
NEW = {"symbol": "new/usdt", "tick_size": "0.01", "lot_size": "0.01", "taker_fee": "0.002", "reason": "asked for"}


@pytest.fixture
def admin(api: Api) -> dict[str, str]:
    return api.headers(ADMIN_ID, roles=("admin",))


async def deeds(pool: asyncpg.Pool) -> list[tuple[str, ...]]:
    rows = await pool.fetch("SELECT actor, action, subject, reason, outcome FROM admin_audit ORDER BY audit_id")
    return [tuple(row) for row in rows]


async def test_a_market_that_reads_as_another_without_its_slash_is_refused(api: Api, admin: dict[str, str]) -> None:
    alike = await api.http.post("/api/v1/admin/markets", json=NEW | {"symbol": "BT/CUSDT"}, headers=admin)
    assert problem(alike) == (409, "MARKET_EXISTS")
    assert "BTC/USDT" in alike.json()["error"]["message"]


async def test_a_market_is_listed_changed_halted_and_resumed(
    api: Api, admin: dict[str, str], pool: asyncpg.Pool
) -> None:
    listed = await api.http.post("/api/v1/admin/markets", json=NEW, headers=admin)
    assert listed.status_code == 201, listed.text
    market = listed.json()["data"]
    shown = {"symbol": "NEW/USDT", "state": "OPEN", "min_quantity": "0.01", "taker_fee": "0.002", "maker_fee": "0.0005",
             "max_slippage": "0.05", "max_fills": 1000, "fee_asset": "QUOTE",
             "min_display_share": "0.05"}  # fmt: skip
    assert {name: market[name] for name in shown} == shown
    assert market in (await api.http.get("/api/v1/admin/markets", headers=admin)).json()["data"]
    assert problem(await api.http.post("/api/v1/admin/markets", json=NEW, headers=admin)) == (409, "MARKET_EXISTS")
    change = {"maker_fee": "0", "price_band": "0.1", "max_fills": 7, "fee_asset": "received", "reason": "cheaper"}
    change |= {"min_display_share": "0.2"}
    for spelling in ("NEW/USDT", "NEW%2FUSDT", "NEW-USDT", "NEWUSDT"):
        changed = await api.http.patch(f"/api/v1/admin/markets/{spelling}", json=change, headers=admin)
        assert changed.status_code == 200, changed.text
    view = changed.json()["data"]
    assert view["min_display_share"] == "0.2"
    assert (view["maker_fee"], view["price_band"], view["max_fills"], view["fee_asset"]) == ("0", "0.1", 7, "RECEIVED")
    for step, body, state in (
        ("halt", {}, "HALTED"),
        ("resume", {}, "OPEN"),
        ("state", {"state": "cancel_only"}, "CANCEL_ONLY"),
    ):
        path = f"/api/v1/admin/markets/NEW/USDT/{step}"
        answer = await api.http.post(path, json={"reason": "drill"} | body, headers=admin)
        assert answer.json()["data"]["state"] == state, answer.text
        assert (await api.http.get("/api/v1/markets/NEW-USDT")).json()["data"]["state"] == state
    noted = await deeds(pool)
    assert noted[:3] == [
        (ADMIN_ID, "market.list", "NEW/USDT", "asked for", "asked for"),
        (ADMIN_ID, "market.list", "NEW/USDT", "asked for", "asked for"),
        (ADMIN_ID, "market.list", "NEW/USDT", "asked for", "refused: MARKET_EXISTS"),
    ]
    states = ["market.state.halted", "market.state.open", "market.state.cancel_only"]
    assert [row[1] for row in noted[3:]] == ["market.change"] * 4 + states


WRONG: list[tuple[dict[str, Any], str, str]] = [
    ({"tick_size": "0.00001", "lot_size": "0.00001"}, "INVALID_MARKET", "tick_size"),
    ({"tick_size": "0"}, "INVALID_MARKET", "tick_size"),
    ({"tick_size": "1e5"}, "INVALID_MARKET", "tick_size"),
    ({"min_quantity": "0.015"}, "INVALID_MARKET", "min_quantity"),
    ({"maker_fee": "1"}, "INVALID_MARKET", "maker_fee"),
    ({"price_band": "0.00000001"}, "INVALID_MARKET", "price_band"),
    ({"max_fills": -1}, "INVALID_MARKET", "max_fills"),
    ({"min_display_share": "1.1"}, "INVALID_MARKET", "min_display_share"),
    ({"fee_asset": "GOLD"}, "INVALID_MARKET", "fee_asset"),
    ({"symbol": "NEWUSDT"}, "INVALID_SYMBOL", "symbol"),
    ({"symbol": "USDT/USDT"}, "INVALID_MARKET", "symbol"),
    ({"colour": "red"}, "UNKNOWN_FIELD", "colour"),
    ({"reason": ""}, "INVALID_REASON", "reason"),
]


async def test_a_wrong_market_is_refused_and_the_field_named(
    api: Api, admin: dict[str, str], pool: asyncpg.Pool
) -> None:
    for change, code, field in WRONG:
        answer = await api.http.post("/api/v1/admin/markets", json=NEW | change, headers=admin)
        assert problem(answer) == (400, code), answer.text
        assert answer.json()["error"]["details"]["field"] == field, change
    answer = await api.http.post("/api/v1/admin/markets", json=NEW | {"tick_size": 1}, headers=admin)
    assert problem(answer)[0] == 400
    path = "/api/v1/admin/markets/BTC-USDT"
    assert problem(await api.http.patch(path, json={"reason": "x"}, headers=admin)) == (400, "MISSING_FIELD")
    bad = await api.http.patch(path, json={"min_quantity": "0.0000001", "reason": "x"}, headers=admin)
    assert problem(bad) == (400, "INVALID_MARKET")
    bad = await api.http.post(f"{path}/state", json={"state": "ASLEEP", "reason": "x"}, headers=admin)
    assert problem(bad) == (400, "INVALID_STATE")
    bad = await api.http.post("/api/v1/admin/markets/NOPE/halt", json={"reason": "x"}, headers=admin)
    assert problem(bad) == (400, "INVALID_SYMBOL")
    assert await deeds(pool) == []
    assert len(api.venue.engine.reader.markets) == 10
    assert api.venue.engine.reader.markets["BTC/USDT"].state is MarketState.OPEN
    fixed = await api.http.patch(path, json={"tick_size": "0.1", "reason": "x"}, headers=admin)
    assert problem(fixed) == (409, "MARKET_FIXED")


async def test_any_order_is_seen_and_cancelled_with_a_reason(
    api: Api, admin: dict[str, str], pool: asyncpg.Pool
) -> None:
    user_id = str(uuid.uuid4())
    order = (await place(api, api.headers(user_id)))["order"]
    path = f"/api/v1/admin/orders/{order['id']}"
    assert (await api.http.get(path, headers=admin)).json()["data"] == order
    assert problem(await api.http.delete(path, headers=admin)) == (400, "INVALID_REASON")
    ended = await api.http.delete(path, params={"reason": "asked by mail"}, headers=admin)
    assert ended.json()["data"]["status"] == "CANCELLED"
    ending = {"reason": "end", "confirm": "ALL"}
    for params, count in (({"symbol": "ETHUSDT"}, 1), ({"user_id": user_id}, 2), ({}, 1)):
        await place(api, api.headers(user_id), symbol="ETH/USDT")
        await place(api, api.headers(user_id))
        if not params:
            await api.http.delete("/api/v1/orders", headers=api.headers(user_id))
            await place(api, api.headers())
        answer = await api.http.delete("/api/v1/admin/orders", params=params | ending, headers=admin)
        assert answer.json()["data"] == {"cancelled": count + (1 if "user_id" in params else 0)}, params
    bad = await api.http.delete("/api/v1/admin/orders", params={"user_id": "x", "reason": "end"}, headers=admin)
    assert problem(bad) == (400, "INVALID_PARAMETER")
    noted = await deeds(pool)
    assert noted[0] == (ADMIN_ID, "order.cancel", order["id"], "asked by mail", "asked for")
    assert [row[2] for row in noted[1:]] == [
        "orders of everybody in ETH/USDT", f"orders of {user_id} in all markets", "orders of everybody in all markets"
    ]  # fmt: skip


async def test_the_engine_and_the_audit_are_shown(api: Api, admin: dict[str, str]) -> None:
    await place(api, api.headers())
    engine = (await api.http.get("/api/v1/admin/engine", headers=admin)).json()["data"]
    assert (engine["trouble"], engine["sequence"], engine["live_orders"], len(engine["markets"])) == (None, 11, 1, 10)
    assert (engine["pending_settlements"], engine["settlement_lag_ms"], engine["dead_letters"]) == (0, 0, 0)
    for number in range(3):
        body = {"reason": f"drill {number}"}
        assert (await api.http.post("/api/v1/admin/markets/BTCUSDT/halt", json=body, headers=admin)).is_success
    page = (await api.http.get("/api/v1/admin/audit?limit=2", headers=admin)).json()
    assert [row["reason"] for row in page["data"]] == ["drill 2", "drill 1"]
    rest = (await api.http.get(f"/api/v1/admin/audit?cursor={page['meta']['next_cursor']}", headers=admin)).json()
    assert [row["reason"] for row in rest["data"]] == ["drill 0"]
    assert rest["meta"]["next_cursor"] is None
    assert (rest["data"][0]["actor"], rest["data"][0]["action"]) == (ADMIN_ID, "market.state.halted")
    assert problem(await api.http.get("/api/v1/admin/audit?cursor=x", headers=admin)) == (400, "INVALID_CURSOR")


async def test_what_could_not_be_done_is_noted_as_such(api: Api, admin: dict[str, str], pool: asyncpg.Pool) -> None:
    api.mishap.failure = Unavailable("DATABASE_UNAVAILABLE", "away")
    answer = await api.http.post("/api/v1/admin/markets/BTCUSDT/halt", json={"reason": "x"}, headers=admin)
    assert problem(answer) == (503, "DATABASE_UNAVAILABLE")
    assert [row[4] for row in await deeds(pool)] == ["asked for", "refused: DATABASE_UNAVAILABLE"]


async def test_only_admins_may(api: Api) -> None:
    trader = api.headers()
    for method, path in (
        ("GET", "markets"), ("POST", "markets"), ("PATCH", "markets/BTC/USDT"), ("POST", "markets/BTC/USDT/halt"),
        ("POST", "markets/BTC-USDT/resume"), ("POST", "markets/BTC-USDT/state"), ("GET", f"orders/{uuid.uuid4()}"),
        ("DELETE", f"orders/{uuid.uuid4()}"), ("DELETE", "orders"), ("GET", "engine"), ("GET", "audit"),
    ):  # fmt: skip
        answer = await api.http.request(method, f"/api/v1/admin/{path}", headers=trader)
        assert problem(answer) == (403, "FORBIDDEN"), path
        assert problem(await api.http.request(method, f"/api/v1/admin/{path}")) == (401, "UNAUTHORIZED")
    assert (await api.http.post("/api/v1/orders", json=ORDER, headers=trader)).status_code == 201
