"""What goes wrong around a commit, step by step, on the real engine without a database: nobody is lied to, nothing
acknowledged is lost, nothing stays reserved, and whoever did no wrong goes on.
"""

import asyncio
from collections import Counter
from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from tests.harness.engine import MemoryVenue, memory_venue
from trade_engine.domain.enums import MarketState, OrderStatus, OrderType
from trade_engine.domain.errors import EngineError, OutcomeUnknown, Refused, Unavailable
from trade_engine.domain.events import decode_events
from trade_engine.domain.market import default_markets
from trade_engine.domain.scale import UNIT
from trade_engine.matching.markets import MarketBooks
from trade_engine.sequencer.bookkeeping import Bookkeeper, BrokenInvariant
from trade_engine.sequencer.engine import EngineSettings
from trade_engine.sequencer.pipeline import SequencerLimits
from trade_engine.sequencer.ports import Placed
from trade_engine.sequencer.store.memory import Fault
from trade_engine.sequencer.store.port import CommitUndone
from trade_engine.storage.errors import RecoveryError

EACH = 10 * UNIT + UNIT // 100  # one unit at 10 with a fee of 0.1 %


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.001)


async def burst(venue: MemoryVenue, user_id: str, count: int, **more: Any) -> list[Any]:
    """Orders placed at once: what became of each."""
    placing = (venue.buy(user_id, "1", "10", client_order_id=f"o{n}", **more) for n in range(count))
    return await asyncio.gather(*placing, return_exceptions=True)


def stored(venue: MemoryVenue) -> set[str | None]:
    return {order.client_order_id for order in venue.store.database.orders.values()}


async def sound(venue: MemoryVenue, user_id: str) -> None:
    """Memory, books, store and wallet agree, and the engine trades on."""
    assert (await venue.buy(user_id, "1", "10")).order.status is OrderStatus.OPEN
    memory = venue.sequencer.memory
    tables = venue.store.database
    assert memory.sequence == tables.state.sequence
    assert memory.books.state_hash() == memory.state_hash == tables.state.state_hash
    assert memory.bookkeeper.trade_sequence == tables.state.trade_sequence
    assert memory.instruction_id == tables.state.instruction_id
    open_orders = {order_id: order for order_id, order in tables.orders.items() if order.status.is_open}
    assert memory.live.by_id == open_orders
    assert {o.sequence: o.order_id for o in memory.live.by_sequence.values()} == {
        o.sequence: o.order_id for o in open_orders.values()
    }
    happened = Counter(event.market_id for row in tables.journal for event in decode_events(row.events))
    assert venue.engine.reader.repairs == 0
    for stored_market in tables.markets.values():
        number = stored_market.market.market_id
        assert memory.bookkeeper.event_sequences[number] == stored_market.event_sequence == happened[number]
        assert memory.remembered[number] == memory.books.book(number).memory() == stored_market.remembered
    await until(lambda: not venue.sequencer.releases)
    await venue.settle()
    assert await venue.excess() == []
    assert venue.ended == []
    assert venue.sequencer.trouble is None


# ---- before the commit


@pytest.mark.parametrize("step", ["before_reserve", "after_reserve", "before_commit"])
async def test_a_step_that_fails_before_the_commit_leaves_nothing(step: str) -> None:
    async with memory_venue() as venue:
        alice = await venue.trader(USDT="1000")
        venue.failpoints.arm(step, "error")
        outcomes = await burst(venue, alice, 5)
        venue.failpoints.disarm(step)
        assert {type(outcome) for outcome in outcomes} == {Unavailable}
        assert {outcome.code for outcome in outcomes} == {"DATABASE_UNAVAILABLE"}
        assert stored(venue) == set()
        await sound(venue, alice)
        assert venue.store.epoch == 1, "the database was not asked for anything"


async def test_a_refused_commit_is_tried_by_halves_and_nobody_is_refused_for_another() -> None:
    async with memory_venue() as venue:
        alice = await venue.trader(USDT="1000")
        before = (await venue.buy(alice, "1", "10", client_order_id="before")).order
        commit, tried = venue.store.commit, []

        async def poisonous(batch: Any) -> None:
            tried.append(len(batch.new))
            if any(order.client_order_id == "o7" for order in batch.orders):
                venue.store.plan("commit", Fault.REFUSED)
            await commit(batch)

        venue.store.commit = poisonous  # type: ignore[method-assign]
        outcomes = await burst(venue, alice, 16)
        assert [isinstance(o, Refused) for o in outcomes] == [n == 7 for n in range(16)]
        assert (outcomes[7].code, before.status) == ("COMMAND_REFUSED", OrderStatus.OPEN)
        assert stored(venue) == {"before", *(f"o{n}" for n in range(16) if n != 7)}
        assert sum(tried) <= 16 * 5
        assert venue.sequencer.rebuilds == {"commit_refused": 5}
        assert venue.store.epoch == 1
        await sound(venue, alice)


async def test_a_commit_that_the_store_undid_is_tried_again_and_nobody_hears_of_it() -> None:
    async with memory_venue() as venue:
        alice = await venue.trader(USDT="1000")
        venue.store.plan("commit", *[CommitUndone("40P01: deadlock detected")] * 4)
        outcomes = await burst(venue, alice, 5)
        assert [outcome.order.status for outcome in outcomes] == [OrderStatus.OPEN] * 5
        assert sum(venue.sequencer.rebuilds.values()) == 0
        await sound(venue, alice)


async def test_a_commit_that_the_store_undoes_again_and_again_is_nobodys_fault() -> None:
    async with memory_venue() as venue:
        alice = await venue.trader(USDT="1000")
        venue.store.plan("commit", *[CommitUndone("40001: could not serialize")] * 5)
        outcomes = await burst(venue, alice, 5)
        assert {type(outcome) for outcome in outcomes} <= {Unavailable, Placed}
        refused = [outcome for outcome in outcomes if isinstance(outcome, Unavailable)]
        assert {error.code for error in refused} == {"DATABASE_UNAVAILABLE"}
        assert len(stored(venue)) == 5 - len(refused)
        await sound(venue, alice)


async def test_a_deadlock_of_the_stops_turn_does_not_halt_their_market() -> None:
    market = msgspec.structs.replace(default_markets()[0], max_fills=1)
    async with memory_venue(markets=[market]) as venue:
        alice, bob = await venue.trader(USDT="1000"), await venue.trader(BTC="100")
        await venue.sell(bob, "4", "10")
        for _ in range(3):
            await venue.buy(alice, "1", None, type=OrderType.STOP, stop_price=10 * UNIT)
        # One commit for what sets them off, then those of their turns: the first of these is undone for good.
        venue.store.plan("commit", None, *[CommitUndone("40P01: deadlock detected")] * 5)
        await venue.buy(alice, "1", "10")
        await until(lambda: len(venue.store.database.trades) == 4)
        assert venue.engine.reader.markets["BTC/USDT"].state is MarketState.OPEN
        await sound(venue, alice)


async def test_a_command_that_breaks_the_fold_is_refused_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    async with memory_venue() as venue:
        alice, bob = await venue.trader(USDT="1000"), await venue.trader(BTC="10", ETH="10")
        for _ in range(3):
            await venue.sell(bob, "1", "10", symbol="ETH/USDT")
        eth = venue.sequencer.memory.books.book(2)
        await venue.sell(bob, "2", "10")
        release = Bookkeeper._release_surplus

        def broken(self: Bookkeeper, market: Any, order: Any, changes: Any) -> None:
            if order.client_order_id == "o3":
                raise BrokenInvariant("planted")
            release(self, market, order, changes)

        monkeypatch.setattr(Bookkeeper, "_release_surplus", broken)
        outcomes = await burst(venue, alice, 8)
        monkeypatch.setattr(Bookkeeper, "_release_surplus", release)
        assert [isinstance(o, Refused) for o in outcomes] == [n == 3 for n in range(8)]
        assert outcomes[3].code == "COMMAND_REFUSED"
        filled = [o.order.client_order_id for o in outcomes if not isinstance(o, Refused) and o.trades]
        assert filled == ["o0", "o1"], "the others are carried out in their order"
        assert venue.sequencer.rebuilds == {"command": 1}
        assert venue.sequencer.memory.books.book(2) is eth, "no other market's book was touched"
        assert venue.store.epoch == 1
        await sound(venue, alice)


@pytest.mark.parametrize("error", [KeyError("planted"), OverflowError("planted")])
async def test_a_command_that_breaks_the_core_is_refused_alone(
    monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    async with memory_venue() as venue:
        alice = await venue.trader(USDT="1000")
        apply = MarketBooks.apply

        def broken(self: MarketBooks, command: Any) -> tuple[bytes, bytes]:
            record, events = apply(self, command)
            if command.quantity == 3_000_000:
                raise error
            return record, events

        monkeypatch.setattr(MarketBooks, "apply", broken)
        good, bad = await asyncio.gather(
            venue.buy(alice, "1", "10"), venue.buy(alice, "3", "10"), return_exceptions=True
        )
        assert isinstance(bad, Refused)
        assert not isinstance(good, BaseException)
        await sound(venue, alice)


# ---- the commit's fate is not known


@pytest.mark.parametrize(("fault", "written"), [(Fault.LOST_BEFORE, False), (Fault.LOST_AFTER, True)])
async def test_an_unknown_outcome_is_told_and_the_repeat_tells_the_truth(fault: Fault, written: bool) -> None:
    async with memory_venue() as venue:
        alice = await venue.trader(USDT="1000")
        venue.store.plan("commit", fault)
        outcomes = await burst(venue, alice, 4)
        assert {type(outcome) for outcome in outcomes} == {OutcomeUnknown}
        await until(lambda: venue.sequencer.trouble is None)
        assert (stored(venue) == {f"o{n}" for n in range(4)}) is written
        again = await burst(venue, alice, 4)
        assert [done.replayed for done in again] == [written] * 4
        assert venue.sequencer.rebuilds == {"commit_unknown": 1}
        await sound(venue, alice)
        assert await venue.reserved(alice, "USDT") == 5 * EACH


async def test_a_connection_found_lost_before_the_commit_costs_nobody_anything() -> None:
    async with memory_venue() as venue:
        alice = await venue.trader(USDT="1000")
        await venue.buy(alice, "1", "10")
        venue.store.connected = False
        outcomes = await burst(venue, alice, 4)
        assert [done.order.status for done in outcomes] == [OrderStatus.OPEN] * 4
        assert venue.sequencer.rebuilds == {"not_sent": 1, "connection_lost": 1}
        await sound(venue, alice)
        venue.store.connected, venue.store.away = False, True
        outcomes = await burst(venue, alice, 4)
        assert {outcome.code for outcome in outcomes} == {"DATABASE_UNAVAILABLE"}, (
            "nothing was sent, and they hear of it"
        )
        venue.store.away = False
        await until(lambda: venue.sequencer.trouble is None)
        await sound(venue, alice)
        assert stored(venue) == {None, "o0", "o1", "o2", "o3"}
        assert await venue.reserved(alice, "USDT") == 7 * EACH


async def test_a_commit_that_hangs_is_answered_and_the_engine_goes_on_when_it_can() -> None:
    async with memory_venue() as venue:
        alice = await venue.trader(USDT="1000")
        venue.store.plan("commit", Fault.HANGS)
        with pytest.raises(OutcomeUnknown):
            await venue.buy(alice, "1", "10")
        await until(lambda: venue.sequencer.trouble is None)
        await sound(venue, alice)


async def test_a_store_that_is_away_is_waited_for_and_meanwhile_everybody_is_refused_at_once() -> None:
    async with memory_venue() as venue:
        alice = await venue.trader(USDT="1000")
        resting = (await venue.buy(alice, "1", "10")).order
        venue.store.away = True
        with pytest.raises(OutcomeUnknown):
            await venue.buy(alice, "1", "10")
        await until(lambda: venue.sequencer._keeper.here is None)
        for call in (venue.buy(alice, "1", "10"), venue.trading.cancel(resting.order_id, alice)):
            with pytest.raises(Unavailable) as caught:
                await call
            assert caught.value.code == "DATABASE_UNAVAILABLE"
        assert venue.engine.operations.condition()["database"] != "ok"
        assert venue.engine.reader.depth("BTC/USDT", 9).bids == [(10 * UNIT, UNIT, 1)], "what is committed is shown"
        venue.store.away = False
        await until(lambda: venue.sequencer.trouble is None)
        await sound(venue, alice)


async def test_whatever_recovery_meets_it_tries_again() -> None:
    async with memory_venue() as venue:
        alice = await venue.trader(USDT="1000")
        venue.store.plan("commit", Fault.LOST_BEFORE)
        venue.store.plan("take_over", Fault.LOST_BEFORE, None, None, None, None)
        venue.store.plan("traders", Fault.HANGS, None)
        venue.store.plan("open_orders", *[None] * 3, Fault.LOST_BEFORE)
        venue.store.plan("candles_since", Fault.LOST_BEFORE)
        with pytest.raises(OutcomeUnknown):
            await venue.buy(alice, "1", "10")
        await until(lambda: venue.sequencer.trouble is None)
        await sound(venue, alice)
        assert venue.store.epoch == 2


# ---- the engine must end


async def test_a_fenced_writer_stops_at_once() -> None:
    async with memory_venue() as venue:
        alice = await venue.trader(USDT="1000")
        venue.store.database.state = venue.store.database.state._replace(epoch=9)
        with pytest.raises(OutcomeUnknown):
            await venue.buy(alice, "1", "10")
        assert [superseded for _, superseded in venue.ended] == [True]
        with pytest.raises(Unavailable):
            await venue.buy(alice, "1", "10")
        assert stored(venue) == set()


async def test_a_store_that_contradicts_itself_ends_the_engine() -> None:
    async with memory_venue() as venue:
        alice = await venue.trader(USDT="1000")
        await venue.buy(alice, "1", "10")
        venue.store.plan("commit", Fault.LOST_BEFORE)
        venue.store.plan("markets", RecoveryError("planted"))
        with pytest.raises(OutcomeUnknown):
            await venue.buy(alice, "1", "10")
        await until(lambda: bool(venue.ended))
        ((why, superseded),) = venue.ended
        assert not superseded
        assert "planted" in why


# ---- the writer dies


async def test_a_writer_that_dies_is_answered_for_and_starts_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    async with memory_venue() as venue:
        alice = await venue.trader(USDT="1000")
        venue.failpoints.arm("after_commit", "error", visit=1)
        outcomes = await burst(venue, alice, 4)
        assert {type(outcome) for outcome in outcomes} == {OutcomeUnknown}
        assert "died" in venue.engine.operations.condition()["engine"]
        await until(lambda: venue.sequencer.trouble is None)
        assert venue.sequencer.rebuilds == {"writer_died": 1}
        assert [done.replayed for done in await burst(venue, alice, 4)] == [True] * 4
        await sound(venue, alice)
        await until(lambda: venue.engine.operations.condition()["engine"] == "ok")


async def test_what_was_reserved_when_the_writer_died_is_given_back(monkeypatch: pytest.MonkeyPatch) -> None:
    async with memory_venue() as venue:
        alice = await venue.trader(USDT="1000")

        async def dies(self: object, part: object) -> None:
            monkeypatch.undo()
            raise ZeroDivisionError("planted")

        monkeypatch.setattr(type(venue.sequencer), "_match", dies)
        outcomes = await burst(venue, alice, 4)
        assert {type(outcome) for outcome in outcomes} == {OutcomeUnknown}
        await until(lambda: venue.sequencer.trouble is None)
        await sound(venue, alice)
        assert await venue.reserved(alice, "USDT") == EACH


async def test_a_writer_that_dies_again_and_again_ends_the_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    async with memory_venue() as venue:
        alice = await venue.trader(USDT="1000")

        async def dies(self: object, part: object) -> None:
            raise ZeroDivisionError("planted")

        monkeypatch.setattr(type(venue.sequencer), "_match", dies)
        async with asyncio.timeout(30):
            while not venue.ended:
                with pytest.raises(EngineError):
                    await venue.buy(alice, "1", "10")
                await asyncio.sleep(0.01)
        assert "ZeroDivisionError" in venue.ended[0][0]


# ---- nobody waits for ever


async def test_a_request_is_answered_also_when_the_writer_stands_still() -> None:
    limits = SequencerLimits(answer_within_s=0.4, batch_commands=1)
    async with memory_venue(settings=EngineSettings(limits=limits)) as venue:
        alice = await venue.trader(USDT="1000")
        venue.failpoints.arm("before_commit", "stall")
        outcomes = await asyncio.wait_for(burst(venue, alice, 3), 10)
        assert [type(outcome) for outcome in outcomes] == [OutcomeUnknown, Unavailable, Unavailable]
        venue.failpoints.disarm("before_commit")
        await until(lambda: "o0" in stored(venue))
        await sound(venue, alice)
        assert stored(venue) == {"o0", None}
        assert await venue.reserved(alice, "USDT") == 2 * EACH


async def test_an_admission_that_stands_still_is_answered_for() -> None:
    limits = SequencerLimits(answer_within_s=0.4)
    async with memory_venue(settings=EngineSettings(limits=limits)) as venue:
        alice = await venue.trader(USDT="1000")
        venue.failpoints.arm("before_reserve", "stall")
        first = asyncio.create_task(venue.buy(alice, "1", "10", client_order_id="first"))
        await asyncio.sleep(0.05)
        outcomes = await asyncio.wait_for(burst(venue, alice, 3), 10)
        assert {type(outcome) for outcome in outcomes} == {Unavailable}
        venue.failpoints.disarm("before_reserve")
        with pytest.raises(EngineError):
            await asyncio.wait_for(first, 10)
        await sound(venue, alice)


async def test_a_look_up_that_hangs_is_unavailable() -> None:
    async with memory_venue() as venue:
        alice = await venue.trader(USDT="1000")
        order = (await venue.buy(alice, "1", "10", client_order_id="a")).order
        for call, name in (
            (venue.trading.cancel("00000000-0000-7000-8000-000000000001", alice), "find_order"),
            (venue.trading.order(order.order_id, alice), "find_order"),
            (venue.buy(alice, "1", "10", client_order_id="a"), "find_client_orders"),
            (venue.buy(alice, "1", "10", client_order_id="a"), "trades_of_taker"),
            (venue.buy(await venue.trader(USDT="100"), "1", "10"), "number_traders"),
        ):
            venue.store.plan(name, Fault.HANGS)
            with pytest.raises(Unavailable) as caught:
                await call
            assert caught.value.code == "DATABASE_UNAVAILABLE", name
        await sound(venue, alice)


@pytest.mark.parametrize("name", ["a\0b", "\ud800"])
async def test_a_client_order_id_that_is_no_text_is_refused_alone(name: str) -> None:
    async with memory_venue() as venue:
        alice = await venue.trader(USDT="1000")
        names = ["fine", name, "good"]
        outcomes = await asyncio.gather(
            *(venue.buy(alice, "1", "10", client_order_id=given) for given in names), return_exceptions=True
        )
        assert [getattr(outcome, "code", "placed") for outcome in outcomes] == [
            "placed", "INVALID_CLIENT_ORDER_ID", "placed"
        ]  # fmt: skip
        await sound(venue, alice)


async def test_an_institution_that_is_no_text_is_refused_alone() -> None:
    async with memory_venue() as venue:
        alice = await venue.trader(USDT="1000")
        outcomes = await asyncio.gather(
            *(venue.buy(alice, "1", "10", institution_id=given) for given in ("bank", "a\0b", None, "\udfff")),
            return_exceptions=True,
        )
        assert [getattr(outcome, "code", "placed") for outcome in outcomes] == [
            "placed", "COMMAND_REFUSED", "placed", "COMMAND_REFUSED"
        ]  # fmt: skip
        await sound(venue, alice)
