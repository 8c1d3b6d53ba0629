"""The writer's memory as it comes and goes: there, set back after a failed batch, built anew, or away.

While it is away nobody waits for it: requests are refused at once, with the reason.
"""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Final

import structlog

from trade_engine.domain.errors import Unavailable
from trade_engine.sequencer.bookkeeping import Changes
from trade_engine.sequencer.memory import Memory
from trade_engine.sequencer.store.port import Fenced, StoreError
from trade_engine.storage.errors import DurabilityError

log = structlog.get_logger(__name__)

#: Why memory, or a book of it, is built anew.
REBUILDS: Final = (
    "commit_unknown", "connection_lost", "not_sent", "commit_refused", "command", "set_back_failed", "writer_died",
)  # fmt: skip

#: Waits for a database that is away: first, longest.
_BACKOFF_S: Final = 0.05
_BACKOFF_MAX_S: Final = 0.5
#: A recovery that takes longer lets nobody wait for it; and how often it is said meanwhile that the writer lives.
_PATIENCE_S: Final = 1.0


class MemoryKeeper:
    """Keeps the writer's memory.

    Args:
        recover: takes over and builds memory from the store.
        refuse_waiting: called when memory goes away.
        on_rebuilt: told after memory was built anew.
        on_fenced: told when another engine seems to write.
    """

    def __init__(
        self,
        recover: Callable[[], Awaitable[Memory]],
        refuse_waiting: Callable[[], None],
        on_rebuilt: Callable[[], None],
        on_fenced: Callable[[Fenced], None],
    ) -> None:
        self._recover = recover
        self._refuse_waiting = refuse_waiting
        self._on_rebuilt = on_rebuilt
        self._on_fenced = on_fenced
        self._halted: str | None = None
        #: None: it is away.
        self.here: Memory | None = None
        #: What is wrong; None: nothing.
        self.trouble: str | None = "starting"
        #: Nothing is built anew any more.
        self.stopped = False
        #: How often memory was built anew, or a book of it, by reason.
        self.rebuilds: Counter[str] = Counter()
        #: Called while something takes long.
        self.beat: Callable[[], None] = lambda: None

    @property
    def memory(self) -> Memory:
        """The engine's memory.

        Raises:
            Unavailable: there is none at the moment.
        """
        if self.here is None:
            raise self.unavailable()
        return self.here

    def unavailable(self) -> Unavailable:
        """Why nothing is taken at the moment."""
        code = "DATABASE_UNAVAILABLE" if (self.trouble or "").startswith("database") else "ENGINE_UNAVAILABLE"
        return Unavailable(code, f"the engine is not ready: {self.trouble or 'stopping'}")

    async def start(self) -> None:
        """Recover for the first time; raises what prevents it."""
        self.here = await self._recover()
        self.trouble = self._halted

    def halt(self, why: str) -> None:
        """From now on there is trouble, whatever else happens."""
        self.trouble = self._halted = why
        self.stopped = True

    def stand_by(self, trouble: str) -> None:
        """Have nothing taken until memory is there again."""
        self.here, self.trouble = None, trouble
        self._refuse_waiting()

    async def set_back(self, changes: Changes, reason: str) -> None:
        """Undo in memory what was not committed; should that fail, build memory anew."""
        try:
            self.memory.set_back(changes)
            self.rebuilds[reason] += 1
        except Exception:
            log.exception("set_back_failed", reason=reason)
            await self.rebuild("set_back_failed")

    async def rebuild(self, reason: str) -> None:
        """Memory from the store again, however long that takes to answer.

        Until the store is found to be away, or slow, requests wait for it.

        Raises:
            RecoveryError: what the store holds contradicts itself.
        """
        self.rebuilds[reason] += 1
        delay_s = _BACKOFF_S
        while not self.stopped:
            self.beat()
            try:
                self.here = await self._recovered()
            except Fenced as error:
                self._on_fenced(error)
            except (StoreError, DurabilityError) as error:
                self.stand_by(f"database: {error}")
                log.warning("waiting_for_database", error=repr(error), seconds=delay_s)
                await asyncio.sleep(delay_s)
                delay_s = min(delay_s * 2, _BACKOFF_MAX_S)
            else:
                self.trouble = self._halted
                self._on_rebuilt()
                return

    async def _recovered(self) -> Memory:
        """One try to recover; while it takes long, requests are refused at once."""
        trial = asyncio.ensure_future(self._recover())
        try:
            await asyncio.wait([trial], timeout=_PATIENCE_S)
            if not trial.done():
                self.stand_by("database: memory is being built from it")
            while not trial.done():
                self.beat()
                await asyncio.wait([trial], timeout=_PATIENCE_S)
            return trial.result()
        finally:
            trial.cancel()
