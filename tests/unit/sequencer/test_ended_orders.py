"""Orders that ended are known without the database, as far as memory is bounded."""

import pytest

from tests.harness.engine import memory_venue
from tests.unit.sequencer.test_failures import sound
from tests.unit.sequencer.test_publish import Listener
from trade_engine.domain.enums import OrderStatus
from trade_engine.domain.errors import NotFound, Refused
from trade_engine.sequencer.ended_orders import EndedOrders
from trade_engine.sequencer.ports import Amendment
from trade_engine.sequencer.store.memory import Fault


async def test_an_order_that_ended_lately_is_known_while_the_store_hangs() -> None:
    async with memory_venue() as venue:
        alice, bob = await venue.trader(USDT="1000"), await venue.trader(USDT="1000")
        order = (await venue.buy(alice, "1", "10")).order
        await venue.trading.cancel(order.order_id, alice)
        venue.store.plan("find_order", Fault.HANGS)
        again = await venue.trading.cancel(order.order_id, alice)
        assert (again.order_id, again.status) == (order.order_id, OrderStatus.CANCELLED)
        with pytest.raises(NotFound):
            await venue.trading.cancel(order.order_id, bob)
        with pytest.raises(Refused) as caught:
            await venue.trading.amend(order.order_id, alice, Amendment(price=1_000_000_000))
        assert (caught.value.code, caught.value.details["status"]) == ("NOT_AMENDABLE", "CANCELLED")
        await sound(venue, alice)


async def test_the_last_ones_that_ended_are_remembered() -> None:
    async with memory_venue() as venue:
        told = Listener()
        venue.engine.publisher.add("told", told)
        alice = await venue.trader(USDT="1000")
        placed = [(await venue.buy(alice, "1", "10")).order for _ in range(4)]
        for order in placed[:3]:
            await venue.trading.cancel(order.order_id, alice)
    ended = EndedOrders(2)
    for batch in told.batches:
        ended.committed(batch)
        ended.rebuilt()
    found = [ended.find(order.order_id) for order in placed]
    assert [order and order.status for order in found] == [None, OrderStatus.CANCELLED, OrderStatus.CANCELLED, None]
