"""The relay: from the journal to RabbitMQ, in order, at least once; one is active, and trading never waits for it.

    begin -> (connect -> read a page -> tell -> publish a window -> confirmed -> move the place) again and again
          -> RabbitMQ or the database away: wait, longer each time, and start over from the stored place
          -> superseded: another relay has taken over; this one rests for good

A commit only wakes it.  What is published and not yet moved past is published again after a failure, with equal ids.
"""

import asyncio
from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

import structlog

from trade_engine.domain.ids import sequence_of_trade
from trade_engine.messaging.broker import Broker, BrokerAway, QueueDepth
from trade_engine.messaging.known_orders import UnknownOrder
from trade_engine.messaging.reader import JournalReader, groups
from trade_engine.messaging.source import EpochMoved, MissingTrade, RelaySource, Superseded
from trade_engine.messaging.telling import EventMessage, SettlementNote, ToldBatch, Traced
from trade_engine.sequencer.publish import CommittedBatch
from trade_engine.storage.errors import DATABASE_ERRORS

log = structlog.get_logger(__name__)

#: Batches, and settlement events, read at a time.
_PAGE_BATCHES: Final = 64
_OUTBOX_AT_ONCE: Final = 1_000
#: Messages told without giving way to the engine, whose loop this is.
_AT_ONCE: Final = 50
_DEPTHS_EVERY_S: Final = 15.0
_STUCK: Final = (UnknownOrder, MissingTrade, KeyError, ValueError)


class RelaySettings(NamedTuple):
    """How the relay works."""

    #: Messages that may wait for their confirms.
    window: int = 1_000
    #: First and longest wait while RabbitMQ is away, seconds.
    backoff_s: float = 0.5
    backoff_max_s: float = 30.0
    #: How often it looks for what it was not woken for.
    poll_s: float = 0.5
    #: How long it lets commits gather after it was woken.
    gather_s: float = 0.025


class RelayCounts:
    """What the relay has done since it started, for metrics."""

    def __init__(self) -> None:
        self.published = 0
        #: Windows that RabbitMQ did not confirm.
        self.unconfirmed = 0
        self.connects = 0


class Relay:
    """Relays; ``begin`` once, then ``run`` as a task.

    Args:
        clock_us: microseconds since 1970.
        chance: a number from 0 to 1 that spreads waits.
        traced: gives an order's trace context; None: messages carry none.
    """

    def __init__(
        self,
        source: RelaySource,
        broker: Broker,
        settings: RelaySettings,
        *,
        clock_us: Callable[[], int],
        chance: Callable[[], float],
        traced: Traced | None = None,
    ) -> None:
        self.counts = RelayCounts()
        self.depths: Sequence[QueueDepth] = ()
        self._source = source
        self._broker = broker
        self._settings = settings
        self._clock_us = clock_us
        self._chance = chance
        self._wake = asyncio.Event()
        self._reader = JournalReader(source, traced)
        self._reached = _Reached(0, None, 0, 1)
        self._window: list[EventMessage] = []
        self._notes: list[SettlementNote] = []
        #: The last command committed, as far as was heard, and when the oldest batch that waits was stamped; 0: none.
        self._head = 0
        self._oldest_us = 0
        self._trouble: str | None = "not connected yet"
        #: Whether it is in the log already.
        self._told = False
        self._superseded = False
        self._depths_at_s = 0.0

    # ---- what others ask and tell

    def committed(self, batch: CommittedBatch) -> None:
        """A batch is in the journal."""
        self._head = batch.journal.last_sequence
        self._oldest_us = self._oldest_us or batch.time_us
        self._wake.set()

    def rebuilt(self) -> None:
        """Something may have been committed that was not told."""
        self._wake.set()

    def settled(self) -> None:
        """A trade's money has moved: the outbox has something."""
        self._wake.set()

    def condition(self) -> str:
        """``ok``, or why nothing is published."""
        return "ok" if self._trouble is None else f"down: {self._trouble}"

    @property
    def is_up(self) -> bool:
        """Whether it publishes, as far as is known."""
        return self._trouble is None

    @property
    def lag_s(self) -> float:
        """How long the oldest batch that is not published has been waiting, seconds."""
        return max(0.0, (self._clock_us() - self._oldest_us) / 1_000_000) if self._oldest_us else 0.0

    @property
    def lag_commands(self) -> int:
        """How many commands were committed after the last one that is published."""
        return max(0, self._head - self._source.place.sequence)

    # ---- the work

    async def begin(self) -> None:
        """Become the relay: from now on whatever is committed will be told.

        Raises:
            OSError, TimeoutError, asyncpg.PostgresError: the database is not to be reached.
        """
        place = await self._source.take_over()
        self._head, self._oldest_us = await self._source.backlog()
        log.info("relay_begins", stream_id=place.stream_id, after_sequence=place.sequence, epoch=place.epoch)

    async def run(self) -> None:
        """Relay until cancelled."""
        wait_s = self._settings.backoff_s
        while not self._superseded:
            try:
                await self._connect()
                wait_s = self._settings.backoff_s
                while True:
                    if not await self._step():
                        await self._rest()
            except Superseded as error:
                log.error("relay_superseded", why=str(error))
                self._trouble, self._superseded = "another relay has taken over", True
            except (BrokerAway, *DATABASE_ERRORS, *_STUCK) as error:
                self._fail(error)
            finally:
                await self._broker.close()
            if not self._superseded:
                await asyncio.sleep(wait_s * (0.5 + self._chance() / 2))
                wait_s = min(wait_s * 2, self._settings.backoff_max_s)
        await self._source.close()
        await asyncio.Event().wait()

    async def stop(self) -> None:
        """Let all connections go."""
        await self._broker.close()
        await self._source.close()

    def _fail(self, error: Exception) -> None:
        """Say once what is wrong, and forget what is not published."""
        said = str(error) or repr(error)
        if not self._told or isinstance(error, _STUCK):
            log.warning("relay_waits", why=said, error=type(error).__name__)
        self._trouble, self._told = said[:200], True

    async def _connect(self) -> None:
        await self._source.open()
        await self._broker.open()
        self.counts.connects += 1
        await self._start_over()
        log.info("relay_connected", after_sequence=self._source.place.sequence)
        self._trouble, self._told = None, False

    async def _start_over(self) -> None:
        """Begin at the stored place, with nothing known."""
        place = await self._source.look()
        await self._reader.begin(place)
        self._window, self._notes = [], []
        self._reached = _Reached(place.sequence, place.message_index, place.outbox_number, 1)

    async def _step(self) -> bool:
        """Publish what there is, up to a page; whether there surely is more."""
        self._wake.clear()
        try:
            page = await self._source.page(_PAGE_BATCHES)
            if page:
                self._head, self._oldest_us = max(self._head, page[-1].last_sequence), page[0].time_us
            if not self._notes:
                self._notes = await self._source.settlements(_OUTBOX_AT_ONCE)
            for group in groups(page):
                await self._tell(group)
            self._tell_settlements()
            await self._flush()
        except EpochMoved:
            await self._start_over()
            return True
        if len(page) == _PAGE_BATCHES:
            return True
        self._oldest_us = 0
        return False

    async def _tell(self, group: Sequence[ToldBatch]) -> None:
        """Tell some batches; what does not fill a window yet is kept for the next one."""
        place, trades = self._source.place, await self._reader.prepare(group)
        for batch in group:
            for message in self._reader.tell(batch, trades):
                if place.has_passed(message.sequence, message.place):
                    continue
                self._window.append(message)
                self._reached = self._reached._replace(sequence=message.sequence, message_index=message.place)
                if len(self._window) >= self._settings.window:
                    await self._flush()
                elif not len(self._window) % _AT_ONCE:
                    await asyncio.sleep(0)
            self._reached = _Reached(batch.last_sequence, None, self._reached.outbox_number, batch.time_us)
        self._reader.shrink()

    def _tell_settlements(self) -> None:
        """Tell of settlements whose trades are told; those before events were asked for are passed over."""
        begun_after, told = self._source.place.begun_after or 0, 0
        for note in self._notes:
            sequence = sequence_of_trade(note.trade.trade_id)
            if sequence > self._reached.sequence:
                break
            if sequence > begun_after:
                self._window.append(self._reader.settlement(note))
            self._reached = self._reached._replace(outbox_number=note.number)
            told += 1
        del self._notes[:told]

    async def _flush(self) -> None:
        """Publish what is told, and move the place once it is confirmed."""
        window, limit = self._window, self._settings.window
        self._window = []
        for start in range(0, len(window), limit):
            part = window[start : start + limit]
            try:
                await self._broker.publish(part)
            except BrokerAway:
                self.counts.unconfirmed += 1
                raise
            self.counts.published += len(part)
        if self._reached[:3] != (self._source.place.sequence, *self._source.place[4:6]):
            await self._source.move(*self._reached)

    async def _rest(self) -> None:
        """Wait for a commit, or a while; let a few gather."""
        loop = asyncio.get_running_loop()
        if loop.time() >= self._depths_at_s:
            self._depths_at_s = loop.time() + _DEPTHS_EVERY_S
            self.depths = await self._broker.depths()
        try:
            async with asyncio.timeout(self._settings.poll_s):
                await self._wake.wait()
        except TimeoutError:
            return
        await asyncio.sleep(self._settings.gather_s)


class _Reached(NamedTuple):
    """Where the relay stands once its window is confirmed (``RelayPlace``), and a time that no later batch precedes."""

    sequence: int
    message_index: int | None
    outbox_number: int
    since_us: int
