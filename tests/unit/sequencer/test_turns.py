"""Whose turn it is: a market's upkeep comes first, what must not pass it waits, and no other market does."""

from collections.abc import Iterator
from typing import Any

import pytest

from trade_engine.domain.commands import Command, CommandKind, RuleFlag, encode_command
from trade_engine.domain.enums import MarketState, OrderStatus, OrderType, Side, TimeInForce
from trade_engine.domain.events import EventKind, decode_events
from trade_engine.domain.orders import Order
from trade_engine.matching.books import new_book
from trade_engine.matching.markets import MarketBooks
from trade_engine.sequencer.bookkeeping import Bookkeeper, LiveOrders
from trade_engine.sequencer.engine_request import EngineRequest, StateRequest
from trade_engine.sequencer.memory import Memory
from trade_engine.sequencer.turns import Turns, UpkeepRequest, held_back

_BUSY, _QUIET = 1, 2
_NOW_US = 1_000_000


class Asked(EngineRequest):
    """A request for any command."""

    __slots__ = ("wanted",)

    def __init__(self, wanted: Command) -> None:
        super().__init__()
        self.wanted = wanted

    def command(self, memory: Memory, sequence: int, time_us: int) -> Command | None:
        return self.wanted._replace(sequence=sequence, time_us=time_us)


class Room:
    """Two markets and what is held back in them."""

    def __init__(self) -> None:
        books = MarketBooks(lambda number: new_book(number, "reference"))
        books.add(_BUSY)
        books.add(_QUIET)
        live = LiveOrders()
        self.memory = Memory(
            markets={}, numbers={}, books=books, live=live, bookkeeper=Bookkeeper(live, {}, 0), remembered={},
            traders={}, sequence=0, instruction_id=0, journal_hash=b"", state_hash=b"",
        )  # fmt: skip
        self.turns = Turns()
        self.sequence = 0

    def send(self, kind: CommandKind, market_id: int = _BUSY, time_us: int = _NOW_US, **fields: int) -> list[EventKind]:
        """Carry a command out in the core."""
        self.sequence += 1
        _, events = self.memory.books.apply(Command(kind, self.sequence, time_us, market_id, **fields))
        return [EventKind(event.kind) for event in decode_events(events)]

    def place(self, order_number: int, side: Side, quantity: int, **fields: int) -> list[EventKind]:
        """Place an order of the busy market."""
        return self.send(
            CommandKind.PLACE, order_number=order_number, user=order_number, side=side, quantity=quantity, **fields
        )

    def wants(self, kind: CommandKind, market_id: int = _BUSY, **fields: Any) -> tuple["Asked", bool]:
        """A request for a command now, and whether it must wait."""
        request = Asked(Command(kind, 0, _NOW_US, market_id, **fields))
        return request, self.must_wait(request)

    def must_wait(self, request: "Asked") -> bool:
        """Whether a request must wait; it is held back then."""
        held = held_back(self.memory, request.wanted, request)
        if held is not None:
            self.turns.hold([held])
        return held is not None

    def first(self) -> list[CommandKind]:
        """What the next batch begins with."""
        requests = self.turns.first(self.memory.books, _NOW_US)
        return [request.kind for request in requests if isinstance(request, UpkeepRequest)]

    def cascade(self) -> None:
        """Three stops of which one enters with each command."""
        self.send(CommandKind.CONFIGURE, max_notional=1, flags=RuleFlag.CASCADE_BUDGET)
        self.place(1, Side.SELL, 9, price=100)
        for order_number in (2, 3, 4):
            self.place(order_number, Side.BUY, 1, type=OrderType.STOP, stop_price=100)
            self.memory.live.add(_live(order_number, OrderStatus.PENDING))
        self.memory.live.add(_live(1, OrderStatus.OPEN))
        self.place(5, Side.BUY, 1, price=100)


def _live(number: int, status: OrderStatus) -> Order:
    return Order(
        order_id=f"order {number}", sequence=number, user_id="u", user=number, market_id=_BUSY, side=Side.BUY,
        type=OrderType.STOP, time_in_force=TimeInForce.GTC, stp=0, status=status,  # type: ignore[arg-type]
    )  # fmt: skip


@pytest.fixture
async def room() -> Room:
    return Room()


async def test_nothing_is_due_in_quiet_markets(room: Room) -> None:
    assert room.first() == []
    assert not room.wants(CommandKind.PLACE)[1]
    assert room.turns.seconds_to_upkeep(room.memory.books, _NOW_US) == 3_600


async def test_what_would_pass_waiting_stops_is_held_back_and_all_else_goes_on(room: Room) -> None:
    room.cascade()
    assert room.first() == [CommandKind.TRIGGER]
    assert room.turns.seconds_to_upkeep(room.memory.books, _NOW_US) == 0
    first, waits = room.wants(CommandKind.PLACE)
    assert waits
    second, waits = room.wants(CommandKind.AMEND, order_number=1)
    assert waits
    for kind, fields in (
        (CommandKind.CANCEL, {"order_number": 3}), (CommandKind.AMEND, {"order_number": 3}),
        (CommandKind.CANCEL_ALL, {}), (CommandKind.SET_STATE, {}),
        (CommandKind.CONFIGURE, {}), (CommandKind.REDUCE, {"order_number": 1}),
    ):  # fmt: skip
        assert not room.wants(kind, **fields)[1], kind
    assert not room.wants(CommandKind.PLACE, _QUIET)[1]
    assert len(room.turns) == 2
    for _ in range(2):
        assert room.send(CommandKind.TRIGGER) == [EventKind.TRIGGERED, EventKind.TRADE]
        assert room.turns.released(room.memory.books, _NOW_US) == []
    assert room.send(CommandKind.TRIGGER) == [EventKind.TRIGGERED, EventKind.TRADE]
    assert room.turns.released(room.memory.books, _NOW_US) == [first, second]
    assert (len(room.turns), room.first()) == (0, [])


async def test_orders_that_are_due_expire_in_bounded_commands_before_anything_else(room: Room) -> None:
    for order_number in range(1, 301):
        room.place(order_number, Side.BUY, 1, price=1, time_in_force=TimeInForce.GTD, expires_us=_NOW_US + 5, time_us=1)
    later = _NOW_US + 10
    request = Asked(Command(CommandKind.CANCEL, 0, later, _BUSY, order_number=1))
    assert room.must_wait(request), "it would expire all of them at once"
    parts = []
    for upkeep in _until_none(room, later):
        made = upkeep.command(room.memory, 1, later)
        assert made is not None
        parts.append(len(list(decode_events(room.memory.books.book(_BUSY).apply(encode_command(made))))))
    assert parts == [256, 44]
    assert room.turns.released(room.memory.books, later) == [request]


def _until_none(room: Room, now_us: int) -> Iterator[EngineRequest]:
    while works := room.turns.first(room.memory.books, now_us):
        assert room.turns.released(room.memory.books, now_us) == []
        yield from works


async def test_cancels_that_waited_for_expiries_do_not_wait_for_stops(room: Room) -> None:
    room.place(8, Side.BUY, 1, price=1, time_in_force=TimeInForce.GTD, expires_us=_NOW_US, time_us=1)
    room.sequence += 1
    cancel, waits = room.wants(CommandKind.CANCEL, order_number=8)
    assert waits
    entering, waits = room.wants(CommandKind.PLACE)
    assert waits
    room.send(CommandKind.TICK)
    room.cascade()
    assert room.turns.released(room.memory.books, _NOW_US) == [cancel]
    assert room.turns.drain() == [entering]
    assert len(room.turns) == 0


async def test_a_halted_market_holds_nothing_back(room: Room) -> None:
    room.cascade()
    room.send(CommandKind.SET_STATE, state=MarketState.HALTED)
    assert room.first() == []
    assert not room.wants(CommandKind.PLACE)[1]


async def test_only_a_trigger_that_fails_halts_its_market(room: Room) -> None:
    room.cascade()
    (trigger,) = room.turns.first(room.memory.books, _NOW_US)
    (halt,) = room.turns.refused(trigger, RuntimeError("x"), _NOW_US)
    assert isinstance(halt, StateRequest)
    made = halt.command(room.memory, 7, _NOW_US)
    assert made == Command(CommandKind.SET_STATE, 7, _NOW_US, _BUSY, state=MarketState.HALTED)
    assert room.first() == [], "it is left alone for a while"
    assert room.turns.seconds_to_upkeep(room.memory.books, _NOW_US) == 1
    assert room.turns.refused(room.wants(CommandKind.PLACE, _QUIET)[0], RuntimeError("x"), _NOW_US) == []
