"""Rate limits behave the same in this process and in Redis; and what happens when Redis goes away."""

import asyncio
import contextlib
import time
import uuid
from collections.abc import AsyncIterator, Callable

import pytest

from tests.harness.redis import TestRedis
from trade_engine.cache.redis_limits import RedisLimits
from trade_engine.cache.server import RedisSettings
from trade_engine.edge.limits import Demand, LocalLimits, RateLimits, Verdict, debit_fills
from trade_engine.edge.settings import LimitSettings, RateLimit


class FakeClock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


Make = Callable[[LimitSettings], RateLimits]


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture(params=["local", "redis"])
async def make(request: pytest.FixtureRequest, clock: FakeClock) -> AsyncIterator[Make]:
    async with contextlib.AsyncExitStack() as stack:
        if request.param == "local":
            yield lambda settings: LocalLimits(settings, clock)
            return
        url = request.getfixturevalue("redis_url")

        def redis(settings: LimitSettings) -> RateLimits:
            limits = RedisLimits(
                RedisSettings(url=url, key_prefix=f"test:{uuid.uuid4()}:", timeout_ms=5_000), settings, clock
            )
            stack.push_async_callback(limits.aclose)
            return limits

        yield redis


async def one(limits: RateLimits, caller: str = "a", cost: int = 1, name: str = "orders") -> Verdict:
    (verdict,) = await limits.take([Demand(name, caller, cost)])
    return verdict


async def test_a_burst_passes_and_the_next_waits(make: Make) -> None:
    limits = make(LimitSettings(orders=RateLimit(10, 100)))
    verdicts = [await one(limits) for _ in range(100)]
    assert all(verdict.allowed for verdict in verdicts)
    assert [verdict.remaining for verdict in verdicts] == list(range(99, -1, -1))
    refused = await one(limits)
    assert (refused.allowed, refused.limit, refused.remaining) == (False, 100, 0)
    assert refused.retry_after_s == pytest.approx(0.1)
    assert refused.reset_s == pytest.approx(10)
    assert (await one(limits, "b")).allowed


async def test_refused_requests_cost_nothing_and_the_rate_holds(make: Make, clock: FakeClock) -> None:
    limits = make(LimitSettings(orders=RateLimit(10, 5)))
    allowed = 0
    for _ in range(1_000):
        allowed += (await one(limits)).allowed
        clock.now += 0.01
    # 10 s at 10 a second, and the burst.
    assert 104 <= allowed <= 105


async def test_a_rate_that_is_no_round_number_lets_its_whole_burst_through(make: Make) -> None:
    limits = make(LimitSettings(orders=RateLimit(3, 200)))
    assert [(await one(limits)).allowed for _ in range(201)] == [True] * 200 + [False]


async def test_a_rate_of_zero_is_no_limit(make: Make) -> None:
    limits = make(LimitSettings(orders=RateLimit(0, 1)))
    for _ in range(10):
        assert await limits.take([Demand("orders", "a")]) == []


async def test_each_limit_counts_by_itself(make: Make) -> None:
    limits = make(LimitSettings(orders=RateLimit(1, 1), queries=RateLimit(1, 1)))
    verdicts = [await one(limits), await one(limits), await one(limits, name="queries")]
    assert [verdict.allowed for verdict in verdicts] == [True, False, True]


async def test_a_batch_passes_whole_or_not_at_all(make: Make, clock: FakeClock) -> None:
    limits = make(LimitSettings(orders=RateLimit(1, 10)))
    assert (await one(limits, cost=7)).remaining == 3
    refused = await one(limits, cost=4)
    assert (refused.allowed, refused.remaining) == (False, 3)
    assert refused.retry_after_s == pytest.approx(1)
    clock.now += refused.retry_after_s
    assert (await one(limits, cost=4)).remaining == 0
    assert not (await one(limits, "b", cost=11)).allowed
    assert (await one(limits, "b")).remaining == 9


async def test_what_one_limit_refuses_counts_against_none(make: Make) -> None:
    limits = make(LimitSettings(orders=RateLimit(1, 10), address=RateLimit(1, 2)))

    async def both(user: str) -> list[Verdict]:
        return await limits.take([Demand("orders", user), Demand("address", "127.0.0.1")])

    assert [v.allowed for v in await both("a") + await both("b")] == [True] * 4
    user, address = await both("a")
    assert (user.allowed, address.allowed) == (True, False)
    assert (await one(limits)).remaining == 8


async def test_requests_that_arrive_together_are_counted_one_by_one(make: Make) -> None:
    limits = make(LimitSettings(orders=RateLimit(1, 150)))
    verdicts = await asyncio.gather(*(one(limits) for _ in range(400)))
    assert sorted(verdict.remaining for verdict in verdicts if verdict.allowed) == list(range(150))


async def test_processes_share_what_redis_counts_by_its_own_clock(redis_url: str) -> None:
    settings = RedisSettings(url=redis_url, key_prefix=f"test:{uuid.uuid4()}:", timeout_ms=5_000)
    limits = LimitSettings(orders=RateLimit(20, 2))
    one_process, other = RedisLimits(settings, limits), RedisLimits(settings, limits)
    try:
        first, second, third = await one(one_process), await one(other), await one(one_process)
        assert [first.allowed, second.allowed, third.allowed] == [True, True, False]
        await asyncio.sleep(third.retry_after_s + 0.02)
        assert (await one(other)).allowed
        assert (one_process.condition(), other.condition()) == ("ok", "ok")
    finally:
        await one_process.aclose()
        await other.aclose()


async def test_many_requests_share_a_round_trip(own_redis: TestRedis) -> None:
    settings = RedisSettings(url=own_redis.url, timeout_ms=5_000)
    limits = RedisLimits(settings, LimitSettings(orders=RateLimit(1, 1_000)))
    await one(limits)
    before = (await limits._server.redis.info("commandstats"))["cmdstat_evalsha"]["calls"]
    await asyncio.gather(*(one(limits) for _ in range(100)))
    after = (await limits._server.redis.info("commandstats"))["cmdstat_evalsha"]["calls"]
    await limits.aclose()
    assert after - before == 1


@pytest.mark.parametrize("how", ["stopped", "frozen"])
async def test_without_redis_this_process_counts_and_returns_to_redis(own_redis: TestRedis, how: str) -> None:
    settings = RedisSettings(url=own_redis.url, retry_every_s=0.1)
    limits = RedisLimits(settings, LimitSettings(orders=RateLimit(0.01, 3)))
    await limits.start()
    assert limits.condition() == "ok"
    assert (await one(limits)).remaining == 2
    (own_redis.stop if how == "stopped" else own_redis.freeze)()
    started = time.monotonic()
    verdicts = await asyncio.gather(*(one(limits) for _ in range(5)))
    assert time.monotonic() - started < 5
    assert [verdict.allowed for verdict in verdicts] == [True] * 3 + [False] * 2
    assert limits.condition() == "degraded"
    started = time.monotonic()
    assert not (await one(limits)).allowed
    assert time.monotonic() - started < 2
    (own_redis.start if how == "stopped" else own_redis.thaw)()
    async with asyncio.timeout(5):
        while limits.condition() != "ok":
            await asyncio.sleep(0.02)
    assert (await one(limits, "another")).allowed
    await limits.aclose()


async def test_a_redis_that_is_away_at_the_start_is_found_later(own_redis: TestRedis) -> None:
    own_redis.stop()
    settings = RedisSettings(url=own_redis.url, retry_every_s=0.05)
    limits = RedisLimits(settings, LimitSettings(orders=RateLimit(0.01, 3)))
    await limits.start()
    assert limits.condition() == "degraded"
    assert (await one(limits)).allowed
    own_redis.start()
    async with asyncio.timeout(5):
        while limits.condition() != "ok":
            await asyncio.sleep(0.02)
    await limits.aclose()


async def test_who_waits_as_it_closes_is_answered(own_redis: TestRedis) -> None:
    limits = RedisLimits(RedisSettings(url=own_redis.url, timeout_ms=5_000), LimitSettings(orders=RateLimit(1, 3)))
    await limits.start()
    own_redis.freeze()
    waiting = [asyncio.create_task(one(limits)) for _ in range(2)]
    await asyncio.sleep(0.05)
    await limits.aclose()
    own_redis.thaw()
    assert [verdict.allowed for verdict in await asyncio.gather(*waiting)] == [True, True]


async def test_a_debit_is_counted_whatever_is_left_and_the_next_wait_for_it(make: Make, clock: FakeClock) -> None:
    limits = make(LimitSettings(orders=RateLimit(10, 100)))
    assert (await one(limits)).remaining == 99
    limits.debit(Demand("orders", "a", 5))
    assert (await one(limits)).remaining == 93
    limits.debit(Demand("orders", "a", 150))
    refused = await one(limits)
    assert (refused.allowed, refused.remaining) == (False, 0)
    # 100 at once, of which 157 are used up, and the one that is asked for.
    assert refused.retry_after_s == pytest.approx(5.8)
    assert refused.reset_s == pytest.approx(15.7)
    clock.now += 5.8
    assert (await one(limits)).allowed
    assert not (await one(limits)).allowed
    assert (await one(limits, "b")).remaining == 99


async def test_a_debit_of_a_limit_that_is_off_is_none(make: Make) -> None:
    limits = make(LimitSettings(orders=RateLimit(0, 1)))
    limits.debit(Demand("orders", "a", 1_000))
    assert await limits.take([Demand("orders", "a")]) == []


@pytest.mark.parametrize(("fills", "tokens"), [(0, 0), (1, 1), (100, 1), (101, 2), (1_000, 10)])
async def test_each_hundred_fills_begun_cost_one_more_order(make: Make, fills: int, tokens: int) -> None:
    limits = make(LimitSettings(orders=RateLimit(1, 100)))
    debit_fills(limits, "a", fills)
    assert (await one(limits)).remaining == 99 - tokens
