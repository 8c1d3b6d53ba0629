"""The time of an exchange in a box: the machine's, until the test says otherwise.

It is the engine's own time: stamps, expiry of orders, ends of days and candles.  Tokens, signatures and time-outs go by
the machine's.  Nothing but a box can have an engine whose time is set: the program itself has no option for it.
"""

import time
from datetime import UTC, datetime, timedelta


class BoxClock:
    """What time it is; never goes back."""

    def __init__(self) -> None:
        self._ahead_us = 0
        self._stopped_us: int | None = None

    def now_us(self) -> int:
        """Microseconds since 1970."""
        flowing_us = time.time_ns() // 1000 if self._stopped_us is None else self._stopped_us
        return flowing_us + self._ahead_us

    def now(self) -> datetime:
        """The time, UTC."""
        return datetime.fromtimestamp(self.now_us() / 1e6, UTC)

    def advance(self, by: timedelta | float) -> None:
        """Be so much later: a length of time, or seconds.

        Raises:
            ValueError: time does not go back.
        """
        seconds = by.total_seconds() if isinstance(by, timedelta) else by
        if seconds < 0:
            raise ValueError("time does not go back")
        self._ahead_us += round(seconds * 1e6)

    def stop(self) -> None:
        """Let time stand still, but for ``advance``."""
        if self._stopped_us is None:
            self._stopped_us = time.time_ns() // 1000

    def go_on(self) -> None:
        """Let time pass again, from where it stood."""
        if self._stopped_us is not None:
            self._ahead_us -= time.time_ns() // 1000 - self._stopped_us
            self._stopped_us = None
