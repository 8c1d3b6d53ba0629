"""Rate limits kept in this process: the generic cell rate algorithm, one number a caller.

The number is the theoretical arrival time: when the caller's bucket will be full again.  Memory is bounded: a caller
whose bucket is full needs no entry, and beyond ``max_callers`` the longest unseen one is forgotten.
"""

import time
from collections.abc import Callable
from typing import Final, NamedTuple

from trade_engine.api.settings import LimitSettings, RateLimit

#: Entries looked at for removal on each request that makes a new one.
_SWEEP: Final = 2


class Verdict(NamedTuple):
    """Whether a request may pass, and what its answer says of the limit."""

    allowed: bool
    limit: int
    remaining: int
    #: Seconds until the bucket is full again.
    reset_s: float
    #: Seconds until the next request passes; 0 if this one did.
    retry_after_s: float


class Limiter:
    """One limit for many callers."""

    def __init__(self, limit: RateLimit, max_callers: int, clock: Callable[[], float] = time.monotonic) -> None:
        """Take the limit; ``clock`` gives monotonic seconds.

        Raises:
            ValueError: the rate is negative, or the burst or the number of callers is not positive.
        """
        if limit.rate_per_s < 0 or limit.burst < 1 or max_callers < 1:
            raise ValueError("a rate limit needs a rate of 0 or more, a burst and a number of callers of at least 1")
        self._burst = limit.burst
        self._interval_s = 1 / limit.rate_per_s if limit.rate_per_s else 0.0
        self._tolerance_s = self._interval_s * limit.burst
        self._max_callers = max_callers
        self._clock = clock
        self._full_at: dict[str, float] = {}

    def __len__(self) -> int:
        """Callers remembered."""
        return len(self._full_at)

    def take(self, caller: str) -> Verdict | None:
        """Count one request of ``caller``; None if there is no limit."""
        interval = self._interval_s
        if not interval:
            return None
        now = self._clock()
        full_at = self._full_at.pop(caller, 0.0)
        full_at = max(full_at, now)
        after = full_at + interval
        room_s = self._tolerance_s - (after - now)
        # A whole interval is a sum of fractions: without the grain the last request of a burst would be refused.
        if room_s < -1e-9:
            self._full_at[caller] = full_at
            return Verdict(False, self._burst, 0, full_at - now, -room_s)
        self._remember(caller, after, now)
        return Verdict(True, self._burst, int(room_s / interval + 1e-6), after - now, 0.0)

    def _remember(self, caller: str, full_at: float, now: float) -> None:
        known = self._full_at
        known[caller] = full_at
        for _ in range(_SWEEP):
            oldest = next(iter(known))
            if known[oldest] > now and len(known) <= self._max_callers:
                return
            del known[oldest]


def make_limiters(settings: LimitSettings, clock: Callable[[], float] = time.monotonic) -> dict[str, Limiter]:
    """A limiter for each route class."""
    return {name: Limiter(limit, settings.max_callers, clock) for name, limit in settings.by_class().items()}
