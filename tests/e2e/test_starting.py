"""What happens before anybody can reach the engine."""

import socket
import uuid
from pathlib import Path

import httpx
import pytest

from tests.e2e.conftest import engine_config
from trade_engine.domain.scale import UNIT
from trade_engine.roles.all import TradeEngine


async def test_what_is_done_before_serving_is_done_before_anybody_is_served(database_url: str, tmp_path: Path) -> None:
    with socket.socket() as chosen:
        chosen.bind(("127.0.0.1", 0))
        port = chosen.getsockname()[1]
    url = f"http://127.0.0.1:{port}"
    seen: list[int] = []
    order = {"symbol": "T01/USDT", "side": "BUY", "type": "LIMIT", "quantity": "1", "price": "1.00"}
    engine = TradeEngine(engine_config(database_url, {"server.http_port": port}), tmp_path)
    user = str(uuid.uuid4())
    headers = {"Authorization": f"Bearer {engine.issue_token(user)}"}

    async with httpx.AsyncClient(base_url=url) as http:

        async def fund(starting: TradeEngine) -> None:
            with pytest.raises(httpx.ConnectError):
                await http.get("/health/live")
            seen.append(port)
            await starting.wallet.deposit(user, "USDT", 10 * UNIT, str(uuid.uuid4()))

        await engine.start(fund)
        try:
            assert seen == [port]
            placed = await http.post("/api/v1/orders", json=order, headers=headers)
            assert placed.status_code == 201, placed.text
        finally:
            await engine.stop()
