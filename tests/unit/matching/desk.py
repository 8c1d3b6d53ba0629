"""A desk types commands into a book and reads the events as words, so that tests read like scenarios."""

from typing import NamedTuple

from trade_engine.domain.commands import Command, CommandKind, OrderFlag, RuleFlag, encode_command
from trade_engine.domain.enums import MarketState, OrderType, Reason, Side, TimeInForce
from trade_engine.domain.enums import SelfTradePrevention as Stp
from trade_engine.domain.events import Event, EventKind, decode_events
from trade_engine.matching.books import new_book
from trade_engine.matching.protocol import Book

MARKET = 7

_WORDS = {word.name: (field, word) for field, words in (
    ("side", Side), ("type", OrderType), ("time_in_force", TimeInForce), ("stp", Stp), ("flags", OrderFlag),
) for word in words}  # fmt: skip


class Trade(NamedTuple):
    """One fill."""

    taker: int
    maker: int
    price: int
    quantity: int


class Desk:
    """Types commands; every command's invariants are checked, and its events kept."""

    def __init__(self, book: Book) -> None:
        self.book = book
        self.sequence = 0
        self.time_us = 1_000
        self.events: list[Event] = []

    def send(self, kind: CommandKind, **fields: int) -> list[Event]:
        """Send one command; gives back its events."""
        self.sequence += 1
        command = Command(kind, self.sequence, self.time_us, MARKET, **fields)
        self.events = list(decode_events(self.book.apply(encode_command(command))))
        self.book.check()
        return self.events

    def place(self, order_number: int, words: str, quantity: int, price: int = 0, **fields: int) -> list[str]:
        """Place an order, such as ``place(1, "SELL LIMIT", 5, 100)``; user is 100 + order_number unless told."""
        given: dict[str, int] = {
            "user": 100 + order_number,
            "order_number": order_number,
            "quantity": quantity,
            "price": price,
        }
        for word in words.split():
            field, value = _WORDS[word]
            given[field] = given.get(field, 0) | value
        self.send(CommandKind.PLACE, **given | fields)
        return self.story()

    def cancel(self, order_number: int, **fields: int) -> list[str]:
        """Cancel one order."""
        self.send(CommandKind.CANCEL, order_number=order_number, **fields)
        return self.story()

    def reduce(self, order_number: int, quantity: int, **fields: int) -> list[str]:
        """Take lots off one order."""
        self.send(CommandKind.REDUCE, order_number=order_number, quantity=quantity, **fields)
        return self.story()

    def amend(self, order_number: int, **fields: int) -> list[str]:
        """Change one order."""
        self.send(CommandKind.AMEND, order_number=order_number, **fields)
        return self.story()

    def state(self, state: MarketState) -> list[str]:
        """Set the market's state."""
        self.send(CommandKind.SET_STATE, state=state)
        return self.story()

    def tick(self, time_us: int, quantity: int = 0) -> list[str]:
        """Let time come to ``time_us``."""
        self.time_us = time_us
        self.send(CommandKind.TICK, quantity=quantity)
        return self.story()

    def restart(self) -> list[str]:
        """Go on with a book that was told what this one remembers, as after a restart."""
        fresh = new_book(MARKET, self.book.kind)  # type: ignore[arg-type]
        fresh.restore(self.book.memory(), self.book.live_orders())
        assert fresh.state_hash() == self.book.state_hash()
        self.book = fresh
        return []

    def trigger(self) -> list[str]:
        """Let the stops that wait for their turn go on."""
        self.send(CommandKind.TRIGGER)
        return self.story()

    def rules(
        self, *, band_ppm: int = 0, slippage_ppm: int = 0, min_notional: int = 0, max_open: int = 0,
        max_fills: int = 0, budget: int = 0,
    ) -> list[str]:  # fmt: skip
        """Replace the market's rules; ``budget``: fills that a command may make with all the stops it sets off."""
        self.send(
            CommandKind.CONFIGURE, price=band_ppm, stop_price=slippage_ppm, quantity=min_notional, display=max_open,
            max_notional=max_fills or budget, flags=RuleFlag.CASCADE_BUDGET if budget else 0,
        )  # fmt: skip
        return self.story()

    def story(self) -> list[str]:
        """The last command's events as words."""
        return [_tell(event) for event in self.events]

    def trades(self) -> list[Trade]:
        """The last command's fills."""
        return [
            Trade(e.order_number, e.other_number, e.price, e.quantity) for e in self.events if e.kind == EventKind.TRADE
        ]

    def bids(self) -> list[tuple[int, int, list[int]]]:
        """Bids best first: price, visible lots, order numbers in time order."""
        return self._side(Side.BUY)

    def asks(self) -> list[tuple[int, int, list[int]]]:
        """Asks best first: price, visible lots, order numbers in time order."""
        return self._side(Side.SELL)

    def _side(self, side: Side) -> list[tuple[int, int, list[int]]]:
        levels = self.book.depth(side, 1_000)
        for level in levels:
            assert len(self.book.orders_at(side, level.price)) == level.orders
        return [(level.price, level.quantity, self.book.orders_at(side, level.price)) for level in levels]


def _tell(e: Event) -> str:
    """One event in words: kind, order, then what matters for the kind."""
    kind = EventKind(e.kind)
    match kind:
        case EventKind.TRADE:
            left = f"left {e.leaves} and {e.other_leaves}"
            return f"TRADE {e.order_number} with {e.other_number}: {e.quantity} at {e.price}, {left}"
        case EventKind.REJECTED:
            return f"REJECTED {e.order_number} {Reason(e.reason).name}"
        case EventKind.CANCELLED | EventKind.EXPIRED:
            return f"{kind.name} {e.order_number} {e.quantity} {Reason(e.reason).name}"
        case EventKind.RESTED | EventKind.REFILLED:
            return f"{kind.name} {e.order_number} {e.quantity} of {e.leaves} at {e.price}"
        case EventKind.REDUCED:
            return f"REDUCED {e.order_number} by {e.quantity} to {e.leaves}"
        case EventKind.AMENDED:
            place = "keeps its place" if e.flags else "waits" if e.priority else "loses its place"
            return f"AMENDED {e.order_number} {e.leaves} at {e.price}, {place}"
        case EventKind.TRIGGERED | EventKind.PENDING:
            return f"{kind.name} {e.order_number} at {e.price}"
        case EventKind.STATE_CHANGED:
            return f"STATE_CHANGED {MarketState(e.reason).name}"
        case EventKind.CONFIGURED:
            return "CONFIGURED"
        case _:
            return f"{kind.name} {e.order_number}"
