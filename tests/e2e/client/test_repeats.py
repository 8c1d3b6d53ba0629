"""Cut connections, lost answers and refusals that pass: an order is placed once, and what is unsure is said so."""

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator, Iterable
from typing import Any

import pytest

from tests.e2e.client.conftest import Both, address, opened, token_of
from tests.e2e.venue import Trader, Venue
from tests.fault.proxy import FAULTS, FaultProxy
from trade_engine.client import OutcomeUnknown, Retry, TransportError, Unavailable

QUICK = Retry(deadline_s=10, timeout_s=0.7, first_pause_s=0.01, longest_pause_s=0.05)
SHORT = Retry(deadline_s=0.5, timeout_s=0.3, first_pause_s=0.05, longest_pause_s=0.1)


class Script(random.Random):
    """Chance that deals these faults one after the other, then none."""

    def __init__(self, faults: Iterable[str]) -> None:
        super().__init__(0)
        self._faults = list(faults)

    def random(self) -> float:
        return 0.0 if self._faults else 1.0

    def choice(self, _: Any) -> Any:
        return self._faults.pop(0)


@contextlib.asynccontextmanager
async def between(venue: Venue, *faults: str) -> AsyncIterator[tuple[str, FaultProxy]]:
    """A proxy before the venue that does these faults to the first requests."""
    proxy = FaultProxy(venue.running.api.port, 0)
    proxy.rate, proxy._random = 1.0, Script(faults)
    port = await proxy.start()
    try:
        yield f"http://127.0.0.1:{port}", proxy
    finally:
        await proxy.stop()


async def orders_in_table(venue: Venue, trader: Trader) -> int:
    count = await venue.running.pool.fetchval("SELECT count(*) FROM orders WHERE user_id = $1", trader.user_id)
    return int(count)


@pytest.mark.parametrize(
    "fault", [fault for fault in FAULTS if not fault.startswith("error_500") and fault != "garbage"]
)
async def test_each_fault_still_places_one_order(venue: Venue, kind: str, fault: str) -> None:
    trader = await venue.trader(USDT="1000")
    async with between(venue, fault) as (url, proxy), opened(kind, url, token=token_of(trader), retry=QUICK) as client:
        placed = await client.place("T01/USDT", "BUY", 1, 10)
        assert placed.order.status == "OPEN"
        assert proxy.met[fault] == 1
        late = fault in ("timeout_after", "reset_after", "half_body")
        assert placed.replayed == late
        assert proxy.met["requests"] == (1 if fault == "slow" else 2)
    assert await orders_in_table(venue, trader) == 1


async def test_three_cuts_in_a_row(venue: Venue, kind: str) -> None:
    trader = await venue.trader(USDT="1000")
    faults = ["reset_after", "reset_before", "reset_after"]
    async with (
        between(venue, *faults) as (url, proxy),
        opened(kind, url, token=token_of(trader), retry=QUICK) as client,
    ):
        assert (await client.place("T01/USDT", "BUY", 1, 10)).replayed
        assert proxy.met["requests"] == 4
    assert await orders_in_table(venue, trader) == 1


@pytest.mark.parametrize("fault", ["error_500_after", "garbage"])
async def test_an_answer_that_says_nothing_leaves_the_outcome_unknown(venue: Venue, kind: str, fault: str) -> None:
    trader = await venue.trader(USDT="1000")
    async with between(venue, fault) as (url, _), opened(kind, url, token=token_of(trader), retry=QUICK) as client:
        with pytest.raises(OutcomeUnknown) as caught:
            await client.place("T01/USDT", "BUY", 1, 10)
        again = await client.place("T01/USDT", "BUY", 1, 10, client_order_id=caught.value.client_order_id)
        assert again.replayed
    assert await orders_in_table(venue, trader) == 1


async def test_an_outage_ends_at_the_deadline_with_the_truth(venue: Venue, kind: str) -> None:
    trader = await venue.trader(USDT="1000")
    async with between(venue) as (url, proxy), opened(kind, url, token=token_of(trader), retry=SHORT) as client:
        proxy.outage = True
        with pytest.raises(OutcomeUnknown) as caught:
            await client.place("T01/USDT", "BUY", 1, 10, client_order_id="x")
        assert caught.value.client_order_id == "x"
        assert proxy.met["requests"] > 2
        with pytest.raises(TransportError):
            await client.balances()
    async with opened(kind, "http://127.0.0.1:9", token="t", retry=SHORT) as nowhere:
        with pytest.raises(TransportError, match="Connect"):
            await nowhere.place("T01/USDT", "BUY", 1, 10)


async def resting(client: Both) -> str:
    return str((await client.place("T01/USDT", "BUY", 1, 10)).order.id)


async def test_a_change_that_may_be_done_is_not_sent_twice(venue: Venue, kind: str) -> None:
    trader = await venue.trader(USDT="1000")
    async with opened(kind, address(venue), token=token_of(trader)) as straight:
        order_id = await resting(straight)
        async with between(venue, "reset_after") as (url, proxy), opened(kind, url, token=token_of(trader)) as client:
            with pytest.raises(OutcomeUnknown, match="PATCH"):
                await client.amend(order_id, price=11)
            assert proxy.met["requests"] == 1
        assert (await straight.order(order_id)).price == 11


async def test_a_cancel_is_repeated(venue: Venue, kind: str) -> None:
    trader = await venue.trader(USDT="1000")
    faults = ["none", "reset_after", "reset_after"]
    async with (
        between(venue, *faults) as (url, proxy),
        opened(kind, url, token=token_of(trader), retry=QUICK) as client,
    ):
        order_id = await resting(client)
        assert (await client.cancel(order_id)).status == "CANCELLED"
        assert proxy.met["requests"] == 4


async def test_a_database_that_is_away_is_waited_for(venue: Venue, kind: str) -> None:
    trader = await venue.trader(USDT="1000")
    failpoints = venue.running.failpoints
    failpoints.arm("before_reserve", "error")
    async with opened(kind, address(venue), token=token_of(trader), retry=SHORT) as client:
        with pytest.raises(Unavailable, match="DATABASE_UNAVAILABLE") as caught:
            await client.place("T01/USDT", "BUY", 1, 10)
        assert (caught.value.status, caught.value.retry_after) == (503, 1)
    asyncio.get_running_loop().call_later(0.3, failpoints.disarm, "before_reserve")
    async with opened(kind, address(venue), token=token_of(trader)) as patient:
        placed = await patient.place("T01/USDT", "BUY", 1, 10)
        assert placed.order.status == "OPEN"
        assert not placed.replayed
    assert await orders_in_table(venue, trader) == 1
