"""Rate limits in this process: bounded memory, senseless settings.  What holds for Redis too is in
``tests/integration/cache/test_limits.py``."""

import pytest

from trade_engine.edge.limits import Demand, LocalLimits
from trade_engine.edge.settings import LimitSettings, RateLimit


class FakeClock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


async def test_memory_is_bounded_and_full_buckets_are_forgotten() -> None:
    clock = FakeClock()
    limits = LocalLimits(LimitSettings(orders=RateLimit(1, 2), max_callers=100), clock)
    for n in range(1_000):
        await limits.take([Demand("orders", f"caller {n}")])
        assert len(limits) <= 100
    clock.now += 10
    for n in range(60):
        await limits.take([Demand("orders", f"late {n}")])
    assert len(limits) <= 60
    assert limits.condition() == "not used"


@pytest.mark.parametrize(("limit", "callers"), [(RateLimit(-1, 1), 1), (RateLimit(1, 0), 1), (RateLimit(1, 1), 0)])
def test_a_senseless_limit_is_refused(limit: RateLimit, callers: int) -> None:
    with pytest.raises(ValueError):
        LocalLimits(LimitSettings(orders=limit, max_callers=callers))
