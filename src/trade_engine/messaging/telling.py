"""From a committed batch to the messages that tell of it: pure, and the same however often it is done.

A message's id is ``stream-sequence-index``: the command's number, and four times the event's place in that command
plus the message's place in that event.  So it says the same of the same event at every delivery.
"""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, Final, NamedTuple

import msgspec

from trade_engine.domain.commands import Command, CommandKind, OrderFlag
from trade_engine.domain.enums import Reason, TimeInForce
from trade_engine.domain.events import Event, EventFlag, EventKind
from trade_engine.domain.ids import trade_uuid
from trade_engine.domain.market import Market
from trade_engine.domain.orders import Trade
from trade_engine.domain.scale import format_price, format_units
from trade_engine.messaging.events import (
    SCHEMA_VERSION,
    OrderAmended,
    OrderCancelled,
    OrderExpired,
    OrderFilled,
    OrderOpened,
    OrderPartiallyFilled,
    OrderRejected,
    OrderTriggered,
    TradeExecuted,
    TradeSettled,
    TradeSettlementFailed,
)
from trade_engine.messaging.known_orders import KnownOrder, KnownOrders
from trade_engine.sequencer.facts import BatchFacts

#: Messages that one event may make, and one number spare.
_PARTS: Final = 4
#: What an order that asked for an end has; any other's is the longest life, which is the venue's rule.
_ENDING: Final = (TimeInForce.DAY, TimeInForce.GTD)
#: Events that speak of an order which must be known.
_SPEAKING: Final = frozenset(
    (
        EventKind.ACCEPTED, EventKind.TRADE, EventKind.CANCELLED, EventKind.EXPIRED, EventKind.REDUCED,
        EventKind.AMENDED, EventKind.TRIGGERED,
    )
)  # fmt: skip
_encode: Final = msgspec.json.Encoder().encode

#: From an order's id to its trace context, as the header ``traceparent`` has it.
Traced = Callable[[str], str]


class EventMessage(NamedTuple):
    """One message as it is published."""

    message_id: str
    #: ``trade.executed``; with the symbol, its routing key.
    type: str
    routing_key: str
    #: Seconds since 1970.
    time_s: int
    body: bytes
    #: Where it stands: the command's number, and the place in it; a settlement event has its own.
    sequence: int
    place: int
    #: The trace of the order that it is about, of a trade the taker's; None: nobody traces.
    traceparent: str | None = None


class ToldBatch(NamedTuple):
    """A batch of the journal, decoded."""

    first_sequence: int
    last_sequence: int
    time_us: int
    commands: Sequence[Command]
    events: Sequence[Event]
    facts: BatchFacts


class SettlementNote(NamedTuple):
    """A row of the settlement outbox, with its trade."""

    number: int
    settled: bool
    happened_us: int
    reason: str | None
    attempts: int | None
    trade: Trade


def numbers_of(batches: Iterable[ToldBatch]) -> Collection[int]:
    """The orders that batches speak of and do not place."""
    found: set[int] = set()
    placed: set[int] = set()
    for batch in batches:
        placed.update(command.sequence for command in batch.commands if command.kind == CommandKind.PLACE)
        for event in batch.events:
            if event.kind in _SPEAKING:
                found.add(event.order_number)
                if event.kind == EventKind.TRADE:
                    found.add(event.other_number)
    return found - placed


def trades_of(batch: ToldBatch) -> list[str]:
    """The ids of a batch's trades, in order."""
    times = {command.sequence: command.time_us for command in batch.commands}
    found: list[str] = []
    sequence = index = 0
    for event in batch.events:
        if event.kind == EventKind.TRADE:
            index = index + 1 if event.sequence == sequence else 0
            sequence = event.sequence
            found.append(trade_uuid(times[sequence], sequence, index))
    return found


class Teller:
    """Tells batches in order; keeps in ``orders`` what it needs to know from one to the next.

    Args:
        stream_id: begins every message's id.
        markets: by number.
        orders: those that a batch speaks of must be there when it is told.
        traced: gives the trace context of an order by its id; None: nobody traces.
    """

    def __init__(
        self, stream_id: str, markets: Mapping[int, Market], orders: KnownOrders, traced: Traced | None = None
    ) -> None:
        self.stream_id = stream_id
        self.markets = markets
        self.orders = orders
        self.traced = traced

    def tell(self, batch: ToldBatch, trades: Mapping[str, Trade]) -> Iterator[EventMessage]:
        """The messages of a batch, in order.

        Raises:
            UnknownOrder, KeyError: of an order, a trade or a market that the journal speaks of nothing is known.
        """
        placed, events = iter(batch.facts.placed), batch.events
        at = 0
        for command in batch.commands:
            if command.kind == CommandKind.PLACE:
                self.orders.place(command, next(placed))
            first, fills = at, 0
            while at < len(events) and events[at].sequence == command.sequence:
                event = events[at]
                place = _Place(self, command, _PARTS * (at - first))
                if event.kind == EventKind.TRADE:
                    yield from place.trade(event, trades[trade_uuid(command.time_us, command.sequence, fills)])
                    fills += 1
                elif (message := place.change(event)) is not None:
                    yield message
                at += 1

    def settlement(self, note: SettlementNote) -> EventMessage:
        """The message of what became of a trade's settlement; its index is always 0."""
        trade, market = note.trade, self.markets[note.trade.market_id]
        message_id = f"{self.stream_id}-s{note.number}-0"
        head = (
            message_id, self.stream_id, SCHEMA_VERSION, note.number, 0, market.symbol, _show_time(note.happened_us),
            trade.trade_id, trade.sequence, trade.buyer_user_id, trade.seller_user_id, trade.buyer_order_id,
            trade.seller_order_id,
        )  # fmt: skip
        told: TradeSettled | TradeSettlementFailed = (
            TradeSettled(*head) if note.settled else TradeSettlementFailed(*head, note.reason, note.attempts or 0)
        )
        message = _message(told, message_id, market, note.happened_us, note.number, 0)
        return self.with_trace(message, _taker_of(trade))

    def with_trace(self, message: EventMessage, order_id: str) -> EventMessage:
        """A message with the trace of an order, if anybody traces."""
        return message if self.traced is None else message._replace(traceparent=self.traced(order_id))


class _Place:
    """Where an event stands, and what its messages say first."""

    __slots__ = ("_command", "_index", "_market", "_orders", "_stream_id", "_teller", "_when")

    def __init__(self, teller: Teller, command: Command, index: int) -> None:
        self._teller = teller
        self._stream_id = teller.stream_id
        self._orders = teller.orders
        self._market = teller.markets[command.market_id]
        self._command = command
        self._index = index
        self._when = _show_time(command.time_us)

    def _head(self, part: int) -> tuple[Any, ...]:
        sequence, index = self._command.sequence, self._index + part
        return (
            f"{self._stream_id}-{sequence}-{index}", self._stream_id, SCHEMA_VERSION, sequence, index,
            self._market.symbol, self._when,
        )  # fmt: skip

    def _of_order(self, order: KnownOrder, part: int = 0) -> tuple[Any, ...]:
        return (
            *self._head(part), order.order_id, order.number, order.client_order_id, order.user_id,
            order.institution_id, order.side, order.type, order.time_in_force,
        )  # fmt: skip

    def _message(self, told: Any, order_id: str) -> EventMessage:
        message = _message(told, told.event_id, self._market, self._command.time_us, told.sequence, told.index)
        return self._teller.with_trace(message, order_id)

    def _price(self, ticks: int) -> str | None:
        market = self._market
        return format_price(ticks * market.tick_size, market.price_decimals) if ticks else None

    def _quantity(self, lots: int) -> str:
        return format_units(lots * self._market.lot_size)

    # ---- trades

    def trade(self, event: Event, trade: Trade) -> Iterator[EventMessage]:
        """A trade, and what it did to both its orders: the maker first."""
        market = self._market
        yield self._message(
            _made(
                TradeExecuted, self._head(0), trade.trade_id, trade.sequence, trade.buyer_user_id, trade.seller_user_id,
                trade.buyer_order_id, trade.seller_order_id, format_price(trade.price, market.price_decimals),
                format_units(trade.quantity), format_units(trade.notional), market.base, market.quote,
                format_units(trade.buyer_fee), trade.buyer_fee_asset, format_units(trade.seller_fee),
                trade.seller_fee_asset, trade.is_buyer_maker,
            ),
            _taker_of(trade),
        )  # fmt: skip
        yield self._fill(event.other_number, trade, event.other_leaves, 1, is_maker=True)
        yield self._fill(event.order_number, trade, event.leaves, 2, is_maker=False)

    def _fill(self, number: int, trade: Trade, leaves: int, part: int, *, is_maker: bool) -> EventMessage:
        order = self._orders[number]
        order.filled += trade.quantity
        order.filled_notional += trade.notional
        fee, fee_asset = (
            (trade.buyer_fee, trade.buyer_fee_asset)
            if order.order_id == trade.buyer_order_id
            else (trade.seller_fee, trade.seller_fee_asset)
        )
        by_amount = order.flags & OrderFlag.QUOTE_AMOUNT and leaves
        told = _made(
            OrderPartiallyFilled if leaves else OrderFilled, self._of_order(order, part),
            format_units(order.filled), order.average_price,
            None if by_amount else self._quantity(leaves), trade.trade_id,
            format_price(trade.price, self._market.price_decimals), format_units(trade.quantity), format_units(fee),
            fee_asset, is_maker,
        )  # fmt: skip
        if not leaves:
            self._orders.forget(number)
        return self._message(told, order.order_id)

    # ---- everything else

    def change(self, event: Event) -> EventMessage | None:
        """What an event that is no trade tells; None: nothing that anybody outside would want to hear."""
        tell = _CHANGES.get(event.kind)
        told = tell(self, event) if tell is not None else None
        return None if told is None else self._message(told, told.order_id)

    def opened(self, event: Event) -> Any:
        """An order was accepted."""
        command, flags = self._command, self._command.flags
        amount = command.max_notional * self._market.notional_unit if flags & OrderFlag.QUOTE_AMOUNT else 0
        ends = command.time_in_force in _ENDING and command.expires_us
        return _made(
            OrderOpened, self._of_order(self._orders[event.order_number]), self._price(command.price),
            self._price(command.stop_price), self._quantity(command.quantity) if command.quantity else None,
            format_units(amount) if amount else None, self._quantity(command.display) if command.display else None,
            _show_time(command.expires_us) if ends else None, bool(flags & OrderFlag.POST_ONLY),
            bool(flags & OrderFlag.REVERSED),
        )  # fmt: skip

    def rejected(self, event: Event) -> Any:
        """A command was refused; of an order that was to be placed, that is told."""
        if self._command.kind != CommandKind.PLACE:
            return None
        told = _made(OrderRejected, self._of_order(self._orders[self._command.sequence]), Reason(event.reason).name)
        self._orders.forget(self._command.sequence)
        return told

    def ended(self, event: Event) -> Any:
        """An order ended."""
        order = self._orders[event.order_number]
        self._orders.forget(event.order_number)
        filled, average = format_units(order.filled), order.average_price
        if order.flags & OrderFlag.QUOTE_AMOUNT and order.filled and event.reason == Reason.MAX_NOTIONAL_REACHED:
            # The amount is spent but for less than one lot costs: that is what was asked for.
            return _made(OrderFilled, self._of_order(order), filled, average, "0", None, None, None, None, None, None)
        kind = OrderCancelled if event.kind == EventKind.CANCELLED else OrderExpired
        cancelled = self._quantity(event.quantity)
        return _made(kind, self._of_order(order), filled, average, cancelled, Reason(event.reason).name)

    def triggered(self, event: Event) -> Any:
        """A stop was reached."""
        order = self._orders[event.order_number]
        by_amount = order.flags & OrderFlag.QUOTE_AMOUNT
        leaves = None if by_amount else self._quantity(event.leaves)
        return _made(OrderTriggered, self._of_order(order), self._price(event.price) or "0", leaves)

    def amended(self, event: Event) -> Any:
        """An order was changed."""
        order = self._orders[event.order_number]
        waits = event.kind == EventKind.AMENDED and event.priority and not event.flags & EventFlag.RESTING
        return _made(
            OrderAmended, self._of_order(order), format_units(order.filled), self._quantity(event.leaves),
            self._price(event.price),
            self._price(event.other_number) if waits else None,
            Reason(event.reason).name if event.kind == EventKind.REDUCED and event.reason else None,
        )  # fmt: skip

    def reduced(self, event: Event) -> Any:
        """An order lost quantity."""
        # A market order by amount has no quantity to lose.
        by_amount = self._orders[event.order_number].flags & OrderFlag.QUOTE_AMOUNT
        return None if by_amount else self.amended(event)


_CHANGES: Final[dict[int, Any]] = {
    EventKind.ACCEPTED: _Place.opened,
    EventKind.REJECTED: _Place.rejected,
    EventKind.CANCELLED: _Place.ended,
    EventKind.EXPIRED: _Place.ended,
    EventKind.TRIGGERED: _Place.triggered,
    EventKind.AMENDED: _Place.amended,
    EventKind.REDUCED: _Place.reduced,
}


def _made(kind: Callable[..., Any], head: tuple[Any, ...], *rest: Any) -> Any:
    """A struct out of what all say first and what it says itself."""
    return kind(*head, *rest)


def _taker_of(trade: Trade) -> str:
    """The order that made a trade when it came in."""
    return trade.seller_order_id if trade.is_buyer_maker else trade.buyer_order_id


def _message(told: Any, message_id: str, market: Market, time_us: int, sequence: int, index: int) -> EventMessage:
    kind = told.__struct_config__.tag
    key = f"{kind}.{_dashed(market.symbol)}"
    return EventMessage(message_id, kind, key, time_us // 1_000_000, _encode(told), sequence, index)


@lru_cache(maxsize=4096)
def _dashed(symbol: str) -> str:
    return symbol.replace("/", "-")


def _show_time(time_us: int) -> str:
    seconds, rest_us = divmod(time_us, 1_000_000)
    return f"{_second(seconds)}{rest_us:06d}Z"


@lru_cache(maxsize=256)
def _second(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S.")
