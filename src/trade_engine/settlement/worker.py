"""The settlement worker: takes wallet instructions in batches and carries them out through the wallet (SPEC 6).

States of an instruction: PENDING -> done (deleted, its trade SETTLED) | refused -> RETRY -> ... -> FAILED (the dead
letter).  A typed refusal uses up an attempt of that very instruction; a wallet or database that is away uses up none:
the batch in hand waits and is asked again, which the wallet's idempotency makes safe.  A crash loses nothing: what is
not marked is taken again.  Time and chance are handed in; the matching path is never waited for.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, NamedTuple, Protocol, TypeVar

import asyncpg
import structlog

from trade_engine.settlement.instructions import Instruction, InstructionStore, RefusedInstruction
from trade_engine.wallet.outage import TRANSPORT_ERRORS
from trade_engine.wallet.port import Outcome, Release, SettleTrade, Wallet, WalletUnavailable

log = structlog.get_logger(__name__)

_Answer = TypeVar("_Answer")
#: How often a stop looks whether everything is settled.
_DRAIN_LOOK_S = 0.02
_NO_TRADE = Outcome("TRADE_NOT_FOUND", message="the instruction's trade is not there")


class CommitWithInstructions(Protocol):
    """A commit, as far as settlement looks at it."""

    @property
    def instructions(self) -> Sequence[object]:
        """What it tells the wallet to do."""


class SettlementSettings(NamedTuple):
    """How settlement works; see SPEC 6.2."""

    workers: int = 1
    batch_max: int = 64
    attempts_max: int = 3
    backoff_ms: int = 1_000
    backoff_max_ms: int = 30_000
    #: How often an idle worker looks for instructions it was not told of (retries, other processes).
    poll_ms: int = 500
    #: First and longest wait while the wallet or the database is away.
    outage_backoff_ms: int = 100
    outage_backoff_max_ms: int = 5_000


class MarkedTrade(NamedTuple):
    """A trade whose money has moved, and when it was marked (microseconds)."""

    trade: SettleTrade
    settled_us: int


class FailedTrade(NamedTuple):
    """A trade that became a dead letter."""

    trade: SettleTrade
    reason: str
    attempts: int
    failed_us: int


class SettlementCounts:
    """What the worker has done since it started, for metrics."""

    def __init__(self) -> None:
        self.settled = 0
        self.released = 0
        self.refused = 0
        self.failed = 0
        self.outages = 0


class _StoppingError(Exception):
    """The worker was told to stop while it waited for something that is away."""


class SettlementWorker:
    """Carries out wallet instructions; one ``run`` at a time.

    ``clock_us`` gives the time, ``chance`` a number from 0 to 1 that spreads waits.  ``on_settled`` and ``on_failed``
    are told after the database knows, ``on_released`` of users whose funds were released; they must be quick and must
    not raise.
    """

    def __init__(
        self,
        pool: asyncpg.Pool[Any],
        wallet: Wallet,
        settings: SettlementSettings,
        *,
        clock_us: Callable[[], int],
        chance: Callable[[], float],
        on_settled: Callable[[Sequence[MarkedTrade]], None] | None = None,
        on_failed: Callable[[Sequence[FailedTrade]], None] | None = None,
        on_released: Callable[[Sequence[str]], None] | None = None,
    ) -> None:
        self.counts = SettlementCounts()
        self._store = InstructionStore(pool)
        self._wallet = wallet
        self._settings = settings
        self._clock_us = clock_us
        self._chance = chance
        self._on_settled = on_settled
        self._on_failed = on_failed
        self._on_released = on_released
        self._cursor = 0
        self._retry_us = 0
        self._in_hand: set[int] = set()
        self._taking = asyncio.Lock()
        self._wake = asyncio.Event()
        self._stop = asyncio.Event()
        self._progress = asyncio.Event()
        self._going = asyncio.Event()
        self._going.set()

    async def run(self) -> None:
        """Work until ``stop``: everything that is pending from before first, then what comes."""
        async with asyncio.TaskGroup() as group:
            for _ in range(self._settings.workers):
                group.create_task(self._work())

    def committed(self, batch: CommitWithInstructions) -> None:
        """Wake up, if a commit left new instructions."""
        if batch.instructions:
            self._wake.set()

    def rebuilt(self) -> None:
        """Wake up: a commit may have been missed."""
        self._wake.set()

    async def pause(self) -> None:
        """Take nothing more until ``resume``; returns when nothing is in hand.  For maintenance and drills."""
        self._going.clear()
        async with self._taking:
            pass
        while self._in_hand:
            self._progress.clear()
            await self._progress.wait()

    async def resume(self) -> None:
        """Go on after ``pause``."""
        self._going.set()

    async def drain(self) -> bool:
        """Wait until nothing is left that can be carried out now; what waits for its next attempt is left.

        Returns:
            False: something is away, or the worker is paused, and nobody knows for how long.
        """
        outages = self.counts.outages
        while self._in_hand or await self._store.pending(0, 1):
            if self.counts.outages > outages or not self._going.is_set() or self._stop.is_set():
                return False
            self._wake.set()
            await asyncio.sleep(_DRAIN_LOOK_S)
        return True

    def stop(self) -> None:
        """Let ``run`` end: after the batch in hand, or at once if that waits for an outage to end."""
        self._stop.set()
        self._wake.set()
        self._going.set()

    async def _work(self) -> None:
        try:
            while not self._stop.is_set():
                self._wake.clear()
                await self._going.wait()
                batch = await self._take()
                if batch:
                    await self._carry_out(batch)
                    self._in_hand.difference_update(item.instruction_id for item in batch)
                    self._progress.set()
                elif not self._stop.is_set() and self._going.is_set():
                    await self._idle(self._settings.poll_ms / 1000)
        except _StoppingError:
            return

    async def _take(self) -> list[Instruction]:
        """The next batch: retries that are due, else pending ones; each goes to one worker only."""
        limit = self._settings.batch_max
        async with self._taking:
            if not self._going.is_set():
                return []
            now_us = self._clock_us()
            batch: list[Instruction] = []
            if now_us >= self._retry_us:
                held = tuple(self._in_hand)
                batch = await self._until_back(lambda: self._store.due(now_us, limit, held))
                if len(batch) < limit:
                    self._retry_us = now_us + self._settings.poll_ms * 1000
            if not batch:
                batch = await self._until_back(lambda: self._store.pending(self._cursor, limit))
                if batch:
                    self._cursor = batch[-1].instruction_id
            self._in_hand.update(item.instruction_id for item in batch)
            return batch

    async def _carry_out(self, batch: Sequence[Instruction]) -> None:
        trades = [item.work for item in batch if isinstance(item.work, SettleTrade)]
        releases = [item.work for item in batch if isinstance(item.work, Release)]
        settled = iter(await self._until_back(lambda: self._wallet.settle_many(trades)) if trades else ())
        released = iter(await self._until_back(lambda: self._wallet.release_many(releases)) if releases else ())
        done: list[Instruction] = []
        refused: list[tuple[Instruction, Outcome]] = []
        for item in batch:
            if item.work is None:
                outcome = _NO_TRADE
            else:
                outcome = next(settled) if isinstance(item.work, SettleTrade) else next(released)
            if outcome.ok:
                done.append(item)
            else:
                refused.append((item, outcome))
        if done:
            await self._finish(done)
        if refused:
            await self._refuse(refused)

    async def _finish(self, done: Sequence[Instruction]) -> None:
        now_us = self._clock_us()
        await self._until_back(lambda: self._store.finish(done, now_us))
        settled = [MarkedTrade(item.work, now_us) for item in done if isinstance(item.work, SettleTrade)]
        self.counts.settled += len(settled)
        self.counts.released += len(done) - len(settled)
        if settled and self._on_settled is not None:
            self._on_settled(settled)
        if self._on_released is not None:
            self._on_released([release.user_id for item in done if isinstance(release := item.work, Release)])

    async def _refuse(self, refused: Sequence[tuple[Instruction, Outcome]]) -> None:
        now_us = self._clock_us()
        verdicts = [self._verdict(item, outcome, now_us) for item, outcome in refused]
        await self._until_back(lambda: self._store.refuse(verdicts))
        self.counts.refused += len(verdicts)
        failed = [verdict for verdict in verdicts if verdict.final]
        for verdict in failed:
            _tell_dead_letter(verdict)
        self.counts.failed += len(failed)
        self._retry_us = min([self._retry_us, *(verdict.next_us for verdict in verdicts if not verdict.final)])
        trades = [
            FailedTrade(verdict.instruction.work, verdict.reason, verdict.attempts, now_us)
            for verdict in failed
            if isinstance(verdict.instruction.work, SettleTrade)
        ]
        if trades and self._on_failed is not None:
            self._on_failed(trades)

    def _verdict(self, item: Instruction, outcome: Outcome, now_us: int) -> RefusedInstruction:
        attempts = item.attempts + 1
        final = attempts >= self._settings.attempts_max
        wait_ms = min(self._settings.backoff_ms << item.attempts, self._settings.backoff_max_ms)
        reason = f"{outcome.code}: {outcome.message}" if outcome.message else outcome.code
        return RefusedInstruction(item, attempts, reason, 0 if final else now_us + wait_ms * 1000, final)

    async def _until_back(self, call: Callable[[], Awaitable[_Answer]]) -> _Answer:
        """Call until neither wallet nor database is away, waiting longer each time.

        Raises:
            _StoppingError: the worker was told to stop meanwhile.
        """
        wait_ms = self._settings.outage_backoff_ms
        while True:
            try:
                return await call()
            except (WalletUnavailable, *TRANSPORT_ERRORS):
                self.counts.outages += 1
            await self._pause(wait_ms * (0.5 + self._chance() / 2) / 1000)
            wait_ms = min(wait_ms * 2, self._settings.outage_backoff_max_ms)

    async def _pause(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._stop.wait()
        except TimeoutError:
            return
        raise _StoppingError

    async def _idle(self, seconds: float) -> None:
        self._progress.set()
        try:
            async with asyncio.timeout(seconds):
                await self._wake.wait()
        except TimeoutError:
            return


def _tell_dead_letter(verdict: RefusedInstruction) -> None:
    """An operator has to look: whose money it is about, and why it did not move."""
    instruction, work = verdict.instruction, verdict.instruction.work
    concerns: dict[str, Any] = {"instruction_id": instruction.instruction_id}
    if isinstance(work, SettleTrade):
        concerns |= {
            "trade_id": work.trade_id, "buyer_order_id": work.buyer_order_id, "seller_order_id": work.seller_order_id,
            "buyer_user_id": work.buyer_user_id, "seller_user_id": work.seller_user_id,
        }  # fmt: skip
    elif work is not None:
        concerns |= {"order_id": work.order_id, "user_id": work.user_id, "asset": work.asset}
    log.error("dead_letter", reason=verdict.reason, attempts=verdict.attempts, one_of_a_kind=True, **concerns)
