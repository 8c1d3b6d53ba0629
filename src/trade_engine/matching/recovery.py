"""How a reference book is filled from what another one told, and how it is checked from top to bottom.

``restore_book`` trusts nothing: orders that contradict one another leave the book empty and raise.
``verify_book`` reads every structure twice, once by order and once by level, and compares.
"""

from trade_engine.domain.commands import OrderFlag, RuleFlag
from trade_engine.domain.enums import MarketState, OrderType, Side
from trade_engine.domain.scale import MAX_UNITS
from trade_engine.matching.book_state import BookState
from trade_engine.matching.ladder import BookOrder, Ladder
from trade_engine.matching.protocol import MarketMemory, Resting

#: What an order that rests or waits may have.
_LIVE_FLAGS = int(OrderFlag.POST_ONLY | OrderFlag.LIMITED_NOTIONAL | OrderFlag.REVERSED)


def restore_book(book: BookState, memory: MarketMemory, orders: list[Resting]) -> None:
    """Fill an empty book with ``orders`` in ascending priority.

    Raises:
        ValueError: the book is not empty, or what it is given contradicts itself; the book is as it was.
    """
    if book.orders or book.priority:
        raise ValueError("only an empty book can be restored")
    problem = _memory_problem(memory) or _first_problem(orders, memory)
    if problem:
        raise ValueError(problem)
    before = book.memory()
    book.load_memory(memory)
    for resting in orders:
        book.insert(BookOrder.of(resting))
    bid, ask = book.ladders[Side.BUY].best, book.ladders[Side.SELL].best
    if bid is not None and ask is not None and bid.price >= ask.price:
        for order in list(book.orders.values()):
            book.remove(order)
        book.load_memory(before)
        raise ValueError(f"the book is crossed: bid {bid.price}, ask {ask.price}")


def _memory_problem(memory: MarketMemory) -> str:
    if memory.state not in MarketState.__members__.values():
        return f"market state {memory.state} is not known"
    if not all(0 <= number <= MAX_UNITS for number in memory) or memory.rules > RuleFlag.CASCADE_BUDGET:
        return f"memory out of range: {memory}"
    halves = (memory.reached_high, memory.reached_low), (memory.next_high, memory.next_low)
    if any(bool(high) != bool(low) or high < low for high, low in halves) or (memory.next_high and not any(halves[0])):
        return f"the stops that wait for their turn contradict one another: {halves}"
    return ""


def _first_problem(orders: list[Resting], memory: MarketMemory) -> str:
    by_id = {order.order_number: order for order in orders}
    if len(by_id) != len(orders):
        return "an order number comes twice"
    last = 0
    for order in orders:
        if order.priority <= last or order.priority > memory.priority:
            return f"order {order.order_number}: priority {order.priority} is out of order"
        last = order.priority
        problem = order_problem(order)
        if problem:
            return f"order {order.order_number}: {problem}"
        if order.linked_number:
            other = by_id.get(order.linked_number)
            if other is None or other.linked_number != order.order_number:
                return (
                    f"order {order.order_number}: its other leg {order.linked_number} is not there or not linked to it"
                )
    return ""


def order_problem(o: Resting) -> str:
    """What is wrong with a live order in itself; empty if nothing is."""
    numbers = (
        o.price, o.stop_price, o.display, o.display_remaining, o.max_notional, o.spent_notional, o.expires_us,
    )  # fmt: skip
    if (
        o.order_number <= 0
        or o.user <= 0
        or o.linked_number < 0
        or not all(0 <= number <= MAX_UNITS for number in numbers)
    ):
        return "a number is out of range"
    words = o.side > 1 or o.type > OrderType.STOP_LIMIT or o.time_in_force > 4 or o.stp > 4 or o.waiting > 1
    if words or o.flags & ~_LIVE_FLAGS:
        return "an enumeration is out of range"
    if not 0 < o.leaves <= o.quantity <= MAX_UNITS or o.price * o.quantity > MAX_UNITS:
        return "its quantities contradict one another"
    is_stop = o.type in (OrderType.STOP, OrderType.STOP_LIMIT)
    if o.flags & OrderFlag.REVERSED and not is_stop:
        return "an enumeration is out of range"
    if o.waiting:
        return "" if is_stop and o.stop_price and not o.display_remaining else "it cannot wait as a stop"
    if o.type in (OrderType.MARKET, OrderType.STOP) or not o.price:
        return "it cannot rest"
    if not 0 < o.display_remaining <= (min(o.display, o.leaves) if o.display else o.leaves):
        return "its visible part is wrong"
    if not o.display and o.display_remaining != o.leaves:
        return "its visible part is wrong"
    if o.flags & OrderFlag.LIMITED_NOTIONAL and o.price * o.leaves > o.max_notional - o.spent_notional:
        return "it could spend more than it may"
    return ""


def verify_book(book: BookState) -> None:
    """Verify every invariant of the book.

    Raises:
        AssertionError: one does not hold; the message says which.
    """
    seen: set[int] = set()
    for side in Side:
        _verify_ladder(book, book.ladders[side], side, 0, seen)
        _verify_ladder(book, book.stops[side], side, 1, seen)
    _require(seen == set(book.orders), "orders by number and orders by level differ")
    bid, ask = book.ladders[Side.BUY].best, book.ladders[Side.SELL].best
    _require(bid is None or ask is None or bid.price < ask.price, "the book is crossed")
    priorities = {order.priority for order in book.orders.values()}
    _require(len(priorities) == len(book.orders), "a priority comes twice")
    _require(all(0 < p <= book.priority for p in priorities), "a priority was never given out")
    problem = _first_problem(
        sorted((o.resting() for o in book.orders.values()), key=lambda o: o.priority), book.memory()
    )
    _require(not problem, problem)
    counted: dict[int, int] = {}
    for order in book.orders.values():
        counted[order.user] = counted.get(order.user, 0) + 1
    _require(counted == book.user_orders, "a user's open orders are miscounted")
    due = [order.expires_us for order in book.orders.values() if order.expires_us]
    first = book.expiries.first()
    _require((first.expires_us if first else 0) == min(due, default=0), "the next expiry is wrong")


def _verify_ladder(book: BookState, ladder: Ladder, side: Side, waiting: int, seen: set[int]) -> None:
    last_key = None
    for level in ladder:
        _require(last_key is None or level.key > last_key, "levels are out of order")
        last_key = level.key
        count = visible = total = last_priority = 0
        for order in level:
            _require(book.orders.get(order.order_number) is order, f"order {order.order_number} is not known by number")
            _require(order.order_number not in seen, f"order {order.order_number} is in two places")
            seen.add(order.order_number)
            _require(order.level is level and order.waiting == waiting, "an order is misplaced")
            _require((order.reached_falling if waiting else order.side) == side, "an order is on the wrong side")
            price = order.stop_price if waiting else order.price
            _require(level.price == price, f"order {order.order_number} is at the wrong price")
            _require(order.priority > last_priority, f"level {level.price}: priorities are out of order")
            last_priority = order.priority
            count, visible, total = count + 1, visible + order.display_remaining, total + order.leaves
        _require(count > 0, f"level {level.price} is empty")
        _require((count, visible, total) == (level.count, level.visible, level.total), "a level's sums are wrong")


def _require(holds: bool, message: str) -> None:
    if not holds:
        raise AssertionError(message)
