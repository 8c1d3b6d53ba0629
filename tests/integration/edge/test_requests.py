"""What every request meets: envelope, ids, routes, limits, time, faults."""

import asyncio
import json
from typing import Any

import asyncpg
import httpx

from tests.integration.edge.conftest import Api, Start
from trade_engine.domain.errors import OutcomeUnknown, Refused, Unavailable
from trade_engine.edge.settings import LimitSettings, RateLimit
from trade_engine.edge.times import read_time

ORDER = {"symbol": "BTC/USDT", "side": "BUY", "type": "LIMIT", "quantity": "0.5", "price": "50000.00"}


def problem(answer: httpx.Response) -> tuple[int, str]:
    """Status and code of a refusal, whose envelope must be whole."""
    content = answer.json()
    assert content["success"] is False
    assert content["meta"]["request_id"] == answer.headers["x-request-id"]
    assert content["error"]["message"]
    return answer.status_code, content["error"]["code"]


async def test_the_envelope_carries_id_and_time(api: Api) -> None:
    answer = await api.http.get("/api/v1/time", headers={"X-Request-ID": "mine-1"})
    content = answer.json()
    assert content["success"] is True
    assert content["meta"]["request_id"] == answer.headers["x-request-id"] == "mine-1"
    assert content["meta"]["timestamp"].endswith("Z")
    assert abs(read_time(content["data"]["time"], "time") // 1000 - content["data"]["milliseconds"]) <= 1


async def test_a_request_id_that_could_harm_is_replaced(api: Api) -> None:
    for given in ('a"b', "back\\slash", "x" * 101, ""):
        answer = await api.http.get("/api/v1/time", headers={"X-Request-ID": given})
        assert answer.json()["meta"]["request_id"] == answer.headers["x-request-id"] != given


async def test_every_answer_is_safe_for_browsers(api: Api) -> None:
    for path in ("/api/v1/time", "/nowhere"):
        headers = (await api.http.get(path)).headers
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["x-frame-options"] == "DENY"
        assert headers["cache-control"] == "no-store"
        assert "server" not in headers


async def test_an_unknown_path_and_a_wrong_method(api: Api) -> None:
    assert problem(await api.http.get("/api/v1/nothing")) == (404, "ROUTE_NOT_FOUND")
    answer = await api.http.put("/api/v1/orders")
    assert problem(answer) == (405, "METHOD_NOT_ALLOWED")
    assert set(answer.headers["allow"].split(", ")) == {"POST", "GET", "DELETE"}
    assert problem(await api.http.post("/api/v1/echo")) == (404, "ROUTE_NOT_FOUND")


async def test_head_answers_as_get_without_a_body(api: Api) -> None:
    answer = await api.http.head("/health/live")
    assert (answer.status_code, answer.content) == (200, b"")


async def test_a_token_and_a_role_are_needed(api: Api) -> None:
    answer = await api.http.get("/api/v1/balances")
    assert problem(answer) == (401, "UNAUTHORIZED")
    assert answer.headers["www-authenticate"] == "Bearer"
    headers = api.headers(roles=("service",))
    assert problem(await api.http.get("/api/v1/balances", headers=headers)) == (403, "FORBIDDEN")
    bad = {"Authorization": "Bearer nonsense"}
    assert problem(await api.http.get("/api/v1/trades?symbol=BTC-USDT", headers=bad)) == (401, "INVALID_TOKEN")


async def test_a_body_may_not_be_too_large(api: Api) -> None:
    async def pieces() -> Any:
        for _ in range(9):
            yield b" " * 10_000

    headers = api.headers()
    whole = await api.http.post("/api/v1/orders", content=b" " * 70_000, headers=headers)
    assert problem(whole) == (413, "BODY_TOO_LARGE")
    in_pieces = await api.http.post("/api/v1/orders", content=pieces(), headers=headers)
    assert problem(in_pieces) == (413, "BODY_TOO_LARGE")
    assert (await api.http.get("/health/live")).status_code == 200


async def test_a_caller_who_leaves_in_the_middle_of_a_body_harms_nobody(api: Api) -> None:
    _, writer = await asyncio.open_connection("127.0.0.1", api.port)
    token = api.headers()["Authorization"]
    head = f"POST /api/v1/orders HTTP/1.1\r\nHost: a\r\nAuthorization: {token}\r\nContent-Length: 100\r\n\r\n"
    writer.write(head.encode() + b'{"symbol"')
    await writer.drain()
    writer.close()
    await writer.wait_closed()
    assert (await api.http.post("/api/v1/orders", json=ORDER, headers=api.headers())).status_code == 201
    assert len(api.orders) == 1


async def test_orders_are_limited_by_user_and_every_answer_says_so(start: Start) -> None:
    async with start(LimitSettings(orders=RateLimit(0.01, 3))) as api:
        headers = api.headers()
        answers = [await api.http.post("/api/v1/orders", json=ORDER, headers=headers) for _ in range(4)]
        assert [answer.status_code for answer in answers] == [201, 201, 201, 429]
        assert [answer.headers["x-ratelimit-remaining"] for answer in answers] == ["2", "1", "0", "0"]
        assert {answer.headers["x-ratelimit-limit"] for answer in answers} == {"3"}
        assert problem(answers[3]) == (429, "RATE_LIMITED")
        assert int(answers[3].headers["retry-after"]) >= 1
        assert len(api.orders) == 3
        assert (await api.http.post("/api/v1/orders", json=ORDER, headers=api.headers())).status_code == 201
        refused = await api.http.post("/api/v1/orders", json={}, headers=api.headers())
        assert refused.headers["x-ratelimit-remaining"] == "2"


async def test_failed_logins_are_limited_by_address(start: Start) -> None:
    limits = LimitSettings(public=RateLimit(0.01, 2), logins=RateLimit(0.01, 3))
    async with start(limits) as api:
        known, bad = api.headers(), {"Authorization": "Bearer nonsense"}
        assert (await api.http.get("/api/v1/balances", headers=known)).status_code == 200
        statuses = [(await api.http.get("/api/v1/balances", headers=bad)).status_code for _ in range(3)]
        assert statuses == [401, 401, 429]
        assert (await api.http.get("/health/ready")).status_code == 200
        assert (await api.http.get("/api/v1/balances", headers=known)).status_code == 200
        assert (await api.http.get("/api/v1/balances", headers=api.headers())).status_code == 429
        # Public data is another matter, and so is who brings no login at all.
        assert [(await api.http.get("/api/v1/time")).status_code for _ in range(2)] == [200, 200]
        assert (await api.http.get("/api/v1/balances")).status_code == 429


async def test_a_request_that_takes_too_long_is_told_whether_it_may_have_happened(start: Start) -> None:
    async with start(timeout_s=0.1) as api:
        headers = api.headers()
        api.mishap.delay_s = 5
        answer = await api.http.post("/api/v1/orders", json=ORDER, headers=headers)
        assert problem(answer) == (503, "OUTCOME_UNKNOWN")
        assert answer.headers["retry-after"] == "1"
        order_id = "0190a0b0-0000-7000-8000-00000000abcd"
        assert problem(await api.http.get(f"/api/v1/orders/{order_id}", headers=headers)) == (503, "REQUEST_TIMEOUT")


async def test_a_fault_is_a_clean_500_with_a_trace(api: Api) -> None:
    api.mishap.failure = RuntimeError("the secret reason")
    answer = await api.http.post("/api/v1/orders", json=ORDER, headers=api.headers())
    assert problem(answer) == (500, "INTERNAL_ERROR")
    assert answer.json()["error"]["details"]["trace_id"] == answer.headers["x-request-id"]
    assert "secret" not in answer.text
    api.mishap.failure = None
    assert (await api.http.post("/api/v1/orders", json=ORDER, headers=api.headers())).status_code == 201


async def test_a_database_that_is_lost_under_a_request_is_no_fault_of_the_server(api: Api) -> None:
    """Whatever the driver raises: crash recovery, a terminated backend, a connection in the middle of something."""
    headers, order_id = api.headers(), "0190a0b0-0000-7000-8000-00000000abcd"
    for failure in (
        asyncpg.CannotConnectNowError("the database system is in recovery mode"),
        asyncpg.InternalClientError("cannot switch to state 12"),
        asyncpg.ConnectionDoesNotExistError("terminating connection"),
        ConnectionResetError(),
    ):
        api.mishap.failure = failure
        answer = await api.http.get(f"/api/v1/orders/{order_id}", headers=headers)
        assert problem(answer) == (503, "DATABASE_UNAVAILABLE")
        assert answer.headers["retry-after"] == "1"
        answer = await api.http.post("/api/v1/orders", json=ORDER, headers=headers)
        assert problem(answer) == (503, "OUTCOME_UNKNOWN")


async def test_refusals_of_the_engine_have_their_status(api: Api) -> None:
    failures = {
        Refused("INSUFFICIENT_BALANCE", "not enough"): 400,
        Refused("PRICE_BAND", "too far"): 422,
        Unavailable("WALLET_UNAVAILABLE", "away"): 503,
        OutcomeUnknown("OUTCOME_UNKNOWN", "repeat"): 503,
    }
    headers = api.headers()
    for failure, status in failures.items():
        api.mishap.failure = failure
        answer = await api.http.post("/api/v1/orders", json=ORDER, headers=headers)
        assert problem(answer) == (status, failure.code)
        assert ("retry-after" in answer.headers) == (status == 503)


async def test_browsers_of_configured_origins_may_call(start: Start) -> None:
    async with start(cors_origins=("https://app.example",)) as api:
        asked = {"Origin": "https://app.example", "Access-Control-Request-Method": "POST"}
        allowed = await api.http.options("/api/v1/orders", headers=asked)
        assert allowed.headers["access-control-allow-origin"] == "https://app.example"
        other = await api.http.get("/api/v1/time", headers={"Origin": "https://evil.example"})
        assert "access-control-allow-origin" not in other.headers


async def test_echo_answers_as_many_bytes_as_an_order(start: Start) -> None:
    async with start(echo_route=True) as api:
        headers = api.headers()
        order = await api.http.post("/api/v1/orders", json=ORDER, headers=headers)
        echo = await api.http.post("/api/v1/echo", json=ORDER, headers=headers)
        assert echo.status_code == 200
        assert abs(len(echo.content) - len(order.content)) < 30
        assert problem(await api.http.post("/api/v1/echo", json={}, headers=headers))[0] == 400
        assert problem(await api.http.post("/api/v1/echo", json=ORDER))[0] == 401


async def test_health_names_every_dependency(api: Api) -> None:
    for path in ("/health/live", "/health"):
        assert (await api.http.get(path)).json()["status"] == "alive"
    for path in ("/health/ready", "/ready"):
        ready = await api.http.get(path)
        assert ready.status_code == 200
        assert ready.json()["status"] == "ready"
        assert {"database", "redis", "rabbitmq", "wallet", "engine"} <= ready.json().keys()
    api.venue.sequencer.halt("recovering")
    ready = await api.http.get("/health/ready")
    assert (ready.status_code, ready.json()["engine"]) == (503, "recovering")
    status = (await api.http.get("/api/v1/status")).json()["data"]
    assert (status["service"], status["status"]) == ("trade-engine", "degraded")


async def test_bytes_that_are_no_request_harm_nobody(api: Api) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", api.port)
    writer.write(b"\x00\xff\x16\x03\x01 nonsense\r\n\r\n")
    await writer.drain()
    assert b" 400 " in await reader.read()
    writer.close()
    deep = json.dumps(ORDER)[:-1].encode() + b',"more":' + b"[" * 30_000 + b"]" * 30_000 + b"}"
    answer = await api.http.post("/api/v1/orders", content=deep, headers=api.headers())
    assert problem(answer) == (400, "UNKNOWN_FIELD")
    assert (await api.http.get("/health/live")).status_code == 200
