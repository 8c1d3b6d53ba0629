"""Dead-man's switches: a user's orders are cancelled if he does not put it off in time.

Each is in the database before it is acknowledged, so it outlives the engine: one that came due meanwhile is carried out
when an engine is there again.  Time is counted by a clock that nobody sets.  One that cannot be carried out is tried
again until it is; orders placed afterwards are not touched.
"""

import asyncio
import contextlib
from typing import Final

import structlog

from trade_engine.domain.errors import EngineError, InvalidRequest
from trade_engine.edge.trading import Desk
from trade_engine.storage import cancel_timers
from trade_engine.storage.types import Pool
from trade_engine.wallet.outage import TRANSPORT_ERRORS

log = structlog.get_logger(__name__)

#: Seconds that one may be armed for.
TIMEOUT_MAX_S: Final = 86_400
#: Switches that are carried out at the same time.
_AT_ONCE: Final = 16
_AGAIN_S: Final = 1.0
_TURN_S: Final = 1.0

_Key = tuple[str, int]


class CancelTimers:
    """Keeps all switches."""

    def __init__(self, pool: Pool, desk: Desk) -> None:
        self._pool = pool
        self._desk = desk
        #: When each is due: the loop's seconds, and as the database has it.
        self._due: dict[_Key, tuple[float, int]] = {}
        self._wake = asyncio.Event()

    def __len__(self) -> int:
        """How many are armed."""
        return len(self._due)

    async def set(self, user_id: str, market_id: int, timeout_s: int) -> int:
        """Arm one, or put it off, for one market or all (0); 0 seconds disarm it.

        When it is due, microseconds since 1970; 0: never.

        Raises:
            InvalidRequest: INVALID_TIMEOUT.
        """
        if not 0 <= timeout_s <= TIMEOUT_MAX_S:
            message = f"timeout_s must be 0 to {TIMEOUT_MAX_S} seconds"
            raise InvalidRequest("INVALID_TIMEOUT", message, field="timeout_s", provided=timeout_s, limit=TIMEOUT_MAX_S)
        key = (user_id, market_id)
        if not timeout_s:
            await cancel_timers.call_off(self._pool, *key)
            self._due.pop(key, None)
            return 0
        # Counted from before the answer: the caller counts from when he sent.
        due_s = asyncio.get_running_loop().time() + timeout_s
        due_us = await cancel_timers.arm(self._pool, *key, timeout_s)
        self._due[key] = (due_s, due_us)
        self._wake.set()
        return due_us

    async def keep_running(self) -> None:
        """Carry out what is due, what was armed before this engine too; never ends."""
        loop = asyncio.get_running_loop()
        for timer in await cancel_timers.stored(self._pool):
            due_s = loop.time() + max(0.0, timer.left_s)
            self._due.setdefault((timer.user_id, timer.market_id), (due_s, timer.due_us))
        while True:
            now_s = loop.time()
            due = [(key, at) for key, at in self._due.items() if at[0] <= now_s][:_AT_ONCE]
            await asyncio.gather(*(self._carry_out(key, *at) for key, at in due))
            if not due:
                self._wake.clear()
                soonest_s = min((at for at, _ in self._due.values()), default=now_s + _TURN_S)
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._wake.wait(), min(_TURN_S, max(0.001, soonest_s - now_s)))

    async def _carry_out(self, key: _Key, due_s: float, due_us: int) -> None:
        user_id, market_id = key
        try:
            market = self._desk.markets.numbered(market_id) if market_id else None
            ended = await self._desk.cancel_all(user_id, market)
            await cancel_timers.forget(self._pool, user_id, market_id, due_us)
        except (EngineError, *TRANSPORT_ERRORS) as error:
            log.warning("cancel_timer_waits", user_id=user_id, error=repr(error))
            if self._due.get(key) == (due_s, due_us):
                self._due[key] = (asyncio.get_running_loop().time() + _AGAIN_S, due_us)
            return
        log.info("cancel_timer_fired", user_id=user_id, market_id=market_id, orders=ended)
        if self._due.get(key) == (due_s, due_us):
            del self._due[key]
