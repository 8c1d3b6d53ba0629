"""Time and ids for the writer, made of clocks and randomness that are handed in, so that tests can hold them.

The machine's wall clock can be set, wrongly and back again.  What would be stamped meanwhile cannot be taken back: time
never goes back here, so a stamp from next week would hold all time until then.  The wall clock is therefore held
against one that nobody sets; while the two disagree, no time passes and nothing may be stamped.
"""

import secrets
import time
from collections.abc import Callable
from typing import Final, ParamSpec, TypeVar

from trade_engine.domain.errors import Unavailable
from trade_engine.domain.ids import uuid7

P = ParamSpec("P")
R = TypeVar("R")

#: How fast the two clocks may drift apart without that being a jump, parts per million.  A wall clock that is slewed
#: takes the other one along, mostly: what is left is smaller than this.
_DRIFT_PPM: Final = 1_000
_DRIFT_EVERY_US: Final = 1_000_000
_DRIFT_TIME_MAX_US: Final = 60_000_000
#: Both clocks are read within so much, or again.
_TOGETHER_US: Final = 100_000
_READS_MAX: Final = 5
#: Goes on while the machine sleeps, as the wall clock does.
_STEADY: Final = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


def wall_clock_us() -> int:
    """Microseconds since 1970 UTC, from the machine's clock."""
    return time.time_ns() // 1000


def steady_clock_us() -> int:
    """Microseconds since the machine started, from a clock that nobody sets."""
    return time.clock_gettime_ns(_STEADY) // 1000


def random_bits(bits: int) -> int:
    """Unpredictable bits from the operating system."""
    return secrets.randbits(bits)


class Clock:
    """A clock that never goes back, whatever the machine's does, and stands still while that cannot be trusted.

    Args:
        now_us: reads the raw time; default: ``wall_clock_us``.
        random: gives so many random bits.
        jump_max_us: the raw time may jump by so much; None: it is trusted whatever it does.
        steady_us: what it is held against.
    """

    def __init__(
        self,
        now_us: Callable[[], int] | None = None,
        random: Callable[[int], int] = random_bits,
        *,
        jump_max_us: int | None = None,
        steady_us: Callable[[], int] = steady_clock_us,
    ) -> None:
        self._now_us = now_us or wall_clock_us
        self._random = random
        self._jump_max_us = jump_max_us
        self._steady_us = steady_us
        #: Told how long each stage took, in seconds.
        self.on_timed: Callable[[str, float], None] = lambda stage, seconds: None
        self._last_us = 0
        #: Being behind this time has been accepted.
        self._accepted_us = 0
        #: The raw time less the steady one, as last trusted, and the steady time at which it was.
        self._offset_us = self._trusted_us = 0
        if jump_max_us is not None:
            self.anchor()

    def anchor(self) -> None:
        """Trust the raw time as it is: before anything is stamped, there is nothing that it could contradict."""
        self._trust()
        self._last_us = self._offset_us + self._trusted_us

    def set_floor(self, time_us: int) -> None:
        """Never tell a time before this one: what the database has seen already."""
        self._last_us = max(self._last_us, time_us)

    def now_us(self) -> int:
        """Microseconds since 1970, never less than what was told before; the same again while there is trouble."""
        if self._jump_max_us is None:
            self._last_us = max(self._last_us, self._now_us())
            return self._last_us
        raw_us, steady_us = self._read()
        if self._trouble(raw_us, steady_us) is None:
            self._last_us = max(self._last_us, raw_us)
        return self._last_us

    def unbroken_us(self) -> int:
        """The raw time as it would be had nobody set it since it was last trusted: for waits, not for stamps."""
        if self._jump_max_us is None:
            return self._now_us()
        return self._offset_us + self._steady_us()

    @property
    def trouble(self) -> str | None:
        """Why the time cannot be trusted now; None: it can."""
        return None if self._jump_max_us is None else self._trouble(*self._read())

    def require(self) -> None:
        """Ask before something is to be stamped.

        Raises:
            Unavailable: CLOCK_JUMPED.
        """
        trouble = self.trouble
        if trouble is not None:
            raise Unavailable("CLOCK_JUMPED", f"the engine stands still: {trouble}")

    def accept(self, behind_us: int = 0) -> None:
        """Trust the raw time as it is now, and that stamps until ``behind_us``, or the last one, are ahead of it."""
        self._trust()
        self._accepted_us = max(self._accepted_us, behind_us, self._last_us)

    def accept_behind(self, time_us: int) -> None:
        """Trust a raw time that is behind stamps until this one."""
        self._accepted_us = max(self._accepted_us, time_us)

    def timed(self, stage: str, call: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        """Call something, and tell how long it took."""
        started_s = time.perf_counter()
        try:
            return call(*args, **kwargs)
        finally:
            self.on_timed(stage, time.perf_counter() - started_s)

    def order_id(self) -> str:
        """A new UUIDv7: now, the microsecond in its high part, and 62 random bits."""
        time_ms, rest_us = divmod(self.now_us(), 1000)
        return uuid7(time_ms, rest_us * 4096 // 1000, self._random(62))

    def _trust(self) -> None:
        raw_us, steady_us = self._read()
        self._offset_us, self._trusted_us = raw_us - steady_us, steady_us

    def _read(self) -> tuple[int, int]:
        """Both clocks at one time, however the process was held up between."""
        for _ in range(_READS_MAX):
            before_us, raw_us, steady_us = self._steady_us(), self._now_us(), self._steady_us()
            if steady_us - before_us <= _TOGETHER_US:
                break
        return raw_us, steady_us

    def _trouble(self, raw_us: int, steady_us: int) -> str | None:
        most_us = self._jump_max_us
        assert most_us is not None
        jumped_us = raw_us - steady_us - self._offset_us
        if abs(jumped_us) > most_us:
            return f"the machine's clock jumped by {jumped_us / 1e6:+.1f} s"
        if self._last_us > self._accepted_us and self._last_us - raw_us > most_us:
            return f"the machine's clock is {(self._last_us - raw_us) / 1e6:.1f} s behind the last commit's time"
        passed_us = steady_us - self._trusted_us
        if passed_us >= _DRIFT_EVERY_US:
            most_us = min(passed_us, _DRIFT_TIME_MAX_US) * _DRIFT_PPM // 1_000_000
            self._offset_us += max(-most_us, min(most_us, jumped_us))
            self._trusted_us = steady_us
        return None
