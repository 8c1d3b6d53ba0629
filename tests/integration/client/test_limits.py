"""A client that is too fast waits as long as it is told, if that is within its deadline."""

import asyncio
import time

import pytest

from tests.e2e.client.conftest import kind, opened
from tests.integration.edge.conftest import UNLIMITED, Api, Start
from trade_engine.client import RateLimited, Retry
from trade_engine.domain.errors import OutcomeUnknown as EngineOutcomeUnknown
from trade_engine.edge.settings import LimitSettings, RateLimit

__all__ = ["kind"]


def token_of(api: Api) -> str:
    """The token of a user with funds."""
    return api.headers()["Authorization"].removeprefix("Bearer ")


SLOW = LimitSettings(orders=RateLimit(1, 1), queries=UNLIMITED.queries, public=UNLIMITED.public)


async def test_too_many_requests_wait_for_their_turn(start: Start, kind: str) -> None:
    async with (
        start(limits=SLOW) as api,
        opened(kind, f"http://127.0.0.1:{api.port}", token=token_of(api)) as client,
    ):
        began = time.monotonic()
        await client.place("BTC/USDT", "BUY", "0.1", 100)
        await client.place("BTC/USDT", "BUY", "0.1", 100)
        assert time.monotonic() - began > 0.9
        assert len(api.orders) == 2


async def test_no_waiting_beyond_the_deadline(start: Start, kind: str) -> None:
    impatient = Retry(deadline_s=0.5)
    async with (
        start(limits=SLOW) as api,
        opened(kind, f"http://127.0.0.1:{api.port}", token=token_of(api), retry=impatient) as client,
    ):
        await client.place("BTC/USDT", "BUY", "0.1", 100)
        with pytest.raises(RateLimited) as caught:
            await client.place("BTC/USDT", "BUY", "0.1", 100)
        assert (caught.value.status, caught.value.code) == (429, "RATE_LIMITED")
        assert caught.value.retry_after in (1, 2)


async def test_an_unknown_outcome_is_asked_for_again(start: Start, kind: str) -> None:
    async with (
        start(retry_after_s=0) as api,
        opened(kind, f"http://127.0.0.1:{api.port}", token=token_of(api)) as client,
    ):
        first = await client.place("BTC/USDT", "BUY", "0.1", 100, client_order_id="a")
        api.mishap.failure = EngineOutcomeUnknown("OUTCOME_UNKNOWN", "who knows")
        asyncio.get_running_loop().call_later(0.3, setattr, api.mishap, "failure", None)
        again = await client.place("BTC/USDT", "BUY", "0.1", 100, client_order_id="a")
        assert again.replayed
        assert again.order.id == first.order.id
