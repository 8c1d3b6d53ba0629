"""The hub: who gets what, in order, and what a reader with a full buffer gets when it reads on."""

import asyncio
from typing import Any

import pytest

from tests.unit.edge.ws.test_channels import messages, rest, unchanged
from trade_engine.domain.enums import Side
from trade_engine.domain.errors import Unavailable
from trade_engine.domain.market import default_markets
from trade_engine.edge.settings import StreamSettings
from trade_engine.edge.ws.hub import Hub, Topic
from trade_engine.sequencer.public_market import PublicMarket
from trade_engine.sequencer.public_markets import PublicMarkets
from trade_engine.sequencer.store.memory import MemoryStore

SYMBOL = "BTC/USDT"
DEPTH: Topic = ("depth", SYMBOL, 0)
BOOK: Topic = ("book", SYMBOL, 0)


class FakeReader:
    """Keeps what it is given."""

    def __init__(self, hub: Hub) -> None:
        self.full = False
        self.got: list[Any] = []
        self._hub = hub
        self._outbox: list[bytes] = []

    def put(self, frame: bytes) -> bool:
        self._outbox.append(frame)
        return len(self._outbox) == 1

    def flush(self) -> None:
        self.got += messages(b"".join(self._outbox))
        self._outbox.clear()

    def send(self, frame: bytes) -> None:
        self._hub.send(self, frame)


class Engine(PublicMarkets):
    """A reader whose one market's view a test moves, and that can be away."""

    def __init__(self) -> None:
        market = default_markets()[0]
        super().__init__([market], MemoryStore(), lambda: 0, lambda: 0, lambda _: {})
        self.shown = PublicMarket(market)
        self.restart({market.market_id: self.shown})
        self.away = False

    def view(self, symbol: str) -> PublicMarket:
        if self.away:
            raise Unavailable("ENGINE_UNAVAILABLE", "away")
        return super().view(symbol)


@pytest.fixture
def engine() -> Engine:
    return Engine()


@pytest.fixture
async def hub(engine: Engine) -> Hub:
    return Hub(engine, StreamSettings(flush_ms=0))


async def happen(engine: Engine, hub: Hub, price: int) -> None:
    """An order rests, and the hub has told of it."""
    rest(engine.shown, Side.BUY, price, 1)
    hub.committed([SYMBOL], [])
    await idle(hub)


async def idle(hub: Hub) -> None:
    """Wait until the hub has nothing to hand out."""
    async with asyncio.timeout(5):
        while hub._marked or hub._timer or hub._outgoing:
            await asyncio.sleep(0.001)


def spans(reader: FakeReader) -> list[tuple[int, int]]:
    return [(message["first_sequence"], message["sequence"]) for message in reader.got]


async def test_a_full_reader_is_passed_over_and_gets_one_merged_update(engine: Engine, hub: Hub) -> None:
    quick, slow = FakeReader(hub), FakeReader(hub)
    for reader in (quick, slow):
        hub.subscribe(DEPTH, reader)
    await happen(engine, hub, 1)
    slow.full = True
    for price in (2, 3, 4):
        await happen(engine, hub, price)
    assert spans(quick) == [(0, 0), (1, 1), (2, 2), (3, 3), (4, 4)]
    assert spans(slow) == [(0, 0), (1, 1)]
    assert hub.counts.conflated == 3
    slow.full = False
    hub.resume(slow)
    assert spans(slow)[2:] == [(2, 4)]
    assert slow.got[-1]["checksum"] == quick.got[-1]["checksum"]
    await happen(engine, hub, 5)
    assert spans(slow)[-1] == spans(quick)[-1] == (5, 5)


async def test_a_full_reader_that_subscribes_gets_its_snapshot_when_it_reads_on(engine: Engine, hub: Hub) -> None:
    reader = FakeReader(hub)
    reader.full = True
    for _ in range(50):
        hub.subscribe(DEPTH, reader)
        await happen(engine, hub, 1)
    assert reader.got == []
    reader.full = False
    hub.resume(reader)
    (snapshot,) = reader.got
    assert snapshot["snapshot"] is True
    assert snapshot["sequence"] == 50


async def test_a_late_subscriber_begins_where_the_others_are(engine: Engine, hub: Hub) -> None:
    early, late = FakeReader(hub), FakeReader(hub)
    hub.subscribe(DEPTH, early)
    rest(engine.shown, Side.BUY, 1, 1)
    hub.subscribe(DEPTH, late)
    await happen(engine, hub, 2)
    assert spans(early) == [(0, 0), (1, 1), (2, 2)]
    assert spans(late) == [(1, 1), (2, 2)]


async def test_an_engine_that_is_away_leaves_no_gap(engine: Engine, hub: Hub) -> None:
    reader = FakeReader(hub)
    hub.subscribe(DEPTH, reader)
    reader.full = True
    await happen(engine, hub, 1)
    engine.away, reader.full = True, False
    hub.resume(reader)
    assert spans(reader) == [(0, 0)]
    engine.away = False
    await happen(engine, hub, 2)
    assert spans(reader) == [(0, 0), (1, 2)]


async def test_nothing_is_told_after_unsubscribing_or_leaving(engine: Engine, hub: Hub) -> None:
    one, other = FakeReader(hub), FakeReader(hub)
    for reader in (one, other):
        hub.subscribe(BOOK, reader)
        hub.subscribe(DEPTH, reader)
    hub.unsubscribe(DEPTH, one)
    hub.leave([BOOK, DEPTH], other)
    told = len(one.got), len(other.got)
    await happen(engine, hub, 1)
    assert (len(one.got), len(other.got)) == (told[0] + 1, told[1])
    hub.unsubscribe(BOOK, one)
    await happen(engine, hub, 2)
    assert len(one.got) == told[0] + 1


async def test_statistics_are_told_at_most_so_often(engine: Engine) -> None:
    hub = Hub(engine, StreamSettings(flush_ms=0, statistics_ms=1000))
    reader = FakeReader(hub)
    hub.subscribe(("ticker", SYMBOL, 0), reader)
    price = iter(range(1, 100))

    def ticker(symbol: str) -> Any:
        return PublicMarkets.ticker(engine, symbol)._replace(best_bid=next(price) * 1_000_000)

    hub._groups["ticker", SYMBOL, 0]._ticker = ticker  # type: ignore[attr-defined]
    for _ in range(20):
        hub.committed([SYMBOL], [])
        await idle(hub)
    assert len(reader.got) == 2
    async with asyncio.timeout(5):
        while len(reader.got) < 3:
            await asyncio.sleep(0.01)
    hub.close()


async def test_a_reader_that_reads_on_before_the_others_were_told_gets_everything_once(
    engine: Engine, hub: Hub
) -> None:
    quick, slow = FakeReader(hub), FakeReader(hub)
    for reader in (quick, slow):
        hub.subscribe(DEPTH, reader)
        hub.subscribe(BOOK, reader)
    slow.full = True
    await happen(engine, hub, 1)
    rest(engine.shown, Side.BUY, 2, 1)
    slow.full = False
    hub.resume(slow)
    await happen(engine, hub, 3)
    for reader in (quick, slow):
        depth = [message for message in reader.got if message["type"] == "depth"]
        ends = [message["sequence"] for message in depth]
        assert [message["first_sequence"] for message in depth[1:]] == [end + 1 for end in ends[:-1]]
        assert ends[-1] == 3


async def test_events_that_change_no_level_leave_nobody_with_a_gap(engine: Engine, hub: Hub) -> None:
    early, late, lagging = FakeReader(hub), FakeReader(hub), FakeReader(hub)
    for reader in (early, lagging):
        hub.subscribe(DEPTH, reader)
    lagging.full = True
    await happen(engine, hub, 1)
    unchanged(engine.shown, 2)
    hub.committed([SYMBOL], [])
    await idle(hub)
    hub.subscribe(DEPTH, late)
    lagging.full = False
    hub.resume(lagging)
    await happen(engine, hub, 2)
    assert spans(early) == [(0, 0), (1, 1), (2, 4)]
    assert spans(late) == [(1, 1), (2, 4)]
    assert spans(lagging) == [(0, 0), (1, 1), (2, 4)]
