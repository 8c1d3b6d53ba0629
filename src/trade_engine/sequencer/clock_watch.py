"""Says when the machine's clock jumps, also while nothing comes in, and hears what an operator says about it."""

import asyncio
from typing import Final

import structlog

from trade_engine.sequencer.clock import Clock
from trade_engine.storage.clock_acceptances import clock_acceptances, extend_acceptance
from trade_engine.storage.errors import DATABASE_ERRORS
from trade_engine.storage.types import Pool

log = structlog.get_logger(__name__)

_EVERY_S: Final = 1.0


class ClockWatch:
    """Watches the writer's clock.

    Args:
        pool: where operators leave word that the clock is right.
    """

    def __init__(self, clock: Clock, pool: Pool) -> None:
        self._clock = clock
        self._pool = pool
        self._told = False
        #: The last word that has been heard; None: not looked up yet.
        self._heard: int | None = None

    async def keep_running(self, every_s: float = _EVERY_S) -> None:
        """Look every ``every_s`` seconds, until cancelled."""
        while True:
            trouble = self._clock.trouble
            if trouble is not None and not self._told:
                log.critical("clock_jumped", trouble=trouble, remedy="set it right, or `trade-engine clock accept`")
            elif trouble is None and self._told:
                log.warning("clock_trusted_again")
            self._told = trouble is not None
            try:
                await self._hear()
            except DATABASE_ERRORS as error:
                log.debug("clock_acceptances_not_read", error=repr(error))
            await asyncio.sleep(every_s)

    async def _hear(self) -> None:
        """Go on with the clock as it is if an operator says so; what was said while it was right means nothing."""
        said = await clock_acceptances(self._pool)
        if self._told and self._heard is not None and said.number > self._heard:
            await extend_acceptance(self._pool, said.number, self._clock.now_us())
            self._clock.accept(said.stamped_us)
            log.warning("clock_accepted", acceptance=said.number)
        self._heard = said.number
