"""Reads the journal on from a place and tells it: what the relay publishes, and what ``events tail`` shows."""

from collections.abc import Iterator, Mapping, Sequence

from trade_engine.domain.market import Market
from trade_engine.domain.orders import Trade
from trade_engine.messaging.known_orders import KnownOrders
from trade_engine.messaging.source import RelayPlace, RelaySource
from trade_engine.messaging.telling import (
    EventMessage,
    SettlementNote,
    Teller,
    ToldBatch,
    Traced,
    numbers_of,
    trades_of,
)

#: Events that are told at a time.
_EVENTS_AT_ONCE = 2_000


class JournalReader:
    """Tells batches of the journal; ``begin`` at a place, then ``prepare`` and ``tell`` in order."""

    def __init__(self, source: RelaySource, traced: Traced | None = None) -> None:
        self._source = source
        self._traced = traced
        self._orders = KnownOrders()
        self._markets: dict[int, Market] = {}
        self._teller = Teller("", self._markets, self._orders, traced)

    async def begin(self, place: RelayPlace) -> None:
        """Start over, with nothing known."""
        self._orders = KnownOrders()
        self._markets = await self._source.markets()
        self._teller = Teller(place.stream_id, self._markets, self._orders, self._traced)

    async def prepare(self, group: Sequence[ToldBatch]) -> Mapping[str, Trade]:
        """Find what is needed to tell some batches; their trades.

        Raises:
            UnknownOrder, MissingTrade: something that the journal tells of is in no table.
        """
        if any(command.market_id not in self._markets for batch in group for command in batch.commands):
            self._markets.update(await self._source.markets())
        trades = await self._source.trades([trade_id for batch in group for trade_id in trades_of(batch)])
        first = group[0]
        since_us = first.commands[0].time_us if first.commands else first.time_us
        numbers = numbers_of(group)
        await self._orders.look_up(self._source.connection, numbers, first.facts.trade_sequence, since_us)
        return trades

    def tell(self, batch: ToldBatch, trades: Mapping[str, Trade]) -> Iterator[EventMessage]:
        """The messages of the next batch."""
        yield from self._teller.tell(batch, trades)

    def settlement(self, note: SettlementNote) -> EventMessage:
        """The message of a settlement."""
        return self._teller.settlement(note)

    def shrink(self) -> None:
        """Forget what is too much; between groups."""
        self._orders.shrink()


def groups(page: Sequence[ToldBatch]) -> Iterator[Sequence[ToldBatch]]:
    """A page in parts of bounded size: one batch, or several small ones."""
    group: list[ToldBatch] = []
    events = 0
    for batch in page:
        if group and events + len(batch.events) > _EVENTS_AT_ONCE:
            yield group
            group, events = [], 0
        group.append(batch)
        events += len(batch.events)
    if group:
        yield group
