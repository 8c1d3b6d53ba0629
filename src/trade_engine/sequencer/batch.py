"""Steps 1 and 2 of a batch: stamp each request and let the core carry it out.  Nothing here waits or is written."""

from collections.abc import Sequence
from typing import NamedTuple

import msgspec

from trade_engine.domain.events import Event, decode_events
from trade_engine.domain.orders import pair_of
from trade_engine.sequencer.bookkeeping import Changes, CommandOutcome, WalletInstruction
from trade_engine.sequencer.engine_request import EngineRequest
from trade_engine.sequencer.facts import BatchFacts, PlacedFact, encode_facts, given_facts, pair_facts, placed_fact
from trade_engine.sequencer.journal import JournalBatch, chain
from trade_engine.sequencer.memory import Memory
from trade_engine.sequencer.publish import CommittedBatch, TouchedMarket
from trade_engine.sequencer.turns import HeldRequest, held_back

#: A release and the number that it is waiting under.
Waiting = tuple[int, WalletInstruction]


class Part(NamedTuple):
    """What one commit is to hold: requests in order, and releases beside them."""

    requests: list[EngineRequest]
    releases: list[Waiting]

    def halves(self) -> "list[Part]":
        """The same in two parts, or more, none of them empty; one that cannot be divided is itself."""
        if self.requests and self.releases:
            return [Part(self.requests, []), Part([], self.releases)]
        middle = (len(self.requests) + len(self.releases)) // 2
        parts = [
            Part(self.requests[:middle], self.releases[:middle]),
            Part(self.requests[middle:], self.releases[middle:]),
        ]
        return [part for part in parts if part.requests or part.releases]


class MatchedBatch(NamedTuple):
    """A batch between matching and acknowledgement; ``changes`` can undo it, ``left`` did not fit."""

    part: Part
    #: None: nothing was found to act on.
    batch: CommittedBatch | None
    changes: Changes
    outcomes: list[tuple[EngineRequest, CommandOutcome | None]]
    #: What has to wait for its market's upkeep.
    held: list[HeldRequest]
    left: list[EngineRequest]


class BrokenCommand(Exception):
    """A request whose command core and bookkeeper could not carry out; ``changes`` must be undone."""

    def __init__(self, request: EngineRequest, changes: Changes, error: Exception) -> None:
        super().__init__(repr(error))
        self.request = request
        self.changes = changes
        self.error = error


class Stamp(NamedTuple):
    """When and by whom a batch is made."""

    time_us: int
    epoch: int
    #: The table of candles is known to hold every trade up to this one.
    candles_stored: int


def match(memory: Memory, part: Part, stamp: Stamp, events_max: int) -> MatchedBatch:
    """Carry out all requests of a part, in order, as of one time.

    Raises:
        BrokenCommand: one cannot be carried out; memory is ahead of what is committed.
    """
    changes = memory.bookkeeper.begin()
    changes.give(release for _, release in part.releases)
    commands: list[bytes] = []
    answers: list[bytes] = []
    events: list[Event] = []
    outcomes: list[tuple[EngineRequest, CommandOutcome | None]] = []
    placed: list[tuple[EngineRequest, PlacedFact]] = []
    held: list[HeldRequest] = []
    counted = memory.bookkeeper.trade_sequence
    sequence, fold, apply = memory.sequence, memory.bookkeeper.fold, memory.books.apply
    left: list[EngineRequest] = []
    for index, request in enumerate(part.requests):
        if len(events) >= events_max:
            left = part.requests[index:]
            del part.requests[index:]
            break
        try:
            command = request.command(memory, sequence + 1, stamp.time_us)
            if command is None:
                outcomes.append((request, None))
                continue
            waits = held_back(memory, command, request)
            if waits is not None:
                held.append(waits)
                continue
            changes.markets.add(command.market_id)
            while command is not None:
                record, answer = apply(command)
                happened = list(decode_events(answer))
                outcome = fold(command, happened, request.placed, changes)
                sequence += 1
                if request.placed is not None:
                    placed.append((request, placed_fact(request.placed)))
                commands.append(record)
                answers.append(answer)
                events.extend(happened)
                command = request.following(memory, sequence + 1, stamp.time_us, outcome)
        except Exception as error:
            raise BrokenCommand(request, changes, error) from error
        outcomes.append((request, outcome))
    if sequence == memory.sequence:
        if not changes.instructions:
            return MatchedBatch(part, None, changes, outcomes, held, left)
        # Releases alone take a place in the journal, too.
        sequence += 1
    facts = BatchFacts(
        since=memory.facts_since,
        epoch=stamp.epoch,
        time_us=stamp.time_us,
        trade_sequence=counted,
        instruction_id=memory.instruction_id,
        candles=stamp.candles_stored,
        placed=[fact for _, fact in placed],
        given=given_facts(changes.instructions, changes.given),
        pairs=pair_facts(changes.pairs),
    )
    try:
        record = encode_facts(facts)
    except ValueError:
        _raise_unstorable(placed, facts, changes)
        raise
    journal = _journal(memory, sequence, b"".join(commands), b"".join(answers), record)
    return MatchedBatch(part, _batch(memory, changes, journal, events, stamp.time_us), changes, outcomes, held, left)


def _raise_unstorable(placed: list[tuple[EngineRequest, PlacedFact]], facts: BatchFacts, changes: Changes) -> None:
    """Find the request whose order holds what no text may.

    Raises:
        BrokenCommand: names it.
    """
    for request, fact in placed:
        try:
            encode_facts(msgspec.structs.replace(facts, placed=[fact], pairs=[]))
        except ValueError as error:
            raise BrokenCommand(request, changes, error) from error


def _journal(memory: Memory, sequence: int, commands: bytes, events: bytes, facts: bytes) -> JournalBatch:
    before, first = memory.journal_hash, memory.sequence + 1
    state_hash = memory.books.state_hash()
    digest = chain(before, first, sequence, state_hash, commands, events, facts)
    return JournalBatch(first, sequence, before, digest, state_hash, commands, events, facts)


def _batch(
    memory: Memory, changes: Changes, journal: JournalBatch, events: list[Event], time_us: int
) -> CommittedBatch:
    copy, bookkeeper = msgspec.structs.replace, memory.bookkeeper
    return CommittedBatch(
        previous_sequence=memory.sequence,
        time_us=time_us,
        trade_sequence=bookkeeper.trade_sequence,
        instruction_id=memory.instruction_id,
        journal=journal,
        orders=[copy(order) for order in changes.orders.values()],
        new=frozenset(changes.new),
        trades=changes.trades,
        pairs=[pair_of(second) for second in changes.pairs],
        instructions=changes.instructions,
        markets=[
            TouchedMarket(memory.markets[n], memory.books.book(n).memory(), bookkeeper.event_sequences[n])
            for n in sorted(changes.markets)
        ],
        events=events,
    )


def mark_committed(memory: Memory, batch: CommittedBatch) -> None:
    """Let memory know that a batch is in the database."""
    memory.sequence = batch.journal.last_sequence
    memory.journal_hash = batch.journal.hash
    memory.state_hash = batch.journal.state_hash
    memory.instruction_id += len(batch.instructions)
    for touched in batch.markets:
        memory.remembered[touched.market.market_id] = touched.remembered


def releases_of(requests: Sequence[EngineRequest]) -> list[WalletInstruction]:
    """What the wallet has to give back of requests that are not carried out."""
    return [release for request in requests if (release := request.unplaced()) is not None]
