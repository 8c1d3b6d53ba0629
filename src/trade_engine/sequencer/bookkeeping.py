"""From core events to orders, trades and wallet instructions: what a batch changes, in units of money.

Deterministic, no I/O: ``Bookkeeper`` folds the events of one command after the other onto the live orders and
collects what the commit has to write.  The core knows ticks and lots; from here on everything is units of 1e-8.
"""

from collections.abc import Iterable
from operator import attrgetter
from typing import NamedTuple

import msgspec

from trade_engine.domain.commands import Command, CommandKind, OrderFlag
from trade_engine.domain.enums import FeeAsset, MarketState, OrderStatus, Reason, Side
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


class WalletInstruction(NamedTuple):
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
        """Take an order in, in place of what was known of it."""
        self.by_sequence[order.sequence] = order
        self.by_id[order.order_id] = order

    def remove(self, order: Order) -> None:
        """Let an ended order go."""
        del self.by_sequence[order.sequence]
        del self.by_id[order.order_id]

    def forget(self, order: Order) -> None:
        """Let an order go that never came to be; nothing happens if it is gone."""
        self.by_sequence.pop(order.sequence, None)
        self.by_id.pop(order.order_id, None)

    def of_market(self, market_id: int) -> list[Order]:
        """The orders of one market, in ascending priority."""
        found = [order for order in self.by_sequence.values() if order.market_id == market_id]
        found.sort(key=attrgetter("priority"))
        return found

    def __len__(self) -> int:
        """How many there are."""
        return len(self.by_sequence)


class CommandOutcome(NamedTuple):
    """What one command came to: the order it was about, as it stood right after, and the trades it made as taker."""

    order: Order | None
    trades: list[Trade]
    #: Why the core refused it; NONE if it did not.
    refusal: Reason
    #: How many orders it cancelled.
    ended: int = 0
    #: How many trades were made by it and by the stops that it set off.
    fills: int = 0


class Changes:
    """What one batch changes, gathered command by command, and what ``Bookkeeper.undo`` needs to take it back."""

    def __init__(self, trade_sequence: int = 0) -> None:
        #: New and changed orders by core number, in the order they were first touched.
        self.orders: dict[int, Order] = {}
        self.new: set[int] = set()
        self.trades: list[Trade] = []
        #: The second legs of new pairs.
        self.pairs: list[Order] = []
        self.instructions: list[WalletInstruction] = []
        #: Where among them those stand that follow from no event.
        self.given: list[int] = []
        self.markets: set[int] = set()
        #: As it was before the batch: changed orders, each touched market's events and state, the last trade.
        self.orders_before: dict[int, Order] = {}
        self.events_before: dict[int, int] = {}
        self.states_before: dict[int, MarketState] = {}
        self.trades_before = trade_sequence

    def give(self, releases: Iterable[WalletInstruction]) -> None:
        """Add instructions that follow from no event."""
        before = len(self.instructions)
        self.instructions.extend(releases)
        self.given.extend(range(before, len(self.instructions)))


class Bookkeeper:
    """Folds events onto live orders."""

    def __init__(self, live: LiveOrders, markets: dict[int, Market], trade_sequence: int) -> None:
        self._live = live
        self._markets = markets
        self.trade_sequence = trade_sequence
        #: Events of each market so far.
        self.event_sequences: dict[int, int] = {}

    def begin(self) -> Changes:
        """The changes of a new batch."""
        return Changes(self.trade_sequence)

    def undo(self, changes: Changes) -> None:
        """Take back all that was folded into ``changes``: live orders and counters are as before its batch."""
        for sequence in changes.new:
            self._live.forget(changes.orders[sequence])
        for order in changes.orders_before.values():
            self._live.add(order)
        self.event_sequences.update(changes.events_before)
        for market_id, state in changes.states_before.items():
            self._set_state(market_id, state)
        self.trade_sequence = changes.trades_before

    def fold(self, command: Command, events: list[Event], placed: Order | None, changes: Changes) -> CommandOutcome:
        """Carry one command's events into orders, trades and instructions.

        Args:
            command: as the core saw it.
            events: what the core answered.
            placed: the new order of a PLACE.
            changes: of the batch; added to.
        """
        market = self._markets[command.market_id]
        changes.markets.add(command.market_id)
        happened_before = self.event_sequences.get(command.market_id, 0)
        changes.events_before.setdefault(command.market_id, happened_before)
        self.event_sequences[command.market_id] = happened_before + len(events)
        trades: list[Trade] = []
        resized: list[Order] = []
        index = 0
        refusal = Reason.NONE
        if placed is not None:
            self._add(placed, events, changes)
        for event in events:
            kind = event.kind
            if kind == EventKind.TRADE:
                trade = self._trade(market, command, event, index, changes)
                if event.other_leaves:
                    resized.append(self._live.by_sequence[event.other_number])
                index += 1
                changes.trades.append(trade)
                if event.order_number == command.order_number:
                    trades.append(trade)
            elif kind == EventKind.REJECTED:
                refusal = Reason(event.reason)
                self._refuse(market, command, placed, refusal, changes)
            elif kind == EventKind.STATE_CHANGED:
                changes.states_before.setdefault(command.market_id, market.state)
                self._set_state(command.market_id, MarketState(event.reason))
            elif kind != EventKind.CONFIGURED:
                self._change(market, command, event, changes)
        subject = placed or changes.orders.get(command.order_number) or self._live.by_sequence.get(command.order_number)
        if subject is not None and command.kind in _RESIZING and subject.sequence in changes.orders:
            resized.append(subject)
        for order in resized:
            if order.status.is_open:
                self._release_surplus(market, order, changes)
        snapshot = msgspec.structs.replace(subject) if subject is not None else None
        ended = sum(event.kind == EventKind.CANCELLED for event in events)
        return CommandOutcome(snapshot, trades, refusal, ended, fills=index)

    def _order(self, sequence: int, changes: Changes) -> Order:
        order = self._live.by_sequence.get(sequence)
        if order is None:
            raise BrokenInvariant(f"the core named order {sequence}, which is not live")
        if sequence not in changes.orders:
            changes.orders_before[sequence] = msgspec.structs.replace(order)
            changes.orders[sequence] = order
        return order

    def _set_state(self, market_id: int, state: MarketState) -> None:
        market = self._markets[market_id]
        if market.state is not state:
            self._markets[market_id] = msgspec.structs.replace(market, state=state)

    def _trade(self, market: Market, command: Command, event: Event, index: int, changes: Changes) -> Trade:
        taker = self._order(event.order_number, changes)
        maker = self._order(event.other_number, changes)
        for order in (taker, maker):
            if order.linked_number:
                self._take_over(order, changes)
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
        changes.instructions.append(WalletInstruction("SETTLE", trade.trade_id, None, None, None, None, "trade"))
        return trade

    def _change(self, market: Market, command: Command, event: Event, changes: Changes) -> None:
        order = self._order(event.order_number, changes)
        order.updated_us = command.time_us
        kind = event.kind
        lot = market.lot_size
        if kind == EventKind.RESTED:
            order.status = OrderStatus.PARTIALLY_FILLED if order.filled else OrderStatus.OPEN
            order.priority = event.priority
            order.display_remaining = event.quantity * lot
        elif kind in (EventKind.CANCELLED, EventKind.EXPIRED):
            self._cancel(market, order, event, command.time_us, changes)
        elif kind == EventKind.REDUCED and not order.flags & OrderFlag.QUOTE_AMOUNT:
            # A market BUY by amount has no quantity to lose: its amount is less, which the core remembers alone.
            order.cancelled += event.quantity * lot
            order.display_remaining = event.other_leaves * lot
            self._release_surplus(market, order, changes)
        elif kind == EventKind.AMENDED:
            order.reserved += command.added_funds
            order.hold += command.added_funds
            order.quantity = event.quantity * lot + order.cancelled
            if command.flags & OrderFlag.LIMITED_NOTIONAL:
                order.max_notional = command.max_notional * market.notional_unit
            if event.price:
                order.price = event.price * market.tick_size
            if event.flags & EventFlag.RESTING:
                order.display_remaining = event.other_leaves * lot
            elif event.priority:
                order.stop_price = event.other_number * market.tick_size
        elif kind == EventKind.PENDING:
            order.status = OrderStatus.PENDING
            order.priority = event.priority
        elif kind == EventKind.TRIGGERED:
            order.status = OrderStatus.OPEN
            self._take_over(order, changes)
        elif kind == EventKind.REFILLED:
            order.priority = event.priority
            order.display_remaining = event.quantity * lot

    def _add(self, placed: Order, events: list[Event], changes: Changes) -> None:
        """Take a new order in; if it is a second leg that was accepted, the first one's reservation is for both."""
        self._live.add(placed)
        changes.orders[placed.sequence] = placed
        changes.new.add(placed.sequence)
        if placed.linked_number and any(event.kind == EventKind.ACCEPTED for event in events):
            first = self._order(placed.linked_number, changes)
            first.linked_number, placed.funded_by = placed.sequence, first.order_id
            changes.pairs.append(placed)

    def _other_leg(self, order: Order) -> Order | None:
        """The other leg of an order's pair, while both are open."""
        return self._live.by_sequence.get(order.linked_number) if order.linked_number else None

    def _take_over(self, order: Order, changes: Changes) -> None:
        """The first fill or trigger of a leg, which ends the other: what was reserved for both is this one's."""
        other = self._other_leg(order)
        if other is not None and other.hold:
            other = self._order(other.sequence, changes)
            order.hold, order.reserved = order.hold + other.hold, order.reserved + other.reserved
            other.hold = other.reserved = 0

    def _refuse(
        self, market: Market, command: Command, placed: Order | None, refusal: Reason, changes: Changes
    ) -> None:
        """End an order that was refused; give back what was reserved for an amendment that was."""
        if placed is not None:
            placed.linked_number = 0
            self._end(market, placed, OrderStatus.REJECTED, refusal, command.time_us, changes)
        if command.kind == CommandKind.AMEND and command.added_funds:
            # The order may just have ended: what falls due expires before the command is looked at.
            order = self._live.by_sequence.get(command.order_number) or changes.orders.get(command.order_number)
            if order is None:
                raise BrokenInvariant(f"an amendment names order {command.order_number}, which was not live")
            self._instruct(market, order, command.added_funds, "amendment refused", changes)

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
        """Give back what the rest of an open order can no longer need: price improvement, fee difference.

        Of a pair, nothing before it is decided which leg it will be.
        """
        if self._other_leg(order) is not None:
            return
        rest = order.leaves
        price = order.price or order.stop_price
        if order.side is Side.BUY and order.price == 0:
            return
        surplus = order.hold - required_hold(order, rest, price * rest // 10**8)
        require(surplus >= 0, f"order {order.order_id}: reservation short by {-surplus}")
        self._release(market, order, surplus, "improvement", changes)

    def _release(self, market: Market, order: Order, amount: int, reason: str, changes: Changes) -> None:
        if amount:
            order.hold -= amount
            self._instruct(market, order, amount, reason, changes)

    @staticmethod
    def _instruct(market: Market, order: Order, amount: int, reason: str, changes: Changes) -> None:
        asset = reserved_asset(market, order.side)
        changes.instructions.append(
            WalletInstruction("RELEASE", None, order.funded_by or order.order_id, order.user_id, asset, amount, reason)
        )


def reserved_asset(market: Market, side: Side) -> str:
    """What an order of that side reserves."""
    return market.base if side is Side.SELL else market.quote


_RESIZING = frozenset((CommandKind.PLACE, CommandKind.REDUCE, CommandKind.AMEND))
