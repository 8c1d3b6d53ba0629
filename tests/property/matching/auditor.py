"""An auditor reads the events of a book and knows what must therefore be in it: no lot appears or vanishes."""

from dataclasses import dataclass

from trade_engine.domain.commands import Command, CommandKind, OrderFlag, RuleFlag
from trade_engine.domain.enums import SelfTradePrevention, Side, TimeInForce
from trade_engine.domain.events import Event, EventKind
from trade_engine.matching.protocol import Book

_ENDED = {EventKind.CANCELLED, EventKind.EXPIRED}
_TOLD_LEAVES = {EventKind.RESTED, EventKind.REFILLED, EventKind.PENDING, EventKind.TRIGGERED, EventKind.PULLED}


@dataclass
class Account:
    """What the events told of one live order."""

    placed: Command
    total: int
    filled: int = 0

    @property
    def leaves(self) -> int:
        return self.total - self.filled

    @property
    def by_amount(self) -> bool:
        return bool(self.placed.flags & OrderFlag.QUOTE_AMOUNT)


class Auditor:
    """Folds events into accounts and compares them with the book; AssertionError where they disagree."""

    def __init__(self) -> None:
        self.accounts: dict[int, Account] = {}
        self.last_price = 0
        #: Fills, and stops started, that one command may make; 0: any number.
        self.most = 0

    def read(self, command: Command, events: list[Event]) -> None:
        """Take in one command and its events."""
        for event in events:
            self._read_one(command, event)
        self._fill_or_kill(command, events)
        self._bounded(command, events)
        for order_number in [n for n, account in self.accounts.items() if not account.leaves or account.by_amount]:
            del self.accounts[order_number]

    def _read_one(self, command: Command, event: Event) -> None:
        kind = EventKind(event.kind)
        if kind is EventKind.ACCEPTED:
            assert event.order_number not in self.accounts
            self.accounts[event.order_number] = Account(command, event.quantity)
            return
        account = self.accounts.get(event.order_number)
        if kind is EventKind.TRADE:
            self._trade(event)
        elif account is None:
            assert kind in (EventKind.REJECTED, EventKind.STATE_CHANGED, EventKind.CONFIGURED), event
        elif kind in _ENDED:
            assert account.by_amount or event.quantity == account.leaves > 0, event
            del self.accounts[event.order_number]
        elif kind is EventKind.REDUCED and not account.by_amount:
            account.total -= event.quantity
            assert event.leaves == account.leaves > 0, event
        elif kind is EventKind.AMENDED:
            account.total = event.quantity
            assert event.leaves == account.leaves > 0, event
        elif kind in _TOLD_LEAVES:
            assert event.leaves == account.leaves > 0, event

    def _trade(self, event: Event) -> None:
        taker, maker = self.accounts[event.order_number], self.accounts[event.other_number]
        assert event.quantity > 0
        assert event.price > 0
        assert taker.placed.side == event.side != maker.placed.side
        if taker.placed.user == maker.placed.user:
            assert taker.placed.stp == SelfTradePrevention.NONE, event
        for account in (taker, maker):
            account.filled += event.quantity
        assert taker.by_amount or event.leaves == taker.leaves >= 0, event
        assert event.other_leaves == maker.leaves >= 0, event
        self.last_price = event.price

    def _fill_or_kill(self, command: Command, events: list[Event]) -> None:
        """A FOK order trades whole or not at all."""
        if command.kind != CommandKind.PLACE or command.time_in_force != TimeInForce.FOK:
            return
        traded = sum(e.quantity for e in events if e.kind == EventKind.TRADE and e.order_number == command.order_number)
        assert traded in (0, command.quantity), events

    def _bounded(self, command: Command, events: list[Event]) -> None:
        """A command makes no more than the market's rules allow, and the rules follow."""
        for kind in (EventKind.TRADE, EventKind.TRIGGERED):
            happened = sum(e.kind == kind for e in events)
            assert not self.most or happened <= self.most, f"{happened} times {kind.name}: {events}"
        if any(e.kind == EventKind.CONFIGURED for e in events):
            self.most = command.max_notional if command.flags & RuleFlag.CASCADE_BUDGET else 0

    def compare(self, book: Book) -> None:
        """Demand that the book holds what the events told, and that what it shows is what it holds."""
        live = book.live_orders()
        assert {order.order_number: order.leaves for order in live} == {n: a.leaves for n, a in self.accounts.items()}
        assert all(order.quantity - order.leaves == self.accounts[order.order_number].filled for order in live)
        assert book.memory().last_price == self.last_price
        bid, ask = book.best_bid(), book.best_ask()
        assert not bid or not ask or bid < ask, f"crossed: {bid} {ask}"
        for side in Side:
            shown: dict[int, int] = {}
            for order in live:
                if not order.waiting and order.side == side:
                    shown[order.price] = shown.get(order.price, 0) + order.display_remaining
            levels = book.depth(side, 1_000)
            assert [level.price for level in levels] == sorted(shown, reverse=side is Side.BUY)
            assert {level.price: level.quantity for level in levels} == shown
