"""A cascade that is cut into commands is the cascade that is not: the same stops, in the same order, the same trades.

Random books with many stops on both sides are set off by one trade; the budget of fills differs.
"""

import random

import pytest

from trade_engine.domain.commands import Command, CommandKind, OrderFlag, RuleFlag, encode_command
from trade_engine.domain.enums import OrderType, Reason, SelfTradePrevention
from trade_engine.domain.events import Event, EventKind, decode_events
from trade_engine.matching.books import BookKind, default_kind, new_book
from trade_engine.matching.protocol import Book

MARKET = 3
#: Makers that one order meets at most: its lots.
_LOTS_MAX = 4
_SEEDS = range(40)


class Market:
    """A book with a budget, and all that happened in it."""

    def __init__(self, kind: BookKind, budget: int, *, restarts: bool = False) -> None:
        self.book: Book = new_book(MARKET, kind)
        self.restarts = restarts
        self.sequence = 0
        self.events: list[Event] = []
        self.most = budget
        self.send(CommandKind.CONFIGURE, max_notional=budget, flags=RuleFlag.CASCADE_BUDGET)

    def send(self, kind: CommandKind, **fields: int) -> None:
        """One command, and a TRIGGER after the other while stops wait for their turn."""
        self._one(kind, **fields)
        while self.book.triggers_due():
            if self.restarts:
                fresh = new_book(MARKET, self.book.kind)  # type: ignore[arg-type]
                fresh.restore(self.book.memory(), self.book.live_orders())
                assert fresh.state_hash() == self.book.state_hash()
                self.book = fresh
            before = len(self.events)
            self._one(CommandKind.TRIGGER)
            assert len(self.events) > before or not self.book.triggers_due(), "a TRIGGER did nothing, and more wait"

    def _one(self, kind: CommandKind, **fields: int) -> None:
        self.sequence += 1
        happened = list(
            decode_events(self.book.apply(encode_command(Command(kind, self.sequence, 1, MARKET, **fields))))
        )
        for counted in (EventKind.TRADE, EventKind.TRIGGERED):
            assert not self.most or sum(e.kind == counted for e in happened) <= self.most
        assert not any(e.reason == Reason.MAX_FILLS_REACHED for e in happened if e.kind == EventKind.CANCELLED)
        self.book.check()
        self.events += [event._replace(sequence=0) for event in happened]


def _scenario(draw: random.Random) -> list[dict[str, int]]:
    """Orders: resting ones around 1,000, stops on both sides, and takers that set them off."""
    orders: list[dict[str, int]] = []
    for _ in range(draw.randint(5, 30)):
        side = draw.getrandbits(1)
        price = 1_000 + draw.randint(1, 30) * (1 if side else -1)
        display = draw.choice((0, 0, 1))
        orders.append({"side": side, "price": price, "quantity": draw.randint(1, 6), "display": display})
    for _ in range(draw.randint(5, 60)):
        side = draw.getrandbits(1)
        stop = {"side": side, "stop_price": 1_000 + draw.randint(1, 40) * (-1 if side else 1)}
        if draw.getrandbits(1):
            stop |= {"side": 1 - side, "flags": int(OrderFlag.REVERSED)}
        if draw.getrandbits(2) == 0:
            stop |= {"type": OrderType.STOP_LIMIT, "price": stop["stop_price"] + draw.randint(-5, 5)}
        else:
            stop |= {"type": OrderType.STOP}
        orders.append(stop | {"quantity": draw.randint(1, _LOTS_MAX)})
    for _ in range(4):
        side = draw.getrandbits(1)
        orders.append({"side": side, "type": OrderType.MARKET, "quantity": draw.randint(1, _LOTS_MAX)})
    return orders


def _played(kind: BookKind, orders: list[dict[str, int]], budget: int, *, restarts: bool = False) -> Market:
    market = Market(kind, budget, restarts=restarts)
    for number, order in enumerate(orders, 1):
        market.send(CommandKind.PLACE, order_number=number, user=number, stp=SelfTradePrevention.NONE, **order)
    return market


@pytest.mark.parametrize("seed", _SEEDS)
def test_a_cascade_in_parts_is_the_cascade(seed: int) -> None:
    draw = random.Random(seed)
    orders = _scenario(draw)
    whole = _played("reference", orders, 0)
    for kind in ("reference", default_kind()):
        for budget in (_LOTS_MAX, draw.randint(_LOTS_MAX, 12)):
            parts = _played(kind, orders, budget, restarts=draw.getrandbits(1) == 0)
            assert parts.events == whole.events
            assert parts.book.live_orders() == whole.book.live_orders()
            assert parts.sequence >= whole.sequence


def test_the_scenarios_do_cascade() -> None:
    """What the test above compares: rounds of both sides, and cascades that do not fit one command."""
    cut = both = 0
    for seed in _SEEDS:
        orders = _scenario(random.Random(seed))
        parts = _played("reference", orders, _LOTS_MAX)
        cut += parts.sequence > len(orders) + 1
        both += len({event.side for event in parts.events if event.kind == EventKind.TRIGGERED}) == 2
    assert cut > len(_SEEDS) // 2
    assert both > len(_SEEDS) // 8
