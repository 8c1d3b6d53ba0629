"""The order flow that the core is measured with: made from a seed, the same for both books, always the same.

Of its messages 55 % are limit orders, most of which rest near a price that moves while some cross, 5 % are IOC and
market orders, and 40 % cancel a live order chosen at random.  About ``LIVE_ORDERS`` orders are live throughout.
Nothing here is timed.
"""

import random
from array import array
from collections.abc import Sequence
from typing import Final, NamedTuple

from trade_engine.domain.commands import Command, CommandKind, encode_commands
from trade_engine.domain.enums import OrderType, Side, TimeInForce
from trade_engine.domain.events import EventKind
from trade_engine.matching.books import new_book

LIVE_ORDERS: Final = 30_000
MARKET_ID: Final = 1

_START_PRICE: Final = 5_000_000
_USERS: Final = 1_000
_MEAN_DISTANCE: Final = 60
_TRADE: Final = int(EventKind.TRADE)


class FlowMessage(NamedTuple):
    """One message in the order of ``Book.place``'s arguments; a cancel if ``quantity`` is 0."""

    order_number: int
    user: int = 0
    side: int = 0
    price: int = 0
    quantity: int = 0
    order_type: int = 0
    time_in_force: int = 0


class CoreFlow(NamedTuple):
    """Orders that fill the book first, and the messages that are measured on it."""

    filling: list[FlowMessage]
    messages: list[FlowMessage]
    #: Live orders after each 1,000 messages, on average.
    live_orders: float


def make_flow(count: int, seed: int) -> CoreFlow:
    """Make ``count`` messages after ``LIVE_ORDERS`` orders that fill the book."""
    maker = _FlowMaker(seed)
    filling = [maker.resting() for _ in range(LIVE_ORDERS)]
    messages, live = [], []
    for number in range(count):
        messages.append(maker.message())
        if number % 1_000 == 0:
            live.append(len(maker.live))
    return CoreFlow(filling, messages, sum(live) / max(len(live), 1))


def lined_up(messages: Sequence[FlowMessage]) -> list[tuple[int, ...]]:
    """The same messages, made anew one behind the other in memory.

    A caller has just made what it passes; messages scattered over a large heap would measure the memory instead.
    """
    columns = [array("q", column) for column in zip(*messages, strict=True)]
    return list(zip(*columns, strict=True))


def encode_batches(messages: Sequence[FlowMessage], batch: int, first_sequence: int = 1) -> list[bytes]:
    """The same messages as command records, ``batch`` to a batch."""
    commands = [_command(message, sequence) for sequence, message in enumerate(messages, first_sequence)]
    return [encode_commands(commands[at : at + batch]) for at in range(0, len(commands), batch)]


def _command(m: FlowMessage, sequence: int) -> Command:
    if not m.quantity:
        return Command(CommandKind.CANCEL, sequence, 0, MARKET_ID, m.order_number)
    return Command(
        CommandKind.PLACE, sequence, 0, MARKET_ID, m.order_number, m.user, m.side, m.order_type, m.time_in_force,
        price=m.price, quantity=m.quantity,
    )  # fmt: skip


class _FlowMaker:
    """Makes messages one by one; a book of its own tells which orders are live and where the market is."""

    def __init__(self, seed: int) -> None:
        self._rng = random.Random(seed)
        self._book = new_book(MARKET_ID)
        self._next_id = 1
        self._taking_side = 0
        self._leaves: dict[int, int] = {}
        self._places: dict[int, int] = {}
        #: The live orders' numbers, in no order.
        self.live: list[int] = []

    def message(self) -> FlowMessage:
        """The next message."""
        rng = self._rng
        draw = rng.random()
        if draw < 0.40 and self.live:
            order_number = self.live[int(rng.random() * len(self.live))]
            self._book.cancel(order_number)
            self._forget(order_number)
            return FlowMessage(order_number)
        if draw < 0.45:
            return self._taking(market=draw < 0.425)
        crosses = 0.16 if len(self.live) > LIVE_ORDERS else 0.02
        if rng.random() < crosses:
            return self._crossing()
        return self.resting()

    def resting(self) -> FlowMessage:
        """A limit order that rests, nearer to the market more often than far."""
        rng = self._rng
        side = int(rng.random() * 2)
        distance = 1 + int(rng.expovariate(1 / _MEAN_DISTANCE))
        if side == Side.BUY:
            price = (self._book.best_ask() or _START_PRICE) - distance
        else:
            price = (self._book.best_bid() or _START_PRICE) + distance
        return self._place(side, price, 1 + int(rng.random() * 100))

    def _crossing(self) -> FlowMessage:
        side, price = self._aggression()
        return self._place(side, price, 1 + int(self._rng.random() * 120))

    def _taking(self, *, market: bool) -> FlowMessage:
        side, price = self._aggression()
        quantity = 1 + int(self._rng.random() * 80)
        if market:
            return self._place(side, 0, quantity, OrderType.MARKET, TimeInForce.IOC)
        return self._place(side, price, quantity, OrderType.LIMIT, TimeInForce.IOC)

    def _aggression(self) -> tuple[int, int]:
        """The side that takes now, which lasts for a while and so moves the price; and a price that crosses."""
        if self._rng.random() < 0.01:
            self._taking_side = 1 - self._taking_side
        if self._taking_side == Side.BUY:
            return Side.BUY, (self._book.best_ask() or _START_PRICE) + 1
        return Side.SELL, (self._book.best_bid() or _START_PRICE) - 1

    def _place(self, side: int, price: int, quantity: int, order_type: int = 0, time_in_force: int = 0) -> FlowMessage:
        user = 1 + int(self._rng.random() * _USERS)
        message = FlowMessage(self._next_id, user, int(side), price, quantity, int(order_type), int(time_in_force))
        self._next_id += 1
        left = quantity
        for kind, _, order_number, _, lots in self._book.place(*message):
            if kind == _TRADE:
                left -= lots
                self._leaves[order_number] -= lots
                if not self._leaves[order_number]:
                    self._forget(order_number)
            elif order_number == message.order_number:
                left = 0
        if left and order_type == OrderType.LIMIT and time_in_force == TimeInForce.GTC:
            self._places[message.order_number] = len(self.live)
            self._leaves[message.order_number] = left
            self.live.append(message.order_number)
        return message

    def _forget(self, order_number: int) -> None:
        """Take an order off the list of live ones; the last one takes its place."""
        del self._leaves[order_number]
        place, last = self._places.pop(order_number), self.live.pop()
        if last != order_number:
            self.live[place] = last
            self._places[last] = place
