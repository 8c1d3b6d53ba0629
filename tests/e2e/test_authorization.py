"""Who may do what: every route of the table against every kind of login, and nothing of somebody else's leaks."""

import re
import time
import uuid
from typing import Any

import httpx

from tests.e2e.venue import Trader, Venue
from trade_engine.edge.auth.authenticator import sign
from trade_engine.edge.auth.tokens import ADMIN, SERVICE, TRADER
from trade_engine.edge.rest.route import OPEN, OPTIONAL, Route
from trade_engine.edge.rest.routes import ROUTES


def signed(key: dict[str, Any], method: str, target: str, body: bytes = b"") -> dict[str, str]:
    """The headers of a request that an API key signs."""
    timestamp, nonce = str(int(time.time() * 1000)), uuid.uuid4().hex
    return {
        "X-API-Key": key["key"]["key_id"],
        "X-API-Timestamp": timestamp,
        "X-API-Nonce": nonce,
        "X-API-Signature": sign(key["secret"], timestamp, nonce, method, target, body),
    }


async def make_key(trader: Trader, **terms: Any) -> dict[str, Any]:
    answer = await trader.http.post("/api/v1/api-keys", json={"name": "bot"} | terms, headers=trader.headers)
    assert answer.status_code == 201, answer.text
    made: dict[str, Any] = answer.json()["data"]
    return made


async def ask(venue: Venue, method: str, target: str, headers: dict[str, str]) -> httpx.Response:
    return await venue.http.request(method, target, headers=headers)


def scope_of(route: Route) -> str:
    return "read" if route.method == "GET" else "trade"


def wanted(route: Route, roles: set[str], scopes: set[str]) -> int | None:
    """The status that the login alone decides; None: it passes, and the handler answers."""
    if route.access == OPEN:
        return None
    if route.access != OPTIONAL and route.access not in roles:
        return 403
    return None if scope_of(route) in scopes else 403


async def test_every_route_against_every_login(venue: Venue) -> None:
    symbol = venue.market()
    owner, other = await venue.trader(USDT="1000"), await venue.trader()
    order, _ = await owner.order(symbol, "BUY", "1", "1.00")
    owned_key = await make_key(owner)
    values = {
        "order_id": order["order_id"] if "order_id" in order else order["id"],
        "key_id": owned_key["key"]["key_id"],
        "symbol": symbol,
        "id": "1",
        "user_id": owner.user_id,
        "endpoint_id": "whe_0123456789abcdef0123456789abcdef",
    }
    read, trade = await make_key(other), await make_key(other, scopes=["trade"])
    revoked = await make_key(other, scopes=["read", "trade"])
    gone = await other.http.delete(f"/api/v1/api-keys/{revoked['key']['key_id']}", headers=other.headers)
    assert gone.status_code == 200, gone.text
    every = {"read", "trade", "withdraw"}
    tokens = {TRADER: other.headers, ADMIN: {}, SERVICE: {}}
    for role in (ADMIN, SERVICE):
        tokens[role] = {"Authorization": f"Bearer {venue.token(str(uuid.uuid4()), (role,))}"}
    for route in ROUTES:
        names = re.findall(r"{(\w+)", route.path)
        assert set(names) <= set(values), f"{route.path}: say what its parameters shall be"
        target = re.sub(r"{(\w+)(?::path)?}", lambda found: values[found[1]], route.path)
        row = f"{route.method} {target}"
        protected = route.access not in (OPEN, OPTIONAL)
        answer = await ask(venue, route.method, target, {})
        assert (answer.status_code == 401) == protected, f"{row}: no login: {answer.text}"
        for key, scopes in ((read, {"read"}), (trade, {"trade"})):
            answer = await ask(venue, route.method, target, signed(key, route.method, target))
            expected = wanted(route, {TRADER}, scopes)
            if expected is None and "api-keys" in target:
                expected = 403
            check(row, answer, expected, owner, values)
        answer = await ask(venue, route.method, target, signed(revoked, route.method, target))
        check(row, answer, None if route.access == OPEN else 401, owner, values)
        for role, headers in tokens.items():
            if role == ADMIN and route.access == ADMIN:
                continue
            answer = await ask(venue, route.method, target, headers)
            check(row, answer, wanted(route, {role}, every), owner, values)
    assert (await owner.get(f"/orders/{values['order_id']}"))["status"] == "OPEN"
    assert (await owner.get("/api-keys"))[0]["revoked_at"] is None
    for route in ROUTES:
        if route.access == ADMIN:
            target = re.sub(r"{(\w+)(?::path)?}", lambda found: values[found[1]], route.path)
            answer = await ask(venue, route.method, target, tokens[ADMIN])
            assert answer.status_code not in (401, 403), f"{route.method} {target}: {answer.text}"


def check(row: str, answer: httpx.Response, expected: int | None, owner: Trader, values: dict[str, str]) -> None:
    """The status is the expected one, and what is the owner's does not show."""
    if expected is None:
        assert answer.status_code < 500, f"{row}: {answer.text}"
        assert answer.status_code not in (401, 403), f"{row}: {answer.text}"
    else:
        assert answer.status_code == expected, f"{row}: {answer.status_code} {answer.text}"
    if answer.status_code < 400:
        for secret in (owner.user_id, values["order_id"], values["key_id"]):
            assert secret not in answer.text, f"{row} leaks"
    elif "order_id" in row or values["order_id"] in row or values["key_id"] in row:
        assert owner.user_id not in answer.text, f"{row} leaks"


async def test_a_signed_order_passes_once_and_any_change_is_refused(venue: Venue) -> None:
    symbol = venue.market()
    trader = await venue.trader(USDT="1000")
    key = await make_key(trader, scopes=["read", "trade"])
    body = f'{{"symbol":"{symbol}","side":"BUY","type":"LIMIT","quantity":"1","price":"1.00"}}'.encode()
    headers = signed(key, "POST", "/api/v1/orders", body)
    changed = await venue.http.post("/api/v1/orders", content=body.replace(b"1.00", b"2.00"), headers=headers)
    assert (changed.status_code, changed.json()["error"]["code"]) == (401, "INVALID_SIGNATURE")
    taken = await venue.http.post("/api/v1/orders", content=body, headers=headers)
    assert taken.status_code == 201, taken.text
    again = await venue.http.post("/api/v1/orders", content=body, headers=headers)
    assert (again.status_code, again.json()["error"]["code"]) == (401, "NONCE_REUSED")
    both = await venue.http.get("/api/v1/orders", headers=signed(key, "GET", "/api/v1/orders") | trader.headers)
    assert both.status_code == 400
    target = "/api/v1/orders?limit=5"
    assert (await venue.http.get(target, headers=signed(key, "GET", target))).status_code == 200
    elsewhere = await make_key(trader, ip_allow_list=["192.0.2.0/24"])
    answer = await venue.http.get(target, headers=signed(elsewhere, "GET", target))
    assert answer.json()["error"]["code"] == "IP_NOT_ALLOWED"
    old = signed(key, "GET", target) | {"X-API-Timestamp": "1000"}
    assert (await venue.http.get(target, headers=old)).json()["error"]["code"] == "TIMESTAMP_OUT_OF_WINDOW"
