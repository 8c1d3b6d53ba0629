"""How an order takes: price-time priority at the maker's price, until it is filled or something stops it.

The steps are the same for a new order, an amended one that lost its place and a stop that was triggered.  A taker is
never live while it takes.  Nothing here recurses: stops that its trades reach are started by ``reference`` afterwards.
"""

from collections import deque
from collections.abc import Iterator
from itertools import chain
from typing import Final

from trade_engine.domain.enums import Reason
from trade_engine.matching.book_state import BookState
from trade_engine.matching.codes import (
    ALLOWED,
    BUY,
    CANCEL_BOTH,
    CANCEL_NEWEST,
    CANCEL_OLDEST,
    CANCELLED,
    CASCADE_BUDGET,
    DECREMENT,
    FINE,
    FOK,
    IOC,
    LIMIT,
    LIMITED_NOTIONAL,
    QUOTE_AMOUNT,
    REDUCED,
    REFILLED,
    STOP,
    STOP_LIMIT,
    TRADE,
)
from trade_engine.matching.ladder import BookOrder, PriceLevel

_PPM: Final = 1_000_000
_ANY_PRICE: Final = 1 << 63
_ANY_BUDGET: Final = 1 << 100
#: How a taker would end: filled; with a rest, or stopped by something; by the command's maximum of fills.
_WHOLE: Final = 1
_SHORT: Final = 0
_TOO_LONG: Final = -1


def limit_key(book: BookState, taker: BookOrder) -> int:
    """The worst level a taker may meet, as a key of the opposite ladder."""
    if not taker.enters_as_market:
        return taker.price if taker.side == BUY else -taker.price
    best = book.ladders[1 - taker.side].best
    if not book.max_slippage_ppm or best is None:
        return _ANY_PRICE
    return best.key + best.price * book.max_slippage_ppm // _PPM


def would_take(book: BookState, side: int, price: int) -> bool:
    """Whether an order of ``side`` at ``price`` meets the opposite side's best level."""
    best = book.ladders[1 - side].best
    return best is not None and best.key <= (price if side == BUY else -price)


def take(book: BookState, taker: BookOrder) -> None:
    """Fill a taker as far as it goes; what is left rests or is cancelled, with one event that says so."""
    book.trade_high = book.trade_low = 0
    if not book.rules & CASCADE_BUDGET:
        book.met = 0
    worst = limit_key(book, taker)
    if taker.time_in_force == FOK and _foresee(book, taker, worst) != _WHOLE:
        _cancel_rest(book, taker, Reason.FOK_REMAINDER)
        return
    reason = _match(book, taker, worst)
    if reason is not FINE:
        _cancel_rest(book, taker, reason)
    elif not _left(taker):
        return
    elif taker.enters_as_market:
        _cancel_rest(book, taker, _market_remainder(book, taker))
    elif taker.time_in_force == IOC:
        _cancel_rest(book, taker, Reason.IOC_REMAINDER)
    elif taker.flags & LIMITED_NOTIONAL and taker.price * taker.leaves > taker.max_notional - taker.spent_notional:
        _cancel_rest(book, taker, Reason.MAX_NOTIONAL_REACHED)
    else:
        book.rest(taker)


def _left(taker: BookOrder) -> int:
    """What a taker can still take: lots, or notional if it buys by amount."""
    if taker.flags & QUOTE_AMOUNT:
        return taker.max_notional - taker.spent_notional
    return taker.leaves


def _market_remainder(book: BookState, taker: BookOrder) -> Reason:
    if book.ladders[1 - taker.side].best is not None:
        return Reason.MAX_SLIPPAGE_REACHED
    return Reason.MARKET_REMAINDER if book.trade_high else Reason.NO_LIQUIDITY


def _cancel_rest(book: BookState, taker: BookOrder, reason: Reason) -> None:
    book.emit(CANCELLED, taker.order_number, reason=reason, side=taker.side, price=taker.price, quantity=taker.leaves)
    book.cancel_linked(taker)


def _match(book: BookState, taker: BookOrder, worst: int) -> Reason:
    """Trade until the taker is filled, no level is good enough (NONE) or something stops it (why)."""
    ladder = book.ladders[1 - taker.side]
    while _left(taker):
        level = ladder.best
        if level is None or level.key > worst:
            return FINE
        if book.max_fills and book.met == book.max_fills:
            return Reason.MAX_FILLS_REACHED
        maker = level.head
        assert maker is not None
        affordable = _affordable(taker, level.price, maker.display_remaining)
        if not affordable:
            return Reason.MAX_NOTIONAL_REACHED
        book.met += 1
        if maker.user == taker.user and taker.stp != ALLOWED:
            if _prevent_self_trade(book, taker, maker):
                return Reason.SELF_TRADE
        else:
            _fill(book, taker, maker, level, affordable)
    return FINE


def _affordable(taker: BookOrder, price: int, quantity: int) -> int:
    """How many of ``quantity`` lots a taker wants and may pay at ``price``."""
    if not taker.flags & QUOTE_AMOUNT:
        quantity = min(quantity, taker.leaves)
    if taker.flags & LIMITED_NOTIONAL:
        quantity = min(quantity, (taker.max_notional - taker.spent_notional) // price)
    return quantity


def _fill(book: BookState, taker: BookOrder, maker: BookOrder, level: PriceLevel, quantity: int) -> None:
    """One trade between a taker and the first order of the best level."""
    price = level.price
    if taker.flags & LIMITED_NOTIONAL:
        taker.spent_notional += price * quantity
    if not taker.flags & QUOTE_AMOUNT:
        taker.leaves -= quantity
    if maker.flags & LIMITED_NOTIONAL:
        maker.spent_notional += price * quantity
    maker.leaves -= quantity
    maker.display_remaining -= quantity
    level.visible -= quantity
    level.total -= quantity
    book.last_price = price
    book.trade_high = max(book.trade_high, price)
    book.trade_low = min(book.trade_low or price, price)
    book.emit(
        TRADE, taker.order_number, side=taker.side, other_number=maker.order_number, price=price, quantity=quantity,
        leaves=_left(taker), other_leaves=maker.leaves,
    )  # fmt: skip
    if not maker.leaves:
        book.remove(maker)
    else:
        book.touch(maker)
        if not maker.display_remaining:
            _refill(book, maker, level)
    book.cancel_linked(maker)
    book.cancel_linked(taker)


def _refill(book: BookState, maker: BookOrder, level: PriceLevel) -> None:
    """Show an iceberg's next part, behind everybody else of its price."""
    level.unlink(maker)
    maker.display_remaining = min(maker.display, maker.leaves)
    maker.priority = book.next_priority()
    level.append(maker)
    book.emit(
        REFILLED, maker.order_number, side=maker.side, price=maker.price, quantity=maker.display_remaining,
        leaves=maker.leaves, priority=maker.priority,
    )  # fmt: skip


def _prevent_self_trade(book: BookState, taker: BookOrder, maker: BookOrder) -> bool:
    """Do what the taker's mode asks for; True if the taker's rest must be cancelled."""
    if taker.stp == CANCEL_NEWEST:
        return True
    if taker.stp != DECREMENT:
        book.end(maker, CANCELLED, Reason.SELF_TRADE)
        return taker.stp == CANCEL_BOTH
    lots = (
        _affordable(taker, maker.price, maker.leaves) if taker.flags & QUOTE_AMOUNT else min(taker.leaves, maker.leaves)
    )
    if lots == maker.leaves:
        book.end(maker, CANCELLED, Reason.SELF_TRADE)
    else:
        book.reduce(maker, lots, Reason.SELF_TRADE)
    return _decrement(book, taker, maker.price, lots)


def _decrement(book: BookState, taker: BookOrder, price: int, lots: int) -> bool:
    """Take ``lots`` off the taker; True if nothing else is left of it (its CANCELLED event then counts them)."""
    if taker.flags & QUOTE_AMOUNT:
        taker.max_notional -= price * lots
        if not _left(taker):
            return True
    elif lots == taker.leaves:
        return True
    else:
        taker.quantity -= lots
        taker.leaves -= lots
    book.emit(
        REDUCED, taker.order_number, reason=Reason.SELF_TRADE, side=taker.side, price=taker.price,
        quantity=lots, leaves=_left(taker),
    )  # fmt: skip
    return False


def comes_to_its_end(book: BookState, stop: BookOrder) -> bool:
    """Whether a stop that entered now would be stopped by anything but the command's maximum of fills."""
    return _foresee(book, stop, limit_key(book, stop)) != _TOO_LONG


def _foresee(book: BookState, taker: BookOrder, worst: int) -> int:
    """How a taker that has a quantity would end, with what is left of the command's fills; touches nothing.

    It plays the orders of each level in the order in which they would be met, refills of icebergs included, without
    the legs that a fill of the other leg would have cancelled by then.
    """
    wanted, met = taker.leaves, book.met
    gone: set[int] = set()
    budget = taker.max_notional - taker.spent_notional if taker.flags & LIMITED_NOTIONAL else _ANY_BUDGET
    for level in book.ladders[1 - taker.side]:
        if level.key > worst:
            return _SHORT
        refills: deque[tuple[BookOrder, int, int]] = deque()
        for maker, shown, leaves in chain(_resting(level), _drained(refills)):
            if maker.order_number in gone:
                continue
            if book.max_fills and met == book.max_fills:
                return _TOO_LONG
            met += 1
            if maker.linked_number:
                gone.add(maker.linked_number)
            if maker.user == taker.user and taker.stp != ALLOWED:
                wanted -= _taken_off(taker, wanted, leaves)
                if not wanted:
                    return _SHORT
                continue
            lots = min(wanted, shown)
            budget -= lots * level.price
            if budget < 0:
                return _SHORT
            wanted -= lots
            if not wanted:
                return _WHOLE
            if leaves > shown:
                refills.append((maker, min(maker.display, leaves - shown), leaves - shown))
    return _SHORT


def _taken_off(taker: BookOrder, wanted: int, leaves: int) -> int:
    """How many of ``wanted`` lots meeting an own order of ``leaves`` lots costs a taker; all if it stops the taker."""
    if taker.stp == CANCEL_OLDEST:
        return 0
    return min(leaves, wanted) if taker.stp == DECREMENT and taker.time_in_force != FOK else wanted


def _resting(level: PriceLevel) -> Iterator[tuple[BookOrder, int, int]]:
    return ((maker, maker.display_remaining, maker.leaves) for maker in level)


def _drained(queue: deque[tuple[BookOrder, int, int]]) -> Iterator[tuple[BookOrder, int, int]]:
    while queue:
        yield queue.popleft()


def may_rest(order_type: int, time_in_force: int) -> bool:
    """Whether an order of this kind can stay: resting in the book, or waiting as a stop."""
    if order_type in (STOP, STOP_LIMIT):
        return True
    return order_type == LIMIT and time_in_force not in (IOC, FOK)
