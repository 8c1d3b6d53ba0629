"""What is refused, and why: every check that a command must pass before anything changes.

Each function answers with the first Reason found, or ``Reason.NONE``.  They read the book and never change it.
The order of the checks is part of the contract: both books give the same reason.
"""

from typing import Final

from trade_engine.domain.commands import Command
from trade_engine.domain.enums import MarketState, Reason
from trade_engine.domain.scale import MAX_UNITS
from trade_engine.matching.book_state import BookState
from trade_engine.matching.codes import (
    AMEND,
    BUY,
    CANCEL,
    CANCEL_ALL,
    CANCEL_ONLY,
    CLOSED,
    DAY,
    FINE,
    FOK,
    GTD,
    HALTED,
    IOC,
    LIMIT,
    LIMITED_NOTIONAL,
    MARKET,
    OPEN,
    PLACE,
    POST_ONLY,
    QUOTE_AMOUNT,
    REDUCE,
    REVERSED,
    STOP,
    STOP_LIMIT,
    TRIGGER,
)
from trade_engine.matching.ladder import BookOrder
from trade_engine.matching.taker import may_rest, would_take

#: The largest price, quantity, notional or rule.
MAX_VALUE: Final = MAX_UNITS
_PPM: Final = 1_000_000
_LIMIT_TYPES: Final = (LIMIT, STOP_LIMIT)
_STOP_TYPES: Final = (STOP, STOP_LIMIT)
_AT_ONCE: Final = (IOC, FOK)
_ALL_FLAGS: Final = POST_ONLY | LIMITED_NOTIONAL | QUOTE_AMOUNT | REVERSED
_CLOSED_BY: Final = {
    HALTED: Reason.MARKET_HALTED,
    CANCEL_ONLY: Reason.MARKET_CANCEL_ONLY,
    CLOSED: Reason.MARKET_CLOSED,
}
_ENTERING: Final = (PLACE, AMEND, TRIGGER)
_LEAVING: Final = (CANCEL, REDUCE, CANCEL_ALL)
_LAST_REASON: Final = max(Reason)


def check_state(book: BookState, c: Command) -> Reason:
    """Whether the market's state lets the command in.  An administrator may always take orders out."""
    if book.state == OPEN or c.kind not in _ENTERING + _LEAVING:
        return FINE
    if c.kind in _LEAVING and (book.state == CANCEL_ONLY or c.reason == Reason.ADMIN_REQUEST):
        return FINE
    return _CLOSED_BY[MarketState(book.state)]


def check_leaving(c: Command) -> Reason:
    """Whether CANCEL, REDUCE or CANCEL_ALL makes sense in itself."""
    if c.reason and not Reason.USER_REQUEST <= c.reason <= _LAST_REASON:
        return Reason.INVALID_COMMAND
    if c.kind == REDUCE and c.quantity <= 0:
        return Reason.INVALID_QUANTITY
    if c.kind == CANCEL_ALL and (c.quantity < 0 or c.user < 0):
        return Reason.INVALID_COMMAND
    return FINE


def check_place(book: BookState, c: Command) -> Reason:
    """Every check on a new order, in order: shape, numbers, link, market rules."""
    return _check_shape(book, c) or _check_numbers(c) or _check_link(book, c) or _check_rules(book, c) or FINE


def _check_shape(book: BookState, c: Command) -> Reason:
    if c.order_number <= 0 or c.user <= 0 or c.side > 1 or c.type > 3 or c.time_in_force > 4 or c.stp > 4:
        return Reason.INVALID_COMMAND
    if c.order_number in book.orders:
        return Reason.DUPLICATE_ORDER_ID
    return _check_flags(c)


def _check_flags(c: Command) -> Reason:
    post_only = c.flags & POST_ONLY
    limited = c.flags & LIMITED_NOTIONAL
    by_amount = c.flags & QUOTE_AMOUNT
    if (
        c.flags & ~_ALL_FLAGS
        or (post_only and (c.type not in _LIMIT_TYPES or c.time_in_force in _AT_ONCE))
        or (limited and c.side != BUY)
        or (c.flags & REVERSED and c.type not in _STOP_TYPES)
        or (by_amount and (not limited or c.type != MARKET or c.time_in_force == FOK))
    ):
        return Reason.INVALID_FLAGS
    return FINE


def _check_numbers(c: Command) -> Reason:
    by_amount = c.flags & QUOTE_AMOUNT
    if c.quantity != 0 if by_amount else not 0 < c.quantity <= MAX_VALUE:
        return Reason.INVALID_QUANTITY
    if not 0 < c.price <= MAX_VALUE if c.type in _LIMIT_TYPES else c.price != 0:
        return Reason.INVALID_PRICE
    if not 0 < c.stop_price <= MAX_VALUE if c.type in _STOP_TYPES else c.stop_price != 0:
        return Reason.INVALID_STOP_PRICE
    if c.price * c.quantity > MAX_VALUE or c.stop_price * c.quantity > MAX_VALUE:
        return Reason.NOTIONAL_OVERFLOW
    if c.flags & LIMITED_NOTIONAL and not 0 <= c.max_notional <= MAX_VALUE:
        return Reason.NOTIONAL_OVERFLOW
    if c.display and (not 0 < c.display <= c.quantity or c.type not in _LIMIT_TYPES or c.time_in_force in _AT_ONCE):
        return Reason.INVALID_DISPLAY_QUANTITY
    needs_expiry = c.time_in_force in (DAY, GTD)
    if (needs_expiry or c.expires_us) and not max(c.time_us, 0) < c.expires_us <= MAX_VALUE:
        return Reason.INVALID_EXPIRY
    return FINE


def _check_link(book: BookState, c: Command) -> Reason:
    """The second leg names the first, which must be whole, live, unlinked and of the same user and side."""
    if not c.linked_number:
        return FINE
    other = book.orders.get(c.linked_number)
    if (
        other is None
        or other.linked_number
        or other.user != c.user
        or other.side != c.side
        or other.leaves != other.quantity
        or not may_rest(c.type, c.time_in_force)
    ):
        return Reason.INVALID_LINK
    return FINE


def _check_rules(book: BookState, c: Command) -> Reason:
    if c.price and outside_band(book, c.price):
        return Reason.PRICE_BAND
    if book.min_notional and _notional(book, c) < book.min_notional:
        return Reason.MIN_NOTIONAL
    open_orders = book.user_orders.get(c.user, 0)
    if book.max_open_orders and may_rest(c.type, c.time_in_force) and open_orders >= book.max_open_orders:
        return Reason.MAX_OPEN_ORDERS
    if c.flags & POST_ONLY and c.type == LIMIT and would_take(book, c.side, c.price):
        return Reason.POST_ONLY_WOULD_TAKE
    return Reason.TRIGGERS_WAITING if book.reached_high else FINE


def outside_band(book: BookState, price: int) -> bool:
    """Whether a price is further from the last trade than the market's band allows."""
    if not book.price_band_ppm or not book.last_price:
        return False
    return abs(price - book.last_price) * _PPM > book.price_band_ppm * book.last_price


def _notional(book: BookState, c: Command) -> int:
    """What an order is worth for the minimum notional; an order that no price can be told for passes."""
    if c.flags & QUOTE_AMOUNT:
        return c.max_notional
    if c.type == MARKET:
        best = book.ladders[1 - c.side].best
        price = best.price if best is not None else book.last_price
        return price * c.quantity if price else book.min_notional
    return (c.price or c.stop_price) * c.quantity


def check_amend(book: BookState, order: BookOrder, c: Command) -> Reason:
    """Whether ``order`` may be changed as ``c`` asks; 0 keeps a field."""
    limited = c.flags & LIMITED_NOTIONAL
    if c.flags & ~LIMITED_NOTIONAL or (limited and order.side != BUY):
        return Reason.INVALID_FLAGS
    filled = order.quantity - order.leaves
    if limited and not order.flags & LIMITED_NOTIONAL and filled:
        return Reason.INVALID_FLAGS
    price = c.price or order.price
    quantity = c.quantity or order.quantity
    stop_price = c.stop_price or order.stop_price
    if not filled < quantity <= MAX_VALUE:
        return Reason.INVALID_QUANTITY
    if c.price and (order.type not in _LIMIT_TYPES or not 0 < price <= MAX_VALUE):
        return Reason.INVALID_PRICE
    if c.stop_price and (not order.waiting or not 0 < stop_price <= MAX_VALUE):
        return Reason.INVALID_STOP_PRICE
    if price * quantity > MAX_VALUE or stop_price * quantity > MAX_VALUE:
        return Reason.NOTIONAL_OVERFLOW
    max_notional = c.max_notional if limited else order.max_notional
    if limited and not order.spent_notional <= max_notional <= MAX_VALUE:
        return Reason.NOTIONAL_OVERFLOW
    flags = order.flags | limited
    if (price, quantity, stop_price, flags, max_notional) == (
        order.price, order.quantity, order.stop_price, order.flags, order.max_notional,
    ):  # fmt: skip
        return Reason.NO_CHANGE
    must_afford = not order.waiting and flags & LIMITED_NOTIONAL
    if must_afford and price * (quantity - filled) > max_notional - order.spent_notional:
        return Reason.NOTIONAL_OVERFLOW
    return _check_amended_rules(book, order, price, quantity, stop_price)


def _check_amended_rules(book: BookState, order: BookOrder, price: int, quantity: int, stop_price: int) -> Reason:
    if price != order.price and outside_band(book, price):
        return Reason.PRICE_BAND
    if (price or stop_price) * quantity < book.min_notional:
        return Reason.MIN_NOTIONAL
    post_only = order.flags & POST_ONLY and not order.waiting
    if post_only and price != order.price and would_take(book, order.side, price):
        return Reason.POST_ONLY_WOULD_TAKE
    enters = not order.waiting and (price != order.price or quantity > order.quantity)
    return Reason.TRIGGERS_WAITING if enters and book.reached_high else FINE
