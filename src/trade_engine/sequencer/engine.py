"""The engine's own wiring: admission, sequencer, readers and operations over a store and a wallet, whichever they are.

requests -> admission -> sequencer -> store
                             '-> publisher: market data, then whoever was added, in that order
"""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import Any, Final, Protocol

import msgspec
import structlog

from trade_engine.domain.enums import Side
from trade_engine.domain.market import Market
from trade_engine.matching.protocol import Book, Level
from trade_engine.sequencer.admission import DAY_US, Admission
from trade_engine.sequencer.amending import Amender
from trade_engine.sequencer.candle_store import CandleStore
from trade_engine.sequencer.clock import Clock
from trade_engine.sequencer.ended_orders import EndedOrders
from trade_engine.sequencer.failpoints import Failpoints
from trade_engine.sequencer.fence import raise_fence
from trade_engine.sequencer.memory import Memory
from trade_engine.sequencer.operations import EngineOperations
from trade_engine.sequencer.pipeline import Sequencer, SequencerLimits
from trade_engine.sequencer.public_markets import PublicMarkets
from trade_engine.sequencer.publish import Publisher
from trade_engine.sequencer.recovery import recover, rules_requests
from trade_engine.sequencer.releases import orphan_releases
from trade_engine.sequencer.store.port import Store
from trade_engine.sequencer.sweep import Sweep
from trade_engine.sequencer.trading import EngineTrading
from trade_engine.sequencer.unknown_reserves import UnknownReserves
from trade_engine.settlement.comparison import Excess
from trade_engine.wallet.port import Release, Wallet

log = structlog.get_logger(__name__)

#: A writer or an admission that has not come round for so long is stuck: nothing they wait for takes longer.
_STUCK_AFTER_S: Final = 15.0
_STOP_S: Final = 10.0
#: How often late requests are looked for.
_LATE_EVERY_S: Final = 0.25

Work = Callable[[], Coroutine[Any, Any, None]]


class RunningTask(Protocol):
    """A task under supervision, as far as the engine looks at it."""

    def beat(self) -> None:
        """Say that it gets somewhere."""


class RunTask(Protocol):
    """Runs a task for as long as the engine lives, and again if it dies."""

    def __call__(self, name: str, work: Work, *, stuck_after_s: float | None = None) -> RunningTask:
        """Run it."""


class EngineSettings(msgspec.Struct, frozen=True, kw_only=True):
    """How the engine works, beside what it works on."""

    limits: SequencerLimits = SequencerLimits()
    #: Whether a batch of cancels alone waits a moment for orders that are being admitted.
    with_cancels: bool = True
    sweep_every_s: float = 300.0
    sweep_again_s: float = 3.0
    #: When a day ends, in microseconds after 00:00 UTC.
    session_end_us: int = 0
    #: No order lives longer.
    longest_life_us: int = 180 * DAY_US


class Engine:
    """All of it; ``trading``, ``reader`` and ``operations`` are its ports.

    Args:
        wallet_is_out: whether the wallet is known to be away.
        earlier_excess: what writers before an epoch reserved and nothing needs; asked once that epoch is the wallet's.
        excess: what is reserved and nothing needs, now.
        unwell: tasks of the process that are not well, by name.
        on_doubt: told when another engine seems to write; takes care that this one ends, if so.
        end_engine: called when nothing that follows could be trusted.
    """

    def __init__(
        self,
        store: Store,
        wallet: Wallet,
        clock: Clock,
        markets: Sequence[Market],
        new_book: Callable[[int], Book],
        failpoints: Failpoints,
        settings: EngineSettings,
        *,
        earlier_excess: Callable[[int], Awaitable[Sequence[Release]]],
        excess: Callable[[], Awaitable[Sequence[Excess]]],
        unwell: Callable[[], dict[str, str]],
        on_doubt: Callable[[str], None],
        end_engine: Callable[[str], None],
        wallet_is_out: Callable[[], bool] = lambda: False,
    ) -> None:
        self._store = store
        self._wallet = wallet
        self._clock = clock
        self._markets = markets
        self._new_book = new_book
        self._earlier_excess = earlier_excess
        limits = settings.limits
        self._answer_within_s = limits.answer_within_s
        self.publisher = Publisher()
        self.sequencer = Sequencer(
            store, self._recover, clock, limits, failpoints, self.publisher, on_doubt, end_engine
        )
        self.reader = PublicMarkets(
            markets, store, clock.now_us, lambda: self.sequencer.committed_us, self._committed_levels
        )
        self.admission = Admission(
            self.sequencer,
            wallet,
            store,
            clock,
            failpoints,
            with_cancels=settings.with_cancels,
            queue=limits.queue,
            session_end_us=settings.session_end_us,
            longest_life_us=settings.longest_life_us,
            wallet_is_out=wallet_is_out,
            on_stale=on_doubt,
        )
        release_later = self.sequencer.release_later
        self.unknown_reserves = UnknownReserves(wallet, lambda: store.epoch, release_later)
        self.amender = Amender(self.sequencer, wallet, store, clock, self.unknown_reserves, on_doubt)
        self.sweep = Sweep(
            excess,
            self._orders_under_way,
            release_later,
            every_s=settings.sweep_every_s,
            again_s=settings.sweep_again_s,
        )
        ended = EndedOrders()
        self.trading = EngineTrading(
            self.sequencer, self.admission, self.amender, store, clock, limits.answer_within_s, ended
        )
        self.operations = EngineOperations(self.sequencer, store, self.reader, unwell)
        self.publisher.add("market data", self.reader)
        self.publisher.add("ended orders", ended)
        self.publisher.add("sweep", self.sweep)

    async def start(self, run: RunTask) -> None:
        """Recover, run the tasks, tell the books their rules and release orphaned reservations.

        Raises:
            RecoveryError: the store contradicts itself; do not serve.
        """
        await self.sequencer.start()
        sequencer, admission = self.sequencer, self.admission
        sequencer.call_at_each_turn(run("writer", self._write, stuck_after_s=_STUCK_AFTER_S).beat)
        admission.beat = run("admission", admission.run, stuck_after_s=_STUCK_AFTER_S).beat
        run("late answers", self._keep_answering)
        run("market data", self.reader.keep_repaired)
        run("candles", CandleStore(self._store, lambda: self.reader.views, self._candles_stored).keep_running)
        run("unknown reserves", self.unknown_reserves.keep_asking)
        run("sweep", self.sweep.keep_running)
        requests = rules_requests(sequencer.memory)
        await raise_fence(self._wallet, self._store.epoch)
        orphans = orphan_releases(await self._earlier_excess(self._store.epoch))
        if orphans:
            log.warning("releasing_orphaned_reservations", count=len(orphans))
            sequencer.release_later(orphans)
        sequencer.submit(requests)
        done = asyncio.gather(*(request.done for request in requests))
        while not done.done() and self._clock.trouble is None:
            await asyncio.wait([done], timeout=0.2)
        if done.done():
            await done

    def reconfigure(self, markets: Sequence[Market]) -> None:
        """Have these be the configured markets whenever memory is built; ``operations`` changes those that run."""
        self._markets = markets

    async def stop(self) -> None:
        """Finish the batch under way, refuse what waits; ``run``'s owner ends the tasks afterwards."""
        self.admission.stop()
        await self.sequencer.finish(_STOP_S)

    async def _recover(self) -> Memory:
        recovered = await recover(self._store, self._markets, self._new_book, self._clock)
        self.reader.restart(recovered.views)
        return recovered.memory

    def _candles_stored(self, sequence: int) -> None:
        self.sequencer.candles_stored = sequence

    async def _write(self) -> None:
        """The writer's loop; once it was told to stop, its owner ends the task."""
        await self.sequencer.run()
        await asyncio.Event().wait()

    async def _keep_answering(self) -> None:
        """Answer requests whose time is up, until cancelled: also when writer and admission stand still."""
        while True:
            await asyncio.sleep(_LATE_EVERY_S)
            self.admission.answer_late(self._answer_within_s)
            self.sequencer.answer_late()

    def _committed_levels(self, market_id: int) -> dict[Side, list[Level]]:
        book = self.sequencer.memory.books.book(market_id)
        return {side: book.depth(side, len(book)) for side in Side}

    def _orders_under_way(self) -> set[str]:
        """The orders whose reservations somebody is still busy with."""
        return (
            self.admission.orders_under_way()
            | self.amender.orders_under_way()
            | self.sequencer.orders_under_way()
            | self.unknown_reserves.order_ids()
        )
