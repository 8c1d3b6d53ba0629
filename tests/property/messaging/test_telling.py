"""What is told of random orders of every kind is what became of them, and each message is as its schema says."""

import random
from collections import Counter, defaultdict
from typing import Any

import jsonschema_rs
import msgspec
import pytest

from tests.property.sequencer.test_bookkeeping import Traders
from trade_engine.domain.commands import Command, CommandKind
from trade_engine.domain.enums import OrderStatus
from trade_engine.domain.events import Event
from trade_engine.domain.orders import Order, Trade
from trade_engine.domain.rules import show_average
from trade_engine.domain.scale import format_units
from trade_engine.messaging.asyncapi import describe
from trade_engine.messaging.known_orders import KnownOrders
from trade_engine.messaging.telling import EventMessage, Teller, ToldBatch, numbers_of, trades_of
from trade_engine.sequencer.bookkeeping import Changes, CommandOutcome
from trade_engine.sequencer.facts import BatchFacts, PlacedFact, uuid_text

STREAM = "0192f0c1-2b3c-7d4e-8f50-61728394a5b6"
ENDED = {
    OrderStatus.FILLED: "order.filled", OrderStatus.CANCELLED: "order.cancelled", OrderStatus.EXPIRED: "order.expired",
    OrderStatus.REJECTED: "order.rejected",
}  # fmt: skip
_DOCUMENT = msgspec.json.decode(msgspec.json.encode(describe()))["components"]
_CHECKS = {
    message["name"]: jsonschema_rs.Draft202012Validator({"components": _DOCUMENT, **message["payload"]})
    for message in _DOCUMENT["messages"].values()
}


def _uuid(text: str) -> str:
    """``order 7`` as a UUID."""
    return uuid_text(int(text.split()[1]).to_bytes(16, "big"))


class Listening:
    """Tells each command of the traders' exchange as a batch of its own, and compares."""

    def __init__(self, seed: int) -> None:
        self.traders = Traders(seed)
        exchange = self.traders.exchange
        self._fold = exchange.bookkeeper.fold
        exchange.bookkeeper.fold = self.fold  # type: ignore[method-assign]
        self.market = exchange.market
        self.orders = KnownOrders()
        self.teller = Teller(STREAM, {1: self.market}, self.orders)
        self.stories: defaultdict[str, list[dict[str, Any]]] = defaultdict(list)
        self.ids: set[str] = set()
        self.types: Counter[str] = Counter()

    def fold(self, command: Command, events: list[Event], placed: Order | None, changes: Changes) -> CommandOutcome:
        """As the bookkeeper's, and tell of it."""
        outcome = self._fold(command, events, placed, changes)
        facts = []
        if command.kind == CommandKind.PLACE and placed is not None:
            owner = placed.user.to_bytes(16, "big")
            facts = [PlacedFact(placed.sequence.to_bytes(16, "big"), owner, "mine", None, 0, 0, 0, 0)]
        told = BatchFacts(
            since=1,
            epoch=1,
            time_us=command.time_us,
            trade_sequence=0,
            instruction_id=0,
            candles=0,
            placed=facts,
            given=[],
        )
        batch = ToldBatch(command.sequence, command.sequence, command.time_us, [command], events, told)
        trades = {trade.trade_id: _named(trade) for trade in changes.trades}
        assert trades_of(batch) == [trade.trade_id for trade in changes.trades]
        for number in numbers_of([batch]):
            assert self.orders[number].number == number
        last = (0, 0)
        for message in self.teller.tell(batch, trades):
            assert last < (message.sequence, message.place)
            last = (message.sequence, message.place)
            self._hear(message)
        for order in changes.orders.values():
            self._compare(order)
        return outcome

    def _hear(self, message: EventMessage) -> None:
        body = msgspec.json.decode(message.body)
        assert not list(_CHECKS[message.type].iter_errors(body)), body
        assert message.message_id == f"{STREAM}-{message.sequence}-{message.place}" == body["event_id"]
        assert message.message_id not in self.ids
        assert message.routing_key == f"{message.type}.A-B"
        self.ids.add(message.message_id)
        self.types[message.type] += 1
        if message.type.startswith("order."):
            self.stories[body["order_id"]].append(body)

    def _compare(self, order: Order) -> None:
        story = self.stories[_uuid(order.order_id)]
        words = [body["event"] for body in story]
        ends = [word for word in words if word in ENDED.values()]
        if order.status.is_open:
            assert not ends, (order, words)
            assert order.filled == self.orders[order.sequence].filled
        else:
            assert ends == [ENDED[order.status]] == words[-1:], (order, words)
        assert words[0] == ("order.rejected" if order.status is OrderStatus.REJECTED else "order.opened")
        assert words.count("order.opened") <= 1
        told = next((body for body in reversed(story) if "filled_quantity" in body), None)
        if told is None:
            assert not order.filled
            return
        assert told["filled_quantity"] == format_units(order.filled), (order, told)
        average = show_average(order.filled_notional, order.filled, 0) if order.filled else None
        assert told.get("average_price", average) == average
        if order.status.is_open and told.get("remaining_quantity") is not None:
            assert told["remaining_quantity"] == format_units(order.leaves), (order, told)
        if "cancelled_quantity" in told:
            reason = order.reason.name
            assert told["reason"] == reason, (order, told)


def _named(trade: Trade) -> Trade:
    return msgspec.structs.replace(
        trade, buyer_order_id=_uuid(trade.buyer_order_id), seller_order_id=_uuid(trade.seller_order_id),
        buyer_user_id=_uuid(trade.buyer_user_id), seller_user_id=_uuid(trade.seller_user_id),
    )  # fmt: skip


@pytest.mark.parametrize("seed", range(60))
async def test_every_order_is_told_as_it_was(seed: int) -> None:
    listening = Listening(seed)
    for _ in range(150):
        listening.traders.go_on()


async def test_every_event_of_an_order_is_told() -> None:
    types: Counter[str] = Counter()
    for seed in random.Random(7).sample(range(1_000, 2_000), 20):
        listening = Listening(seed)
        for _ in range(150):
            listening.traders.go_on()
        types += listening.types
    assert types.keys() == _CHECKS.keys() - {"trade.settled", "trade.settlement_failed"}
