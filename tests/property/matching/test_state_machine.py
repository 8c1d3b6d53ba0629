"""Hypothesis drives both books with any commands; after each, every invariant is demanded of both."""

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

from tests.harness.seeds import EXPLORING
from tests.property.matching.auditor import Auditor
from trade_engine.domain.commands import Command, CommandKind, OrderFlag, RuleFlag, encode_command
from trade_engine.domain.enums import MarketState, OrderType, Reason, SelfTradePrevention, TimeInForce
from trade_engine.domain.events import EventKind, decode_events
from trade_engine.matching.books import BookKind, default_kind, new_book
from trade_engine.matching.protocol import Book

MARKET = 3
SIDES = st.integers(0, 1)
PRICES = st.integers(96, 104)
LOTS = st.integers(1, 12)
LASTING = st.sampled_from((0, 0, 0, TimeInForce.IOC, TimeInForce.FOK, TimeInForce.DAY, TimeInForce.GTD))
PREVENTION = st.sampled_from(SelfTradePrevention)


class BothBooks(RuleBasedStateMachine):
    """The two books as one machine."""

    def __init__(self) -> None:
        super().__init__()
        kinds: tuple[BookKind, BookKind] = ("reference", default_kind())
        self.books: list[Book] = [new_book(MARKET, kind) for kind in kinds]
        self.auditor = Auditor()
        self.sequence = 0
        self.time_us = 1_000

    def send(self, kind: CommandKind, **fields: int) -> None:
        """One command to both; the same events must come back, and a refusal must leave no trace."""
        self.sequence += 1
        command = Command(kind, self.sequence, self.time_us, MARKET, **fields)
        before = self.books[0].state_hash()
        first, second = (book.apply(encode_command(command)) for book in self.books)
        assert first == second
        events = list(decode_events(first))
        if events and all(event.kind == EventKind.REJECTED for event in events):
            assert self.books[0].state_hash() == before
        self.auditor.read(command, events)

    def some_order(self, back: int) -> int:
        """A live order's number if there is one."""
        live = sorted(self.auditor.accounts)
        return live[-1 - back % len(live)] if live else 1

    @rule(side=SIDES, price=PRICES, lots=LOTS, lasting=LASTING, stp=PREVENTION, user=st.integers(1, 3),
          display=st.integers(0, 4), post_only=st.booleans(), life=st.integers(0, 40))  # fmt: skip
    def limit(
        self, side: int, price: int, lots: int, lasting: int, stp: int, user: int, display: int, post_only: bool,
        life: int,
    ) -> None:  # fmt: skip
        self.send(
            CommandKind.PLACE, order_number=self.sequence + 1, user=user, side=side, price=price, quantity=lots,
            stp=stp, time_in_force=lasting, display=display,
            flags=int(post_only and life % 4 == 0 and OrderFlag.POST_ONLY),
            expires_us=self.time_us + life if life > 20 or lasting > TimeInForce.FOK else 0,
        )  # fmt: skip

    @rule(side=SIDES, lots=LOTS, lasting=LASTING, stp=PREVENTION, user=st.integers(1, 3), budget=st.integers(0, 1_500),
          by_amount=st.booleans())  # fmt: skip
    def market(self, side: int, lots: int, lasting: int, stp: int, user: int, budget: int, by_amount: bool) -> None:
        flags = int(OrderFlag.LIMITED_NOTIONAL | (OrderFlag.QUOTE_AMOUNT if by_amount else 0)) if side == 0 else 0
        lots = 0 if flags & OrderFlag.QUOTE_AMOUNT else lots
        self.send(
            CommandKind.PLACE, order_number=self.sequence + 1, user=user, side=side, type=OrderType.MARKET,
            quantity=lots, stp=stp, time_in_force=lasting if lasting <= TimeInForce.FOK else 0, flags=flags,
            max_notional=budget,
        )  # fmt: skip

    @rule(side=SIDES, price=PRICES, stop_price=PRICES, lots=LOTS, lasting=LASTING, user=st.integers(1, 3),
          limited=st.booleans(), turned=st.booleans())  # fmt: skip
    def stop(
        self, side: int, price: int, stop_price: int, lots: int, lasting: int, user: int, limited: bool, turned: bool
    ) -> None:
        self.send(
            CommandKind.PLACE, order_number=self.sequence + 1, user=user, side=side, quantity=lots,
            stop_price=stop_price, type=OrderType.STOP_LIMIT if limited else OrderType.STOP,
            price=price if limited else 0, flags=int(turned and OrderFlag.REVERSED),
            time_in_force=lasting, expires_us=self.time_us + 30 if lasting > TimeInForce.FOK else 0,
        )  # fmt: skip

    @precondition(lambda self: self.auditor.accounts)
    @rule(back=st.integers(0, 9), price=PRICES, lots=LOTS)
    def pair(self, back: int, price: int, lots: int) -> None:
        first = self.auditor.accounts[self.some_order(back)].placed
        self.send(
            CommandKind.PLACE, order_number=self.sequence + 1, user=first.user, side=first.side, price=price,
            quantity=lots, linked_number=first.order_number,
        )  # fmt: skip

    @rule(back=st.integers(0, 9))
    def cancel(self, back: int) -> None:
        self.send(CommandKind.CANCEL, order_number=self.some_order(back))

    @rule(back=st.integers(0, 9), lots=LOTS)
    def reduce(self, back: int, lots: int) -> None:
        self.send(CommandKind.REDUCE, order_number=self.some_order(back), quantity=lots)

    @rule(back=st.integers(0, 9), price=PRICES | st.just(0), lots=LOTS | st.just(0), stop_price=PRICES | st.just(0))
    def amend(self, back: int, price: int, lots: int, stop_price: int) -> None:
        order_number = self.some_order(back)
        account = self.auditor.accounts.get(order_number)
        waits = account is not None and account.placed.type >= OrderType.STOP
        self.send(
            CommandKind.AMEND,
            order_number=order_number,
            price=price,
            quantity=lots,
            stop_price=stop_price if waits else 0,
        )

    @rule(user=st.integers(0, 3), most=st.integers(0, 3))
    def cancel_all(self, user: int, most: int) -> None:
        self.send(CommandKind.CANCEL_ALL, user=user, quantity=most)

    @rule(state=st.sampled_from((0, 0, 0, 0, 1, 2, 3)))
    def set_state(self, state: int) -> None:
        self.send(CommandKind.SET_STATE, state=state)
        if state != MarketState.OPEN:
            self.send(CommandKind.CANCEL, order_number=self.some_order(0), reason=int(Reason.ADMIN_REQUEST))
            self.send(CommandKind.SET_STATE, state=MarketState.OPEN)

    @rule(later=st.integers(0, 30), most=st.integers(0, 2))
    def tick(self, later: int, most: int) -> None:
        self.time_us += later
        self.send(CommandKind.TICK, quantity=most)

    @rule(band=st.sampled_from((0, 30_000)), slippage=st.sampled_from((0, 10_000)), notional=st.sampled_from((0, 300)),
          most=st.sampled_from((0, 3, 20)), fills=st.sampled_from((0, 1, 2)), budget=st.booleans())  # fmt: skip
    def configure(self, band: int, slippage: int, notional: int, most: int, fills: int, budget: bool) -> None:
        self.send(
            CommandKind.CONFIGURE, price=band, stop_price=slippage, quantity=notional, display=most,
            max_notional=fills, flags=int(budget and RuleFlag.CASCADE_BUDGET),
        )  # fmt: skip

    @rule()
    def trigger(self) -> None:
        self.send(CommandKind.TRIGGER)

    @precondition(lambda self: self.books[0].triggers_due())
    @rule()
    def trigger_all(self) -> None:
        """Every TRIGGER starts a stop or ends the waiting, so that the waiting has an end."""
        for _ in range(len(self.auditor.accounts) + 1):
            self.send(CommandKind.TRIGGER)
            if not self.books[0].triggers_due():
                return
        raise AssertionError("stops wait for ever")

    @rule()
    def restart(self) -> None:
        """Both start anew from the other one's snapshot."""
        snapshots = [book.dump() for book in self.books]
        assert snapshots[0] == snapshots[1]
        fresh: list[Book] = [new_book(MARKET, book.kind) for book in self.books]  # type: ignore[arg-type]
        for book, snapshot in zip(fresh, reversed(snapshots), strict=True):
            book.load(snapshot)
        self.books = fresh

    @invariant()
    def everything_holds(self) -> None:
        for book in self.books:
            book.check()
            self.auditor.compare(book)
        assert self.books[0].state_hash() == self.books[1].state_hash()
        assert self.books[0].next_expiry() == self.books[1].next_expiry()
        assert self.books[0].triggers_due() == self.books[1].triggers_due()


def test_both_books_as_one_machine() -> None:
    settled = settings(
        max_examples=150,
        stateful_step_count=60,
        deadline=None,
        suppress_health_check=list(HealthCheck),
        print_blob=True,
        derandomize=not EXPLORING,
    )
    run_state_machine_as_test(BothBooks, settings=settled)
