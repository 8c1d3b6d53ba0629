"""kill -9 at the worst moments: no acknowledged order is lost, none invented, no reservation is left behind."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import asyncpg
import httpx
import pytest

from trade_engine.api.auth.tokens import issue_token
from trade_engine.bootstrap import attached_url, attached_wallet, jwt_secret
from trade_engine.cli.bench import free_port, running_server
from trade_engine.cli.http_load import LoadError, connect
from trade_engine.cli.replay_core import match_rounded
from trade_engine.cli.replay_server import funds_for, read_lines, replay_over_http, rounded
from trade_engine.config import load_config, markets_of
from trade_engine.domain.scale import UNIT
from trade_engine.matching.books import new_book
from trade_engine.sequencer.verify import verify

STEPS = ("after_reserve", "before_commit", "after_commit", "before_acknowledge")
EXAMPLE = Path(__file__).parents[2] / "examples" / "replay.yaml"


@contextmanager
def _server(data_dir: Path, *words: str, failpoints: str = "") -> Iterator[tuple[int, "subprocess.Popen[bytes]"]]:
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
    command = [sys.executable, "-m", "trade_engine.cli", "serve", "--data-dir", str(data_dir), "--port", str(port)]
    with (data_dir / "server.log").open("ab") as log:
        server = subprocess.Popen([*command, *words], env=environment, stdout=log, stderr=log)
    try:
        for _ in range(600):
            try:
                if httpx.get(f"http://127.0.0.1:{port}/health/ready").status_code == 200:
                    break
            except httpx.TransportError:
                assert server.poll() is None, (data_dir / "server.log").read_text()
                time.sleep(0.05)
        yield port, server
    finally:
        if server.poll() is None:
            server.send_signal(signal.SIGTERM)
            server.wait(30)


async def _checked(data_dir: Path, acknowledged: dict[str, int]) -> None:
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


async def _load(port: int, tokens: list[str], acknowledged: dict[str, int], seconds: float) -> None:
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


async def _funded(data_dir: Path, count: int) -> list[str]:
    config = load_config(None, None, {})
    users = [str(uuid.uuid4()) for _ in range(count)]
    async with attached_url(config, data_dir) as url, attached_wallet(url) as wallet:
        for user in users:
            for asset in ("BTC", "USDT"):
                assert (await wallet.deposit(user, asset, 1_000_000 * UNIT, str(uuid.uuid4()))).ok
    secret = jwt_secret(config, data_dir)
    return [issue_token(secret, user) for user in users]


@pytest.mark.parametrize(
    "failpoint",
    ["", "after_reserve=crash@9", "before_commit=crash@9", "after_commit=crash@9", "before_acknowledge=crash@9"],
)
def test_a_killed_engine_loses_nothing(data_dir: Path, failpoint: str) -> None:
    acknowledged: dict[str, int] = {}
    with _server(data_dir, failpoints=failpoint) as (port, server):
        tokens = asyncio.run(_funded(data_dir, 6))
        if not failpoint:
            asyncio.run(_load(port, tokens, acknowledged, 1.5))
            server.kill()
        else:
            asyncio.run(_load(port, tokens, acknowledged, 30))
        assert server.wait(30) == -signal.SIGKILL
    assert acknowledged
    with _server(data_dir) as (port, _):
        before = len(acknowledged)
        asyncio.run(_load(port, tokens, acknowledged, 0.5))
        assert len(acknowledged) > before, "it trades on"
        asyncio.run(_checked(data_dir, acknowledged))


def test_a_recorded_flow_over_http_equals_the_core_and_survives_kill_9(data_dir: Path, shared_data: Path) -> None:
    config = load_config(EXAMPLE, None, {})
    (market,) = markets_of(config)
    orders = list(rounded(read_lines(shared_data / "bitstamp" / "commands.jsonl.gz"), market.lot_size))[:1_500]
    users = [str(uuid.uuid4()) for _ in range(7)]
    secret = jwt_secret(config, data_dir)
    tokens = [issue_token(secret, user) for user in users]

    def user_of(order: str) -> int:
        return abs(int(order)) % len(users)

    async def fund() -> None:
        async with attached_url(config, data_dir) as url, attached_wallet(url) as wallet:
            for user, needs in zip(users, funds_for(orders, len(users), user_of), strict=True):
                for asset, amount in zip((market.base, market.quote), needs, strict=True):
                    assert (await wallet.deposit(user, asset, amount, str(uuid.uuid4()))).ok

    async def play(port: int, kill: "subprocess.Popen[bytes] | None" = None) -> list[tuple[int, int]]:
        link = await connect("127.0.0.1", port)

        def progress(count: int) -> None:
            if kill and count >= 500:
                kill.kill()

        try:
            return await replay_over_http(link, orders, market.symbol, lambda order: tokens[user_of(order)], progress)
        finally:
            link.close()

    with _server(data_dir, "--config", str(EXAMPLE)) as (port, server):
        asyncio.run(fund())
        with pytest.raises(LoadError):
            asyncio.run(play(port, server))
    with _server(data_dir, "--config", str(EXAMPLE)) as (port, _):
        trades = asyncio.run(play(port))
        asyncio.run(_checked(data_dir, {}))
    core = match_rounded(((o.id, o.side, o.price, o.quantity) for o in orders), market)
    assert trades, "the slice has trades"
    assert trades == core, "what was placed before the kill answers as the first time, the rest trades on"


def test_a_second_engine_on_the_same_data_directory_is_refused(data_dir: Path) -> None:
    with _server(data_dir) as (port, _):
        command = [sys.executable, "-m", "trade_engine.cli", "serve", "--data-dir", str(data_dir), "--port", "0"]
        second = subprocess.run(command, capture_output=True, timeout=60, check=False, text=True)
        assert second.returncode == 1
        assert second.stderr.strip().startswith("Error: ")
        assert "Traceback" not in second.stderr
        command = [*command[:-3], str(data_dir / "other"), "--port", str(port)]
        third = subprocess.run(command, capture_output=True, timeout=60, check=False, text=True)
        assert third.returncode == 1
        assert "server.http_port" in third.stderr


def test_the_demo_prints_a_first_request_that_works(data_dir: Path) -> None:
    with _server(data_dir, "--demo") as (port, _):
        log = data_dir / "server.log"
        for _ in range(200):
            printed = log.read_text()
            if "Ctrl-C" in printed:
                break
            time.sleep(0.05)
        lines = [line for line in printed.splitlines() if line.startswith("curl ")]
        answers = [
            subprocess.run(line, shell=True, capture_output=True, check=True, text=True).stdout for line in lines
        ]
        sell, buy, trades, alice, bob = (json.loads(answer) for answer in answers)
        assert f":{port}/" in lines[0]
        assert sell["data"]["order"]["status"] == "OPEN"
        assert buy["data"]["order"]["status"] == "FILLED"
        assert trades["data"][0]["price"] == "50000.00"
        assert {row["asset"] for row in alice["data"]} >= {"BTC", "USDT"}
        assert {row["asset"] for row in bob["data"]} >= {"BTC", "USDT"}


def test_the_benchmark_s_server_starts_and_stops(data_dir: Path) -> None:
    with running_server(data_dir / "data") as port:
        assert httpx.get(f"http://127.0.0.1:{port}/health/live").json() == {"status": "alive"}
