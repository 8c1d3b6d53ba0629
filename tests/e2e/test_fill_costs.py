"""Fills count in the order limit: what an order causes is paid by its user's next orders."""

from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from tests.e2e.conftest import engine_config
from tests.e2e.venue import Trader, Venue
from trade_engine.roles.all import TradeEngine


@pytest.fixture
async def venue(database_url: str, tmp_path: Path) -> AsyncIterator[Venue]:
    """20 orders at once, and hardly any after them."""
    limits = {"rate_limit.orders_per_s": 0.001, "rate_limit.orders_burst": 20}
    engine = TradeEngine(engine_config(database_url, limits), tmp_path)
    await engine.start()
    try:
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{engine.api.port}", timeout=60) as http:
            yield Venue(http, engine)
    finally:
        await engine.stop()


async def _remaining(trader: Trader, body: dict[str, str]) -> int:
    """What the limit leaves when the order is asked for, before its fills are known."""
    answer = await trader.post(body)
    assert answer.status_code == 201, answer.text
    return int(answer.headers["x-ratelimit-remaining"])


async def test_each_hundred_fills_cost_one_more_order(venue: Venue) -> None:
    symbol = venue.market()
    seller, buyer = await venue.trader(T01="10"), await venue.trader(USDT="100000")
    limit = {"symbol": symbol, "type": "LIMIT", "price": "100.00"}
    # 20 parts of an iceberg are 20 fills.
    iceberg = limit | {"side": "SELL", "quantity": "2", "display_quantity": "0.1"}
    assert await _remaining(seller, iceberg) == 19
    take = limit | {"side": "BUY", "quantity": "0.1"}
    assert await _remaining(buyer, take) == 19
    assert await _remaining(buyer, take | {"quantity": "1.8"}) == 17, "one fill cost one more"
    rest = limit | {"side": "BUY", "quantity": "0.1", "price": "1.00"}
    assert await _remaining(buyer, rest) == 15, "18 fills cost one more as well"
    assert await _remaining(buyer, rest) == 14, "an order without fills costs no more than itself"
    assert await _remaining(seller, iceberg | {"price": "200.00"}) == 18, "the maker pays for none of them"
    for n in range(13):
        await _remaining(buyer, rest | {"price": f"{2 + n}.00"})
    assert await _remaining(buyer, take) == 0
    refused = await buyer.post(take)
    assert (refused.status_code, refused.json()["error"]["code"]) == (429, "RATE_LIMITED")
    # The order's own token is to be made up for, and the one that its fill cost beyond the limit.
    assert refused.json()["error"]["details"]["retry_after_ms"] > 1_900_000
