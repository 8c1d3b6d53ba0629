"""The sweep: finds reservations that nothing needs any more while the engine runs, and has them given back.

An orphan is what the ledger holds beyond the engine's needs, seen twice in the same way, seconds apart, with nothing
under way for that order.  It is the net under everything else that gives back: it runs now and then, and soon after
memory was built anew.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Final

import structlog

from trade_engine.sequencer.bookkeeping import WalletInstruction
from trade_engine.sequencer.publish import CommittedBatch
from trade_engine.settlement.comparison import Excess
from trade_engine.wallet.outage import TRANSPORT_ERRORS
from trade_engine.wallet.port import WalletUnavailable

log = structlog.get_logger(__name__)

#: What is given back at most by one sweep; the rest is found by the next.
_RELEASES_MAX: Final = 10_000


class Sweep:
    """Looks for orphaned reservations; a ``publish.Listener``, for the sake of ``rebuilt``.

    Args:
        find: compares the ledger with the engine's needs.
        under_way: the orders that something is under way for; asked once a look, however much is found.
        give_back: takes the releases.
        every_s: how often it looks without a cause; ``again_s``: how far apart the two looks are.
    """

    def __init__(
        self,
        find: Callable[[], Awaitable[Sequence[Excess]]],
        under_way: Callable[[], set[str]],
        give_back: Callable[[Iterable[WalletInstruction]], None],
        *,
        every_s: float = 300.0,
        again_s: float = 3.0,
    ) -> None:
        self._find = find
        self._under_way = under_way
        self._give_back = give_back
        self._every_s = every_s
        self._again_s = again_s
        self._wake = asyncio.Event()
        #: Orphans found so far.
        self.found = 0

    def committed(self, batch: CommittedBatch) -> None:
        """Nothing to do."""

    def rebuilt(self) -> None:
        """Look soon: what was under way may have left something."""
        self._wake.set()

    async def keep_running(self) -> None:
        """Sweep when there is a cause, and now and then, until cancelled."""
        while True:
            try:
                async with asyncio.timeout(self._every_s):
                    await self._wake.wait()
            except TimeoutError:
                log.debug("sweep_is_due")
            self._wake.clear()
            try:
                await self.sweep()
            except (WalletUnavailable, *TRANSPORT_ERRORS) as error:
                log.warning("sweep_postponed", error=repr(error))
                await asyncio.sleep(self._again_s)
                self._wake.set()

    async def sweep(self) -> int:
        """Look twice, and have given back what was seen both times; how much that was.

        Raises:
            WalletUnavailable, OSError, asyncpg.PostgresError: something does not answer.
        """
        first = await self._idle_excess()
        if not first:
            return 0
        await asyncio.sleep(self._again_s)
        second = await self._idle_excess()
        orphans = sorted(first & second, key=lambda excess: excess.reservation.order_id)[:_RELEASES_MAX]
        self._give_back(map(_release, orphans))
        self.found += len(orphans)
        for orphan in orphans:
            log.warning("orphaned_reservation_released", order_id=orphan.reservation.order_id, needed=orphan.needed)
        return len(orphans)

    async def _idle_excess(self) -> set[Excess]:
        found = await self._find()
        under_way = self._under_way()
        return {excess for excess in found if excess.reservation.order_id not in under_way}


def _release(orphan: Excess) -> WalletInstruction:
    """All of it for an order that never came to be, which refuses a late reserve; else what is too much."""
    held = orphan.reservation
    amount = held.remaining - orphan.needed if orphan.placed or orphan.needed else None
    return WalletInstruction("RELEASE", None, held.order_id, held.user_id, held.asset, amount, "orphaned")
