"""The engine under test: everything real, in this process, on a database of its own."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.e2e.venue import Venue, markets_yaml
from tests.harness.description import check_answer
from trade_engine.config import Config, load_config
from trade_engine.roles.all import TradeEngine


def engine_config(database_url: str, more: Mapping[str, Any] | None = None) -> Config:
    """Every option of the engine under test; ``more`` beside or instead of the usual."""
    flags = {
        "database.url": database_url,
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
        "settlement.retry_backoff_ms": 10,
        # A machine that is busy must not make the wallet look away; what that does has tests of its own.
        "wallet.reserve_timeout_ms": 10_000,
    }
    return load_config(None, flags | dict(more or {}), {})


@pytest.fixture
async def venue(database_url: str, tmp_path: Path) -> AsyncIterator[Venue]:
    """A running engine with unused markets; every answer over HTTP is held against the description."""
    engine = TradeEngine(engine_config(database_url), tmp_path)
    await engine.start()
    try:
        url, hooks = f"http://127.0.0.1:{engine.api.port}", {"response": [check_answer]}
        async with httpx.AsyncClient(base_url=url, timeout=30, event_hooks=hooks) as http:
            yield Venue(http, engine)
    finally:
        await engine.stop()
        await asyncio.sleep(0)
