"""Engines whose WebSocket settings a test chooses."""

import contextlib
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.e2e.conftest import engine_config
from tests.e2e.venue import Venue
from trade_engine.roles.all import TradeEngine

Start = Callable[..., contextlib.AbstractAsyncContextManager[Venue]]


@pytest.fixture
def start(database_url: str, tmp_path: Path) -> Start:
    """Starts an engine with these options, as ``websocket__ping_s=0.2``."""

    @contextlib.asynccontextmanager
    async def run(**options: Any) -> AsyncIterator[Venue]:
        usual = {"websocket.commands_per_s": 0, "websocket.connections_per_address": 1_000}
        more = {name.replace("__", "."): value for name, value in options.items()}
        engine = TradeEngine(engine_config(database_url, usual | more), tmp_path)
        await engine.start()
        try:
            async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{engine.api.port}", timeout=30) as http:
                yield Venue(http, engine)
        finally:
            await engine.stop()

    return run
