"""From core events to orders, trades and wallet instructions: what a batch changes, in units of money.

Deterministic, no I/O: ``Ledgering`` folds the events of one command after the other onto the live orders and
collects what the commit has to write.  The core knows ticks and lots; from here on everything is units of 1e-8.
"""

from typing import NamedTuple

import msgspec

from trade_engine.domain.commands import Command, CommandKind, OrderFlag
from trade_engine.domain.enums import FeeAsset, OrderStatus, Reason, Side
from trade_engine.domain.events import Event, EventFlag, EventKind
from trade_engine.domain.fees import charge_fill, required_hold
from trade_engine.domain.ids import trade_uuid
from trade_engine.domain.market import Market
from trade_engine.domain.orders import Order, Trade


class BrokenInvariant(RuntimeError):
    """The core and the engine disagree; nothing that follows could be trusted."""


def require(condition: bool, message: str) -> None:
    """Stop on a broken invariant, also under ``python -O``."""
    if not condition:
        raise BrokenInvariant(message)


class Instruction(NamedTuple):
    """What the wallet has to do after the commit: settle a trade, or release part of a reservation (units)."""

    kind: str
    trade_id: str | None
    order_id: str | None
    user_id: str | None
    asset: str | None
    #: None: all that is left.
    amount: int | None
    reason: str


class LiveOrders:
    """The orders that can still trade, by their number in the core and by their id."""

    def __init__(self) -> None:
        self.by_sequence: dict[int, Order] = {}
        self.by_id: dict[str, Order] = {}

    def add(self, order: Order) -> None:
        """Take an order in."""
        self.by_sequence[order.sequence] = order
        self.by_id[order.order_id] = order

    def remove(self, order: Order) -> None:
        """Let an ended order go."""
        del self.by_sequence[order.sequence]
        del self.by_id[order.order_id]

    def __len__(self) -> int:
        """How many there are."""
        return len(self.by_sequence)


class MarketCounters(msgspec.Struct):
    """What the engine counts for a market beside the core's memory."""

    event_sequence: int = 0


class Outcome(NamedTuple):
    """What one command came to: the order it was about, as it stood right after, and the trades it made as taker."""

    order: Order | None
    trades: list[Trade]
    #: Why the core refused it; NONE if it did not.
    refusal: Reason
    #: How many orders it cancelled.
    ended: int = 0


class Changes:
    """What one batch changes, gathered command by command."""

    def __init__(self) -> None:
        #: New and changed orders by core number, in the order they were first touched.
        self.orders: dict[int, Order] = {}
        self.new: set[int] = set()
        self.trades: list[Trade] = []
        self.instructions: list[Instruction] = []
        self.markets: set[int] = set()


class Bookkeeper:
    """Folds events onto live orders."""

    def __init__(self, live: LiveOrders, markets: dict[int, Market], trade_sequence: int) -> None:
        self._live = live
        self._markets = markets
        self.trade_sequence = trade_sequence
        self.counters: dict[int, MarketCounters] = {}

    def fold(self, command: Command, events: list[Event], placed: Order | None, changes: Changes) -> Outcome:
        """Carry one command's events into orders, trades and instructions.

        Args:
            command: as the core saw it.
            events: what the core answered.
            placed: the new order of a PLACE.
            changes: of the batch; added to.
        """
        market = self._markets[command.market_id]
        changes.markets.add(command.market_id)
        counters = self.counters.setdefault(command.market_id, MarketCounters())
        counters.event_sequence += len(events)
        trades: list[Trade] = []
        resized: list[Order] = []
        index = 0
        refusal = Reason.NONE
        if placed is not None:
            self._live.add(placed)
            changes.orders[placed.sequence] = placed
            changes.new.add(placed.sequence)
        for event in events:
            kind = event.kind
            if kind == EventKind.TRADE:
                trade = self._trade(market, command, event, index, changes)
                if event.other_leaves:
                    resized.append(self._live.by_sequence[event.other_id])
                index += 1
                changes.trades.append(trade)
                if event.order_id == command.order_id:
                    trades.append(trade)
            elif kind == EventKind.REJECTED:
                refusal = Reason(event.reason)
                self._refuse(market, command, placed, refusal, changes)
            elif kind not in _MARKET_EVENTS:
                self._change(market, command, event, changes)
        subject = placed or changes.orders.get(command.order_id) or self._live.by_sequence.get(command.order_id)
        if subject is not None and command.kind in _RESIZING:
            resized.append(subject)
        for order in resized:
            if order.status.is_open:
                self._release_surplus(market, order, changes)
        snapshot = msgspec.structs.replace(subject) if subject is not None else None
        ended = sum(event.kind == EventKind.CANCELLED for event in events)
        return Outcome(snapshot, trades, refusal, ended)

    def _order(self, sequence: int, changes: Changes) -> Order:
        order = self._live.by_sequence.get(sequence)
        if order is None:
            raise BrokenInvariant(f"the core named order {sequence}, which is not live")
        changes.orders[sequence] = order
        return order

    def _trade(self, market: Market, command: Command, event: Event, index: int, changes: Changes) -> Trade:
        taker = self._order(event.order_id, changes)
        maker = self._order(event.other_id, changes)
        price = event.price * market.tick_size
        quantity = event.quantity * market.lot_size
        notional = event.price * event.quantity * market.notional_unit
        taker_fee = charge_fill(taker, quantity, notional, is_maker=False)
        maker_fee = charge_fill(maker, quantity, notional, is_maker=True)
        for order, leaves in ((taker, event.leaves), (maker, event.other_leaves)):
            order.filled += quantity
            order.filled_notional += notional
            order.updated_us = command.time_us
            order.status = OrderStatus.PARTIALLY_FILLED
            require(order.hold >= 0, f"order {order.order_id}: reservation overdrawn by {-order.hold}")
            if order.flags & OrderFlag.QUOTE_AMOUNT:
                order.quantity = order.filled
                continue
            require(order.leaves == leaves * market.lot_size, f"order {order.order_id}: leaves differ from the core's")
        maker.display_remaining = max(0, maker.display_remaining - quantity) if maker.display else maker.leaves
        for order, leaves in ((taker, event.leaves), (maker, event.other_leaves)):
            if not leaves:
                order.filled_us = command.time_us
                self._end(market, order, OrderStatus.FILLED, Reason.NONE, command.time_us, changes)
        buyer, seller, buyer_fee, seller_fee = (
            (taker, maker, taker_fee, maker_fee) if taker.side is Side.BUY else (maker, taker, maker_fee, taker_fee)
        )
        self.trade_sequence += 1
        trade = Trade(
            trade_id=trade_uuid(command.time_us, command.sequence, index),
            sequence=self.trade_sequence,
            market_id=market.market_id,
            price=price,
            quantity=quantity,
            notional=notional,
            buyer_order_id=buyer.order_id,
            seller_order_id=seller.order_id,
            buyer_user_id=buyer.user_id,
            seller_user_id=seller.user_id,
            buyer_fee=buyer_fee,
            seller_fee=seller_fee,
            buyer_fee_asset=market.base if buyer.fee_asset is FeeAsset.RECEIVED else market.quote,
            seller_fee_asset=market.quote,
            is_buyer_maker=buyer is maker,
            executed_us=command.time_us,
        )
        changes.instructions.append(Instruction("SETTLE", trade.trade_id, None, None, None, None, "trade"))
        return trade

    def _change(self, market: Market, command: Command, event: Event, changes: Changes) -> None:
        order = self._order(event.order_id, changes)
        order.updated_us = command.time_us
        kind = event.kind
        lot = market.lot_size
        if kind == EventKind.RESTED:
            order.status = OrderStatus.PARTIALLY_FILLED if order.filled else OrderStatus.OPEN
            order.priority = event.priority
            order.display_remaining = event.quantity * lot
        elif kind in (EventKind.CANCELLED, EventKind.EXPIRED):
            self._cancel(market, order, event, command.time_us, changes)
        elif kind == EventKind.REDUCED:
            order.cancelled += event.quantity * lot
            order.display_remaining = event.other_leaves * lot
            self._release_surplus(market, order, changes)
        elif kind == EventKind.AMENDED:
            order.reserved += command.linked_id
            order.hold += command.linked_id
            order.quantity = event.quantity * lot + order.cancelled
            if command.flags & OrderFlag.LIMITED_NOTIONAL:
                order.max_notional = command.max_notional * market.notional_unit
            if event.price:
                order.price = event.price * market.tick_size
            if event.flags & EventFlag.RESTING:
                order.display_remaining = event.other_leaves * lot
            elif event.priority:
                order.stop_price = event.other_id * market.tick_size
        elif kind == EventKind.PENDING:
            order.status = OrderStatus.PENDING
            order.priority = event.priority
        elif kind == EventKind.TRIGGERED:
            order.status = OrderStatus.OPEN
        elif kind == EventKind.REFILLED:
            order.priority = event.priority
            order.display_remaining = event.quantity * lot

    def _refuse(
        self, market: Market, command: Command, placed: Order | None, refusal: Reason, changes: Changes
    ) -> None:
        """End an order that was refused; give back what was reserved for an amendment that was."""
        if placed is not None:
            self._end(market, placed, OrderStatus.REJECTED, refusal, command.time_us, changes)
        if command.kind != CommandKind.AMEND or not command.linked_id:
            return
        order = self._live.by_sequence[command.order_id]
        asset = market.base if order.side is Side.SELL else market.quote
        changes.instructions.append(
            Instruction("RELEASE", None, order.order_id, order.user_id, asset, command.linked_id, "amendment refused")
        )

    def _cancel(self, market: Market, order: Order, event: Event, time_us: int, changes: Changes) -> None:
        if order.flags & OrderFlag.QUOTE_AMOUNT and order.filled and event.reason == Reason.MAX_NOTIONAL_REACHED:
            # The amount is spent but for less than one lot costs: that is what was asked for.
            order.filled_us = time_us
            self._end(market, order, OrderStatus.FILLED, Reason.NONE, time_us, changes)
            return
        order.cancelled += event.quantity * market.lot_size
        order.cancelled_us = time_us
        status = OrderStatus.CANCELLED if event.kind == EventKind.CANCELLED else OrderStatus.EXPIRED
        self._end(market, order, status, Reason(event.reason), time_us, changes)

    def _end(
        self, market: Market, order: Order, status: OrderStatus, reason: Reason, time_us: int, changes: Changes
    ) -> None:
        order.status = status
        order.reason = reason
        order.updated_us = time_us
        order.display_remaining = 0
        self._release(market, order, order.hold, reason.name.lower() if reason else "filled", changes)
        self._live.remove(order)

    def _release_surplus(self, market: Market, order: Order, changes: Changes) -> None:
        """Give back what the rest of an open order can no longer need: price improvement, fee difference."""
        rest = order.leaves
        price = order.price or order.stop_price
        if order.side is Side.BUY and order.price == 0:
            return
        surplus = order.hold - required_hold(order, rest, price * rest // 10**8)
        require(surplus >= 0, f"order {order.order_id}: reservation short by {-surplus}")
        self._release(market, order, surplus, "improvement", changes)

    @staticmethod
    def _release(market: Market, order: Order, amount: int, reason: str, changes: Changes) -> None:
        if amount:
            order.hold -= amount
            asset = market.base if order.side is Side.SELL else market.quote
            changes.instructions.append(
                Instruction("RELEASE", None, order.order_id, order.user_id, asset, amount, reason)
            )


_RESIZING = frozenset((CommandKind.PLACE, CommandKind.REDUCE, CommandKind.AMEND))
_MARKET_EVENTS = frozenset((EventKind.STATE_CHANGED, EventKind.CONFIGURED))
