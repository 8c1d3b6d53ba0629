"""Markets listed and changed while the engine runs, and still there after a restart."""

from pathlib import Path

import httpx
import pytest

from tests.e2e.conftest import engine_config
from tests.e2e.venue import Venue
from trade_engine.domain.errors import Refused
from trade_engine.domain.market import Market, MarketError
from trade_engine.domain.scale import UNIT, parse_units
from trade_engine.roles.all import TradeEngine
from trade_engine.sequencer.verify import verify

NEW = Market(
    market_id=0,
    symbol="NEW/USDT",
    base="NEW",
    quote="USDT",
    tick_size=UNIT // 100,
    lot_size=UNIT // 100,
    min_quantity=UNIT // 100,
    max_open_orders=2,
)


async def test_markets_are_listed_and_changed_while_running(venue: Venue, database_url: str, tmp_path: Path) -> None:
    engine = venue.running.engine.operations
    buyer = await venue.trader(USDT="10000")
    body = {"symbol": "NEW/USDT", "side": "BUY", "type": "LIMIT", "quantity": "1", "price": "10.00"}
    assert (await buyer.post(body)).json()["error"]["code"] == "INVALID_SYMBOL"
    await engine.list_market(NEW)
    with pytest.raises(Refused, match="listed already"):
        await engine.list_market(NEW)
    for _ in range(2):
        assert (await buyer.post(body)).status_code == 201
    assert (await buyer.post(body)).json()["error"]["code"] == "MAX_OPEN_ORDERS"
    await engine.change_market("NEW/USDT", max_open_orders=3, taker_fee=parse_units("0.01"))
    assert (await buyer.post(body)).status_code == 201
    with pytest.raises(Refused, match="tick_size"):
        await engine.change_market("NEW/USDT", tick_size=1)
    with pytest.raises(MarketError, match="maker_fee"):
        await engine.change_market("NEW/USDT", maker_fee=UNIT)
    await engine.change_market("T01/USDT", maker_fee=0)
    await venue.settled()
    await venue.running.stop()

    again = TradeEngine(engine_config(database_url), tmp_path)
    await again.start()
    try:
        assert again.engine.reader.markets["NEW/USDT"].taker_fee == parse_units("0.01")
        assert again.engine.reader.markets["NEW/USDT"].max_open_orders == 3
        assert again.engine.reader.markets["T01/USDT"].maker_fee == 0
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{again.api.port}") as http:
            bids, _ = await Venue(http, again).book("NEWUSDT")
        assert bids == [("10.00", "3", 3)]
        async with again.pool.acquire() as connection:
            assert (await verify(connection, again.new_book)).differences == []
    finally:
        await again.stop()
