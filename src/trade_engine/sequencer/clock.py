"""Time and ids for the writer, made of a clock and randomness that are handed in, so that tests can hold them."""

import secrets
import time
from collections.abc import Callable

from trade_engine.domain.ids import uuid7


def wall_clock_us() -> int:
    """Microseconds since 1970 UTC, from the machine's clock."""
    return time.time_ns() // 1000


def random_bits(bits: int) -> int:
    """Unpredictable bits from the operating system."""
    return secrets.randbits(bits)


class Clock:
    """A clock that never goes back, whatever the machine's does; it also makes order ids.

    Args:
        now_us: reads the raw time.
        random: gives so many random bits.
    """

    def __init__(self, now_us: Callable[[], int] = wall_clock_us, random: Callable[[int], int] = random_bits) -> None:
        self._now_us = now_us
        self._random = random
        self._last_us = 0

    def set_floor(self, time_us: int) -> None:
        """Never tell a time before this one: what the database has seen already."""
        self._last_us = max(self._last_us, time_us)

    def now_us(self) -> int:
        """Microseconds since 1970, never less than what was told before."""
        self._last_us = max(self._last_us, self._now_us())
        return self._last_us

    def order_id(self) -> str:
        """A new UUIDv7: now, the microsecond in its high part, and 62 random bits."""
        time_ms, rest_us = divmod(self.now_us(), 1000)
        return uuid7(time_ms, rest_us * 4096 // 1000, self._random(62))
