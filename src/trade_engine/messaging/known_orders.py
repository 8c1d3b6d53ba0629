"""The orders that the relay can speak of: whose they are, and how far each was filled where the relay stands.

New ones come from the journal itself.  An older one, after a start or because there were too many, is looked up: its
number leads to the batch that placed it, its id to its row; what was filled after the relay's place is taken off.
"""

import struct
from collections import OrderedDict
from collections.abc import Collection, Iterable
from typing import Final

import msgspec

from trade_engine.domain.commands import Command, CommandKind, decode_commands
from trade_engine.domain.enums import OrderType, Side, TimeInForce
from trade_engine.domain.ids import uuid7_floor
from trade_engine.domain.rules import show_average
from trade_engine.sequencer.facts import PlacedFact, decode_facts, uuid_text
from trade_engine.storage.types import AnyConnection

_PLACED_IN: Final = """
    SELECT n.number, j.commands, j.facts FROM unnest($1::BIGINT[]) AS n(number)
    CROSS JOIN LATERAL (SELECT commands, facts FROM journal WHERE last_sequence >= n.number
        ORDER BY last_sequence LIMIT 1) j"""
#: Orders of version 0.1 have no facts: by number, which no index knows; there are few, and fewer each day.
_BY_NUMBER: Final = "SELECT sequence, order_id::TEXT FROM orders WHERE sequence = ANY ($1::BIGINT[])"
#: As they were before trades above number $4, which all have ids from $5 on.
_AS_OF: Final = """
    WITH later AS (
        SELECT buyer_order_id, seller_order_id, quantity, notional FROM trades
        WHERE trade_id >= $5::UUID AND sequence > $4
            AND (buyer_order_id = ANY ($1::UUID[]) OR seller_order_id = ANY ($1::UUID[]))
    )
    SELECT o.order_id::TEXT, o.sequence, o.user_id::TEXT, o.client_order_id, o.institution_id, o.side::TEXT,
        o.type::TEXT, o.time_in_force::TEXT, o.flags,
        ((o.filled_quantity - coalesce(l.quantity, 0)) * 100000000)::BIGINT,
        ((o.filled_notional - coalesce(l.notional, 0)) * 100000000)::BIGINT
    FROM orders o
    CROSS JOIN LATERAL (SELECT sum(quantity) AS quantity, sum(notional) AS notional FROM later
        WHERE buyer_order_id = o.order_id OR seller_order_id = o.order_id) l
    WHERE o.order_id = ANY ($1::UUID[]) AND o.order_id >= $2::UUID AND o.order_id <= $3::UUID"""


class UnknownOrder(RuntimeError):
    """The journal speaks of an order that nothing else knows."""


class KnownOrder(msgspec.Struct, gc=False):
    """One order; amounts in units of 1e-8."""

    order_id: str
    number: int
    user_id: str
    client_order_id: str | None
    institution_id: str | None
    side: str
    type: str
    time_in_force: str
    flags: int
    filled: int = 0
    filled_notional: int = 0

    @property
    def average_price(self) -> str | None:
        """What its fills cost on average; None before the first."""
        return show_average(self.filled_notional, self.filled, 0) if self.filled else None


class KnownOrders:
    """Orders by their number in the core, the oldest forgotten when there are too many."""

    def __init__(self, orders_max: int = 100_000) -> None:
        self._orders: OrderedDict[int, KnownOrder] = OrderedDict()
        self._orders_max = orders_max

    def __getitem__(self, number: int) -> KnownOrder:
        """An order that was placed or looked up.

        Raises:
            UnknownOrder: it was neither.
        """
        order = self._orders.get(number)
        if order is None:
            raise UnknownOrder(f"order number {number} is in no batch of the journal")
        return order

    def place(self, command: Command, fact: PlacedFact) -> KnownOrder:
        """Take a new order in."""
        order = self._orders[command.sequence] = _placed(command, fact)
        return order

    def forget(self, number: int) -> None:
        """Let an ended order go."""
        self._orders.pop(number, None)

    def shrink(self) -> None:
        """Forget the oldest ones, if there are too many; between batches."""
        while len(self._orders) > self._orders_max:
            self._orders.popitem(last=False)

    async def look_up(
        self, connection: AnyConnection, numbers: Collection[int], trade_sequence: int, time_us: int
    ) -> None:
        """Find those that are not known yet, as they were after trade ``trade_sequence``.

        Args:
            connection: reads in one statement what must fit together.
            numbers: which may be needed.
            trade_sequence: of the last trade before the place where the relay stands.
            time_us: no trade after it was made before this time.

        Raises:
            UnknownOrder: one is not to be found.
        """
        missing = [number for number in numbers if number not in self._orders]
        if not missing:
            return
        placed: dict[str, int] = {}
        old: list[int] = []
        for number, commands, facts in await connection.fetch(_PLACED_IN, missing):
            fact = _fact_of(number, commands, facts)
            if fact is None:
                old.append(number)
            else:
                placed[uuid_text(fact.order_id)] = number
        if old:
            placed.update((order_id, number) for number, order_id in await connection.fetch(_BY_NUMBER, old))
        if not placed:
            raise UnknownOrder(f"orders with numbers {missing[:5]} are not to be found")
        ids = list(placed)
        rows = await connection.fetch(_AS_OF, ids, min(ids), max(ids), trade_sequence, uuid7_floor(time_us))
        for row in rows:
            order = KnownOrder(*row)
            self._orders[order.number] = order
        lost = [number for number in missing if number not in self._orders]
        if lost:
            raise UnknownOrder(f"orders with numbers {lost[:5]} are not to be found")


def _placed(command: Command, fact: PlacedFact) -> KnownOrder:
    return KnownOrder(
        uuid_text(fact.order_id), command.sequence, uuid_text(fact.user_id), fact.client_order_id, fact.institution_id,
        Side(command.side).name, OrderType(command.type).name, TimeInForce(command.time_in_force).name, command.flags,
    )  # fmt: skip


def _fact_of(number: int, commands: bytes, facts: bytes | None) -> PlacedFact | None:
    """The fact of the order with that number in the batch that placed it; None: the batch has no facts."""
    if facts is None:
        return None
    try:
        told: Iterable[PlacedFact] = decode_facts(facts).placed
        places = (command.sequence for command in decode_commands(commands) if command.kind == CommandKind.PLACE)
        return dict(zip(places, told, strict=True))[number]
    except (KeyError, ValueError, struct.error) as error:
        raise UnknownOrder(f"the batch of order number {number} does not tell of it: {error!r}") from error
