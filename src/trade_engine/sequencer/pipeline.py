"""The sequencer: one queue, one writer, and the steps of a batch in the order they happen.

    1 stamp -> 2 match -> 3 commit -> 4 acknowledge -> 5 publish

While one batch commits, the next gathers.  Nothing leaves before its commit; when a commit fails, memory, which is
then ahead of the database, is dropped and built again from there.
"""

import asyncio
import contextlib
from collections import deque
from collections.abc import Awaitable, Callable, Iterable
from typing import Final

import msgspec
import structlog

from trade_engine.domain.commands import Command, CommandKind
from trade_engine.domain.enums import Side
from trade_engine.domain.errors import OutcomeUnknown, Unavailable
from trade_engine.domain.events import Event, decode_events
from trade_engine.domain.orders import Order
from trade_engine.sequencer.bookkeeping import BrokenInvariant, Changes, Instruction, Outcome
from trade_engine.sequencer.clock import Clock
from trade_engine.sequencer.commit import CommitRefused, CommitUnknown, Fenced, Writer, commit_arguments
from trade_engine.sequencer.failpoints import FailpointError, Failpoints
from trade_engine.sequencer.journal import JournalBatch, chain
from trade_engine.sequencer.memory import Memory
from trade_engine.sequencer.work import Work, command_work, release_work

log = structlog.get_logger(__name__)

_EXPIRY_CHUNK: Final = 256


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """Bounds of the sequencer."""

    #: Wishes that may wait; one more is refused with 503.
    queue: int = 10_000
    #: Commands and events after which a batch closes.
    batch_commands: int = 256
    batch_events: int = 5_000


class Matched(msgspec.Struct):
    """A batch between matching and acknowledgement."""

    previous_sequence: int
    time_us: int
    journal: JournalBatch
    changes: Changes
    acknowledgements: list[tuple[Work, Outcome | None]]
    events: list[Event]


class Sequencer:
    """Stamps, matches, commits and acknowledges.

    Args:
        writer: the fenced connection.
        recover: takes over and builds memory from the database.
        on_committed: told, without waiting, after each commit (settlement wakes by it).
        on_rebuilt: told after memory was built anew: a commit may have been missed.
    """

    def __init__(
        self,
        writer: Writer,
        recover: Callable[[], Awaitable[Memory]],
        clock: Clock,
        limits: Limits,
        failpoints: Failpoints,
        on_committed: Callable[[Changes], None],
        on_rebuilt: Callable[[], None] = lambda: None,
    ) -> None:
        self._writer = writer
        self._recover = recover
        self._clock = clock
        self._limits = limits
        self._failpoints = failpoints
        self._on_committed = on_committed
        self._on_rebuilt = on_rebuilt
        self._queue: deque[Work] = deque()
        self._wake = asyncio.Event()
        self._admitting = 0
        self._admitted = asyncio.Event()
        self._memory: Memory | None = None
        #: When the batch under way was stamped; 0: none is under way.
        self._stamped_us = 0
        self.trouble: str | None = "starting"
        #: Commands of the latest batch committed.
        self.last_batch = 0
        self.stopped = False

    # ---- what callers use

    @property
    def memory(self) -> Memory:
        """The engine's memory.

        Raises:
            Unavailable: there is none at the moment.
        """
        if self._memory is None:
            raise self._unavailable()
        return self._memory

    @property
    def committed_us(self) -> int:
        """Every trade that is or will be stamped before this time is committed and published."""
        return self._stamped_us or self._clock.now_us()

    @property
    def waiting(self) -> int:
        """How many wishes wait."""
        return len(self._queue)

    def submit(self, works: Iterable[Work]) -> None:
        """Queue wishes, in order.

        Raises:
            Unavailable: the queue is full, or the engine is not up; nothing was queued.
        """
        if self._memory is None or self.stopped:
            raise self._unavailable()
        if len(self._queue) >= self._limits.queue:
            raise Unavailable("ENGINE_OVERLOADED", "too many requests wait, try again shortly")
        self._queue.extend(works)
        self._wake.set()

    def begin_admission(self) -> None:
        """Say that orders are about to arrive together: a batch of cancels alone waits for them a moment."""
        self._admitting += 1
        self._admitted.clear()

    def end_admission(self) -> None:
        """Say that they have arrived (or failed)."""
        self._admitting -= 1
        self._admitted.set()

    # ---- the loop

    async def start(self) -> None:
        """Recover for the first time; raises what prevents it."""
        self._memory = await self._recover()
        self.trouble = None

    async def run(self) -> None:
        """Process batches until ``stop``."""
        while not self.stopped:
            batch = await self._gather()
            if batch:
                await self._process(batch)

    def stop(self) -> None:
        """End ``run`` after the batch under way; what still waits is refused."""
        self.stopped = True
        self._wake.set()

    def refuse_waiting(self) -> None:
        """Answer everything that still waits."""
        while self._queue:
            self._queue.popleft().fail(self._unavailable())

    async def _gather(self) -> list[Work]:
        if not self._queue:
            self._wake.clear()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._wake.wait(), self._seconds_to_expiry())
        if self._admitting and self._queue:
            try:
                await asyncio.wait_for(self._admitted.wait(), 0.01)
            except TimeoutError:
                log.debug("admission is slow, going on without it")
        due = self._expiries()
        if due:
            return due
        count = min(len(self._queue), self._limits.batch_commands)
        return [self._queue.popleft() for _ in range(count)]

    def _seconds_to_expiry(self) -> float:
        due = [time_us for book in self.memory.books if (time_us := book.next_expiry())] if self._memory else []
        return max(0.0, (min(due) - self._clock.now_us()) / 1e6) if due else 3600.0

    def _expiries(self) -> list[Work]:
        """A bounded TICK for each book where something is due; nothing else runs before these are through."""
        if self._memory is None:
            return []
        now = self._clock.now_us()
        works = []
        for book in self._memory.books:
            if 0 < book.next_expiry() <= now:
                tick = Command(CommandKind.TICK, 0, 0, book.market_id, quantity=_EXPIRY_CHUNK)
                works.append(command_work(tick))
        return works

    # ---- one batch

    async def _process(self, batch: list[Work]) -> None:
        """Take a batch through all steps; on failure say so to its callers and start anew from the database."""
        try:
            matched = self._match(batch)
            if matched is None:
                return
            await self._failpoints.reach("before_commit")
            await self._commit(matched)
            await self._failpoints.reach("after_commit")
        except Fenced as error:
            self._give_up(batch, f"fenced: {error}")
        except CommitUnknown as error:
            log.warning("commit outcome unknown", error=str(error), commands=len(batch))
            await self._unknown(batch)
        except (CommitRefused, FailpointError, BrokenInvariant, ValueError, RuntimeError) as error:
            log.error("batch failed", error=repr(error), commands=len(batch))
            await self._refused(batch, error)
        else:
            await self._failpoints.reach("before_acknowledge")
            self._acknowledge(matched)
            self._publish(matched)
        finally:
            self._stamped_us = 0

    def _match(self, batch: list[Work]) -> Matched | None:
        """Steps 1 and 2: stamp each wish and let the core carry it out."""
        memory = self.memory
        time_us = self._stamped_us = self._clock.now_us()
        changes = Changes()
        commands: list[bytes] = []
        events: list[bytes] = []
        decoded: list[Event] = []
        acknowledgements: list[tuple[Work, Outcome | None]] = []
        sequence = previous = memory.sequence
        for index, work in enumerate(batch):
            if len(decoded) >= self._limits.batch_events:
                self._queue.extendleft(reversed(batch[index:]))
                del batch[index:]
                break
            changes.instructions.extend(work.releases)
            command = work.make(memory, sequence + 1, time_us)
            if command is None:
                acknowledgements.append((work, None))
                continue
            sequence += 1
            record, answer = memory.books.apply(command)
            happened = list(decode_events(answer))
            outcome = memory.bookkeeper.fold(command, happened, work.placed, changes)
            commands.append(record)
            events.append(answer)
            decoded.extend(happened)
            acknowledgements.append((work, outcome))
        if sequence == previous and not changes.instructions:
            for work, nothing in acknowledgements:
                work.resolve(nothing)
            return None
        return self._journal(memory, previous, sequence, time_us, changes, commands, events, acknowledgements, decoded)

    def _journal(
        self,
        memory: Memory,
        previous: int,
        sequence: int,
        time_us: int,
        changes: Changes,
        commands: list[bytes],
        events: list[bytes],
        acknowledgements: list[tuple[Work, Outcome | None]],
        decoded: list[Event],
    ) -> Matched:
        if sequence == previous:
            sequence += 1
        state_hash = memory.books.state_hash()
        told, done = b"".join(commands), b"".join(events)
        digest = chain(memory.journal_hash, previous + 1, sequence, state_hash, told, done)
        journal = JournalBatch(previous + 1, sequence, memory.journal_hash, digest, state_hash, told, done)
        return Matched(previous, time_us, journal, changes, acknowledgements, decoded)

    async def _commit(self, matched: Matched) -> None:
        """Step 3: the one transaction."""
        memory = self.memory
        await self._writer.commit(
            commit_arguments(
                self._writer.epoch,
                matched.previous_sequence,
                matched.time_us,
                memory.instruction_id,
                matched.journal,
                matched.changes,
                memory.bookkeeper,
                memory.books,
                memory.markets,
            )
        )
        memory.sequence = matched.journal.last_sequence
        memory.journal_hash = matched.journal.hash
        memory.state_hash = matched.journal.state_hash
        memory.instruction_id += len(matched.changes.instructions)

    def _acknowledge(self, matched: Matched) -> None:
        """Step 4: only now do callers hear back."""
        self.last_batch = len(matched.acknowledgements)
        for work, outcome in matched.acknowledgements:
            work.resolve(outcome)

    def _publish(self, matched: Matched) -> None:
        """Step 5: market data and settlement see what is committed."""
        views = self.memory.views
        for event in matched.events:
            views[event.market_id].depth.fold(event)
        for trade in matched.changes.trades:
            views[trade.market_id].add_trade(trade)
        self._on_committed(matched.changes)

    # ---- when a batch fails

    def _give_up(self, batch: list[Work], why: str) -> None:
        log.critical("the engine stops", reason=why)
        self.trouble = why
        self.stopped = True
        for work in batch:
            work.fail(OutcomeUnknown("OUTCOME_UNKNOWN", "the engine lost its place; repeat the request"))
        self.refuse_waiting()

    async def _unknown(self, batch: list[Work]) -> None:
        """The commit's fate is not known: say so, take over from ourselves, and look."""
        expected = self.memory.sequence
        self.trouble = "database: connection lost during a commit"
        unknown = OutcomeUnknown(
            "OUTCOME_UNKNOWN", "the order may have been placed: repeat it with the same client_order_id"
        )
        for work in batch:
            work.fail(unknown)
        await self._rebuild()
        if not self.stopped and self.memory.sequence == expected:
            self._give_back(batch)

    async def _refused(self, batch: list[Work], error: Exception) -> None:
        """Nothing was written: rebuild, then try the batch by halves until the one that fails is alone."""
        self.trouble = "rebuilding after a refused commit"
        await self._rebuild()
        if self.stopped:
            return
        if len(batch) > 1:
            middle = len(batch) // 2
            for half in (batch[:middle], batch[middle:]):
                if not self.stopped:
                    await self._process(half)
            return
        if isinstance(error, FailpointError):
            batch[0].fail(Unavailable("DATABASE_UNAVAILABLE", "the order could not be stored, nothing was done"))
        else:
            batch[0].fail(error)
        self._give_back(batch)

    def _give_back(self, batch: list[Work]) -> None:
        """Have what a failed batch had reserved released by the next commit."""
        releases = [r for work in batch if work.placed and (r := _release_all(work.placed, self.memory))]
        releases += [release for work in batch for release in work.releases]
        if releases:
            self._queue.append(release_work(releases))
            self._wake.set()

    async def _rebuild(self) -> None:
        """Memory from the database again, however long that takes to answer.

        Until the database is found to be away, requests wait for it, and market data shows what was committed.
        """
        delay_s = 0.05
        while not self.stopped:
            try:
                self._memory = await self._recover()
            except (OSError, TimeoutError, CommitUnknown, Unavailable) as error:
                self._memory, self.trouble = None, f"database: {error!r}"
                self.refuse_waiting()
                log.warning("waiting for the database", error=repr(error), seconds=delay_s)
                await asyncio.sleep(delay_s)
                delay_s = min(delay_s * 2, 1.0)
            else:
                self.trouble = None
                self._on_rebuilt()
                return

    def _unavailable(self) -> Unavailable:
        code = "DATABASE_UNAVAILABLE" if (self.trouble or "").startswith("database") else "ENGINE_UNAVAILABLE"
        return Unavailable(code, f"the engine is not ready: {self.trouble or 'stopping'}")


def _release_all(order: Order, memory: Memory) -> Instruction | None:
    """All that is left of a reservation whose order never came to be."""
    if not order.reserved:
        return None
    market = memory.markets[order.market_id]
    asset = market.base if order.side is Side.SELL else market.quote
    return Instruction("RELEASE", None, order.order_id, order.user_id, asset, None, "never placed")
