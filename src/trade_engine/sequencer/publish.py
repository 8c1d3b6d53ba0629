"""Publishing: who is told of a commit, in which order; the last step of a batch.

A listener hears of what is in the database and of nothing else.  It must not wait.  One that raises is counted and
left behind: it holds up neither the writer nor those after it.
"""

from collections.abc import Sequence
from typing import NamedTuple, Protocol

import msgspec
import structlog

from trade_engine.domain.events import Event
from trade_engine.domain.market import Market
from trade_engine.domain.orders import Order, OrderPair, Trade
from trade_engine.matching.protocol import MarketMemory
from trade_engine.sequencer.bookkeeping import WalletInstruction
from trade_engine.sequencer.journal import JournalBatch

log = structlog.get_logger(__name__)


class TouchedMarket(NamedTuple):
    """A market as a batch left it."""

    market: Market
    #: What its book remembers beside its orders.
    remembered: MarketMemory
    #: Its events so far.
    event_sequence: int


class CommittedBatch(msgspec.Struct, frozen=True, kw_only=True):
    """All that one batch changed: what the store writes and, once that is done, what everybody is told.

    Orders are copies: what the writer does to its own later shows here no more.
    """

    #: The command before the first one; the journal has the first and the last.
    previous_sequence: int
    time_us: int
    #: Of the last trade, and of the last instruction before this batch's.
    trade_sequence: int
    instruction_id: int
    journal: JournalBatch
    #: New and changed orders as the batch left them; ``new`` has the core's numbers of the new ones.
    orders: Sequence[Order]
    new: frozenset[int]
    trades: Sequence[Trade]
    #: New pairs of orders.
    pairs: Sequence[OrderPair] = ()
    #: Wallet instructions; they are numbered from ``instruction_id`` on.
    instructions: Sequence[WalletInstruction]
    markets: Sequence[TouchedMarket]
    events: Sequence[Event]


class Listener(Protocol):
    """Whoever is told of commits."""

    def committed(self, batch: CommittedBatch) -> None:
        """A batch is in the database."""

    def rebuilt(self) -> None:
        """The writer's memory was made anew: something may have been committed that was not told."""


class Publisher:
    """Tells every listener of every commit, in the order in which they are listed."""

    def __init__(self) -> None:
        self._listeners: list[tuple[str, Listener]] = []
        #: How often each has raised.
        self.failures: dict[str, int] = {}

    def add(self, name: str, listener: Listener) -> None:
        """Tell one more, after those who are told already."""
        self._listeners.append((name, listener))
        self.failures[name] = 0

    def publish(self, batch: CommittedBatch) -> None:
        """Tell of a commit."""
        for name, listener in self._listeners:
            try:
                listener.committed(batch)
            except Exception:
                self.failures[name] += 1
                log.exception("listener_failed", listener=name, sequence=batch.journal.last_sequence)

    def rebuilt(self) -> None:
        """Tell that memory was made anew."""
        for name, listener in self._listeners:
            try:
                listener.rebuilt()
            except Exception:
                self.failures[name] += 1
                log.exception("listener_failed", listener=name)
