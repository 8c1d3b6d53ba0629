"""A server as a process of its own, to be killed: load for it, and what must be true after it."""

import asyncio
import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import asyncpg
import httpx

from trade_engine.bench.own_server import free_port
from trade_engine.bootstrap.attached import attached_url, attached_wallet
from trade_engine.bootstrap.keys import jwt_secret
from trade_engine.config import load_config
from trade_engine.domain.scale import UNIT
from trade_engine.edge.auth.tokens import issue_token
from trade_engine.matching.books import new_book
from trade_engine.sequencer.verify import verify

#: A machine may be busy; a server that does not come up within this never will.
START_WITHIN_S: Final = 180.0


@contextmanager
def served(
    data_dir: Path, *words: str, failpoints: str = "", program: Sequence[str] = ("-m", "trade_engine.cli")
) -> Iterator[tuple[int, "subprocess.Popen[bytes]"]]:
    """A server as a process of its own, which may die before the block ends."""
    port = free_port()
    environment = os.environ | {
        "TRADE_ENGINE_FAILPOINTS": failpoints,
        "TRADE_ENGINE__SERVER__WEBSOCKET_PORT": "0",
        "TRADE_ENGINE__SERVER__METRICS_PORT": "0",
        "TRADE_ENGINE__WALLET__RESERVE_TIMEOUT_MS": "10000",
        "TRADE_ENGINE__RATE_LIMIT__ORDERS_PER_S": "0",
        "TRADE_ENGINE__RATE_LIMIT__QUERIES_PER_S": "0",
    }
    command = [sys.executable, *program, "serve", "--data-dir", str(data_dir), "--port", str(port)]
    with (data_dir / "server.log").open("ab") as log:
        server = subprocess.Popen([*command, *words], env=environment, stdout=log, stderr=log)
    try:
        until = time.monotonic() + START_WITHIN_S
        while True:
            try:
                if httpx.get(f"http://127.0.0.1:{port}/health/ready").status_code == 200:
                    break
            except httpx.TransportError:
                assert server.poll() is None, (data_dir / "server.log").read_text()
            assert time.monotonic() < until, (data_dir / "server.log").read_text()
            time.sleep(0.05)
        yield port, server
    finally:
        if server.poll() is None:
            server.send_signal(signal.SIGTERM)
            server.wait(60)


async def checked(data_dir: Path, acknowledged: dict[str, int]) -> None:
    """Verify everything, and find every acknowledged order with as many trades as it was told of, at least."""
    async with attached_url(load_config(None, None, {}), data_dir) as url:
        connection = await asyncpg.connect(url)
        try:
            while await connection.fetchval("SELECT count(*) FROM settlement_instructions"):
                await asyncio.sleep(0.05)
            report = await verify(connection, new_book)
            assert report.differences == []
            rows = await connection.fetch("SELECT order_id::TEXT AS id, filled_quantity FROM orders")
            assert acknowledged.keys() <= {row["id"] for row in rows}
            for order_id, trades in acknowledged.items():
                stored = await connection.fetchval(
                    "SELECT count(*) FROM trades WHERE buyer_order_id = $1 OR seller_order_id = $1", order_id
                )
                assert stored >= trades
        finally:
            await connection.close()


async def load(port: int, tokens: list[str], acknowledged: dict[str, int], seconds: float) -> None:
    """Orders from several connections until time is up or the server is gone."""
    until = time.monotonic() + seconds

    async def drive(number: int) -> None:
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=10) as http:
            for n in range(100_000):
                if time.monotonic() > until:
                    return
                body = {
                    "symbol": "BTC/USDT",
                    "side": "BUY" if (n + number) % 2 else "SELL",
                    "type": "LIMIT",
                    "quantity": "0.01",
                    "price": f"{50_000 + (n * 7 + number) % 20}.00",
                }
                headers = {"Authorization": f"Bearer {tokens[(n + number) % len(tokens)]}"}
                try:
                    answer = await http.post("/api/v1/orders", json=body, headers=headers)
                except httpx.TransportError:
                    return
                if answer.status_code == 201:
                    content = answer.json()["data"]
                    acknowledged[content["order"]["id"]] = len(content["trades"])

    await asyncio.gather(*(drive(number) for number in range(8)))


async def funded(data_dir: Path, count: int) -> list[str]:
    config = load_config(None, None, {})
    users = [str(uuid.uuid4()) for _ in range(count)]
    async with attached_url(config, data_dir) as url, attached_wallet(url) as wallet:
        for user in users:
            for asset in ("BTC", "USDT"):
                assert (await wallet.deposit(user, asset, 1_000_000 * UNIT, str(uuid.uuid4()))).ok
    secret = jwt_secret(config, data_dir)
    return [issue_token(secret, user) for user in users]
