"""Reserves of amendments that the wallet did not answer: asked again until it says what became of them.

A reserve repeated with its operation is not done twice: the answer is what became of the first one.  One that was
made is given back.  (What a new order may have reserved needs no asking: all of its reservation is released.)
Bounded: what does not fit is left to the sweep.
"""

import asyncio
from collections.abc import Callable, Iterable
from typing import Final

import structlog

from trade_engine.sequencer.bookkeeping import WalletInstruction
from trade_engine.wallet.port import Reserve, Wallet, WalletUnavailable

log = structlog.get_logger(__name__)

_MAX: Final = 10_000
_BATCH: Final = 100
_PAUSE_S: Final = 0.2
_PAUSE_MAX_S: Final = 5.0


class UnknownReserves:
    """Asks for reserves of unknown outcome until it is known.

    Args:
        epoch: the writer's.
        give_back: takes what was reserved and is not needed.
    """

    def __init__(
        self, wallet: Wallet, epoch: Callable[[], int], give_back: Callable[[Iterable[WalletInstruction]], None]
    ) -> None:
        self._wallet = wallet
        self._epoch = epoch
        self._give_back = give_back
        self._waiting: dict[str, Reserve] = {}
        self._wake = asyncio.Event()

    def add(self, reserve: Reserve) -> None:
        """Find out what became of a reserve, and have it given back."""
        if len(self._waiting) >= _MAX:
            log.warning("reserve_left_to_sweep", order_id=reserve.order_id, amount=reserve.amount)
            return
        self._waiting[reserve.operation_id] = reserve
        self._wake.set()

    def order_ids(self) -> set[str]:
        """The orders with a reserve of unknown outcome."""
        return {reserve.order_id for reserve in self._waiting.values()}

    def __len__(self) -> int:
        """How many are of unknown outcome."""
        return len(self._waiting)

    async def keep_asking(self) -> None:
        """Ask, until cancelled; pauses grow while the wallet is away."""
        pause_s = _PAUSE_S
        while True:
            await self._wake.wait()
            await asyncio.sleep(pause_s)
            try:
                await self._ask()
            except WalletUnavailable:
                pause_s = min(pause_s * 2, _PAUSE_MAX_S)
            else:
                pause_s = _PAUSE_S
            if not self._waiting:
                self._wake.clear()

    async def _ask(self) -> None:
        reserves = list(self._waiting.values())[:_BATCH]
        outcomes = await self._wallet.reserve_many(reserves, self._epoch())
        for reserve, outcome in zip(reserves, outcomes, strict=True):
            if outcome.code == "STALE_EPOCH" or not outcome.is_certain:
                continue
            del self._waiting[reserve.operation_id]
            if outcome.ok:
                self._give_back([
                    WalletInstruction(
                        "RELEASE", None, reserve.order_id, reserve.user_id, reserve.asset, reserve.amount, "not amended"
                    )
                ])  # fmt: skip
