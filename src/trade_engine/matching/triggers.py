"""How stops that trades have reached enter the market: in which order, and how many of them in one command.

Under CASCADE_BUDGET they enter in rounds.  A round is every stop that the trades of the round before it have reached:
those that wait for the price to rise (BUYs, take-profit SELLs) from the lowest stop price up, then those that wait for
it to fall (SELLs, take-profit BUYs) from the highest down, at one price in time order.  So a round is two prices, and
the stops stay where they wait until their turn comes.  One command starts as many stops, and meets as many makers, as
the market's maximum of fills says; what does not fit waits, in the same order, for the next TRIGGER.  A stop that would
not come to its end within what is left waits too, so that it never loses its rest to those before it.

Without that rule (version 0.1) all stops that were reached enter in the same command, whatever that takes.
"""

from collections import deque
from collections.abc import Callable

from trade_engine.matching.book_state import BookState
from trade_engine.matching.codes import BUY, CASCADE_BUDGET, SELL
from trade_engine.matching.ladder import BookOrder
from trade_engine.matching.taker import comes_to_its_end

Trigger = Callable[[BookOrder], None]


def cascade(book: BookState, trigger: Trigger) -> None:
    """Start the stops that the last taker's trades have reached, and those that their trades reach.

    ``trigger`` lets one stop, which is out of everything by then, enter.
    """
    if not book.rules & CASCADE_BUDGET and not book.reached_high:
        _cascade_whole(book, trigger)
        return
    _widen(book)
    while (order := _next_in_turn(book)) is not None and _may_start(book, order):
        book.remove(order)
        trigger(order)
        _widen(book)


def _widen(book: BookState) -> None:
    """Let the next round have the stops that the last taker's trades have reached."""
    if book.trade_high:
        book.next_high = max(book.next_high, book.trade_high)
        book.next_low = min(book.next_low or book.trade_low, book.trade_low)


def _next_in_turn(book: BookState) -> BookOrder | None:
    """The stop whose turn it is; None if no stop waits for its turn any more."""
    while True:
        for side, reached in ((BUY, book.reached_high), (SELL, -book.reached_low)):
            level = book.stops[side].best
            if reached and level is not None and level.key <= reached:
                return level.head
        book.reached_high, book.reached_low = book.next_high, book.next_low
        book.next_high = book.next_low = 0
        if not book.reached_high:
            return None


def _may_start(book: BookState, order: BookOrder) -> bool:
    """Whether the command under way may start one more stop; its first one it always may."""
    if not book.max_fills:
        return True
    return book.started < book.max_fills and (not book.met or comes_to_its_end(book, order))


def _cascade_whole(book: BookState, trigger: Trigger) -> None:
    queue: deque[BookOrder] = deque()
    _collect(book, queue)
    while queue:
        order = queue.popleft()
        if book.orders.get(order.order_number) is order:
            book.remove(order)
            trigger(order)
            _collect(book, queue)


def _collect(book: BookState, queue: deque[BookOrder]) -> None:
    """Queue the stops that the last taker's trades reached: rising ones from below, then falling ones from above."""
    if not book.trade_high:
        return
    for stops, reached in ((book.stops[BUY], book.trade_high), (book.stops[SELL], -book.trade_low)):
        while (level := stops.best) is not None and level.key <= reached:
            order = level.head
            assert order is not None
            stops.remove(order)
            queue.append(order)
