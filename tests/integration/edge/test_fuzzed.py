"""What the fuzzer found once stays repaired."""

import asyncpg
import pytest

from tests.integration.edge.conftest import Api
from tests.integration.edge.test_requests import ORDER, problem
from tests.integration.edge.test_routes import place

NUL = "\0"


@pytest.mark.parametrize("path", ["/api/v1/orders", "/api/v1/admin/orders"])
async def test_an_empty_symbol_is_none_and_not_all(api: Api, pool: asyncpg.Pool, path: str) -> None:
    headers = api.headers(roles=("trader", "admin"))
    order = (await place(api, headers))["order"]
    reason = {"reason": "drill", "confirm": "ALL"} if "admin" in path else {}
    answer = await api.http.delete(path, params={"symbol": "", **reason}, headers=headers)
    assert problem(answer) == (400, "INVALID_SYMBOL")
    shown = await api.http.get(f"/api/v1/orders/{order['id']}", headers=headers)
    assert shown.json()["data"]["status"] == "OPEN"
    assert await pool.fetchval("SELECT count(*) FROM admin_audit") == 0
    answer = await api.http.delete(path, params=reason, headers=headers)
    assert answer.json()["data"] == {"cancelled": 1}


@pytest.mark.parametrize("path", ["/api/v1/orders", "/api/v1/trades"])
async def test_an_empty_symbol_lists_nothing(api: Api, path: str) -> None:
    answer = await api.http.get(path, params={"symbol": ""}, headers=api.headers())
    assert problem(answer) == (400, "INVALID_SYMBOL")


@pytest.mark.parametrize(
    ("method", "path", "allow"),
    [
        ("GET", "/api/v1/orders/batch", {"POST"}),
        ("DELETE", "/api/v1/orders/batch", {"POST"}),
        ("PATCH", "/api/v1/orders/batch", {"POST"}),
        ("PATCH", "/api/v1/admin/markets/BTC-USDT/halt", {"POST"}),
        ("GET", "/api/v1/admin/markets/BTC/USDT/resume", {"POST"}),
        ("PUT", "/api/v1/admin/markets/BTC-USDT", {"PATCH"}),
        ("POST", "/api/v1/markets/BTC-USDT/ticker", {"GET"}),
        ("PUT", "/api/v1/orders", {"POST", "DELETE", "GET"}),
    ],
)
async def test_a_path_beside_a_pattern_takes_its_own_methods_only(
    api: Api, method: str, path: str, allow: set[str]
) -> None:
    headers = api.headers(roles=("trader", "admin"))
    answer = await api.http.request(method, path, headers=headers)
    assert problem(answer) == (405, "METHOD_NOT_ALLOWED")
    assert set(answer.headers["allow"].split(", ")) == allow


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/api/v1/admin/markets/BTC-USDT/halt"),
        ("PATCH", "/api/v1/admin/markets/BTC-USDT"),
        ("POST", "/api/v1/admin/reconciliation"),
        ("POST", "/api/v1/admin/dead-letters/1/retry"),
        ("POST", "/api/v1/admin/dead-letters/1/resolve"),
    ],
)
async def test_a_reason_with_a_nul_is_refused(api: Api, pool: asyncpg.Pool, method: str, path: str) -> None:
    more = {"PATCH": {"maker_fee": "0"}}.get(method, {"repair": True} if path.endswith("reconciliation") else {})
    headers = api.headers(roles=("admin",))
    answer = await api.http.request(method, path, json={"reason": f"a{NUL}b"} | more, headers=headers)
    assert problem(answer) == (400, "INVALID_REASON")
    assert (await api.http.get("/api/v1/markets/BTC-USDT")).json()["data"]["state"] == "OPEN"
    assert await pool.fetchval("SELECT count(*) FROM admin_audit") == 0


async def test_a_reason_with_a_nul_in_the_query_is_refused(api: Api, pool: asyncpg.Pool) -> None:
    headers = api.headers(roles=("trader", "admin"))
    order = (await place(api, headers))["order"]
    for path, more in ((f"/api/v1/admin/orders/{order['id']}", {}), ("/api/v1/admin/orders", {"confirm": "ALL"})):
        answer = await api.http.delete(path, params={"reason": f"a{NUL}b", **more}, headers=headers)
        assert problem(answer) == (400, "INVALID_REASON")
    shown = await api.http.get(f"/api/v1/orders/{order['id']}", headers=headers)
    assert shown.json()["data"]["status"] == "OPEN"
    assert await pool.fetchval("SELECT count(*) FROM admin_audit") == 0


async def test_a_client_order_id_with_a_nul_is_refused(api: Api) -> None:
    answer = await api.http.post("/api/v1/orders", json=ORDER | {"client_order_id": NUL}, headers=api.headers())
    assert problem(answer) == (400, "INVALID_CLIENT_ORDER_ID")


async def test_a_reconciliation_needs_a_body(api: Api) -> None:
    headers = api.headers(roles=("admin",))
    path = "/api/v1/admin/reconciliation"
    assert problem(await api.http.post(path, headers=headers)) == (400, "INVALID_JSON")
    assert problem(await api.http.post(path, json={"fix": True}, headers=headers)) == (400, "UNKNOWN_FIELD")
    assert (await api.http.post(path, json={}, headers=headers)).status_code == 200
