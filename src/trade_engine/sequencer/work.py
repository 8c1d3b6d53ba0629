"""What waits in the sequencer's queue: one wish each, with the caller who waits for its end."""

import asyncio
from collections.abc import Callable

import msgspec

from trade_engine.domain.commands import Command, CommandKind
from trade_engine.domain.orders import Order
from trade_engine.sequencer.bookkeeping import Instruction, Outcome
from trade_engine.sequencer.memory import Memory


class Work:
    """One wish.  ``done`` is resolved with its Outcome after the commit, or None if it found nothing to act on."""

    __slots__ = ("done", "make", "placed", "releases")

    def __init__(
        self,
        make: Callable[[Memory, int, int], Command | None],
        done: "asyncio.Future[Outcome | None]",
        placed: Order | None = None,
        releases: list[Instruction] | None = None,
    ) -> None:
        #: Makes the command from memory, its sequence and the time; None if there is nothing to do.
        self.make = make
        self.done = done
        self.placed = placed
        #: Wallet instructions to write beside whatever else the batch holds.
        self.releases = releases or []

    def resolve(self, outcome: Outcome | None) -> None:
        """Tell the caller, if he still waits."""
        if not self.done.done():
            self.done.set_result(outcome)

    def fail(self, error: BaseException) -> None:
        """Tell the caller that it did not work, if he still waits."""
        if not self.done.done():
            self.done.set_exception(error)


def place_work(order: Order) -> Work:
    """The wish to place an order whose funds are reserved; each try works on a copy of its own."""

    def make(memory: Memory, sequence: int, time_us: int) -> Command:
        market = memory.markets[order.market_id]
        work.placed = msgspec.structs.replace(order, sequence=sequence, created_us=time_us, updated_us=time_us)
        return Command(
            kind=CommandKind.PLACE,
            sequence=sequence,
            time_us=time_us,
            market_id=order.market_id,
            order_id=sequence,
            user=order.user,
            side=order.side,
            type=order.type,
            time_in_force=order.time_in_force,
            stp=order.stp,
            flags=order.flags,
            price=order.price // market.tick_size,
            quantity=order.quantity // market.lot_size,
            stop_price=order.stop_price // market.tick_size,
            display=order.display // market.lot_size,
            max_notional=order.max_notional // market.notional_unit,
            expires_us=order.expires_us,
            linked_id=order.linked_id,
        )

    work = Work(make, asyncio.get_running_loop().create_future(), placed=order)
    return work


def cancel_work(order_id: str, user_id: str | None, reason: int) -> Work:
    """The wish to end an order; finds nothing if it is not live, or not ``user_id``'s (None: anybody's)."""

    def make(memory: Memory, sequence: int, time_us: int) -> Command | None:
        order = memory.live.by_id.get(order_id)
        if order is None or (user_id is not None and order.user_id != user_id):
            return None
        return Command(
            kind=CommandKind.CANCEL,
            sequence=sequence,
            time_us=time_us,
            market_id=order.market_id,
            order_id=order.sequence,
            user=order.user,
            reason=reason,
        )

    return Work(make, asyncio.get_running_loop().create_future())


def command_work(command: Command) -> Work:
    """The wish to carry out a market's command; sequence and time are put in."""

    def make(_: Memory, sequence: int, time_us: int) -> Command:
        return command._replace(sequence=sequence, time_us=time_us)

    return Work(make, asyncio.get_running_loop().create_future())


def release_work(releases: list[Instruction]) -> Work:
    """The wish to have wallet instructions written; it has no command."""
    return Work(lambda *_: None, asyncio.get_running_loop().create_future(), releases=releases)
