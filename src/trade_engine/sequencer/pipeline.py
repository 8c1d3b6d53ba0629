"""The sequencer: one queue, one writer, and the steps of a batch in the order they happen.

    1 stamp -> 2 match -> 3 commit -> 4 acknowledge -> 5 publish

While one batch commits, the next gathers.  Nothing leaves before its commit.  What goes wrong before it is taken back
in memory; when nobody knows whether it happened, memory is built again from the database.
"""

import asyncio
import contextlib
from collections import Counter, deque
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Final

import msgspec
import structlog

from trade_engine.domain.errors import OutcomeUnknown, Refused, Unavailable
from trade_engine.sequencer.batch import BrokenCommand, MatchedBatch, Part, Stamp, mark_committed, match, releases_of
from trade_engine.sequencer.bookkeeping import BrokenInvariant, WalletInstruction
from trade_engine.sequencer.clock import Clock
from trade_engine.sequencer.engine_request import EngineRequest
from trade_engine.sequencer.failpoints import FailpointError, Failpoints
from trade_engine.sequencer.keeper import MemoryKeeper
from trade_engine.sequencer.memory import Memory
from trade_engine.sequencer.publish import CommittedBatch, Publisher
from trade_engine.sequencer.queue import RequestQueue
from trade_engine.sequencer.releases import PendingReleases
from trade_engine.sequencer.store.patience import commit_patiently
from trade_engine.sequencer.store.port import (
    CommitRefused,
    CommitUndone,
    CommitUnknown,
    Fenced,
    Store,
    StoreError,
    StoreUnavailable,
)
from trade_engine.sequencer.turns import Turns, UpkeepRequest
from trade_engine.storage.errors import RecoveryError

log = structlog.get_logger(__name__)

#: The loop comes round at least so often, and says that it lives.
_TURN_S: Final = 1.0
#: Releases that could not be stored are tried again after this.
_RELEASE_AGAIN_S: Final = 0.2
_CLOCK_PAUSE_S: Final = 0.1
#: So many deaths of the writer within so many seconds end the engine.
_DEATHS_MAX: Final = 5
_DEATHS_WITHIN_S: Final = 60.0


class SequencerLimits(msgspec.Struct, frozen=True, kw_only=True):
    """Bounds of the sequencer."""

    #: Requests that may wait; one more is refused with 503.
    queue: int = 10_000
    #: Commands and events after which a batch closes.
    batch_commands: int = 256
    batch_events: int = 5_000
    #: A request is answered within so many seconds, whatever happens.
    answer_within_s: float = 10.0


class Sequencer:
    """Stamps, matches, commits, acknowledges and publishes.

    Args:
        store: what the batch is committed to.
        recover: takes over and builds memory from the store.
        publisher: told of each commit.
        on_fenced: told when another engine seems to write.
        end_engine: called when nothing that follows could be trusted.
    """

    def __init__(
        self,
        store: Store,
        recover: Callable[[], Awaitable[Memory]],
        clock: Clock,
        limits: SequencerLimits,
        failpoints: Failpoints,
        publisher: Publisher,
        on_fenced: Callable[[str], None],
        end_engine: Callable[[str], None],
    ) -> None:
        self._store = store
        self._clock = clock
        self._limits = limits
        self._failpoints = failpoints
        self._publisher = publisher
        self._on_fenced = on_fenced
        self._end_engine = end_engine
        self.queue = RequestQueue()
        self._turns = Turns()
        #: The table of candles holds every trade up to this one.
        self.candles_stored = 0
        self._keeper = MemoryKeeper(recover, self.refuse_waiting, publisher.rebuilt, self._fenced)
        #: When the batch under way was stamped; 0: none is under way.
        self._stamped_us = 0
        #: What is being carried out: those of it that are not answered yet were not acknowledged.
        self._under_way: list[EngineRequest] = []
        #: What of it is still to be tried, the first one last.
        self._parts: list[Part] = []
        self._idle = asyncio.Event()
        self._idle.set()
        self._deaths: deque[float] = deque()
        self._died = False
        #: What orders had reserved that were under way when the writer died.
        self._in_doubt: list[WalletInstruction] = []
        self.releases = PendingReleases()
        self._release_at_s = 0.0
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
        return self._keeper.memory

    @property
    def trouble(self) -> str | None:
        """What is wrong with the engine; None: nothing."""
        return self._keeper.trouble

    @property
    def rebuilds(self) -> Counter[str]:
        """How often memory was built anew, or a book of it, by reason."""
        return self._keeper.rebuilds

    def call_at_each_turn(self, beat: Callable[[], None]) -> None:
        """Have it said at each turn of the loop that the writer lives."""
        self._keeper.beat = beat

    @property
    def committed_us(self) -> int:
        """Every trade that is or will be stamped before this time is committed and published."""
        return self._stamped_us or self._clock.now_us()

    @property
    def waiting(self) -> int:
        """How many requests wait."""
        return len(self.queue) + len(self._turns)

    @property
    def obstacle(self) -> str | None:
        """What prevents orders now: trouble of the engine's, or of the clock's; None: nothing."""
        return self.trouble or self._clock.trouble

    def submit(self, requests: Sequence[EngineRequest]) -> None:
        """Queue requests, in order.

        Raises:
            Unavailable: the queue is full, the engine is not up, or the clock jumped; nothing was queued.
        """
        if self._keeper.here is None or self.stopped:
            raise self._keeper.unavailable()
        if not all(request.is_patient for request in requests):
            self._clock.require()
        if self.waiting >= self._limits.queue:
            raise Unavailable("ENGINE_OVERLOADED", "too many requests wait, try again shortly")
        self.queue.submit(requests)

    def release_later(self, releases: Iterable[WalletInstruction]) -> None:
        """Have parts of reservations given back by the next commit that succeeds."""
        self.releases.add(releases)
        self.queue.wake()

    # ---- the loop

    async def start(self) -> None:
        """Recover for the first time; raises what prevents it."""
        await self._keeper.start()

    async def run(self) -> None:
        """Process batches until ``stop``.  Called again after it has died, it begins with a rebuild."""
        try:
            if self._died:
                await self._keeper.rebuild("writer_died")
                self._died = False
                await self._settle_doubts()
            while not self.stopped:
                self._keeper.beat()
                part = await self._gather()
                if part.requests or part.releases:
                    await self._process(part)
        except Exception as error:
            self._note_death(error)
            raise

    def stop(self) -> None:
        """End ``run`` after the batch under way; what still waits is refused."""
        self.stopped = self._keeper.stopped = True
        self.queue.wake()

    def halt(self, why: str) -> None:
        """As ``stop``, for a reason: from now on everything is refused with it."""
        self._keeper.halt(why)
        self.stop()
        self.refuse_waiting()

    async def finish(self, within_s: float) -> None:
        """Stop after the batch under way, and answer everything that is not answered then."""
        self.stop()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(within_s):
                await self._idle.wait()
        self._fail_unknown(self._under_way)
        self.refuse_waiting()

    def orders_under_way(self) -> set[str]:
        """The orders that have reserved something for a request, or a release, that waits or is being carried out."""
        unplaced = (request.unplaced() for request in (*self._under_way, *self._turns, *self.queue))
        return self.releases.order_ids() | {release.order_id for release in unplaced if release is not None}

    def refuse_waiting(self) -> None:
        """Answer everything that still waits; what it had reserved is given back."""
        self._refuse([*self._turns.drain(), *self.queue.take(len(self.queue))], self._keeper.unavailable())

    def _note_death(self, error: Exception) -> None:
        """The loop ends by an error nobody foresaw: nobody may go on waiting for it, and it must not end for ever."""
        self._died = True
        self._fail_unknown(self._under_way)
        self._in_doubt += [release for release in releases_of(self._under_way) if release.amount is None]
        self._under_way = []
        self._idle.set()
        self._keeper.stand_by(f"the writer died: {error!r}")
        now_s = asyncio.get_running_loop().time()
        self._deaths.append(now_s)
        while now_s - self._deaths[0] > _DEATHS_WITHIN_S:
            self._deaths.popleft()
        if isinstance(error, BrokenInvariant | RecoveryError):
            self._give_up(f"broken invariant after a commit or in recovery: {error}")
        elif len(self._deaths) >= _DEATHS_MAX:
            self._give_up(f"the writer died {len(self._deaths)} times within a minute, at last of {error!r}")

    async def _settle_doubts(self) -> None:
        """Have given back what was reserved for orders that were under way when the writer died, and are not stored."""
        doubts = {release.order_id: release for release in self._in_doubt}
        try:
            stored = await self._store.placed_of([str(order_id) for order_id in doubts]) if doubts else set()
        except StoreError:
            log.warning("doubts_left_to_sweep", orders=len(doubts))
            return
        self._in_doubt = []
        self.release_later(release for order_id, release in doubts.items() if order_id not in stored)

    def answer_late(self) -> None:
        """Answer the requests whose time is up; those that still wait are not carried out any more."""
        late_s = asyncio.get_running_loop().time() - self._limits.answer_within_s
        self._fail_unknown(request for request in self._under_way if request.submitted_s < late_s)
        late = [*self._turns.take_late(late_s), *self.queue.take_late(late_s)]
        if late:
            self._refuse(late, Unavailable("ENGINE_OVERLOADED", "the request waited too long, nothing was done"))

    async def _gather(self) -> Part:
        now_us, loop = self._clock.now_us(), asyncio.get_running_loop()
        if self._keeper.here is not None:
            self.queue.put_back(self._turns.released(self._keeper.here.books, now_us))
        pause_s = self._turns.seconds_to_upkeep(self._keeper.here.books, now_us) if self._keeper.here else _TURN_S
        if self.releases:
            pause_s = min(pause_s, self._release_at_s - loop.time())
        if pause_s > 0:
            await self.queue.arrival(min(pause_s, _TURN_S))
        await self.queue.admission()
        try:
            self._clock.require()
        except Unavailable as error:
            await self._put_off(error)
            return Part([], [])
        first = self._turns.first(self._keeper.here.books, self._clock.now_us()) if self._keeper.here else []
        requests = first + self.queue.take(self._limits.batch_commands)
        is_time = requests or loop.time() >= self._release_at_s
        return Part(requests, self.releases.next() if self.releases and is_time else [])

    async def _put_off(self, error: Unavailable) -> None:
        """While the clock cannot be trusted nothing is stamped: callers are refused, the rest waits."""
        waiting = [*self._turns.drain(), *self.queue.take(len(self.queue))]
        self.queue.put_back([request for request in waiting if request.is_patient])
        self._refuse([request for request in waiting if not request.is_patient], error)
        await asyncio.sleep(_CLOCK_PAUSE_S)

    # ---- one batch

    async def _process(self, part: Part) -> None:
        """Take what was gathered through all steps, in as many batches as it takes."""
        self._under_way = list(part.requests)
        self._idle.clear()
        self._parts = [part]
        while self._parts:
            part = self._parts.pop()
            if self.stopped or self._keeper.here is None:
                self._refuse(part.requests, self._keeper.unavailable())
                continue
            try:
                matched = await self._match(part)
                if matched is None:
                    self._parts.append(part)
                    continue
                if matched.left:
                    self._parts.append(Part(matched.left, []))
                await self._carry_out(matched)
            finally:
                self._stamped_us = 0
        self._under_way = []
        self._idle.set()

    def _wait_again(self, part: Part | None = None) -> None:
        """Have what is under way, and was not sent to the store, wait in the queue once more."""
        parts = [*self._parts, part] if part is not None else self._parts
        requests = [request for each in reversed(parts) for request in each.requests]
        self._parts, self._under_way = [], []
        self.queue.put_back([request for request in requests if not isinstance(request, UpkeepRequest)])

    async def _match(self, part: Part) -> MatchedBatch | None:
        """Steps 1 and 2; None: a request could not be carried out, it was refused, and the others are to be tried."""
        time_us = self._stamped_us = self._clock.now_us()
        stamp = Stamp(time_us, self._store.epoch, self.candles_stored)
        try:
            matched = self._clock.timed("match", match, self.memory, part, stamp, self._limits.batch_events)
        except BrokenCommand as broken:
            log.error("command_broken", error=repr(broken.error), request=type(broken.request).__name__)
            part.requests.remove(broken.request)
            self._refuse(
                [broken.request],
                Refused("COMMAND_REFUSED", "the engine could not carry this out, nothing was changed"),
            )
            await self._keeper.set_back(broken.changes, "command")
            self.queue.put_back(self._turns.refused(broken.request, broken.error, time_us))
            return None
        if matched.held:
            self._turns.hold(matched.held)
            held = {id(item.request) for item in matched.held}
            part.requests[:] = [request for request in part.requests if id(request) not in held]
        return matched

    async def _carry_out(self, matched: MatchedBatch) -> None:
        """Steps 3 to 5; what has to be tried again is left to ``_process``, or to the queue."""
        batch, part = matched.batch, matched.part
        if batch is None:
            self._acknowledge(matched)
            return
        try:
            await self._failpoints.reach("before_commit")
            await commit_patiently(self._store, batch)
        except (CommitRefused, CommitUndone, FailpointError) as error:
            await self._refused(matched, error)
            return
        except Fenced as error:
            self._fail_unknown(part.requests)
            self._fenced(error)
            return
        except StoreUnavailable as error:
            log.warning("commit_not_sent", error=str(error), commands=len(part.requests))
            await self._not_sent(matched)
            return
        except CommitUnknown as error:
            log.warning("commit_outcome_unknown", error=str(error), commands=len(part.requests))
            await self._unknown(matched, batch)
            return
        await self._failpoints.reach("after_commit")
        mark_committed(self.memory, batch)
        self.releases.committed(part.releases)
        await self._failpoints.reach("before_acknowledge")
        self._acknowledge(matched)
        self._publisher.publish(batch)

    def _acknowledge(self, matched: MatchedBatch) -> None:
        """Step 4: only now do callers hear back; what a request had reserved that found nothing is given back."""
        self.last_batch = len(matched.outcomes)
        for request, outcome in matched.outcomes:
            request.resolve(outcome)
            if outcome is None and (release := request.unplaced()) is not None:
                self.release_later([release])

    # ---- when a batch fails

    async def _refused(self, matched: MatchedBatch, error: Exception) -> None:
        """Nothing was written: memory is set back, and the batch tried by halves until what is refused is alone."""
        part = matched.part
        log.warning("batch_refused", error=repr(error), commands=len(part.requests), releases=len(part.releases))
        await self._keeper.set_back(matched.changes, "commit_refused")
        if len(part.requests) + len(part.releases) > 1 and not isinstance(error, CommitUndone):
            self._parts.extend(part.halves()[::-1])
            return
        if isinstance(error, FailpointError | CommitUndone):
            self._release_at_s = asyncio.get_running_loop().time() + _RELEASE_AGAIN_S
            self._refuse(part.requests, Unavailable("DATABASE_UNAVAILABLE", "it could not be stored, nothing was done"))
            return
        for release in part.releases:
            self.releases.refused(release)
        self._refuse(
            part.requests, Refused("COMMAND_REFUSED", "the database could not store this, nothing was changed")
        )
        for request in part.requests:
            self.queue.put_back(self._turns.refused(request, error, self._stamped_us))

    async def _not_sent(self, matched: MatchedBatch) -> None:
        """The connection was lost before the commit: nothing was done, all of it is tried again if it comes back."""
        self._keeper.trouble = "database: connection lost"
        await self._keeper.set_back(matched.changes, "not_sent")
        self._wait_again(matched.part)
        await self._keeper.rebuild("connection_lost")

    async def _unknown(self, matched: MatchedBatch, batch: CommittedBatch) -> None:
        """The commit's fate is not known: say so, take over from ourselves, and look."""
        self._keeper.trouble = "database: connection lost during a commit"
        self._fail_unknown(matched.part.requests)
        self._wait_again()
        await self._keeper.rebuild("commit_unknown")
        if self._keeper.here is None:
            return
        if self._keeper.here.journal_hash == batch.journal.hash:
            self.releases.committed(matched.part.releases)
        else:
            self.release_later(releases_of(matched.part.requests))

    @staticmethod
    def _fail_unknown(requests: Iterable[EngineRequest]) -> None:
        unknown = OutcomeUnknown(
            "OUTCOME_UNKNOWN", "it may have been carried out: repeat it with the same client_order_id, or look"
        )
        for request in requests:
            request.fail(unknown)

    def _refuse(self, requests: list[EngineRequest], error: Exception) -> None:
        """Say of requests that nothing was done, and have what they had reserved given back."""
        for request in requests:
            request.fail(error)
        self.release_later(releases_of(requests))

    def _fenced(self, error: Fenced) -> None:
        """Another engine seems to write: take nothing more, and have that found out."""
        self.halt(f"fenced: {error}")
        self._on_fenced(f"fenced: {error}")

    def _give_up(self, why: str) -> None:
        self.halt(why)
        self._end_engine(why)
