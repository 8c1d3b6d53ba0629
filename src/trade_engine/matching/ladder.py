"""One side of the reference book: price levels, best first, each a linked list of orders, first in first out.

Prices are kept as signed keys (asks +price, bids -price), so that a lower key is always the better price and one
code path serves both sides.  A ladder knows structure only: no matching, no events.
"""

from bisect import bisect_left
from collections.abc import Iterator

from trade_engine.matching.codes import BUY, MARKET, REVERSED, SELL, STOP, STOP_LIMIT
from trade_engine.matching.protocol import Resting


class BookOrder:
    """A live order, mutable; the fields are those of ``protocol.Resting``."""

    __slots__ = (
        "display", "display_remaining", "enters_as_market", "expires_us", "flags", "is_stop", "leaves", "level",
        "linked_number", "max_notional", "next", "order_number", "previous", "price", "priority", "quantity", "side",
        "spent_notional", "stop_price", "stp", "time_in_force", "type", "user", "waiting",
    )  # fmt: skip

    def __init__(
        self, order_number: int, user: int, side: int, type_: int, time_in_force: int, stp: int, flags: int,
        price: int, quantity: int, stop_price: int = 0, display: int = 0, max_notional: int = 0,
        expires_us: int = 0, linked_number: int = 0,
    ) -> None:  # fmt: skip
        self.order_number = order_number
        self.user = user
        self.side = side
        self.type = type_
        self.is_stop = type_ in (STOP, STOP_LIMIT)
        #: Whether it takes at any price.
        self.enters_as_market = type_ in (MARKET, STOP)
        self.time_in_force = time_in_force
        self.stp = stp
        self.flags = flags
        self.waiting = 0
        self.price = price
        self.quantity = quantity
        self.leaves = quantity
        self.stop_price = stop_price
        self.display = display
        self.display_remaining = 0
        self.max_notional = max_notional
        self.spent_notional = 0
        self.expires_us = expires_us
        self.linked_number = linked_number
        self.priority = 0
        self.level: PriceLevel | None = None
        self.previous: BookOrder | None = None
        self.next: BookOrder | None = None

    @property
    def reached_falling(self) -> int:
        """Whether it waits for the price to fall (1) or to rise (0): the ladder of stops that it waits in."""
        return 1 - self.side if self.flags & REVERSED else self.side

    def resting(self) -> Resting:
        """An immutable copy."""
        return Resting(
            self.order_number, self.user, self.side, self.type, self.time_in_force, self.stp, self.flags, self.waiting,
            self.price, self.quantity, self.leaves, self.stop_price, self.display, self.display_remaining,
            self.max_notional, self.spent_notional, self.expires_us, self.linked_number, self.priority,
        )  # fmt: skip

    @classmethod
    def of(cls, r: Resting) -> "BookOrder":
        """The mutable twin of a record."""
        order = cls(
            r.order_number, r.user, r.side, r.type, r.time_in_force, r.stp, r.flags, r.price, r.quantity, r.stop_price,
            r.display, r.max_notional, r.expires_us, r.linked_number,
        )  # fmt: skip
        order.waiting, order.leaves, order.display_remaining = r.waiting, r.leaves, r.display_remaining
        order.spent_notional, order.priority = r.spent_notional, r.priority
        return order


class PriceLevel:
    """The orders of one price, in time order, with their sums."""

    __slots__ = ("count", "head", "key", "price", "tail", "total", "visible")

    def __init__(self, key: int) -> None:
        self.key = key
        self.price = abs(key)
        self.head: BookOrder | None = None
        self.tail: BookOrder | None = None
        self.count = 0
        #: Sum of the parts on show.
        self.visible = 0
        #: Sum of all that can trade, hidden parts included.
        self.total = 0

    def append(self, order: BookOrder) -> None:
        """Put an order at the back."""
        order.level, order.previous, order.next = self, self.tail, None
        if self.tail is None:
            self.head = order
        else:
            self.tail.next = order
        self.tail = order
        self.count += 1
        self.visible += order.display_remaining
        self.total += order.leaves

    def unlink(self, order: BookOrder) -> None:
        """Take an order out, wherever it stands."""
        before, after = order.previous, order.next
        if before is None:
            self.head = after
        else:
            before.next = after
        if after is None:
            self.tail = before
        else:
            after.previous = before
        order.level = order.previous = order.next = None
        self.count -= 1
        self.visible -= order.display_remaining
        self.total -= order.leaves

    def __iter__(self) -> Iterator[BookOrder]:
        order = self.head
        while order is not None:
            yield order
            order = order.next


class Ladder:
    """All levels of one side; the best one is at hand, the others are found by key."""

    __slots__ = ("_descending", "_levels", "best", "sign")

    def __init__(self, sign: int) -> None:
        self.sign = sign
        self._levels: dict[int, PriceLevel] = {}
        # Negated keys, ascending: the best level is the last element, where adding and removing is cheap.
        self._descending: list[int] = []
        #: The level that comes first, or None.
        self.best: PriceLevel | None = None

    @classmethod
    def resting(cls, side: int) -> "Ladder":
        """For orders that rest: the lowest ask and the highest bid come first."""
        return cls(1 if side == SELL else -1)

    @classmethod
    def waiting(cls, side: int) -> "Ladder":
        """For stops: those reached first as the price rises (BUY) or falls (SELL) come first."""
        return cls(1 if side == BUY else -1)

    def add(self, order: BookOrder, price: int) -> None:
        """Put an order at the back of its price's level."""
        key = self.sign * price
        level = self._levels.get(key)
        if level is None:
            level = self._levels[key] = PriceLevel(key)
            if self._descending and self._descending[-1] > -key:
                self._descending.insert(bisect_left(self._descending, -key), -key)
            else:
                self._descending.append(-key)
                self.best = level
        level.append(order)

    def remove(self, order: BookOrder) -> None:
        """Take an order out; an empty level goes with it."""
        level = order.level
        assert level is not None
        level.unlink(order)
        if level.head is None:
            del self._levels[level.key]
            if level is self.best:
                self._descending.pop()
                self.best = self._levels[-self._descending[-1]] if self._descending else None
            else:
                del self._descending[bisect_left(self._descending, -level.key)]

    def at(self, price: int) -> PriceLevel | None:
        """The level of a price, or None."""
        return self._levels.get(self.sign * price)

    def __iter__(self) -> Iterator[PriceLevel]:
        for key in reversed(self._descending):
            yield self._levels[-key]

    def __len__(self) -> int:
        return len(self._levels)
