"""kill -9 at the worst moments: no acknowledged order is lost, none invented, no reservation is left behind."""

import asyncio
import json
import signal
import subprocess
import sys
import time
import uuid
from pathlib import Path

import httpx
import pytest

from tests.e2e.processes import checked, funded, load, served
from trade_engine.bench.http_load import LoadError, connect
from trade_engine.bench.own_server import running_server
from trade_engine.bench.recorded import funds_for, read_lines, rounded
from trade_engine.bench.replay_core import match_rounded
from trade_engine.bench.replay_server import replay_over_http
from trade_engine.bootstrap.attached import attached_url, attached_wallet
from trade_engine.bootstrap.keys import jwt_secret
from trade_engine.config import load_config, markets_of
from trade_engine.edge.auth.tokens import issue_token

STEPS = ("after_reserve", "before_commit", "after_commit", "before_acknowledge")
EXAMPLE = Path(__file__).parents[2] / "examples" / "replay.yaml"


@pytest.mark.parametrize(
    "failpoint",
    ["", "after_reserve=crash@9", "before_commit=crash@9", "after_commit=crash@9", "before_acknowledge=crash@9"],
)
def test_a_killed_engine_loses_nothing(data_dir: Path, failpoint: str) -> None:
    acknowledged: dict[str, int] = {}
    with served(data_dir, failpoints=failpoint) as (port, server):
        tokens = asyncio.run(funded(data_dir, 6))
        if not failpoint:
            asyncio.run(load(port, tokens, acknowledged, 1.5))
            server.kill()
        else:
            asyncio.run(load(port, tokens, acknowledged, 30))
        assert server.wait(30) == -signal.SIGKILL
    assert acknowledged
    with served(data_dir) as (port, _):
        before = len(acknowledged)
        asyncio.run(load(port, tokens, acknowledged, 0.5))
        assert len(acknowledged) > before, "it trades on"
        asyncio.run(checked(data_dir, acknowledged))


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

    with served(data_dir, "--config", str(EXAMPLE)) as (port, server):
        asyncio.run(fund())
        with pytest.raises(LoadError):
            asyncio.run(play(port, server))
    with served(data_dir, "--config", str(EXAMPLE)) as (port, _):
        trades = asyncio.run(play(port))
        asyncio.run(checked(data_dir, {}))
    core = match_rounded(((o.id, o.side, o.price, o.quantity) for o in orders), market)
    assert trades, "the slice has trades"
    assert trades == core, "what was placed before the kill answers as the first time, the rest trades on"


def test_a_second_engine_on_the_same_data_directory_is_refused(data_dir: Path) -> None:
    with served(data_dir) as (port, _):
        command = [sys.executable, "-m", "trade_engine.cli", "serve", "--data-dir", str(data_dir), "--port", "0"]
        second = subprocess.run(command, capture_output=True, timeout=60, check=False, text=True)
        assert second.returncode == 1
        last = json.loads(second.stderr.splitlines()[-1])
        assert (last["event"], last["exit_status"]) == ("ended", 1)
        assert "Traceback" not in second.stderr
        command = [*command[:-3], str(data_dir / "other"), "--port", str(port)]
        third = subprocess.run(command, capture_output=True, timeout=60, check=False, text=True)
        assert third.returncode == 1
        assert "server.http_port" in third.stderr


def test_the_demo_prints_a_first_request_that_works(data_dir: Path) -> None:
    with served(data_dir, "--demo", "--demo-quiet") as (port, _):
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
