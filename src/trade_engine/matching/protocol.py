"""What every book can do.  Two books keep this protocol; one test suite runs on both.

A book is one market.  It is driven by commands (``domain.commands``) and answers with events (``domain.events``).
It never raises for what a command asks: a refusal is a REJECTED event.  It raises ``ValueError`` only for bytes
that are no command.
"""

from typing import NamedTuple, Protocol

from trade_engine.domain.enums import Side


class Level(NamedTuple):
    """One price of a book's side: ticks, visible lots, number of orders."""

    price: int
    quantity: int
    orders: int


class Resting(NamedTuple):
    """An order that lives in a book or waits as a stop: all that the core remembers of it.

    It is what recovery reads from the database and what a snapshot holds.  Units as in ``domain.commands``.
    """

    order_number: int
    user: int
    side: int
    type: int
    time_in_force: int
    stp: int
    flags: int
    #: 1 if it waits as a stop outside the book.
    waiting: int
    price: int
    #: Total quantity as placed or amended, less what was reduced: filled is always quantity - leaves.
    quantity: int
    #: What can still trade, hidden part included.
    leaves: int
    stop_price: int
    display: int
    #: The visible part in the book now.
    display_remaining: int
    max_notional: int
    spent_notional: int
    expires_us: int
    linked_number: int
    #: The rank in its level (or among stops of the same stop price): lower goes first.  Unique in a market.
    priority: int


class MarketMemory(NamedTuple):
    """What a book remembers beside its orders."""

    #: Last trade price in ticks; 0 before the first trade.
    last_price: int
    #: A MarketState number.
    state: int
    #: The last priority given out.
    priority: int
    price_band_ppm: int
    max_slippage_ppm: int
    min_notional: int
    max_open_orders: int
    max_fills: int
    #: Bits of ``commands.RuleFlag``.
    rules: int = 0
    #: Stops that wait for their turn: BUYs up to the high price, SELLs down to the low one, in ticks; 0: none do.
    reached_high: int = 0
    reached_low: int = 0
    #: The same for those whose turn comes after them.
    next_high: int = 0
    next_low: int = 0


class Walk(NamedTuple):
    """What a taker could get from the book now: lots available and their notional (ticks x lots)."""

    quantity: int
    notional: int


class BookOutcome(NamedTuple):
    """One thing that happened in a per-call command beside what was asked for; from an event of the same kind."""

    kind: int
    reason: int
    #: The maker of a TRADE, else the order that the event is about.
    order_number: int
    price: int
    quantity: int


class Book(Protocol):
    """The book of one market; see the module."""

    @property
    def kind(self) -> str:
        """``native`` or ``reference``."""

    @property
    def market_id(self) -> int:
        """The market's number, written into every event."""

    def apply(self, commands: bytes) -> bytes:
        """Carry out a batch of command records in order and give back the event records, end to end.

        Raises:
            ValueError: ``commands`` is not a whole number of records; nothing was done.
        """

    def place(
        self, order_number: int, user: int, side: int, price: int, quantity: int, order_type: int = 0,
        time_in_force: int = 0, stp: int = 0, flags: int = 0, max_notional: int = 0,
    ) -> tuple[tuple[int, int, int, int, int], ...]:  # fmt: skip
        """Place one order without wire records, at no time (nothing expires); the same as ``apply`` of that command.

        Answers with the Outcomes (as plain tuples) beyond being accepted, resting or waiting: one empty tuple, shared,
        if there are none.  Arguments that fit no field of a record raise TypeError or OverflowError.
        """

    def cancel(self, order_number: int) -> tuple[tuple[int, int, int, int, int], ...]:
        """Cancel one order; an empty tuple if it was cancelled and nothing else happened, else as ``place``."""

    def reduce(self, order_number: int, quantity: int) -> tuple[tuple[int, int, int, int, int], ...]:
        """Take lots off one order (at or above what is left: cancel it); answers as ``cancel``."""

    def best_bid(self) -> int:
        """Highest bid in ticks; 0 if there is none."""

    def best_ask(self) -> int:
        """Lowest ask in ticks; 0 if there is none."""

    def depth(self, side: Side, levels: int) -> list[Level]:
        """The best ``levels`` levels of a side, best first (visible quantities)."""

    def walk(self, side: Side, quantity: int, price: int = 0) -> Walk:
        """What a taker of ``side`` for ``quantity`` lots, no worse than ``price`` (0: any), could get now.

        Icebergs count whole; self-trade prevention is not considered.
        """

    def orders_at(self, side: Side, price: int) -> list[int]:
        """The order numbers of one level, first in time first."""

    def order(self, order_number: int) -> Resting | None:
        """One live order, or None."""

    def live_orders(self) -> list[Resting]:
        """All live orders in ascending priority: what ``restore`` takes."""

    def memory(self) -> MarketMemory:
        """What is remembered beside the orders."""

    def restore(self, memory: MarketMemory, orders: list[Resting]) -> None:
        """Fill an empty book with what ``memory`` and ``live_orders`` told, in ascending priority.

        Raises:
            ValueError: the book is not empty, or the orders contradict one another (a number twice, a crossed book);
                the book is as it was.
        """

    def dump(self) -> bytes:
        """All that the book remembers, as a snapshot (``snapshot`` has the layout); equal books give equal bytes."""

    def load(self, snapshot: bytes) -> None:
        """Fill an empty book with what ``dump`` of either book gave.

        Raises:
            ValueError: the book is not empty, or the snapshot is damaged, cut short, of another version or market,
                or contradicts itself; the book is as it was.
        """

    def next_expiry(self) -> int:
        """When the next order falls due (microseconds); 0 if none does."""

    def triggers_due(self) -> bool:
        """Whether stops that were reached wait for a TRIGGER, in a market that is open.  Cheap."""

    def state_hash(self) -> int:
        """128-bit sum over all live orders and the memory; kept up incrementally, order of insertion irrelevant."""

    def check(self) -> None:
        """Verify every invariant of the inner structure.

        Raises:
            AssertionError: one does not hold.
        """

    def __len__(self) -> int:
        """How many orders are live, waiting stops included."""
