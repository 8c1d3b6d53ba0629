"""Whether the database answers, as it was last asked: in the background, so that no request has to ask."""

import asyncio
import time
from collections.abc import Callable
from typing import Final

import structlog

from trade_engine.storage.pool import reachable
from trade_engine.storage.types import Pool

log = structlog.get_logger(__name__)

_EVERY_S: Final = 1.0
_TIMEOUT_S: Final = 2.0
#: An answer that is older says nothing.
_OLD_S: Final = 5.0


class DatabaseProbe:
    """Asks the database every second, on a pool that nobody else uses up.

    Args:
        pool: for one connection at a time.
        clock: monotonic seconds.
        place: where the database is, for the log; ``option`` names it.
    """

    def __init__(
        self, pool: Pool, clock: Callable[[], float] = time.monotonic, *, place: str = "", option: str = "database.url"
    ) -> None:
        self._pool = pool
        self._place = place
        self._option = option
        self._clock = clock
        self._answers = False
        self._asked_at: float | None = None

    def condition(self) -> str:
        """``ok``, or what is wrong: as of the last look, which is a few seconds old at most."""
        if self._asked_at is None:
            return "not asked yet"
        if self._clock() - self._asked_at > _OLD_S:
            return "was not asked for too long"
        return "ok" if self._answers else "does not answer"

    async def look(self) -> None:
        """Ask now."""
        answers = await reachable(self._pool, timeout_s=_TIMEOUT_S)
        if answers != self._answers or self._asked_at is None:
            if not answers:
                log.error("database_unreachable", place=self._place, option=self._option)
            elif self._asked_at is not None:
                log.info("database_reachable", place=self._place)
        self._answers, self._asked_at = answers, self._clock()

    async def keep_running(self) -> None:
        """Ask again and again; never ends."""
        while True:
            await self.look()
            await asyncio.sleep(_EVERY_S)
