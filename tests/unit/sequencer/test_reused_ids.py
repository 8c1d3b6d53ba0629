"""Client order ids that may be given again once their orders have ended, by requests that say so and by no others."""

import asyncio

import pytest

from tests.harness.engine import MemoryVenue, memory_venue
from tests.unit.sequencer.test_failures import sound, until
from trade_engine.domain.enums import OrderStatus
from trade_engine.domain.errors import EngineError
from trade_engine.sequencer.ports import Placed
from trade_engine.sequencer.store.memory import Fault


async def again(venue: MemoryVenue, user_id: str, *, may: bool = True, price: str = "10") -> Placed:
    return await venue.buy(user_id, "1", price, client_order_id="x", may_reuse_id=may)


async def test_an_ended_id_is_given_again_and_leads_to_the_newest() -> None:
    async with memory_venue() as venue:
        alice = await venue.trader(USDT="1000")
        first = await again(venue, alice)
        assert (await again(venue, alice)).replayed
        await venue.trading.cancel(first.order.order_id, alice)
        # Our own API keeps it for 90 days.
        kept = await again(venue, alice, may=False)
        assert (kept.replayed, kept.order.order_id) == (True, first.order.order_id)
        second = await again(venue, alice, price="11")
        assert (second.replayed, second.order.status) == (False, OrderStatus.OPEN)
        assert await venue.trading.order_id_of("x", alice) == second.order.order_id
        assert (await again(venue, alice)).order.order_id == second.order.order_id
        await sound(venue, alice)


async def test_of_many_at_once_one_gets_it() -> None:
    async with memory_venue() as venue:
        alice = await venue.trader(USDT="1000")
        first = await again(venue, alice)
        await venue.trading.cancel(first.order.order_id, alice)
        placed = await asyncio.gather(*(again(venue, alice) for _ in range(8)))
        assert [one.replayed for one in placed].count(False) == 1
        assert len(venue.sequencer.memory.live) == 1
        await sound(venue, alice)


@pytest.mark.parametrize("fault", [Fault.REFUSED, Fault.LOST_BEFORE, Fault.LOST_AFTER])
async def test_an_end_that_is_not_committed_frees_nothing(fault: Fault) -> None:
    """The cancel's commit fails while the next order with the id is admitted: never do two open orders have it."""
    async with memory_venue() as venue:
        alice = await venue.trader(USDT="1000")
        first = await again(venue, alice)
        venue.store.plan("commit", fault)
        outcomes = await asyncio.gather(
            venue.trading.cancel(first.order.order_id, alice), again(venue, alice), return_exceptions=True
        )
        assert all(not isinstance(one, BaseException) or isinstance(one, EngineError) for one in outcomes), outcomes
        await until(lambda: venue.sequencer.trouble is None)
        holders = [order for order in venue.sequencer.memory.live.by_id.values() if order.client_order_id == "x"]
        assert len(holders) <= 1
        await sound(venue, alice)


async def test_it_is_remembered_over_a_restart() -> None:
    async with memory_venue() as venue:
        alice = await venue.trader(USDT="1000")
        first = await again(venue, alice)
        database, wallet = venue.store.database, venue.wallet
    async with memory_venue(database=database, wallet=wallet) as venue:
        assert (await again(venue, alice)).order.order_id == first.order.order_id
        await venue.trading.cancel(first.order.order_id, alice)
    async with memory_venue(database=database, wallet=wallet) as venue:
        assert not (await again(venue, alice)).replayed
