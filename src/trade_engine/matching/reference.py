"""The reference book: the readable twin of the native one, its oracle in tests and its stand-in without a compiler.

``ReferenceBook`` keeps ``protocol.Book``: it takes each command through the same steps (expire what is due, check,
carry out, start the stops that trades reached) and answers questions about the book.  It holds no rule of its own:
refusals are in ``checks``, matching in ``taker``, structure in ``book_state`` and ``ladder``.
"""

import struct
from itertools import islice
from typing import Final

from trade_engine.domain.commands import COMMAND_SIZE, Command, decode_commands
from trade_engine.domain.enums import Reason, Side, TimeInForce
from trade_engine.matching import checks
from trade_engine.matching.book_state import BookState, Row
from trade_engine.matching.codes import (
    ACCEPTED,
    AMEND,
    AMENDED,
    BUY,
    CANCEL,
    CANCEL_ALL,
    CANCELLED,
    CASCADE_BUDGET,
    CLOSED,
    CONFIGURE,
    CONFIGURED,
    DAY,
    EXPIRED,
    FINE,
    GTD,
    LIMITED_NOTIONAL,
    OPEN,
    PENDING,
    PLACE,
    POST_ONLY,
    PULLED,
    REDUCE,
    REDUCED,
    RESTED,
    RESTING,
    SELL,
    SET_STATE,
    STATE_CHANGED,
    TICK,
    TRADE,
    TRIGGER,
    TRIGGERED,
)
from trade_engine.matching.ladder import BookOrder
from trade_engine.matching.protocol import BookOutcome, Level, MarketMemory, Resting, Walk
from trade_engine.matching.recovery import restore_book, verify_book
from trade_engine.matching.snapshot import open_snapshot, seal_snapshot
from trade_engine.matching.state_hash import (
    ORDER_RECORD_SIZE,
    decode_memory,
    decode_resting,
    encode_memory,
    encode_resting,
)
from trade_engine.matching.taker import take, would_take
from trade_engine.matching.triggers import cascade

_pack: Final = struct.Struct("<4BI8q").pack
_EXPIRY_REASONS: Final = {
    DAY: Reason.DAY_END,
    GTD: Reason.GOOD_TILL_DATE,
}
_PLAIN: Final = (ACCEPTED, RESTED, PENDING)


class ReferenceBook:
    """One market's book in pure Python; see ``protocol.Book`` for what each method promises."""

    kind: Final = "reference"

    def __init__(self, market_id: int) -> None:
        self._state = BookState(market_id)
        self._carry_out = {
            PLACE: self._place,
            CANCEL: self._cancel,
            REDUCE: self._reduce,
            AMEND: self._amend,
            CANCEL_ALL: self._cancel_all,
            SET_STATE: self._set_state,
            TICK: self._tick,
            CONFIGURE: self._configure,
            TRIGGER: self._trigger_waiting,
        }

    @property
    def market_id(self) -> int:
        """The market's number."""
        return self._state.market_id

    # Commands

    def apply(self, commands: bytes) -> bytes:
        """Carry out a batch of commands; gives back their events."""
        if len(commands) % COMMAND_SIZE:
            raise ValueError(f"a batch must be whole records of {COMMAND_SIZE} bytes, not {len(commands)} bytes")
        events = self._state.events
        for command in decode_commands(commands):
            self._run(command)
        written = b"".join([_pack(*event) for event in events])
        events.clear()
        return written

    def place(
        self, order_number: int, user: int, side: int, price: int, quantity: int, order_type: int = 0,
        time_in_force: int = 0, stp: int = 0, flags: int = 0, max_notional: int = 0,
    ) -> tuple[BookOutcome, ...]:  # fmt: skip
        """Place one order; see ``protocol.Book.place``."""
        return self._call(
            Command(
                PLACE, 0, 0, self._state.market_id, order_number, user, side, order_type, time_in_force, stp, flags,
                0, 0, price, quantity, 0, 0, max_notional,
            )
        )  # fmt: skip

    def cancel(self, order_number: int) -> tuple[BookOutcome, ...]:
        """Cancel one order; see ``protocol.Book.cancel``."""
        return self._call(Command(CANCEL, 0, 0, self._state.market_id, order_number))

    def reduce(self, order_number: int, quantity: int) -> tuple[BookOutcome, ...]:
        """Take lots off one order; see ``protocol.Book.reduce``."""
        return self._call(Command(REDUCE, 0, 0, self._state.market_id, order_number, quantity=quantity))

    def _call(self, command: Command) -> tuple[BookOutcome, ...]:
        self._run(command)
        events = self._state.events
        outcomes = [_outcome(event) for event in events if event[0] not in _PLAIN and _is_notable(event, command)]
        events.clear()
        return tuple(outcomes)

    def _run(self, c: Command) -> None:
        """One command, start to end."""
        book = self._state
        book.sequence = c.sequence
        book.met = book.started = 0
        if c.market_id != book.market_id or not PLACE <= c.kind <= TRIGGER:
            book.reject(c.order_number, Reason.INVALID_COMMAND)
            return
        if c.kind == TICK:
            self._tick(c)
            return
        if book.expiries:
            self._expire(c.time_us, 0)
        if book.state != OPEN:
            refusal = checks.check_state(book, c)
            if refusal:
                book.reject(c.order_number, refusal)
                return
        self._carry_out[c.kind](c)

    def _place(self, c: Command) -> None:
        book = self._state
        refusal = checks.check_place(book, c)
        if refusal:
            book.reject(c.order_number, refusal)
            return
        max_notional = c.max_notional if c.flags & LIMITED_NOTIONAL else 0
        order = BookOrder(
            c.order_number, c.user, c.side, c.type, c.time_in_force, c.stp, c.flags, c.price, c.quantity, c.stop_price,
            c.display, max_notional, c.expires_us, c.linked_number,
        )  # fmt: skip
        book.emit(
            ACCEPTED, c.order_number, side=c.side, price=c.price, quantity=c.quantity, leaves=c.quantity,
            other_number=c.user,
        )  # fmt: skip
        if c.linked_number:
            first_leg = book.orders[c.linked_number]
            first_leg.linked_number = c.order_number
            book.touch(first_leg)
        self._enter(order)

    def _enter(self, order: BookOrder) -> None:
        """Bring an order that is not live into the market: it waits as a stop, or takes and rests."""
        book = self._state
        if order.is_stop and (book.reached_high or not book.stop_reached(order)):
            book.wait(order)
            return
        if order.is_stop:
            self._trigger(order)
        else:
            take(book, order)
        if book.trade_high:
            cascade(book, self._trigger)

    def _trigger(self, order: BookOrder) -> None:
        """A stop, out of everything by now, enters the market."""
        book = self._state
        book.started += 1
        order.waiting = 0
        book.emit(TRIGGERED, order.order_number, side=order.side, price=book.last_price, leaves=order.leaves)
        book.cancel_linked(order)
        if order.flags & POST_ONLY and would_take(book, order.side, order.price):
            book.trade_high = book.trade_low = 0
            book.emit(
                CANCELLED, order.order_number, reason=Reason.TRIGGER_REFUSED, side=order.side,
                price=order.price, quantity=order.leaves,
            )  # fmt: skip
        else:
            take(book, order)

    def _trigger_waiting(self, _: Command) -> None:
        """Let stops enter whose turn has come; no trade of this command reached them."""
        self._state.trade_high = self._state.trade_low = 0
        cascade(self._state, self._trigger)

    def _cancel(self, c: Command) -> None:
        book = self._state
        order = book.orders.get(c.order_number)
        refusal = checks.check_leaving(c) or (Reason.UNKNOWN_ORDER if order is None else FINE)
        if order is None or refusal:
            book.reject(c.order_number, refusal)
        else:
            book.end(order, CANCELLED, c.reason or Reason.USER_REQUEST)

    def _reduce(self, c: Command) -> None:
        book = self._state
        order = book.orders.get(c.order_number)
        refusal = checks.check_leaving(c) or (Reason.UNKNOWN_ORDER if order is None else FINE)
        if order is None or refusal:
            book.reject(c.order_number, refusal)
        elif c.quantity >= order.leaves:
            book.end(order, CANCELLED, c.reason or Reason.USER_REQUEST)
        else:
            book.reduce(order, c.quantity, c.reason or Reason.USER_REQUEST)

    def _amend(self, c: Command) -> None:
        book = self._state
        order = book.orders.get(c.order_number)
        refusal = Reason.UNKNOWN_ORDER if order is None else checks.check_amend(book, order, c)
        if order is None or refusal:
            book.reject(c.order_number, refusal)
            return
        price, quantity = c.price or order.price, c.quantity or order.quantity
        stop_price = c.stop_price or order.stop_price
        if c.flags & LIMITED_NOTIONAL:
            order.flags |= LIMITED_NOTIONAL
            order.max_notional = c.max_notional
        if price == order.price and stop_price == order.stop_price and quantity <= order.quantity:
            shown_before = order.display_remaining
            book.shrink(order, order.quantity - quantity)
            self._say_amended(order, shown_before)
            return
        if not order.waiting:
            book.emit(
                PULLED, order.order_number, side=order.side, price=order.price, leaves=order.leaves,
                other_leaves=order.display_remaining, flags=RESTING,
            )  # fmt: skip
        book.remove(order)
        order.leaves += quantity - order.quantity
        order.price, order.quantity, order.stop_price = price, quantity, stop_price
        self._say_amended(order, 0)
        if order.waiting:
            self._enter(order)
        else:
            take(book, order)
            cascade(book, self._trigger)

    def _say_amended(self, order: BookOrder, shown_before: int) -> None:
        """``shown_before``: the visible part it had in the place that it keeps; 0 if it waits or lost its place."""
        kept = shown_before > 0
        self._state.emit(
            AMENDED, order.order_number, side=order.side, price=order.price, quantity=order.quantity,
            leaves=order.leaves, flags=RESTING if kept else 0,
            other_number=order.stop_price if order.waiting else shown_before,
            other_leaves=order.display_remaining if kept else 0,
            priority=order.priority if kept or order.waiting else 0,
        )  # fmt: skip

    def _cancel_all(self, c: Command) -> None:
        book = self._state
        refusal = checks.check_leaving(c)
        if refusal:
            book.reject(c.order_number, refusal)
            return
        mine = sorted(o.order_number for o in book.orders.values() if not c.user or o.user == c.user)
        ended = 0
        for order_number in mine:
            order = book.orders.get(order_number)
            if order is not None:
                book.end(order, CANCELLED, c.reason or Reason.MASS_CANCEL)
                ended += 1
                if ended == c.quantity:
                    return

    def _set_state(self, c: Command) -> None:
        book = self._state
        if c.state > CLOSED:
            book.reject(c.order_number, Reason.INVALID_COMMAND)
            return
        book.state = c.state
        book.emit(STATE_CHANGED, c.order_number, reason=c.state)

    def _tick(self, c: Command) -> None:
        if c.quantity < 0:
            self._state.reject(c.order_number, Reason.INVALID_COMMAND)
        else:
            self._expire(c.time_us, c.quantity)

    def _configure(self, c: Command) -> None:
        book = self._state
        rules = (c.price, c.stop_price, c.quantity, c.display, c.max_notional)
        if not all(0 <= rule <= checks.MAX_VALUE for rule in rules) or c.flags > CASCADE_BUDGET:
            book.reject(c.order_number, Reason.INVALID_COMMAND)
            return
        (
            book.price_band_ppm, book.max_slippage_ppm, book.min_notional, book.max_open_orders, book.max_fills,
        ) = rules  # fmt: skip
        book.rules = c.flags
        book.emit(CONFIGURED, c.order_number)

    def _expire(self, time_us: int, at_most: int) -> None:
        """Expire what is due at ``time_us``: soonest first, then oldest; 0 is all."""
        book = self._state
        expired = 0
        while (order := book.expiries.first()) is not None and order.expires_us <= time_us:
            reason = _EXPIRY_REASONS.get(TimeInForce(order.time_in_force), Reason.MAX_LIFE)
            book.end(order, EXPIRED, reason)
            expired += 1
            if expired == at_most:
                return

    # Questions

    def best_bid(self) -> int:
        """Highest bid in ticks; 0 if there is none."""
        level = self._state.ladders[BUY].best
        return level.price if level else 0

    def best_ask(self) -> int:
        """Lowest ask in ticks; 0 if there is none."""
        level = self._state.ladders[SELL].best
        return level.price if level else 0

    def depth(self, side: Side, levels: int) -> list[Level]:
        """The best levels of a side, best first."""
        ladder = self._state.ladders[side]
        return [Level(level.price, level.visible, level.count) for level in islice(ladder, max(levels, 0))]

    def walk(self, side: Side, quantity: int, price: int = 0) -> Walk:
        """What a taker could get now."""
        left, notional = max(quantity, 0), 0
        for level in self._state.ladders[1 - side]:
            if not left or (price and level.key > (price if side == BUY else -price)):
                break
            lots = min(left, level.total)
            left -= lots
            notional += lots * level.price
        return Walk(max(quantity, 0) - left, notional)

    def orders_at(self, side: Side, price: int) -> list[int]:
        """The order numbers of one level, first in time first."""
        level = self._state.ladders[side].at(price)
        return [order.order_number for order in level] if level else []

    def order(self, order_number: int) -> Resting | None:
        """One live order, or None."""
        order = self._state.orders.get(order_number)
        return order.resting() if order else None

    def live_orders(self) -> list[Resting]:
        """All live orders in ascending priority."""
        orders = sorted(self._state.orders.values(), key=lambda order: order.priority)
        return [order.resting() for order in orders]

    def memory(self) -> MarketMemory:
        """What is remembered beside the orders."""
        return self._state.memory()

    def restore(self, memory: MarketMemory, orders: list[Resting]) -> None:
        """Fill an empty book."""
        restore_book(self._state, memory, orders)

    def dump(self) -> bytes:
        """All that the book remembers, as a snapshot."""
        orders = b"".join(map(encode_resting, self.live_orders()))
        return seal_snapshot(self.market_id, encode_memory(self.memory()), orders)

    def load(self, snapshot: bytes) -> None:
        """Fill an empty book from a snapshot."""
        memory, orders = open_snapshot(self.market_id, snapshot)
        records = range(0, len(orders), ORDER_RECORD_SIZE)
        self.restore(decode_memory(memory), [decode_resting(orders[at : at + ORDER_RECORD_SIZE]) for at in records])

    def next_expiry(self) -> int:
        """When the next order falls due; 0 if none does."""
        order = self._state.expiries.first()
        return order.expires_us if order else 0

    def triggers_due(self) -> bool:
        """Whether stops wait for a TRIGGER that may start them."""
        return self._state.reached_high != 0 and self._state.state == OPEN

    def state_hash(self) -> int:
        """The 128-bit hash of all that is remembered."""
        return self._state.state_hash()

    def check(self) -> None:
        """Verify every invariant."""
        verify_book(self._state)

    def __len__(self) -> int:
        return len(self._state.orders)


def _is_notable(event: Row, command: Command) -> bool:
    """Whether a per-call answer tells this event, which is none of the plain ones: all but what was asked for."""
    kind, order_number = event[0], event[6]
    if command.kind == PLACE or order_number != command.order_number:
        return True
    return kind not in (CANCELLED, REDUCED)


def _outcome(event: Row) -> BookOutcome:
    other = event[7] if event[0] == TRADE else event[6]
    return BookOutcome(event[0], event[1], other, event[8], event[9])
