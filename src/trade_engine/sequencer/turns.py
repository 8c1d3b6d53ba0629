"""Whose turn it is in a market: what comes before everything else there, and what waits for that.

Orders that are due expire, and stops that were reached enter, before anything else happens in their market: in
bounded commands, one of a kind in each batch.  What came in the meantime and must not pass them is held back, in the
order in which it came.  Only that market waits: the batches of all others go on beside it.
"""

from collections import deque
from collections.abc import Iterable, Iterator
from typing import Final, NamedTuple

import structlog

from trade_engine.domain.commands import Command, CommandKind
from trade_engine.domain.enums import MarketState, OrderStatus
from trade_engine.matching.markets import MarketBooks
from trade_engine.matching.protocol import Book
from trade_engine.sequencer.engine_request import EngineRequest, StateRequest
from trade_engine.sequencer.memory import Memory

log = structlog.get_logger(__name__)

#: Orders that one command expires at most.
_EXPIRY_CHUNK: Final = 256
#: How long a market's upkeep that could not be carried out is left alone.
_PAUSE_US: Final = 1_000_000


class UpkeepRequest(EngineRequest):
    """What the sequencer itself wants of a market; nobody waits for its end."""

    __slots__ = ("kind", "market_id")

    is_patient = True

    def __init__(self, kind: CommandKind, market_id: int) -> None:
        super().__init__()
        self.kind = kind
        self.market_id = market_id

    def command(self, _: Memory, sequence: int, time_us: int) -> Command:
        """TICK or TRIGGER."""
        if self.kind is CommandKind.TICK:
            return Command.tick(sequence, time_us, self.market_id, _EXPIRY_CHUNK)
        return Command.trigger(sequence, time_us, self.market_id)

    def fail(self, error: BaseException) -> None:
        """Nobody is to be told: it is wanted again as long as there is a cause."""


class HeldRequest(NamedTuple):
    """A request that waits for its market's upkeep."""

    market_id: int
    #: Whether it would enter the book.
    enters: bool
    request: EngineRequest


def held_back(memory: Memory, command: Command, request: EngineRequest) -> HeldRequest | None:
    """Whether a command has to wait for its market's upkeep."""
    if isinstance(request, UpkeepRequest):
        return None
    book = memory.books.book(command.market_id)
    enters = command.kind == CommandKind.PLACE or (
        command.kind == CommandKind.AMEND
        and memory.live.by_sequence[command.order_number].status is not OrderStatus.PENDING
    )
    if not _is_due(book, command.time_us) and not (enters and book.triggers_due()):
        return None
    return HeldRequest(command.market_id, enters, request)


class Turns:
    """What is held back, by market."""

    def __init__(self) -> None:
        self._held: dict[int, deque[HeldRequest]] = {}
        #: Until when the upkeep of a market is left alone.
        self._paused_us: dict[int, int] = {}

    def __len__(self) -> int:
        """How many requests are held back."""
        return sum(map(len, self._held.values()))

    def __iter__(self) -> Iterator[EngineRequest]:
        """The requests that are held back."""
        return (held.request for waiting in self._held.values() for held in waiting)

    def first(self, books: MarketBooks, now_us: int) -> list[EngineRequest]:
        """What the next batch begins with: a bounded TICK where an order is due, a TRIGGER where a stop is."""
        requests: list[EngineRequest] = []
        for book in books:
            if self._paused_us and now_us < self._paused_us.get(book.market_id, 0):
                continue
            if _is_due(book, now_us):
                requests.append(UpkeepRequest(CommandKind.TICK, book.market_id))
            if book.triggers_due():
                requests.append(UpkeepRequest(CommandKind.TRIGGER, book.market_id))
        return requests

    def hold(self, held: Iterable[HeldRequest]) -> None:
        """Keep requests until their markets' upkeep is done."""
        for item in held:
            self._held.setdefault(item.market_id, deque()).append(item)

    def released(self, books: MarketBooks, now_us: int) -> list[EngineRequest]:
        """The requests that need not wait any more, in the order in which they came."""
        requests: list[EngineRequest] = []
        for market_id in list(self._held):
            book = books.book(market_id)
            if _is_due(book, now_us):
                continue
            held = self._held.pop(market_id)
            if book.triggers_due():
                kept = deque(item for item in held if item.enters)
                if kept:
                    self._held[market_id] = kept
                requests += [item.request for item in held if not item.enters]
            else:
                requests += [item.request for item in held]
        return requests

    def take_late(self, before_s: float) -> list[EngineRequest]:
        """The requests that came before a time of the loop; they are held back no more."""
        late = []
        for market_id, held in list(self._held.items()):
            while held and held[0].request.submitted_s < before_s:
                late.append(held.popleft().request)
            if not held:
                del self._held[market_id]
        return late

    def drain(self) -> list[EngineRequest]:
        """All that is held back; nothing is any more."""
        requests = list(self)
        self._held.clear()
        return requests

    def seconds_to_upkeep(self, books: MarketBooks, now_us: int) -> float:
        """How long nothing is due; an hour if nothing ever is."""
        soonest_us = now_us + 3_600_000_000
        for book in books:
            due_us = now_us if book.triggers_due() else book.next_expiry()
            if self._paused_us and due_us:
                due_us = max(due_us, self._paused_us.get(book.market_id, 0))
            if 0 < due_us < soonest_us:
                soonest_us = due_us
        return max(0.0, (soonest_us - now_us) / 1e6)

    def refused(self, request: EngineRequest, why: Exception, now_us: int) -> list[EngineRequest]:
        """What to do when ``request`` was refused alone: upkeep that fails is left alone for a while, and a market
        whose stops cannot enter is halted, so that others go on.
        """
        if not isinstance(request, UpkeepRequest):
            return []
        market_id = request.market_id
        self._paused_us[market_id] = now_us + _PAUSE_US
        if request.kind is not CommandKind.TRIGGER:
            log.critical("upkeep_fails", market_id=market_id, error=repr(why))
            return []
        log.critical("stops_cannot_enter_market_is_halted", market_id=market_id, error=repr(why))
        return [StateRequest(market_id, MarketState.HALTED)]


def _is_due(book: Book, now_us: int) -> bool:
    return 0 < book.next_expiry() <= now_us
