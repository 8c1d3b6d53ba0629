"""Stores candles about once a second, beside the writer and never in its way.

What was not stored when the engine ends is not lost: recovery folds it again from the trades.
"""

import asyncio
from collections.abc import Callable
from typing import Final

import structlog

from trade_engine.sequencer.public_market import CANDLES_KEPT, PublicMarket
from trade_engine.sequencer.statistics import changed_candles
from trade_engine.sequencer.store.port import Store, StoreError

log = structlog.get_logger(__name__)

_EVERY_S: Final = 1.0


class CandleStore:
    """Keeps the table of candles close behind memory.

    Args:
        views: the markets as they are shown now.
        on_stored: told up to which trade the table is complete.
    """

    def __init__(
        self,
        store: Store,
        views: Callable[[], dict[int, PublicMarket]],
        on_stored: Callable[[int], None] = lambda _: None,
    ) -> None:
        self._on_stored = on_stored
        self._store = store
        self._views = views
        #: The table holds every trade up to this one.
        self._stored = 0

    async def keep_running(self, every_s: float = _EVERY_S) -> None:
        """Store what changed every ``every_s`` seconds, until cancelled; a failure is tried again the next time."""
        while True:
            await asyncio.sleep(every_s)
            try:
                await self.store()
            except StoreError as error:
                log.warning("candles_not_stored", error=repr(error))

    async def store(self) -> None:
        """Store what changed since the last time.

        Raises:
            StoreError: the store did not take it.
        """
        views = self._views()
        if any(view.missed is not None for view in views.values()):
            # What the table holds is every trade up to one sequence: not without a market's.
            return
        changed = changed_candles(views, self._stored)
        if not changed:
            return
        newest = max(candle.last_sequence for _, _, candle in changed)
        await self._store.store_candles(changed)
        self._stored = newest
        self._on_stored(newest)
        for view in views.values():
            view.candles.trim(CANDLES_KEPT, newest)
