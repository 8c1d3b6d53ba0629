"""The circuit breaker of the wallet's client (SPEC 5.7): pure, its clock handed in.

    CLOSED --more than 5 failures in a row within 60 s--> OPEN --30 s--> HALF_OPEN --3 trial calls succeed--> CLOSED
                                                            ^-------------- one of them fails ------'

While it is open nothing is sent.  A call asks ``allows`` first and reports exactly one of ``succeeded``, ``failed``
or ``abandoned`` afterwards.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import NamedTuple

from trade_engine.wallet.port import BreakerState


class BreakerSettings(NamedTuple):
    """When it opens and closes; times in seconds."""

    failures_max: int = 5
    within_s: float = 60.0
    open_s: float = 30.0
    trial_calls: int = 3


class CircuitBreaker:
    """See the module.  ``clock`` gives monotonic seconds; ``on_change`` is told (from, to)."""

    def __init__(
        self,
        settings: BreakerSettings,
        clock: Callable[[], float],
        on_change: Callable[[BreakerState, BreakerState], None] | None = None,
    ) -> None:
        self._settings = settings
        self._clock = clock
        self._on_change = on_change
        self._state = BreakerState.CLOSED
        self._failures: deque[float] = deque(maxlen=settings.failures_max + 1)
        self._opened_s = 0.0
        self._trials_running = 0
        self._trials_good = 0
        #: How often it has opened.
        self.opened = 0

    @property
    def state(self) -> BreakerState:
        """As of now."""
        if self._state is BreakerState.OPEN and self._clock() - self._opened_s >= self._settings.open_s:
            self._trials_running = self._trials_good = 0
            self._enter(BreakerState.HALF_OPEN)
        return self._state

    def allows(self) -> bool:
        """Whether a call may be made now; half open, it counts as one of the trial calls."""
        state = self.state
        if state is BreakerState.HALF_OPEN:
            if self._trials_running + self._trials_good >= self._settings.trial_calls:
                return False
            self._trials_running += 1
        return state is not BreakerState.OPEN

    def succeeded(self) -> None:
        """A call was answered."""
        self._failures.clear()
        if self._state is BreakerState.HALF_OPEN:
            self._trials_running = max(0, self._trials_running - 1)
            self._trials_good += 1
            if self._trials_good >= self._settings.trial_calls:
                self._enter(BreakerState.CLOSED)

    def failed(self) -> None:
        """A call was not answered, or with trouble of the other side."""
        now = self._clock()
        if self._state is BreakerState.HALF_OPEN:
            self._open(now)
        elif self._state is BreakerState.CLOSED:
            self._failures.append(now)
            if len(self._failures) > self._settings.failures_max and now - self._failures[0] <= self._settings.within_s:
                self._open(now)

    def abandoned(self) -> None:
        """A call was given up by its caller: it says nothing."""
        if self._state is BreakerState.HALF_OPEN:
            self._trials_running = max(0, self._trials_running - 1)

    def _open(self, now: float) -> None:
        self._failures.clear()
        self._opened_s = now
        self.opened += 1
        self._enter(BreakerState.OPEN)

    def _enter(self, state: BreakerState) -> None:
        before, self._state = self._state, state
        if self._on_change is not None:
            self._on_change(before, state)
