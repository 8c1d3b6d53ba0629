"""Several orders in one request: each stands for itself, a batch that is none changes nothing."""

import json
import uuid
from typing import Any

import httpx

from tests.harness.redis import TestRedis
from tests.integration.edge.conftest import UNLIMITED, Api, Start
from tests.integration.edge.test_requests import ORDER, problem
from trade_engine.cache.redis_limits import RedisLimits
from trade_engine.cache.server import RedisSettings
from trade_engine.domain.errors import Unavailable
from trade_engine.edge.settings import LimitSettings, RateLimit

PATH = "/api/v1/orders/batch"


def limited(burst: int) -> LimitSettings:
    off = RateLimit(0, 1)
    return LimitSettings(orders=RateLimit(0.01, burst), queries=off, public=off, address=off)


async def send(api: Api, orders: list[Any], headers: dict[str, str] | None = None) -> httpx.Response:
    return await api.http.post(PATH, json={"orders": orders}, headers=headers or api.headers())


async def test_each_order_has_a_result_in_order_and_a_refusal_stops_no_other(api: Api) -> None:
    bad, both = ORDER | {"price": "50000.001"}, ORDER | {"self_trade_prevention": "NONE"}
    answer = await send(api, [both, bad, ORDER | {"colour": "red"}, 7, both | {"side": "SELL"}])
    assert answer.status_code == 200, answer.text
    results = answer.json()["data"]
    assert [result["success"] for result in results] == [True, False, False, False, True]
    assert results[0]["order"]["side"] == "BUY"
    assert [result["error"]["code"] for result in results[1:4]] == ["INVALID_PRICE", "UNKNOWN_FIELD", "INVALID_BODY"]
    assert results[1]["error"]["details"]["provided"] == "50000.001"
    assert results[4]["trades"][0]["quantity"] == "0.5"
    assert len(api.orders) == 2


async def test_a_client_order_id_that_comes_twice_places_once(api: Api) -> None:
    first, second, third = (
        await send(api, [ORDER | {"client_order_id": "a"}, ORDER | {"client_order_id": "a"}, ORDER])
    ).json()["data"]
    assert "replayed" not in first
    assert second == first | {"replayed": True}
    assert third["order"]["id"] != first["order"]["id"]
    assert len(api.orders) == 2


async def test_what_is_no_batch_changes_nothing(api: Api) -> None:
    headers = api.headers()
    wrong: list[tuple[bytes, str]] = [
        (b"[]", "INVALID_BODY"),
        (b"{", "INVALID_JSON"),
        (b'{"orders": 1}', "INVALID_BODY"),
        (b"{}", "MISSING_FIELD"),
        (json.dumps({"orders": [ORDER], "more": 1}).encode(), "UNKNOWN_FIELD"),
        (b'{"orders": []}', "INVALID_BATCH"),
        (json.dumps({"orders": [ORDER] * 51}).encode(), "INVALID_BATCH"),
    ]
    for content, code in wrong:
        answer = await api.http.post(PATH, content=content, headers=headers)
        assert problem(answer) == (400, code), content[:40]
    assert answer.json()["error"]["details"] == {"field": "orders", "provided": 51, "limit": 50}
    assert not api.orders
    assert problem(await api.http.post(PATH, json={"orders": [ORDER]})) == (401, "UNAUTHORIZED")


async def test_what_is_away_or_broken_is_told_order_by_order(api: Api) -> None:
    api.mishap.failure = Unavailable("WALLET_UNAVAILABLE", "away")
    results = (await send(api, [ORDER, ORDER])).json()["data"]
    assert [result["error"]["code"] for result in results] == ["WALLET_UNAVAILABLE"] * 2
    api.mishap.failure = RuntimeError("the secret reason")
    answer = await send(api, [ORDER])
    (result,) = answer.json()["data"]
    assert result["error"]["code"] == "INTERNAL_ERROR"
    assert result["error"]["details"]["trace_id"] == answer.headers["x-request-id"]
    assert "secret" not in answer.text


async def test_a_batch_counts_for_its_orders_whole_or_not_at_all(start: Start) -> None:
    async with start(limited(10)) as api:
        headers = api.headers(str(uuid.uuid4()))
        answer = await send(api, [ORDER] * 7, headers)
        assert (answer.status_code, answer.headers["x-ratelimit-remaining"]) == (200, "3")
        refused = await send(api, [ORDER] * 4, headers)
        assert problem(refused) == (429, "RATE_LIMITED")
        assert int(refused.headers["retry-after"]) >= 100
        assert refused.headers["x-ratelimit-remaining"] == "3"
        assert (await send(api, [ORDER] * 3, headers)).status_code == 200
        assert len(api.orders) == 10
        too_large = await send(api, [ORDER] * 11)
        assert problem(too_large) == (400, "INVALID_BATCH")
        assert too_large.json()["error"]["details"]["limit"] == 10
        assert len(api.orders) == 10


async def test_users_of_one_address_are_bounded_together(start: Start) -> None:
    settings = LimitSettings(
        orders=UNLIMITED.orders, queries=RateLimit(0.01, 5), public=UNLIMITED.public, address=RateLimit(0.01, 3)
    )
    async with start(settings) as api:
        answers = [await api.http.get("/api/v1/balances", headers=api.headers()) for _ in range(4)]
        assert [answer.status_code for answer in answers] == [200, 200, 200, 429]
        assert answers[3].headers["x-ratelimit-limit"] == "3"
        assert [answer.headers["x-ratelimit-limit"] for answer in answers[:3]] == ["5"] * 3
        assert (await api.http.get("/api/v1/time")).status_code == 200


async def test_redis_counts_for_the_api_and_may_go_away(start: Start, own_redis: TestRedis) -> None:
    limits = RedisLimits(RedisSettings(url=own_redis.url, timeout_ms=500, retry_every_s=60), limited(3))
    await limits.start()
    try:
        async with start(limits) as api:
            headers = api.headers()
            assert (await send(api, [ORDER] * 2, headers)).headers["x-ratelimit-remaining"] == "1"
            assert problem(await send(api, [ORDER] * 2, headers)) == (429, "RATE_LIMITED")
            assert (await api.http.get("/health/ready")).json()["redis"] == "ok"
            own_redis.stop()
            assert (await send(api, [ORDER] * 2, headers)).status_code == 200
            ready = await api.http.get("/health/ready")
            assert (ready.status_code, ready.json()["redis"]) == (200, "degraded")
    finally:
        await limits.aclose()
