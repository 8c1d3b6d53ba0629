"""The committed book of one market, level by level, folded from its events (units: ticks and lots).

It is not the core's book: that one may be a batch ahead of the database, this one never is.
"""

from bisect import bisect_left, insort
from collections import OrderedDict
from typing import Final

from trade_engine.domain.enums import Side
from trade_engine.domain.events import Event, EventFlag, EventKind

#: Changed levels remembered a market, for readers that lag behind.
_CHANGES_MAX: Final = 20_000


class DepthError(RuntimeError):
    """An event takes more from a level than there is: the fold and the core disagree."""


class Depth:
    """Both sides of a book: visible quantity and number of orders at each price."""

    def __init__(self) -> None:
        self._levels: tuple[dict[int, list[int]], dict[int, list[int]]] = ({}, {})
        #: Prices of each side in ascending order; bids are read from the end.
        self._prices: tuple[list[int], list[int]] = ([], [])
        #: How many events of the market have been folded in.
        self.sequence = 0
        #: Sequence of the last change of each level (side, price), oldest first; complete from ``_known_from`` on.
        self._changed: OrderedDict[tuple[int, int], int] = OrderedDict()
        self._known_from = 0

    def start_at(self, sequence: int) -> None:
        """Take the book as it is for the one at ``sequence``: what changed before is not known."""
        self.sequence = self._known_from = sequence
        self._changed.clear()

    def fold(self, event: Event) -> None:
        """Take one event in, in order.

        Raises:
            DepthError: the event does not fit the book.
        """
        self.sequence += 1
        kind = event.kind
        if kind == EventKind.RESTED:
            self.change(event.side, event.price, event.quantity, 1)
        elif kind == EventKind.TRADE:
            self.change(1 - event.side, event.price, -event.quantity, 0 if event.other_leaves else -1)
        elif kind == EventKind.REFILLED:
            self.change(event.side, event.price, event.quantity, 0)
        elif kind == EventKind.PULLED:
            self.change(event.side, event.price, -event.other_leaves, -1)
        elif event.flags & EventFlag.RESTING:
            if kind in (EventKind.CANCELLED, EventKind.EXPIRED):
                self.change(event.side, event.price, -event.other_leaves, -1)
            elif kind in (EventKind.REDUCED, EventKind.AMENDED):
                self.change(event.side, event.price, event.other_leaves - event.other_number, 0)

    def change(self, side: int, price: int, quantity: int, orders: int) -> None:
        """Add lots and orders (both may be negative) to a level.

        Raises:
            DepthError: the level would fall below zero.
        """
        levels, prices = self._levels[side], self._prices[side]
        level = levels.get(price)
        if level is None:
            level = levels[price] = [0, 0]
            insort(prices, price)
        level[0] += quantity
        level[1] += orders
        if level[0] < 0 or level[1] < 0:
            raise DepthError(f"level {price} of side {side} would hold {level[0]} lots of {level[1]} orders")
        if not level[1]:
            del levels[price]
            del prices[bisect_left(prices, price)]
        changed = self._changed
        changed[side, price] = self.sequence
        changed.move_to_end((side, price))
        if len(changed) > _CHANGES_MAX:
            self._known_from = changed.popitem(last=False)[1]

    def changes_since(self, sequence: int) -> list[tuple[int, int, int]] | None:
        """The levels that changed after ``sequence``, newest change first: (side, price, lots now; 0 if it is gone).

        None if that is too long ago to tell.
        """
        if sequence < self._known_from:
            return None
        found = []
        for (side, price), changed in reversed(self._changed.items()):
            if changed <= sequence:
                break
            level = self._levels[side].get(price)
            found.append((side, price, level[0] if level else 0))
        return found

    def best(self, side: Side) -> int:
        """The best price of a side in ticks; 0 if it is empty."""
        prices = self._prices[side]
        return 0 if not prices else prices[-1] if side is Side.BUY else prices[0]

    def count(self, side: Side) -> int:
        """How many levels a side has."""
        return len(self._prices[side])

    def levels(self, side: Side, count: int) -> list[tuple[int, int, int]]:
        """The best ``count`` levels of a side, best first: (price, lots, orders)."""
        prices, levels = self._prices[side], self._levels[side]
        best = prices[: -count - 1 : -1] if side is Side.BUY else prices[:count]
        return [(price, levels[price][0], levels[price][1]) for price in best]
