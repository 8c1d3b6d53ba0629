"""Events: what the core did, in order.  Like a command, an event is one fixed record everywhere.

Units as in ``commands``.  Record: little-endian, 72 bytes.  Order inside a command: what falls due first (EXPIRED,
each with the CANCELLED of its other leg), then the event that tells the command's fate, then for each fill TRADE
(and REFILLED if an iceberg shows its next part, and CANCELLED for the other legs of pairs), then what became of the
rest (CANCELLED, RESTED or PENDING; nothing if it was filled), then the same for each stop that was reached, from
TRIGGERED on.  CANCEL_ALL, TICK and TRIGGER write no event if there is nothing to end or to start.
"""

import struct
from collections.abc import Iterator
from enum import IntEnum, IntFlag
from typing import Final, NamedTuple


class EventKind(IntEnum):
    """What happened; which fields each kind fills is said here (``market_id`` and ``sequence`` always are)."""

    #: A PLACE passed all checks.  order_number, side, price, quantity, leaves = quantity, other_number = user.
    ACCEPTED = 1
    #: The command was refused and changed nothing.  order_number, reason.
    REJECTED = 2
    #: order_number = taker, other_number = maker, side = the taker's, price = the maker's, quantity;
    #: leaves and other_leaves = what taker and maker have left in all (hidden part included).  For a QUOTE_AMOUNT
    #: taker, which has no quantity, leaves is the notional (ticks x lots) it has left.
    TRADE = 3
    #: The order now rests in the book.  side, price, leaves, quantity = visible part, priority.
    RESTED = 4
    #: The order ended unfilled in part.  side, price, quantity = lots cancelled, reason; RESTING if it left the book;
    #: other_leaves = the visible part that left the book.  A QUOTE_AMOUNT taker: quantity 0, and
    #: MAX_NOTIONAL_REACHED means that what is left of the amount pays for no lot at the next price.
    CANCELLED = 5
    #: As CANCELLED, because its time had come.
    EXPIRED = 6
    #: quantity lots were taken off an order, which stays (its total shrinks by them).  side, price, leaves, reason;
    #: RESTING if it is in the book, and then other_number and other_leaves = its visible part before and now.
    #: DECREMENT also reduces the taker.
    REDUCED = 7
    #: The order was changed.  side, price = new, quantity = new total, leaves.  If it kept its place (RESTING):
    #: other_number and other_leaves = its visible part before and now, priority = its own.  If it waits as a stop:
    #: other_number = stop price now, priority = its own.  Else it lost its place: PULLED came before, TRADE or RESTED
    #: follow.
    AMENDED = 8
    #: A stop order waits outside the book.  side, price = stop price, leaves, priority.
    PENDING = 9
    #: A stop order enters the market.  side, price = the trade price that did it, leaves.
    TRIGGERED = 10
    #: An iceberg shows its next part, at the back of its level.  side, price, quantity = visible part, leaves,
    #: priority.
    REFILLED = 11
    #: The market's state changed to ``reason`` (a MarketState number).
    STATE_CHANGED = 12
    #: The market's rules changed.
    CONFIGURED = 13
    #: An order leaves its place in the book because an amendment costs it its priority.  side, price = the old one,
    #: leaves, other_leaves = the visible part that left.
    PULLED = 14


class EventFlag(IntFlag):
    """Marks on an event."""

    #: The order was in the book (it counted in its level) when this happened.
    RESTING = 1


class Event(NamedTuple):
    """One event; see EventKind for what the fields mean."""

    kind: int
    reason: int
    side: int
    flags: int
    market_id: int
    sequence: int
    order_number: int
    other_number: int
    price: int
    quantity: int
    leaves: int
    other_leaves: int
    priority: int


_RECORD: Final = struct.Struct("<4BI8q")


def decode_events(batch: bytes | memoryview) -> Iterator[Event]:
    """Read a batch back; struct.error if it is not a whole number of records."""
    return map(Event._make, _RECORD.iter_unpack(batch))
