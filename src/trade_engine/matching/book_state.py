"""What a reference book holds, and the few ways in which it changes: an order rests, waits, shrinks, ends.

Every change keeps the sums of the levels, the count of each user's orders and the state hash right, and writes its
event.  What is decided (who trades with whom, what is refused) lives in ``checks``, ``taker`` and ``reference``.
"""

from trade_engine.domain.enums import Reason
from trade_engine.matching.codes import (
    BUY,
    CANCELLED,
    OPEN,
    PENDING,
    REDUCED,
    REJECTED,
    RESTED,
    RESTING,
    SELL,
)
from trade_engine.matching.expiry import ExpiryQueue
from trade_engine.matching.ladder import BookOrder, Ladder
from trade_engine.matching.protocol import MarketMemory
from trade_engine.matching.state_hash import MODULUS, memory_hash, order_hash

#: An event's fields in the order of ``domain.events.Event``.
Row = tuple[int, int, int, int, int, int, int, int, int, int, int, int, int]


class BookState:
    """The orders, levels, stops and memory of one market."""

    __slots__ = (
        "_dirty", "_hash_sum", "_hashes", "events", "expiries", "ladders", "last_price", "market_id", "max_fills",
        "max_open_orders", "max_slippage_ppm", "met", "min_notional", "next_high", "next_low", "orders",
        "price_band_ppm", "priority", "reached_high", "reached_low", "rules", "sequence", "started", "state", "stops",
        "trade_high", "trade_low", "user_orders",
    )  # fmt: skip

    def __init__(self, market_id: int) -> None:
        self.market_id = market_id
        self.sequence = 0
        self.events: list[Row] = []
        self.orders: dict[int, BookOrder] = {}
        #: Live orders a user.
        self.user_orders: dict[int, int] = {}
        self.ladders = (Ladder.resting(BUY), Ladder.resting(SELL))
        #: Those that are reached as the price rises, and as it falls.
        self.stops = (Ladder.waiting(BUY), Ladder.waiting(SELL))
        self.expiries = ExpiryQueue(self.orders)
        self.load_memory(MarketMemory(0, OPEN, 0, 0, 0, 0, 0, 0))
        #: Highest and lowest price of the last taker's trades; 0: none.
        self.trade_high = self.trade_low = 0
        #: Makers met, and stops started, by the command under way.
        self.met = self.started = 0
        self._hash_sum = 0
        self._hashes: dict[int, int] = {}
        self._dirty: set[int] = set()

    def memory(self) -> MarketMemory:
        """What is remembered beside the orders."""
        return MarketMemory(
            self.last_price, self.state, self.priority, self.price_band_ppm, self.max_slippage_ppm,
            self.min_notional, self.max_open_orders, self.max_fills, self.rules,
            self.reached_high, self.reached_low, self.next_high, self.next_low,
        )  # fmt: skip

    def load_memory(self, memory: MarketMemory) -> None:
        """Take over what ``memory`` told."""
        (
            self.last_price, self.state, self.priority, self.price_band_ppm, self.max_slippage_ppm,
            self.min_notional, self.max_open_orders, self.max_fills, self.rules,
            self.reached_high, self.reached_low, self.next_high, self.next_low,
        ) = memory  # fmt: skip

    def state_hash(self) -> int:
        """See ``protocol.Book.state_hash``; hashes only what was touched since the last call."""
        for order_number in self._dirty:
            order = self.orders.get(order_number)
            if order is not None:
                fresh = order_hash(order.resting())
                self._hash_sum += fresh - self._hashes.get(order_number, 0)
                self._hashes[order_number] = fresh
        self._dirty.clear()
        self._hash_sum %= MODULUS
        return (self._hash_sum + memory_hash(self.memory())) % MODULUS

    def emit(
        self, kind: int, order_number: int, *, reason: int = 0, side: int = 0, flags: int = 0, other_number: int = 0,
        price: int = 0, quantity: int = 0, leaves: int = 0, other_leaves: int = 0, priority: int = 0,
    ) -> None:  # fmt: skip
        """Write one event."""
        self.events.append((
            kind, reason, side, flags, self.market_id, self.sequence, order_number, other_number, price, quantity,
            leaves, other_leaves, priority,
        ))  # fmt: skip

    def reject(self, order_number: int, reason: Reason) -> None:
        """Write that the command was refused."""
        self.emit(REJECTED, order_number, reason=reason)

    def touch(self, order: BookOrder) -> None:
        """Note that an order's hash is out of date."""
        self._dirty.add(order.order_number)

    def next_priority(self) -> int:
        """Give out the next rank."""
        self.priority += 1
        return self.priority

    def rest(self, order: BookOrder) -> None:
        """Put an order at the back of its level and say so."""
        order.priority = self.next_priority()
        order.display_remaining = min(order.display, order.leaves) if order.display else order.leaves
        self.insert(order)
        self.emit(
            RESTED, order.order_number, side=order.side, price=order.price, leaves=order.leaves,
            quantity=order.display_remaining, priority=order.priority,
        )  # fmt: skip

    def wait(self, order: BookOrder) -> None:
        """Let a stop wait outside the book and say so."""
        order.priority = self.next_priority()
        order.waiting = 1
        self.insert(order)
        self.emit(
            PENDING, order.order_number, side=order.side, price=order.stop_price, leaves=order.leaves,
            priority=order.priority,
        )  # fmt: skip

    def insert(self, order: BookOrder) -> None:
        """Make an order live: resting, or waiting if it says so."""
        self.orders[order.order_number] = order
        self.user_orders[order.user] = self.user_orders.get(order.user, 0) + 1
        if order.waiting:
            self.stops[order.reached_falling].add(order, order.stop_price)
        else:
            self.ladders[order.side].add(order, order.price)
        self.expiries.add(order)
        self.touch(order)

    def remove(self, order: BookOrder) -> None:
        """Take an order out of everything; it is not live any more.  Writes no event."""
        if not order.waiting:
            self.ladders[order.side].remove(order)
        elif order.level is not None:
            self.stops[order.reached_falling].remove(order)
        del self.orders[order.order_number]
        left = self.user_orders[order.user] - 1
        if left:
            self.user_orders[order.user] = left
        else:
            del self.user_orders[order.user]
        self._hash_sum -= self._hashes.pop(order.order_number, 0)
        self._dirty.discard(order.order_number)

    def end(self, order: BookOrder, kind: int, reason: int) -> None:
        """End a live order (CANCELLED or EXPIRED), and with it the other leg of its pair."""
        self._end_one(order, kind, reason)
        self.cancel_linked(order)

    def cancel_linked(self, order: BookOrder) -> None:
        """Cancel the other leg of a pair; from then on neither is linked."""
        if order.linked_number:
            other = self.orders[order.linked_number]
            order.linked_number = 0
            if order.order_number in self.orders:
                self.touch(order)
            self._end_one(other, CANCELLED, Reason.LINKED_ORDER)

    def _end_one(self, order: BookOrder, kind: int, reason: int) -> None:
        self.remove(order)
        in_book = not order.waiting
        self.emit(
            kind, order.order_number, reason=reason, side=order.side, price=order.price, quantity=order.leaves,
            flags=RESTING if in_book else 0, other_leaves=order.display_remaining if in_book else 0,
        )  # fmt: skip

    def shrink(self, order: BookOrder, quantity: int) -> None:
        """Take lots off a live order, hidden ones first; it keeps its place.  Writes no event."""
        order.quantity -= quantity
        order.leaves -= quantity
        shown_off = order.display_remaining - min(order.display_remaining, order.leaves)
        order.display_remaining -= shown_off
        level = order.level
        assert level is not None
        level.visible -= shown_off
        level.total -= quantity
        self.touch(order)

    def reduce(self, order: BookOrder, quantity: int, reason: int) -> None:
        """Take lots off a live order and say so; it must have more than that."""
        shown_before = order.display_remaining
        self.shrink(order, quantity)
        self.emit(
            REDUCED, order.order_number, reason=reason, side=order.side, price=order.price, quantity=quantity,
            leaves=order.leaves, flags=0 if order.waiting else RESTING, other_number=shown_before,
            other_leaves=order.display_remaining,
        )  # fmt: skip

    def stop_reached(self, order: BookOrder) -> bool:
        """Whether the last trade has reached an order's stop price."""
        if not self.last_price or not order.is_stop:
            return False
        if order.reached_falling:
            return self.last_price <= order.stop_price
        return self.last_price >= order.stop_price
