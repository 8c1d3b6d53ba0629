"""Rate limits: a burst, then the long-run rate; bounded memory."""

import pytest

from trade_engine.api.limits import Limiter, make_limiters
from trade_engine.api.settings import LimitSettings, RateLimit


class FakeClock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_a_burst_passes_and_the_next_waits() -> None:
    clock = FakeClock()
    limiter = Limiter(RateLimit(10, 100), 10, clock)
    remaining = []
    for _ in range(100):
        verdict = limiter.take("a")
        assert verdict is not None
        assert verdict.allowed
        remaining.append(verdict.remaining)
    assert remaining == list(range(99, -1, -1))
    verdict = limiter.take("a")
    assert verdict is not None
    assert not verdict.allowed
    assert verdict.retry_after_s == pytest.approx(0.1)
    assert verdict.reset_s == pytest.approx(10)
    other = limiter.take("b")
    assert other is not None
    assert other.allowed


def test_refused_requests_cost_nothing_and_the_rate_holds() -> None:
    clock = FakeClock()
    limiter = Limiter(RateLimit(10, 5), 10, clock)
    allowed = 0
    for _ in range(1_000):
        verdict = limiter.take("a")
        assert verdict is not None
        allowed += verdict.allowed
        clock.now += 0.01
    # 10 s at 10 a second, and the burst.
    assert 104 <= allowed <= 105


def test_a_rate_of_zero_is_no_limit() -> None:
    limiter = Limiter(RateLimit(0, 1), 10, FakeClock())
    assert all(limiter.take("a") is None for _ in range(1_000))
    assert len(limiter) == 0


def test_memory_is_bounded_and_full_buckets_are_forgotten() -> None:
    clock = FakeClock()
    limiter = Limiter(RateLimit(1, 2), 100, clock)
    for n in range(1_000):
        limiter.take(f"caller {n}")
        assert len(limiter) <= 100
    clock.now += 10
    for n in range(60):
        limiter.take(f"late {n}")
    assert len(limiter) <= 60


@pytest.mark.parametrize(("limit", "callers"), [(RateLimit(-1, 1), 1), (RateLimit(1, 0), 1), (RateLimit(1, 1), 0)])
def test_a_senseless_limit_is_refused(limit: RateLimit, callers: int) -> None:
    with pytest.raises(ValueError):
        Limiter(limit, callers)


def test_each_class_has_its_own_limiter() -> None:
    limiters = make_limiters(LimitSettings(orders=RateLimit(1, 1)))
    assert set(limiters) == {"orders", "queries", "public"}
    first, second, other = limiters["orders"].take("a"), limiters["orders"].take("a"), limiters["queries"].take("a")
    assert first is not None
    assert second is not None
    assert other is not None
    assert (first.allowed, second.allowed, other.allowed) == (True, False, True)
