"""After the commit: everybody is told, in order, whatever one of them does; market data is never silently wrong."""

import asyncio
from collections.abc import Callable

import pytest

from tests.harness.engine import MemoryVenue, memory_venue
from trade_engine.domain.enums import Side
from trade_engine.domain.errors import Unavailable
from trade_engine.domain.scale import UNIT
from trade_engine.marketdata.depth import Depth, DepthError
from trade_engine.sequencer.publish import CommittedBatch
from trade_engine.sequencer.store.memory import Fault

BTC = 1


class Listener:
    """Keeps what it is told, and raises if it is told to."""

    def __init__(self) -> None:
        self.batches: list[CommittedBatch] = []
        self.rebuilds = 0
        self.raises = False

    def committed(self, batch: CommittedBatch) -> None:
        if self.raises:
            raise ValueError("planted")
        self.batches.append(batch)

    def rebuilt(self) -> None:
        if self.raises:
            raise ValueError("planted")
        self.rebuilds += 1


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.001)


def shown(venue: MemoryVenue) -> tuple[list[tuple[int, ...]], list[tuple[int, ...]]]:
    view = venue.engine.reader.depth("BTC/USDT", 100)
    return list(view.bids), list(view.asks)


async def test_listeners_are_told_in_order_and_one_that_raises_holds_up_nobody() -> None:
    async with memory_venue() as venue:
        before, broken, after = Listener(), Listener(), Listener()
        for name, listener in (("before", before), ("broken", broken), ("after", after)):
            venue.engine.publisher.add(name, listener)
        assert list(venue.engine.publisher.failures) == [
            "market data",
            "ended orders",
            "sweep",
            "before",
            "broken",
            "after",
        ]
        broken.raises = True
        alice = await venue.trader(USDT="1000")
        placed = [await venue.buy(alice, "1", "10") for _ in range(3)]
        assert len(before.batches) == len(after.batches) == 3
        assert broken.batches == []
        failures = venue.engine.publisher.failures
        assert {name: count for name, count in failures.items() if count} == {"broken": 3}
        assert [batch.orders[0].order_id for batch in after.batches] == [done.order.order_id for done in placed]
        assert venue.engine.operations.condition()["engine"] == "ok"
        venue.store.plan("commit", Fault.LOST_BEFORE)
        with pytest.raises(Unavailable):
            await venue.buy(alice, "1", "10")
        await until(lambda: after.rebuilds == before.rebuilds == 1)
        assert venue.engine.publisher.failures["broken"] >= 4


async def test_what_is_told_does_not_change_afterwards() -> None:
    async with memory_venue() as venue:
        listener = Listener()
        venue.engine.publisher.add("listener", listener)
        alice, bob = await venue.trader(USDT="1000"), await venue.trader(BTC="10")
        resting = (await venue.buy(alice, "2", "10")).order
        told = listener.batches[-1]
        (order,) = told.orders
        assert (order.order_id, order.filled, set(told.new)) == (resting.order_id, 0, {order.sequence})
        await venue.sell(bob, "1", "10")
        assert order.filled == 0
        last = listener.batches[-1]
        assert {o.user_id: o.filled for o in last.orders} == {alice: UNIT, bob: UNIT}
        assert [trade.quantity for trade in last.trades] == [UNIT]
        assert (last.previous_sequence, last.journal.last_sequence) == (
            told.journal.last_sequence, told.journal.last_sequence + 1
        )  # fmt: skip
        assert {touched.market.symbol for touched in last.markets} == {"BTC/USDT"}
        assert {item.kind for item in last.instructions} == {"SETTLE", "RELEASE"}
        with pytest.raises(AttributeError):
            last.time_us = 0  # type: ignore[misc]


async def test_nobody_reads_the_writers_own_memory() -> None:
    async with memory_venue() as venue:
        alice, bob = await venue.trader(USDT="1000"), await venue.trader(BTC="10")
        placed = (await venue.buy(alice, "2", "10")).order
        await venue.sell(bob, "1", "10")
        live = venue.sequencer.memory.live.by_id[placed.order_id]
        assert live.filled == UNIT
        assert placed.filled == 0
        ended = await venue.trading.cancel(placed.order_id, alice)
        assert ended is not live
        with pytest.raises(TypeError):
            venue.engine.reader.markets["X/Y"] = venue.markets[0]  # type: ignore[index]
        view = venue.engine.reader.view("BTC/USDT")
        running = view.running("1m")
        assert running is not None
        assert running is not view.running("1m")
        (held,) = view.between("1m", 0, 1 << 62, 9)
        assert held == running
        assert held is not view.between("1m", 0, 1 << 62, 9)[0]


async def test_a_book_that_does_not_fold_is_taken_anew_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    async with memory_venue() as venue:
        alice, bob = await venue.trader(USDT="100000"), await venue.trader(BTC="10", ETH="10")
        await venue.buy(alice, "2", "10")
        fold = Depth.fold

        def break_once(self: Depth, event: object) -> None:
            monkeypatch.setattr(Depth, "fold", fold)
            raise DepthError("planted")

        monkeypatch.setattr(Depth, "fold", break_once)
        await venue.sell(bob, "0.5", "10")
        assert venue.engine.reader.repairs == 1
        assert shown(venue) == ([(10 * UNIT, 3 * UNIT // 2, 1)], [])
        depth = venue.engine.reader.view("BTC/USDT").depth
        assert depth.sequence == venue.sequencer.memory.bookkeeper.event_sequences[BTC]
        assert depth.changes_since(0) is None, "who followed it gets a snapshot"
        await venue.sell(bob, "3", "11")
        assert shown(venue) == ([(10 * UNIT, 3 * UNIT // 2, 1)], [(11 * UNIT, 3 * UNIT, 1)])
        book = venue.sequencer.memory.books.book(BTC)
        assert depth.levels(Side.SELL, 9) == [tuple(level) for level in book.depth(Side.SELL, 9)]


async def test_statistics_that_do_not_fold_are_refused_until_they_are_made_anew() -> None:
    async with memory_venue() as venue:
        alice, bob = await venue.trader(USDT="100000"), await venue.trader(BTC="10", ETH="10")
        await venue.buy(alice, "2", "10")
        await venue.sell(bob, "0.5", "10")
        view = venue.engine.reader.views[BTC]
        venue.store.plan("candles_since", *[Fault.LOST_BEFORE] * 2)
        view.candles = None  # type: ignore[assignment]
        await venue.sell(bob, "0.25", "10")
        for read in (lambda: view.running("1m"), lambda: venue.engine.reader.ticker("BTC/USDT")):
            with pytest.raises(Unavailable, match="made anew"):
                read()
        assert venue.engine.reader.ticker("ETH/USDT").trades == 0
        await venue.sell(bob, "0.125", "10")
        await until(lambda: view.missed is None)
        await venue.sell(bob, "0.1", "10")
        ticker = venue.engine.reader.ticker("BTC/USDT")
        assert (ticker.trades, ticker.volume, ticker.last_price) == (4, 975 * UNIT // 1000, 10 * UNIT)
        running = view.running("1m")
        assert running is not None
        assert (running.trades, running.volume) == (4, 975 * UNIT // 1000)
