"""Commands: what the core is told, in order.  A command is one fixed record, in memory, on the wire and in the journal.

Prices are whole ticks, quantities whole lots, notionals ticks x lots, times microseconds since 1970 UTC.
The record is little-endian, 104 bytes; a batch is records end to end.  Fields a kind does not use are 0.
"""

import struct
from collections.abc import Iterable, Iterator
from enum import IntEnum, IntFlag
from typing import Final, NamedTuple


class CommandKind(IntEnum):
    """What a command asks for.  Each kind first expires, at its ``time_us``, every order that is due."""

    #: A new order.
    PLACE = 1
    #: End ``order_id``.  ``reason`` is written into the event (0 means USER_REQUEST).
    CANCEL = 2
    #: Take ``quantity`` lots off ``order_id``; keeps time priority.  At or above what is left: the order is cancelled.
    REDUCE = 3
    #: Change ``order_id`` to total ``quantity`` lots (filled ones included), ``price``, ``stop_price``; 0 keeps each.
    #: A BUY's ``max_notional`` is replaced if LIMITED_NOTIONAL is set.  ``linked_id`` is what was reserved for the
    #: change in addition, in units of 1e-8: the core does not look at it, replay does.
    AMEND = 4
    #: Cancel the orders of ``user`` (0: of everybody), oldest order first, ``quantity`` of them at most (0: all).
    CANCEL_ALL = 5
    #: Set the market's state to ``state``.
    SET_STATE = 6
    #: Time has come to ``time_us``: expire what is due, ``quantity`` orders at most (0: all).
    TICK = 7
    #: Replace the market's rules; 0 switches each off.  ``price``: price band around the last trade, in parts per
    #: million; ``stop_price``: maximum slippage of a market order against the best price it meets, ppm;
    #: ``quantity``: minimum notional (ticks x lots); ``display``: maximum open orders a user;
    #: ``max_notional``: maximum fills a command (a taker's rest is then cancelled).
    CONFIGURE = 8


class OrderFlag(IntFlag):
    """Options of an order."""

    #: Refused if it would take.
    POST_ONLY = 1
    #: ``max_notional`` counts: a BUY spends no more than that (0: nothing at all).
    LIMITED_NOTIONAL = 2
    #: Market BUY by amount: ``quantity`` is 0, as many lots as ``max_notional`` pays for.
    QUOTE_AMOUNT = 4


class Command(NamedTuple):
    """One command; see the module for units."""

    kind: int
    sequence: int
    time_us: int
    market_id: int
    #: The order's number: its own command's sequence when it was placed, unique in the engine.
    order_id: int = 0
    #: The trader's number (1 and up).
    user: int = 0
    side: int = 0
    type: int = 0
    time_in_force: int = 0
    stp: int = 0
    flags: int = 0
    state: int = 0
    reason: int = 0
    price: int = 0
    quantity: int = 0
    stop_price: int = 0
    #: Iceberg: lots shown at a time; 0 shows all.
    display: int = 0
    #: What a BUY may spend in all (ticks x lots), if LIMITED_NOTIONAL is set.
    max_notional: int = 0
    #: Good till this time; 0: none.  DAY and GTD need one; on any other order it is the end of its longest life.
    expires_us: int = 0
    #: The other leg of a one-cancels-other pair; 0: none.  Only the second leg names the first, which must be live,
    #: whole, unlinked, and of the same user and side.  The first fill or trigger of a leg, or its end, cancels the
    #: other.
    linked_id: int = 0


_RECORD: Final = struct.Struct("<8BI4x11q")
COMMAND_SIZE: Final = _RECORD.size


def encode_command(c: Command) -> bytes:
    """Write one command as its record."""
    # kind, side, type, tif, stp, flags, state, reason | market | eleven 64-bit numbers
    return _RECORD.pack(
        c.kind, c.side, c.type, c.time_in_force, c.stp, c.flags, c.state, c.reason, c.market_id,
        c.sequence, c.time_us, c.order_id, c.user, c.price, c.quantity, c.stop_price,
        c.display, c.max_notional, c.expires_us, c.linked_id,
    )  # fmt: skip


def encode_commands(commands: Iterable[Command]) -> bytes:
    """Write commands end to end."""
    return b"".join(map(encode_command, commands))


def decode_commands(batch: bytes | memoryview) -> Iterator[Command]:
    """Read a batch back; struct.error if it is not a whole number of records."""
    for (
        kind, side, type_, tif, stp, flags, state, reason, market_id,
        sequence, time_us, order_id, user, price, quantity, stop_price,
        display, max_notional, expires_us, linked_id,
    ) in _RECORD.iter_unpack(batch):  # fmt: skip
        yield Command(
            kind, sequence, time_us, market_id, order_id, user, side, type_, tif, stp, flags, state, reason,
            price, quantity, stop_price, display, max_notional, expires_us, linked_id,
        )  # fmt: skip
