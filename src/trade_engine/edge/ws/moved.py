"""Users whose balances may have changed: each is looked at a little later, so that a burst is one look.

Money also moves outside this process, so all who read are looked at now and then.  Who cannot be looked at keeps
his turn.
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Iterable

import structlog

from trade_engine.domain.errors import EngineError
from trade_engine.edge.settings import StreamSettings

log = structlog.get_logger(__name__)


class MovedUsers:
    """Who is to be looked at.

    Args:
        look: look at a user, and tell what changed; EngineError if the wallet or the database is away.
        everybody: who reads.
    """

    def __init__(
        self, look: Callable[[str], Awaitable[None]], everybody: Callable[[], Iterable[str]], settings: StreamSettings
    ) -> None:
        self._look = look
        self._everybody = everybody
        self._settings = settings
        self._moved: set[str] = set()
        self._wake = asyncio.Event()

    def add(self, user_id: str) -> None:
        """Look at a user soon."""
        self._moved.add(user_id)
        self._wake.set()

    async def run(self) -> None:
        """Look, until cancelled."""
        while True:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._wake.wait(), self._settings.balances_every_s)
            if not self._moved:
                self._moved.update(self._everybody())
            self._wake.clear()
            moved, self._moved = self._moved, set()
            try:
                for user_id in sorted(moved):
                    await self._look(user_id)
                    moved.discard(user_id)
            except EngineError as error:
                log.warning("balances_not_told", reason=error.code)
                self._moved |= moved
            except Exception:
                log.exception("balances_not_told")
                self._moved |= moved
            await asyncio.sleep(self._settings.balances_pause_ms / 1000)
