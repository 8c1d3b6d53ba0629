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
    #: End ``order_number``.  ``reason`` is written into the event (0 means USER_REQUEST).
    CANCEL = 2
    #: Take ``quantity`` lots off ``order_number``; keeps time priority.  At or above what is left: it is cancelled.
    REDUCE = 3
    #: Change ``order_number`` to total ``quantity`` lots (filled ones included), ``price``, ``stop_price``; 0 keeps
    #: each.  A BUY's ``max_notional`` is replaced if LIMITED_NOTIONAL is set.  ``linked_number`` is read as
    #: ``added_funds``, what was reserved for the change in addition, in units of 1e-8: the core does not look at it,
    #: replay does.
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
    #: ``max_notional``: maximum fills a command (a taker's rest is then cancelled); ``flags``: bits of RuleFlag.
    CONFIGURE = 8
    #: Let the stops that were reached and still wait for their turn enter, as many as the fills of a command allow.
    #: It does nothing if none wait.
    TRIGGER = 9


class RuleFlag(IntFlag):
    """Which meaning a market's rules have; without a flag, that of version 0.1."""

    #: The maximum of fills counts for a command with all the stops that it sets off, not for each taker apart.  What
    #: does not fit waits for a TRIGGER; until then no order enters or changes its place.
    CASCADE_BUDGET = 1


class OrderFlag(IntFlag):
    """Options of an order."""

    #: Refused if it would take.
    POST_ONLY = 1
    #: ``max_notional`` counts: a BUY spends no more than that (0: nothing at all).
    LIMITED_NOTIONAL = 2
    #: Market BUY by amount: ``quantity`` is 0, as many lots as ``max_notional`` pays for.
    QUOTE_AMOUNT = 4
    #: STOP and STOP_LIMIT: reached from the other side (BUY as the price falls, SELL as it rises), as a take-profit is.
    REVERSED = 8


class Command(NamedTuple):
    """One command; see the module for units."""

    kind: int
    sequence: int
    time_us: int
    market_id: int
    #: The order's number: its own command's sequence when it was placed, unique in the engine.
    order_number: int = 0
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
    linked_number: int = 0

    # One constructor a kind, with the names that its fields have for that kind.

    @classmethod
    def cancel(
        cls, sequence: int, time_us: int, market_id: int, order_number: int, user: int, reason: int
    ) -> "Command":
        """End one order."""
        return cls(CommandKind.CANCEL, sequence, time_us, market_id, order_number, user, reason=reason)

    @classmethod
    def amend(
        cls,
        sequence: int,
        time_us: int,
        market_id: int,
        order_number: int,
        user: int,
        *,
        quantity: int,
        price: int,
        stop_price: int,
        max_notional: int | None,
        added_funds: int,
    ) -> "Command":
        """Change one order; ``max_notional`` None keeps it, ``added_funds`` was reserved for the change (1e-8)."""
        return cls(
            CommandKind.AMEND, sequence, time_us, market_id, order_number, user,
            flags=0 if max_notional is None else OrderFlag.LIMITED_NOTIONAL,
            price=price, quantity=quantity, stop_price=stop_price, max_notional=max_notional or 0,
            linked_number=added_funds,
        )  # fmt: skip

    @classmethod
    def cancel_all(
        cls, sequence: int, time_us: int, market_id: int, user: int, reason: int, orders_max: int
    ) -> "Command":
        """End the orders of a user (0: of everybody), so many at most."""
        return cls(
            CommandKind.CANCEL_ALL, sequence, time_us, market_id, user=user, reason=reason, quantity=orders_max
        )  # fmt: skip

    @classmethod
    def set_state(cls, sequence: int, time_us: int, market_id: int, state: int) -> "Command":
        """Open, halt or close a market."""
        return cls(CommandKind.SET_STATE, sequence, time_us, market_id, state=state)

    @classmethod
    def tick(cls, sequence: int, time_us: int, market_id: int, orders_max: int) -> "Command":
        """Expire what is due, so many orders at most."""
        return cls(CommandKind.TICK, sequence, time_us, market_id, quantity=orders_max)

    @classmethod
    def trigger(cls, sequence: int, time_us: int, market_id: int) -> "Command":
        """Let stops enter that wait for their turn."""
        return cls(CommandKind.TRIGGER, sequence, time_us, market_id)

    @classmethod
    def configure(
        cls,
        sequence: int,
        time_us: int,
        market_id: int,
        *,
        price_band_ppm: int,
        max_slippage_ppm: int,
        min_notional: int,
        max_open_orders: int,
        max_fills: int,
    ) -> "Command":
        """Replace a market's rules; the maximum of fills counts for a command with all that it sets off."""
        return cls(
            CommandKind.CONFIGURE, sequence, time_us, market_id, price=price_band_ppm, stop_price=max_slippage_ppm,
            quantity=min_notional, display=max_open_orders, max_notional=max_fills, flags=RuleFlag.CASCADE_BUDGET,
        )  # fmt: skip

    @property
    def added_funds(self) -> int:
        """Of an AMEND: what was reserved for it beyond what the order held, units of 1e-8."""
        return self.linked_number


_RECORD: Final = struct.Struct("<8BI4x11q")
COMMAND_SIZE: Final = _RECORD.size


def encode_command(c: Command) -> bytes:
    """Write one command as its record."""
    # kind, side, type, tif, stp, flags, state, reason | market | eleven 64-bit numbers
    return _RECORD.pack(
        c.kind, c.side, c.type, c.time_in_force, c.stp, c.flags, c.state, c.reason, c.market_id,
        c.sequence, c.time_us, c.order_number, c.user, c.price, c.quantity, c.stop_price,
        c.display, c.max_notional, c.expires_us, c.linked_number,
    )  # fmt: skip


def encode_commands(commands: Iterable[Command]) -> bytes:
    """Write commands end to end."""
    return b"".join(map(encode_command, commands))


def decode_commands(batch: bytes | memoryview) -> Iterator[Command]:
    """Read a batch back; struct.error if it is not a whole number of records."""
    for (
        kind, side, type_, tif, stp, flags, state, reason, market_id,
        sequence, time_us, order_number, user, price, quantity, stop_price,
        display, max_notional, expires_us, linked_number,
    ) in _RECORD.iter_unpack(batch):  # fmt: skip
        yield Command(
            kind, sequence, time_us, market_id, order_number, user, side, type_, tif, stp, flags, state, reason,
            price, quantity, stop_price, display, max_notional, expires_us, linked_number,
        )  # fmt: skip
