"""What the writer is asked for: one object a request, from admission to acknowledgement, with one future.

A request makes its command when its turn has come, from the writer's memory as it is then: so it never acts on what
another request has changed meanwhile.  It may be asked again, if its batch could not be committed.
"""

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Callable

import msgspec

from trade_engine.domain.commands import Command, CommandKind
from trade_engine.domain.enums import MarketState
from trade_engine.domain.market import Market
from trade_engine.domain.orders import Order, PlaceOrder
from trade_engine.sequencer.bookkeeping import CommandOutcome, WalletInstruction, reserved_asset
from trade_engine.sequencer.memory import Memory


class EngineRequest(ABC):
    """One request.  ``done`` is resolved after the commit, with None if there was nothing to act on."""

    __slots__ = ("done", "submitted_s")

    #: The new order of a PLACE, as its latest command has it.
    placed: Order | None = None
    #: Whether it may wait until the clock can be trusted; a caller may not.
    is_patient = False

    def __init__(self) -> None:
        loop = asyncio.get_running_loop()
        self.done: asyncio.Future[CommandOutcome | None] = loop.create_future()
        #: When it came, in the loop's seconds.
        self.submitted_s = loop.time()

    @abstractmethod
    def command(self, memory: Memory, sequence: int, time_us: int) -> Command | None:
        """The command, in ticks and lots; None if there is nothing to do."""

    def following(self, memory: Memory, sequence: int, time_us: int, outcome: CommandOutcome) -> Command | None:
        """What is carried out right after a command of its own that came to ``outcome``, in the same batch."""
        del memory, sequence, time_us, outcome
        return None

    def unplaced(self) -> WalletInstruction | None:
        """What the wallet has to give back if the request is never carried out."""
        return None

    def resolve(self, outcome: CommandOutcome | None) -> None:
        """Tell the caller, if he still waits."""
        if not self.done.done():
            self.done.set_result(outcome)

    def fail(self, error: BaseException) -> None:
        """Tell the caller that it did not work, if he still waits."""
        if not self.done.done():
            self.done.set_exception(error)
            # A caller who has left is told, too: nobody else looks.
            self.done.exception()


class PlaceRequest(EngineRequest):
    """To place an order: checked, then admitted (its funds are reserved), then sequenced."""

    __slots__ = ("market", "order", "placed", "request", "reused")

    def __init__(self, request: PlaceOrder, market: Market) -> None:
        super().__init__()
        self.request = request
        self.market = market
        #: As admission made it; each try works on a copy of its own.
        self.order: Order | None = None
        self.placed: Order | None = None
        #: Client order ids of it that orders had which have ended.
        self.reused: frozenset[str] = frozenset()

    @property
    def client_keys(self) -> list[tuple[str, str]]:
        """The user and client order id that it takes, if it has one."""
        request = self.request
        return [] if request.client_order_id is None else [(request.user_id, request.client_order_id)]

    def admit(self, new_order: Callable[[PlaceOrder], Order]) -> Order:
        """Have the order made that it asks for: the one that reserves.

        Raises:
            EngineError: it cannot be.
        """
        self.order = new_order(self.request)
        return self.order

    @property
    def asset(self) -> str:
        """What it reserves."""
        return reserved_asset(self.market, self.request.side)

    def unplaced(self) -> WalletInstruction | None:
        """All that was reserved; a release of all refuses a reserve that comes later, too."""
        order = self.order
        if order is None or not order.reserved:
            return None
        return WalletInstruction("RELEASE", None, order.order_id, order.user_id, self.asset, None, "never placed")

    def command(self, memory: Memory, sequence: int, time_us: int) -> Command | None:
        """PLACE."""
        if self.order is None:
            raise RuntimeError("the order has not been admitted")
        market = memory.markets[self.order.market_id]
        order = self.placed = msgspec.structs.replace(
            self.order, sequence=sequence, created_us=time_us, updated_us=time_us
        )
        return place_command(order, market)


class CancelRequest(EngineRequest):
    """To end an order; finds nothing if it is not live, or not ``user_id``'s (None: anybody's)."""

    __slots__ = ("order_id", "reason", "user_id")

    def __init__(self, order_id: str, user_id: str | None, reason: int) -> None:
        super().__init__()
        self.order_id = order_id
        self.user_id = user_id
        self.reason = reason

    def command(self, memory: Memory, sequence: int, time_us: int) -> Command | None:
        """CANCEL."""
        order = memory.live.by_id.get(self.order_id)
        if order is None or (self.user_id is not None and order.user_id != self.user_id):
            return None
        return Command.cancel(sequence, time_us, order.market_id, order.sequence, order.user, self.reason)


class CancelAllRequest(EngineRequest):
    """To end the orders of a trader (0: of everybody) in one market, so many at most."""

    __slots__ = ("market_id", "orders_max", "reason", "user")

    def __init__(self, market_id: int, user: int, reason: int, orders_max: int) -> None:
        super().__init__()
        self.market_id = market_id
        self.user = user
        self.reason = reason
        self.orders_max = orders_max

    def command(self, _: Memory, sequence: int, time_us: int) -> Command:
        """CANCEL_ALL."""
        return Command.cancel_all(sequence, time_us, self.market_id, self.user, self.reason, self.orders_max)


class MarketRequest(EngineRequest):
    """To let a market, stored already, have these terms from now on; a new one is opened."""

    __slots__ = ("market",)

    def __init__(self, market: Market) -> None:
        super().__init__()
        self.market = market

    def command(self, memory: Memory, sequence: int, time_us: int) -> Command:
        """CONFIGURE."""
        memory.set_market(self.market)
        market = self.market
        return Command.configure(
            sequence,
            time_us,
            market.market_id,
            price_band_ppm=market.price_band_ppm,
            max_slippage_ppm=market.max_slippage_ppm,
            min_notional=market.min_notional_ticks,
            max_open_orders=market.max_open_orders,
            max_fills=market.max_fills,
        )


class RulesRequest(MarketRequest):
    """As MarketRequest, for the engine's own start."""

    __slots__ = ()

    is_patient = True


class StateRequest(EngineRequest):
    """To open, halt or close a market."""

    __slots__ = ("market_id", "state")

    def __init__(self, market_id: int, state: MarketState) -> None:
        super().__init__()
        self.market_id = market_id
        self.state = state

    def command(self, _: Memory, sequence: int, time_us: int) -> Command:
        """SET_STATE."""
        return Command.set_state(sequence, time_us, self.market_id, self.state)


def place_command(order: Order, market: Market) -> Command:
    """PLACE, of an order that has its number and time."""
    return Command(
        kind=CommandKind.PLACE,
        sequence=order.sequence,
        time_us=order.created_us,
        market_id=order.market_id,
        order_number=order.sequence,
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
        linked_number=order.linked_number,
    )
