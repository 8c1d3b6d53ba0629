"""How far back one page of trades looks: each day of trades is a partition, and each partition costs time to open.

A search without a beginning goes back in steps, each longer than the last; after all of them it stops, and the page
says where to go on.  As long as there are few partitions, one step takes them all.
"""

import time
from collections.abc import Callable, Iterator
from typing import Any, Final, NamedTuple

from trade_engine.domain.ids import uuid7_floor
from trade_engine.storage.types import Pool

#: The steps of one page, in days.
STEPS_DAYS: Final = (4, 30, 90)
#: As many partitions as that are opened at once.
FEW: Final = sum(STEPS_DAYS)
_DAY_US: Final = 86_400_000_000
_KNOWN_FOR_S: Final = 3_600.0
#: How many partitions there are, and the first id of the first one, or of what is in none.
_REACH: Final = """
    WITH bounds AS (
        SELECT substring(pg_get_expr(c.relpartbound, c.oid) FROM 'FROM \\(''([0-9a-f-]{36})''') AS low
        FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid WHERE i.inhparent = 'trades'::regclass
    )
    SELECT count(*) AS partitions, least(min(low COLLATE "C"),
        (SELECT trade_id::TEXT COLLATE "C" FROM trades_default d ORDER BY d.trade_id LIMIT 1)) AS first
    FROM bounds"""


class Step(NamedTuple):
    """A part of the search: ids from ``low`` on (None: all), below ``before`` (None: whatever the page is asked)."""

    low: str | None
    before: str | None


class LookBack:
    """Knows how far the table of trades reaches back, as of late.

    Args:
        now_us: microseconds since 1970.
        clock: monotonic seconds.
    """

    def __init__(
        self,
        pool: Pool,
        now_us: Callable[[], int] = lambda: time.time_ns() // 1000,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._pool = pool
        self._now_us = now_us
        self._clock = clock
        self._asked_s: float | None = None
        #: When the first trade may have been; None: few partitions, look at all at once.
        self._first_us: int | None = None

    async def steps(self, start_us: int | None, end_us: int | None, before: str | None) -> Iterator[Step]:
        """The steps of a page with these bounds, newest first; the last one that is needed has no ``low``."""
        if self._asked_s is None or self._clock() - self._asked_s > _KNOWN_FOR_S:
            self._first_us = _reach(await self._pool.fetchrow(_REACH))
            self._asked_s = self._clock()
        top_us = self._now_us()
        if end_us is not None:
            top_us = min(top_us, end_us)
        if before is not None:
            top_us = min(top_us, _time_us(before))
        return self._back(max(start_us or 0, self._first_us or 0), top_us)

    def _back(self, first_us: int, top_us: int) -> Iterator[Step]:
        before = None
        for days in STEPS_DAYS:
            top_us -= days * _DAY_US
            if self._first_us is None or top_us <= first_us:
                yield Step(None, before)
                return
            low = uuid7_floor(top_us)
            yield Step(low, before)
            before = low


def _reach(row: Any) -> int | None:
    return None if row["partitions"] <= FEW or row["first"] is None else _time_us(row["first"])


def _time_us(trade_id: str) -> int:
    """When a UUIDv7 was made, to the millisecond."""
    return int(trade_id.replace("-", "")[:12], 16) * 1000
