"""The sweep: what is reserved and nothing needs is given back while the engine runs, and nothing else is."""

import asyncio

import pytest

from tests.harness.engine import START_US, MemoryVenue, memory_venue
from tests.unit.sequencer.test_failures import EACH, until
from trade_engine.domain.ids import uuid7
from trade_engine.domain.scale import UNIT
from trade_engine.sequencer.bookkeeping import WalletInstruction
from trade_engine.sequencer.engine import EngineSettings
from trade_engine.sequencer.store.memory import Fault
from trade_engine.sequencer.sweep import Sweep
from trade_engine.settlement.comparison import Excess
from trade_engine.wallet.port import AuditedReservation, Reserve, WalletUnavailable

QUICK = EngineSettings(sweep_every_s=3600, sweep_again_s=0.05)


async def orphan(venue: MemoryVenue, user_id: str, number: int = 1) -> str:
    """A reservation that no order stands behind."""
    order_id = uuid7(venue.now_us // 1000, 0, number)
    (outcome,) = await venue.wallet.reserve_many(
        [Reserve(user_id, "USDT", UNIT, order_id, order_id)], venue.store.epoch
    )
    assert outcome.ok
    return order_id


async def test_an_orphan_is_given_back_and_an_order_is_not() -> None:
    async with memory_venue(settings=QUICK) as venue:
        alice = await venue.trader(USDT="1000")
        order = (await venue.buy(alice, "1", "10")).order
        await orphan(venue, alice)
        assert await venue.engine.sweep.sweep() == 1
        await until(lambda: not venue.sequencer.releases)
        assert await venue.reserved(alice, "USDT") == EACH
        assert await venue.engine.sweep.sweep() == 0
        assert order.order_id in venue.sequencer.memory.live.by_id


async def test_what_an_order_holds_too_much_is_given_back() -> None:
    async with memory_venue(settings=QUICK) as venue:
        alice = await venue.trader(USDT="1000")
        order = (await venue.buy(alice, "1", "10")).order
        more = Reserve(alice, "USDT", UNIT, order.order_id, uuid7(venue.now_us // 1000, 0, 9), "amendment")
        await venue.wallet.reserve_many([more], venue.store.epoch)
        assert await venue.engine.sweep.sweep() == 1
        await until(lambda: not venue.sequencer.releases)
        assert await venue.reserved(alice, "USDT") == EACH
        await venue.trading.cancel(order.order_id, alice)
        assert await venue.reserved(alice, "USDT") == 0


async def test_what_is_under_way_is_left_alone() -> None:
    async with memory_venue(settings=QUICK) as venue:
        alice = await venue.trader(USDT="1000")
        for step in ("after_reserve", "before_commit"):
            venue.failpoints.arm(step, "stall")
            placing = asyncio.create_task(venue.buy(alice, "1", "10"))
            async with asyncio.timeout(10):
                while not await venue.excess():
                    await asyncio.sleep(0.001)
            assert await venue.engine.sweep.sweep() == 0, step
            venue.failpoints.disarm(step)
            await placing
        assert await venue.reserved(alice, "USDT") == 2 * EACH


async def test_what_is_seen_once_is_no_orphan(monkeypatch: pytest.MonkeyPatch) -> None:
    async with memory_venue(settings=QUICK) as venue:
        alice = await venue.trader(USDT="1000")
        order_id = await orphan(venue, alice)
        sweeping = asyncio.create_task(venue.engine.sweep.sweep())
        await asyncio.sleep(0.01)
        venue.wallet._reservations[order_id].remaining -= 1
        assert await sweeping == 0
        venue.wallet._reservations[order_id].remaining += 1


async def test_it_looks_after_every_rebuild_and_again_when_it_could_not() -> None:
    async with memory_venue(settings=QUICK) as venue:
        alice = await venue.trader(USDT="1000")
        await orphan(venue, alice)
        find, failures = venue.engine.sweep._find, [2]

        async def fails_first() -> object:
            if failures[0]:
                failures[0] -= 1
                raise WalletUnavailable
            return await find()

        venue.engine.sweep._find = fails_first  # type: ignore[assignment]
        venue.store.plan("commit", Fault.LOST_AFTER)
        with pytest.raises(Exception, match="carried out"):
            await venue.buy(alice, "1", "10")
        await until(lambda: venue.engine.sweep.found == 1 and not venue.sequencer.releases)
        assert await venue.reserved(alice, "USDT") == EACH


async def test_releases_beyond_the_bound_are_left_to_the_sweep() -> None:
    async with memory_venue(settings=QUICK) as venue:
        alice = await venue.trader(USDT="1000")
        venue.sequencer.releases._limit = 1
        venue.failpoints.arm("before_commit", "error")
        outcomes = await asyncio.gather(*(venue.buy(alice, "1", "10") for _ in range(5)), return_exceptions=True)
        assert all(isinstance(outcome, Exception) for outcome in outcomes)
        assert venue.sequencer.releases.dropped == 4
        venue.failpoints.disarm("before_commit")
        await until(lambda: not venue.sequencer.releases)
        venue.sequencer.releases._limit = 100
        assert await venue.engine.sweep.sweep() == 4
        await until(lambda: not venue.sequencer.releases)
        assert await venue.reserved(alice, "USDT") == 0


async def test_one_look_asks_once_what_is_under_way_however_much_it_finds() -> None:
    asked: list[int] = []
    given_back: list[WalletInstruction] = []
    found = [
        Excess(AuditedReservation(uuid7(START_US // 1000, 0, number), uuid7(0, 0, 1), "USDT", UNIT, 1), 0, False)
        for number in range(10_000)
    ]

    async def find() -> list[Excess]:
        return found

    def under_way() -> set[str]:
        asked.append(1)
        return {found[0].reservation.order_id}

    assert await Sweep(find, under_way, given_back.extend, again_s=0.01).sweep() == 9_999
    assert (len(asked), len(given_back)) == (2, 9_999)
