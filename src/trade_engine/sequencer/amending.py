"""Amending: what a change needs in funds, reserving that, and the request that carries it to the core (SPEC 3.6).

Funds are reserved before the writer sees the request, by what the order is then.  When its turn comes the order may be
another: what the change needs is counted anew, on the writer's memory, and a request that brings too little changes
nothing.  What it brought is then given back, and it is tried again, a few times.
"""

from collections.abc import Callable
from typing import Final

import structlog

from trade_engine.domain.commands import Command
from trade_engine.domain.enums import OrderStatus, OrderType, Reason, Side, TimeInForce
from trade_engine.domain.errors import EngineError, Refused, Unavailable
from trade_engine.domain.fees import initial_hold, required_hold
from trade_engine.domain.market import Market
from trade_engine.domain.orders import Order, PlaceOrder
from trade_engine.domain.rules import check_cost, check_display_share, check_order
from trade_engine.sequencer.admission import wallet_refusal
from trade_engine.sequencer.bookkeeping import CommandOutcome, WalletInstruction, reserved_asset
from trade_engine.sequencer.clock import Clock
from trade_engine.sequencer.engine_request import EngineRequest
from trade_engine.sequencer.memory import Memory
from trade_engine.sequencer.pipeline import Sequencer
from trade_engine.sequencer.ports import Amendment
from trade_engine.sequencer.store.port import Store
from trade_engine.sequencer.unknown_reserves import UnknownReserves
from trade_engine.wallet.port import Reserve, Wallet, WalletUnavailable

log = structlog.get_logger(__name__)

#: How often an amendment reserves before it is refused, because the order kept changing under it.
_TRIES: Final = 4


class AmendRequest(EngineRequest):
    """To amend an order; finds nothing if it is not live, not ``user_id``'s, or if ``added_funds`` do not suffice."""

    __slots__ = ("added_funds", "asset", "change", "order_id", "owner_id", "problem", "short_by", "user_id")

    def __init__(self, order: Order, user_id: str | None, change: Amendment, added_funds: int, asset: str) -> None:
        super().__init__()
        self.order_id = order.order_id
        self.owner_id = order.user_id
        self.user_id = user_id
        self.change = change
        #: What was reserved for the change beyond what the order held, and of what.
        self.added_funds = added_funds
        self.asset = asset
        #: What more it would have needed when its turn came, or why it makes no sense any more.
        self.short_by = 0
        self.problem: EngineError | None = None

    def unplaced(self) -> WalletInstruction | None:
        """What was reserved for the change."""
        if not self.added_funds:
            return None
        return WalletInstruction(
            "RELEASE", None, self.order_id, self.owner_id, self.asset, self.added_funds, "not amended"
        )

    def command(self, memory: Memory, sequence: int, time_us: int) -> Command | None:
        """AMEND."""
        order = memory.live.by_id.get(self.order_id)
        if order is None or (self.user_id is not None and order.user_id != self.user_id):
            return None
        market, change = memory.markets[order.market_id], self.change
        self.problem = None
        try:
            refuse_leg(order, memory)
            wanted = check_amendment(order, change, market)
        except EngineError as error:
            self.problem = error
            return None
        self.short_by = extra_funds(order, wanted, market) - self.added_funds
        if self.short_by > 0:
            return None
        limited = order.type is OrderType.STOP and order.side is Side.BUY
        return Command.amend(
            sequence,
            time_us,
            order.market_id,
            order.sequence,
            order.user,
            quantity=wanted.quantity // market.lot_size if change.quantity else 0,
            price=change.price // market.tick_size,
            stop_price=change.stop_price // market.tick_size,
            max_notional=notional_limit(wanted, market) // market.notional_unit if limited else None,
            added_funds=self.added_funds,
        )


class Amender:
    """Carries out amendments: reserve, queue, and again if the order has changed meanwhile."""

    def __init__(
        self,
        sequencer: Sequencer,
        wallet: Wallet,
        store: Store,
        clock: Clock,
        unknown: UnknownReserves,
        on_stale: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._on_stale = on_stale
        self._sequencer = sequencer
        self._wallet = wallet
        self._store = store
        self._clock = clock
        self._unknown = unknown
        #: Orders whose amendments are under way, with how many.
        self._under_way: dict[str, int] = {}

    def orders_under_way(self) -> set[str]:
        """The orders with an amendment under way."""
        return set(self._under_way)

    async def amend(self, order: Order, user_id: str | None, change: Amendment) -> CommandOutcome | None:
        """Change a live order; None if it is not live any more.

        Raises:
            EngineError: refused, or something it needs is away; nothing was changed, and nothing stays reserved.
        """
        order_id = order.order_id
        self._under_way[order_id] = self._under_way.get(order_id, 0) + 1
        try:
            for _ in range(_TRIES):
                live = self._sequencer.memory.live.by_id.get(order_id)
                if live is None:
                    return None
                request = await self._reserved(live, user_id, change)
                self._submit(request)
                outcome = await request.done
                if request.problem is not None:
                    raise request.problem
                if outcome is not None or request.short_by <= 0:
                    return outcome
            raise Refused("AMENDMENT_CONFLICT", "the order kept changing meanwhile, nothing was amended")
        finally:
            self._under_way[order_id] -= 1
            if not self._under_way[order_id]:
                del self._under_way[order_id]

    async def _reserved(self, order: Order, user_id: str | None, change: Amendment) -> AmendRequest:
        """The request, with what it needs reserved."""
        memory = self._sequencer.memory
        market = memory.markets[order.market_id]
        refuse_leg(order, memory)
        wanted = check_amendment(order, change, market)
        added = extra_funds(order, wanted, market)
        check_cost(added, market)
        request = AmendRequest(order, user_id, change, added, reserved_asset(market, order.side))
        if not added:
            return request
        reserve = Reserve(order.user_id, request.asset, added, order.order_id, self._clock.order_id(), "amendment")
        try:
            (reserved,) = await self._wallet.reserve_many([reserve], self._store.epoch)
        except WalletUnavailable as error:
            if error.sent:
                self._unknown.add(reserve)
            raise Unavailable("WALLET_UNAVAILABLE", "the wallet does not answer, nothing was changed") from error
        except BaseException:
            # Its caller has left, or the answer makes no sense: nobody knows whether it was reserved.
            self._unknown.add(reserve)
            raise
        if reserved.code == "STALE_EPOCH":
            self._on_stale("the wallet refused a reserve of this engine's epoch")
        if not reserved.is_certain:
            self._unknown.add(reserve)
        if not reserved.ok:
            raise wallet_refusal(reserve, reserved)
        return request

    def _submit(self, request: AmendRequest) -> None:
        try:
            self._sequencer.submit([request])
        except Unavailable:
            if (release := request.unplaced()) is not None:
                self._sequencer.release_later([release])
            raise


def refuse_leg(order: Order, memory: Memory) -> None:
    """A leg of a pair is not amended while the other one is open: one reservation pays for both.

    Raises:
        Refused: NOT_AMENDABLE.
    """
    if order.linked_number and order.linked_number in memory.live.by_sequence:
        raise Refused(
            "NOT_AMENDABLE", "a leg of a pair is not amended: cancel it and place a new pair",
            field="order_id", provided=order.order_id, status=order.status.name,
        )  # fmt: skip


def check_amendment(order: Order, change: Amendment, market: Market) -> PlaceOrder:
    """The order as it would be, if the market's rules allow it.

    Raises:
        EngineError: as for a new order.
    """
    wanted = PlaceOrder(
        user_id=order.user_id,
        symbol=market.symbol,
        side=order.side,
        type=order.type,
        quantity=change.quantity or order.quantity - order.cancelled,
        price=change.price or order.price,
        stop_price=change.stop_price or order.stop_price,
        time_in_force=order.time_in_force,
        # Any other time in force has an end that the engine has set.
        expires_us=order.expires_us if order.time_in_force is TimeInForce.GTD else 0,
    )
    check_order(wanted, market)
    grows = wanted.quantity > order.quantity - order.cancelled
    if order.display and (grows or change.price or change.stop_price):
        check_display_share(order.display, wanted.quantity, market)
    return wanted


def notional_limit(wanted: PlaceOrder, market: Market) -> int:
    """What a STOP BUY may spend once triggered: stop price plus the largest slippage, in whole notional units."""
    lots, unit = wanted.quantity // market.lot_size, market.notional_unit
    notional = wanted.stop_price // market.tick_size * lots * unit
    notional += -(-notional * market.max_slippage_ppm // 1_000_000)
    return notional + -notional % unit


def extra_funds(order: Order, wanted: PlaceOrder, market: Market) -> int:
    """What must be reserved beyond what the order holds, so that the changed order can fill in any way."""
    if order.type is OrderType.STOP and order.side is Side.BUY:
        highest = max(order.maker_fee, order.taker_fee)
        needed = initial_hold(Side.BUY, 0, notional_limit(wanted, market), highest, order.fee_asset)
    else:
        rest = max(0, wanted.quantity - order.filled)
        notional = wanted.price // market.tick_size * (rest // market.lot_size) * market.notional_unit
        needed = required_hold(order, rest, notional)
    return max(0, needed - order.hold)


def not_amendable(order: Order) -> Refused:
    """Why an order that is not live cannot be changed."""
    return Refused(
        "NOT_AMENDABLE",
        f"the order is {order.status.name}",
        field="order_id",
        provided=order.order_id,
        status=order.status.name,
    )


def amended_or_refused(order_id: str, outcome: CommandOutcome) -> Order:
    """The order as it was changed.

    Raises:
        Refused: the market did not take the change; it has given back what was reserved for it.
    """
    refusal, order = outcome.refusal, outcome.order
    if order is None:
        raise Refused("NOT_AMENDABLE", "the order has ended", field="order_id", provided=order_id)
    if refusal is not Reason.NONE:
        if not order.status.is_open and order.status is not OrderStatus.REJECTED:
            raise not_amendable(order)
        raise Refused(
            refusal.name,
            f"the market refused the change: {refusal.name.lower().replace('_', ' ')}",
            order_id=order_id,
        )
    return order
