"""The same trading scenarios with the wallet as a service over HTTP on a database of its own, and with the fake."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.e2e import test_trading
from tests.e2e.test_metrics import scrape
from tests.e2e.venue import Venue, markets_yaml
from tests.harness.postgres import TestServer
from tests.harness.wallet_service import SECRET, wallet_service
from trade_engine.config import load_config
from trade_engine.roles.all import TradeEngine

# The whole suite, which runs on the wallet in process where it stands, runs here on the venue of this module.
globals().update({name: test for name, test in vars(test_trading).items() if name.startswith("test_")})


@pytest.fixture(params=["http", "memory"])
async def venue(
    request: pytest.FixtureRequest, postgres: TestServer, database_url: str, tmp_path: Path
) -> AsyncIterator[Venue]:
    """A running engine whose wallet is not in its database."""
    flags: dict[str, Any] = {
        "database.url": database_url,
        "auth.jwt_secret": SECRET,
        "server.http_port": 0,
        "server.websocket_port": 0,
        "server.metrics_port": 0,
        "database.partitions_months": 1,
        "database.partitions_days": 1,
        "matching.markets": markets_yaml(),
        "rate_limit.orders_per_s": 0,
        "rate_limit.queries_per_s": 0,
        "rate_limit.address_per_s": 0,
        "rate_limit.public_per_s": 0,
        "wallet.mode": request.param,
        "wallet.breaker_open_s": 0.3,
    }
    async with AsyncExitStack() as stack:
        if request.param == "http":
            wallet_url = postgres.migrated()
            stack.callback(postgres.drop, wallet_url)
            port = await stack.enter_async_context(wallet_service(wallet_url))
            flags["wallet.url"] = f"http://127.0.0.1:{port}"
        engine = TradeEngine(load_config(None, flags, {}), tmp_path)
        await engine.start()
        stack.push_async_callback(engine.stop)
        http = await stack.enter_async_context(
            httpx.AsyncClient(base_url=f"http://127.0.0.1:{engine.api.port}", timeout=30)
        )
        yield Venue(http, engine)
    await asyncio.sleep(0)


async def test_engine_and_wallet_agree(venue: Venue) -> None:
    symbol = venue.market()
    seller, buyer = await venue.trader(**{symbol.split("/")[0]: "10"}), await venue.trader(USDT="10000")
    await seller.order(symbol, "SELL", "2", "100.00")
    await buyer.order(symbol, "BUY", "1.5", "101.00")
    resting, _ = await buyer.order(symbol, "BUY", "1", "90.00")
    assert (await buyer.cancel(resting["id"])).status_code == 200
    await venue.settled()
    outcome = await venue.running.reconciler.run()
    assert outcome.differences == []


async def test_each_wallet_says_itself_how_it_is(venue: Venue, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only one over HTTP has a circuit: open, it is neither ready nor asked; any other is as the database is."""
    wallet = venue.running.wallet
    over_http = venue.running.config.wallet.mode == "http"
    assert (wallet.is_out, wallet.condition()) == (False, "ok" if over_http else None)
    assert (await venue.http.get("/health/ready")).json()["wallet"] == "ok"
    seen = await scrape(venue)
    assert seen.get(("wallet_circuit_open", ())) == (0 if over_http else None)
    if not over_http:
        return
    symbol = venue.market()
    buyer = await venue.trader(USDT="1000")
    # Time stands still, so that it stays open.
    now_s = wallet.breaker._clock()
    monkeypatch.setattr(wallet.breaker, "_clock", lambda: now_s)
    while not wallet.is_out:
        wallet.breaker.failed()
    answer = await venue.http.get("/health/ready")
    assert (answer.status_code, answer.json()["wallet"], wallet.condition()) == (503, "circuit open", "circuit open")
    assert (await scrape(venue))["wallet_circuit_open", ()] == 1
    refused = await buyer.post({"symbol": symbol, "side": "BUY", "type": "LIMIT", "quantity": "1", "price": "1.00"})
    assert (refused.status_code, refused.json()["error"]["code"]) == (503, "WALLET_UNAVAILABLE")
