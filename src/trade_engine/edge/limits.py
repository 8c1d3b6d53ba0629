"""Rate limits: the generic cell rate algorithm, one number a caller, counted in this process or in Redis.

The number is the theoretical arrival time: when the caller's bucket will be full again.  A request may have to fit
several limits (its user's and its address's) and may count for several (a batch of orders): it passes whole and is
counted everywhere, or is refused and counted nowhere.

``RateLimits`` is what the API asks; ``LocalLimits`` keeps it in this process, in bounded memory: a caller whose bucket
is full needs no entry, and beyond ``max_callers`` the longest unseen one is forgotten.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Final, NamedTuple, Protocol

from trade_engine.domain.scale import ceil_div
from trade_engine.edge.settings import ORDERS, LimitSettings, RateLimit

#: So many fills that an order causes, begun, count as one more order request.
FILLS_A_TOKEN: Final = 100
#: Entries looked at for removal on each request that makes a new one.
_SWEEP: Final = 2
#: A whole interval is a sum of fractions: without the grain the last request of a burst would be refused.
_GRAIN_S: Final = 1e-9


class Demand(NamedTuple):
    """What a request asks of one limit."""

    #: The limit: a route class, or the address's.
    name: str
    caller: str
    #: For how many requests it counts.
    cost: int = 1


class Verdict(NamedTuple):
    """Whether a request fits a limit, and what its answer says of that limit."""

    allowed: bool
    limit: int
    remaining: int
    #: Seconds until the bucket is full again.
    reset_s: float
    #: Seconds until the same request fits; 0 if this one did.
    retry_after_s: float


class RateLimits(Protocol):
    """All limits, wherever they are counted."""

    async def take(self, demands: Sequence[Demand]) -> list[Verdict]:
        """Count a request against all its limits, or against none if one refuses it.

        A verdict for each demand, in order; demands of limits that are off have none.
        """

    def debit(self, demand: Demand) -> None:
        """Count what a request turned out to cost beyond its demand; the caller's bucket may go below empty by it.

        Whatever is asked afterwards, through these limits, sees it; there is nothing to wait for.
        """

    def condition(self) -> str:
        """``ok``, ``degraded`` or ``not used``: how Redis is, for readiness."""

    def set_limits(self, settings: LimitSettings) -> None:
        """Have other limits from now on; what was counted stays counted."""

    async def start(self) -> None:
        """Open what they are counted with; goes on without it if it is away."""

    async def aclose(self) -> None:
        """Close it."""


def debit_fills(limits: RateLimits, user_id: str, fills: int) -> None:
    """Count the fills that a user's order caused, also those of the stops it set off, as further order requests."""
    if fills:
        limits.debit(Demand(ORDERS, user_id, ceil_div(fills, FILLS_A_TOKEN)))


def judge(limit: RateLimit, full_in_s: float, cost: int) -> Verdict:
    """The verdict on ``cost`` requests of a caller whose bucket will be full in ``full_in_s`` seconds."""
    interval_s = 1 / limit.rate_per_s
    after_s = full_in_s + cost * interval_s
    room_s = limit.burst * interval_s - after_s
    if room_s < -_GRAIN_S:
        left = max(0, int((limit.burst * interval_s - full_in_s) / interval_s + 1e-6))
        return Verdict(False, limit.burst, left, full_in_s, -room_s)
    return Verdict(True, limit.burst, int(room_s / interval_s + 1e-6), after_s, 0.0)


def check_limits(limits: Mapping[str, RateLimit], max_callers: int) -> None:
    """Refuse limits that make no sense.

    Raises:
        ValueError: a rate is negative, or a burst or the number of callers is not positive.
    """
    if max_callers < 1 or any(limit.rate_per_s < 0 or limit.burst < 1 for limit in limits.values()):
        raise ValueError("a rate limit needs a rate of 0 or more, a burst and a number of callers of at least 1")


class LocalLimits:
    """Limits counted in this process.

    Args:
        settings: the limits by name.
        clock: monotonic seconds.

    Raises:
        ValueError: a limit makes no sense.
    """

    def __init__(self, settings: LimitSettings, clock: Callable[[], float] = time.monotonic) -> None:
        self._limits = settings.by_name()
        check_limits(self._limits, settings.max_callers)
        self._max_callers = settings.max_callers
        self._clock = clock
        self._full_at: dict[str, dict[str, float]] = {name: {} for name in self._limits}

    def __len__(self) -> int:
        """Callers remembered."""
        return sum(map(len, self._full_at.values()))

    async def take(self, demands: Sequence[Demand]) -> list[Verdict]:
        """Count a request; see ``RateLimits``."""
        return self.take_now(demands)

    def take_now(self, demands: Sequence[Demand]) -> list[Verdict]:
        """As ``take``, at once."""
        now = self._clock()
        counted = [demand for demand in demands if self._limits[demand.name].rate_per_s]
        verdicts = [
            judge(self._limits[name], max(0.0, self._full_at[name].get(caller, 0.0) - now), cost)
            for name, caller, cost in counted
        ]
        if all(verdict.allowed for verdict in verdicts):
            for (name, caller, _), verdict in zip(counted, verdicts, strict=True):
                self._remember(self._full_at[name], caller, now + verdict.reset_s, now)
        return verdicts

    def debit(self, demand: Demand) -> None:
        """Count a cost afterwards; see ``RateLimits``."""
        name, caller, cost = demand
        rate_per_s = self._limits[name].rate_per_s
        if rate_per_s:
            now, known = self._clock(), self._full_at[name]
            self._remember(known, caller, max(now, known.get(caller, 0.0)) + cost / rate_per_s, now)

    def set_limits(self, settings: LimitSettings) -> None:
        """Have other limits from now on; see ``RateLimits``."""
        limits = settings.by_name()
        check_limits(limits, settings.max_callers)
        self._limits = limits

    def condition(self) -> str:
        """There is no Redis."""
        return "not used"

    async def start(self) -> None:
        """Nothing: they are counted in memory."""

    async def aclose(self) -> None:
        """Nothing."""

    def _remember(self, known: dict[str, float], caller: str, full_at: float, now: float) -> None:
        known.pop(caller, None)
        known[caller] = full_at
        for _ in range(_SWEEP):
            oldest = next(iter(known))
            if known[oldest] > now and len(known) <= self._max_callers:
                return
            del known[oldest]
