"""An exchange in memory: the core and the bookkeeping of one market, and everything that must hold after each command.

Orders come in as requests, as from a trader, and go through the rules, the reservation and the core.  What a command
changes is held against the checks that the tables ``orders``, ``trades`` and ``settlement_instructions`` have, against
the core, and against the money: what was reserved is spent, released or held, to the unit.
"""

from collections import Counter

from trade_engine.domain.commands import Command, CommandKind
from trade_engine.domain.enums import OrderStatus, OrderType, SelfTradePrevention, TimeInForce
from trade_engine.domain.events import Event, EventKind, decode_events
from trade_engine.domain.market import Market
from trade_engine.domain.orders import Order, PlaceOrder, Trade
from trade_engine.domain.rules import check_cost, check_order
from trade_engine.matching.books import BookKind, new_book
from trade_engine.matching.markets import MarketBooks
from trade_engine.matching.protocol import Resting
from trade_engine.sequencer.amending import AmendRequest, check_amendment, extra_funds
from trade_engine.sequencer.bookkeeping import (
    Bookkeeper,
    Changes,
    LiveOrders,
    WalletInstruction,
    reserved_asset,
)
from trade_engine.sequencer.memory import Memory
from trade_engine.sequencer.new_order import new_order
from trade_engine.sequencer.ports import Amendment
from trade_engine.sequencer.resting import resting_of

_INT64 = 1 << 63
_LIFE_US = 10**12
#: Fields of an order that its row has as amounts of at most 64 bits.
_AMOUNTS = (
    "price", "quantity", "stop_price", "display", "max_notional", "filled", "filled_notional", "cancelled", "priority",
    "display_remaining", "maker_basis", "taker_basis", "fee_charged", "reserved", "hold",
)  # fmt: skip


class Exchange:
    """One market; every command's consequences are checked, AssertionError where one does not hold."""

    def __init__(self, market: Market, kind: BookKind) -> None:
        self.market = market
        self.books = MarketBooks(lambda number: new_book(number, kind))
        self.book = self.books.add(market.market_id)
        self.live = LiveOrders()
        self.bookkeeper = Bookkeeper(self.live, {market.market_id: market}, 0)
        self.sequence = 0
        self.time_us = 1_000_000
        #: What each order's reservation was spent and released, by order id; what was traded of it.
        self.gone: Counter[str] = Counter()
        self.traded: Counter[str] = Counter()
        self.users: dict[str, SelfTradePrevention] = {}
        self.send(_configure(market))

    def place(self, request: PlaceOrder, user: int) -> list[Event]:
        """Place an order.

        Raises:
            EngineError: the rules refuse it; nothing was done.
        """
        market = self.market
        check_order(request, market)
        number = self.sequence + 1
        order = new_order(
            request, market, self.book, order_id=f"order {number}", user=user, expires_us=self._expiry(request)
        )
        order.sequence, order.user_id = number, f"user {user}"
        return self.send(self._command(order), order)

    def _expiry(self, request: PlaceOrder) -> int:
        if request.time_in_force is TimeInForce.DAY:
            return self.time_us + 500
        rests = request.time_in_force is TimeInForce.GTC and request.type is not OrderType.MARKET
        return request.expires_us or (self.time_us + _LIFE_US if rests else 0)

    def _command(self, order: Order) -> Command:
        market = self.market
        return Command(
            CommandKind.PLACE, 0, 0, market.market_id, order.sequence, order.user, order.side, order.type,
            order.time_in_force, order.stp, order.flags, 0, 0, order.price // market.tick_size,
            order.quantity // market.lot_size, order.stop_price // market.tick_size, order.display // market.lot_size,
            order.max_notional // market.notional_unit, order.expires_us,
        )  # fmt: skip

    def amendment(self, order: Order, change: Amendment) -> AmendRequest:
        """A change of a live order, with the funds reserved that it needs in addition, as the order is now.

        Raises:
            EngineError: the rules refuse it; nothing was done.
        """
        added = extra_funds(order, check_amendment(order, change, self.market), self.market)
        check_cost(added, self.market)
        return AmendRequest(order, None, change, added, reserved_asset(self.market, order.side))

    def amend(self, request: AmendRequest) -> list[Event]:
        """Carry out an amendment on what its order is by now; no event if it makes no sense any more."""
        memory = Memory(
            markets={self.market.market_id: self.market}, numbers={}, books=self.books, live=self.live,
            bookkeeper=self.bookkeeper, remembered={}, traders={}, sequence=self.sequence, instruction_id=0,
            journal_hash=b"", state_hash=b"",
        )  # fmt: skip
        command = request.command(memory, 0, 0)
        return [] if command is None else self.send(command, refused_extra=request.added_funds)

    def send(self, command: Command, placed: Order | None = None, refused_extra: int = 0) -> list[Event]:
        """Sequence one command, and check all that follows from it."""
        self.sequence += 1
        command = command._replace(sequence=self.sequence, time_us=self.time_us)
        if placed is not None:
            placed.created_us = placed.updated_us = self.time_us
            self.users[placed.order_id] = placed.stp
        was_open = {order.order_id for order in self.live.by_sequence.values()}
        changes = Changes()
        _, answer = self.books.apply(command)
        events = list(decode_events(answer))
        self.bookkeeper.fold(command, events, placed, changes)
        if refused_extra and any(event.kind == EventKind.REJECTED for event in events):
            # It was reserved on top of what the order knows of, and is given back.
            self.gone[self.live.by_sequence[command.order_number].order_id] -= refused_extra
        for number, order in changes.orders.items():
            assert number in changes.new or order.order_id in was_open, f"an ended order was touched: {order}"
            check_row(order)
        for trade in changes.trades:
            self._check_trade(trade)
        for instruction in changes.instructions:
            self._check_instruction(instruction)
        for order in changes.orders.values():
            assert self.gone[order.order_id] + order.hold == order.reserved, f"money is missing: {order}"
            assert self.traded[order.order_id] == order.filled, f"trades and filled quantity differ: {order}"
        self._compare_books()
        return events

    def _check_trade(self, trade: Trade) -> None:
        assert min(trade.price, trade.quantity, trade.notional) > 0 <= min(trade.buyer_fee, trade.seller_fee), trade
        assert trade.buyer_fee_asset == self.market.quote or trade.buyer_fee <= trade.quantity, trade
        assert trade.seller_fee <= trade.notional, trade
        if trade.buyer_user_id == trade.seller_user_id:
            taker = trade.seller_order_id if trade.is_buyer_maker else trade.buyer_order_id
            assert self.users[taker] is SelfTradePrevention.NONE, trade
        paid = trade.buyer_fee if trade.buyer_fee_asset == self.market.quote else 0
        self.gone[trade.buyer_order_id] += trade.notional + paid
        self.gone[trade.seller_order_id] += trade.quantity
        self.traded[trade.buyer_order_id] += trade.quantity
        self.traded[trade.seller_order_id] += trade.quantity

    def _check_instruction(self, instruction: WalletInstruction) -> None:
        if instruction.kind == "SETTLE":
            assert instruction.trade_id
            return
        assert instruction.order_id, instruction
        assert instruction.user_id, instruction
        assert instruction.asset in (self.market.base, self.market.quote), instruction
        assert instruction.amount is not None, instruction
        assert 0 < instruction.amount < _INT64, instruction
        self.gone[instruction.order_id] += instruction.amount

    def _compare_books(self) -> None:
        """The core's orders are the engine's, and a restart would lead to the same book."""
        core = {order.order_number: order for order in self.book.live_orders()}
        mine = {number: self._resting(order) for number, order in self.live.by_sequence.items()}
        assert core == mine
        self.book.check()

    def restart(self) -> None:
        """Build the book anew from the orders as they are stored, and go on with it."""
        orders = sorted(map(self._resting, self.live.by_sequence.values()), key=lambda order: order.priority)
        kind: BookKind = self.book.kind  # type: ignore[assignment]
        books = MarketBooks(lambda number: new_book(number, kind))
        fresh = books.add(self.market.market_id)
        fresh.restore(self.book.memory(), orders)
        assert fresh.state_hash() == self.book.state_hash()
        books.touch(self.market.market_id)
        self.books, self.book = books, fresh

    def _resting(self, order: Order) -> Resting:
        return resting_of(order, self.market, ())


def _configure(market: Market) -> Command:
    return Command.configure(
        0, 0, market.market_id, price_band_ppm=market.price_band_ppm, max_slippage_ppm=market.max_slippage_ppm,
        min_notional=market.min_notional_ticks, max_open_orders=market.max_open_orders, max_fills=market.max_fills,
    )  # fmt: skip


def check_row(order: Order) -> None:
    """The checks of table ``orders``, of an order's row."""
    market_order = order.type is OrderType.MARKET
    assert order.quantity > 0 or (market_order and order.max_notional > 0), f"quantity_positive: {order}"
    assert order.filled >= 0, f"filled_within_quantity: {order}"
    assert order.filled + order.cancelled <= order.quantity, f"filled_within_quantity: {order}"
    assert order.type not in (OrderType.MARKET, OrderType.STOP) or not order.price, f"market_has_no_price: {order}"
    assert order.type not in (OrderType.LIMIT, OrderType.STOP_LIMIT) or order.price > 0, f"limit_has_a_price: {order}"
    stop = order.type in (OrderType.STOP, OrderType.STOP_LIMIT)
    assert stop == bool(order.stop_price), f"stop_has_a_stop_price: {order}"
    assert order.hold >= 0, f"hold: {order}"
    assert order.status.is_open or not order.hold, f"ended_holds_nothing: {order}"
    for name in _AMOUNTS:
        assert 0 <= getattr(order, name) < _INT64, f"{name} is no amount: {order}"
    assert order.filled == 0 or order.filled_notional > 0, order
    if order.status is OrderStatus.FILLED:
        assert order.leaves == 0, order
