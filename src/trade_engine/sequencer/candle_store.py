"""Stores candles about once a second, beside the writer and never in its way.

What was not stored when the engine ends is not lost: recovery folds it again from the trades.
"""

import asyncio
from collections.abc import Callable
from typing import Final

import asyncpg
import structlog

from trade_engine.domain.errors import Unavailable
from trade_engine.sequencer.memory import CANDLES_KEPT, Memory
from trade_engine.sequencer.statistics import changed_candles
from trade_engine.storage.candles import store_candles
from trade_engine.storage.types import Pool

log = structlog.get_logger(__name__)

_EVERY_S: Final = 1.0


class CandleStore:
    """Keeps the table of candles close behind memory.

    Args:
        memory: the engine's memory as it is now; raises Unavailable while there is none.
    """

    def __init__(self, pool: Pool, memory: Callable[[], Memory]) -> None:
        self._pool = pool
        self._memory = memory
        #: The table holds every trade up to this one.
        self._stored = 0

    async def keep_running(self, every_s: float = _EVERY_S) -> None:
        """Store what changed every ``every_s`` seconds, until cancelled; a failure is tried again the next time."""
        while True:
            await asyncio.sleep(every_s)
            try:
                await self.store()
            except Unavailable:
                log.debug("no memory to store candles from")
            except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
                log.warning("candles not stored", error=repr(error))

    async def store(self) -> None:
        """Store what changed since the last time.

        Raises:
            Unavailable: there is no memory at the moment.
            OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError: the database did not take it.
        """
        views = self._memory().views
        changed = changed_candles(views, self._stored)
        if not changed:
            return
        newest = max(candle.last_sequence for _, _, candle in changed)
        await store_candles(self._pool, changed)
        self._stored = newest
        for view in views.values():
            view.candles.trim(CANDLES_KEPT, newest)
