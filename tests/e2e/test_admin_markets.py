"""The admin API on the whole engine: a market halted over HTTP refuses orders, and stays halted after a restart."""

import uuid
from pathlib import Path

from tests.e2e.conftest import engine_config
from tests.e2e.venue import Venue
from trade_engine.roles.all import TradeEngine


async def test_a_halt_is_felt_and_outlives_a_restart(venue: Venue, database_url: str, tmp_path: Path) -> None:
    admin = {"Authorization": f"Bearer {venue.token(str(uuid.uuid4()), ('admin',))}"}
    symbol = venue.market()
    path = f"/api/v1/admin/markets/{symbol}"
    buyer = await venue.trader(USDT="1000")
    body = {"symbol": symbol, "side": "BUY", "type": "LIMIT", "quantity": "1", "price": "10.00"}
    order, _ = await buyer.order(symbol, "BUY", "1", "10.00")
    assert (await venue.http.post(f"{path}/halt", json={"reason": "drill"}, headers=admin)).status_code == 200
    assert (await buyer.get(f"/markets/{symbol}"))["state"] == "HALTED"
    assert (await buyer.post(body)).json()["error"]["code"] == "MARKET_HALTED"
    assert (await buyer.cancel(order["id"])).json()["error"]["code"] == "MARKET_HALTED"
    status = (await venue.http.get("/api/v1/admin/engine", headers=admin)).json()["data"]
    assert [m["symbol"] for m in status["markets"] if m["state"] == "HALTED" and m["sequence"] > 0] == [symbol]
    assert (status["trouble"], status["live_orders"], status["queue_depth"]) == (None, 1, 0)
    assert status["sequence"] > 0
    assert status["epoch"] > 0
    await venue.running.stop()

    again = TradeEngine(engine_config(database_url), tmp_path)
    await again.start()
    try:
        assert again.engine.reader.markets[symbol].state.name == "HALTED"
        await again.engine.operations.set_market_state(symbol, again.engine.reader.markets["T02/USDT"].state)
        assert again.engine.reader.markets[symbol].state.name == "OPEN"
        assert await again.engine.trading.cancel_all(None, symbol) == 1
        assert (await again.engine.trading.order(order["id"], None)).status.name == "CANCELLED"
    finally:
        await again.stop()
