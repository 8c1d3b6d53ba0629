"""The exchange in a box: what a test of a bot gets from the plugin, which costs nothing until it is used."""

import importlib
import os
import subprocess
import sys
import threading
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.conftest import ROOT
from trade_engine.box.clock import BoxClock
from trade_engine.box.database import BoxDatabase
from trade_engine.box.exchange import Exchange
from trade_engine.client import ApiError

LIST_MODULES = """
import sys

def test_nothing():
    print("modules:", *sorted(sys.modules))
"""


def test_pytest_starts_as_fast_as_without_it(tmp_path: Path) -> None:
    """It is found by its entry point, imports itself, and nothing else."""
    (tmp_path / "test_nothing.py").write_text(LIST_MODULES)
    others = [f"-pno:{name}" for name in ("asyncio", "anyio", "cov", "hypothesispytest", "schemathesis", "xdist")]
    command = [sys.executable, "-m", "pytest", "-s", "-p", "no:cacheprovider", *others, "test_nothing.py"]
    env = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST")}
    done = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    modules = set(done.stdout.partition("modules:")[2].partition("\n")[0].split())
    assert {name for name in modules if name.startswith("trade_engine")} == {
        "trade_engine", "trade_engine.pytest_plugin",
    }  # fmt: skip
    assert not {"asyncpg", "httpx", "msgspec", "structlog", "uvloop", "websockets"} & modules


@pytest.mark.parametrize("name", ["it_buys_the_dip_and_sells_the_rise", "it_begins_anew_when_its_order_has_expired"])
def test_the_example_bot(name: str, trade_engine: Exchange, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(ROOT / "examples")
    getattr(importlib.import_module("test_bot"), f"test_{name}")(trade_engine)


def test_market_and_time_are_in_the_test_s_hand(trade_engine: Exchange) -> None:
    market = trade_engine.market("BTC/USDT")
    with trade_engine.alice.client() as client:
        market.quote(50_000, spread="0.002", levels=2, size="0.5")
        book = client.order_book("BTC/USDT")
        assert [level.price for level in (*book.bids, *book.asks)] == [
            Decimal(price) for price in (49_950, 49_900, 50_050, 50_100)
        ]
        market.buy("0.6")
        assert client.ticker("BTC/USDT").last_price == 50_100
        market.sell("0.1")
        assert client.ticker("BTC/USDT").last_price == 49_950

        resting = client.place("BTC/USDT", "BUY", "0.1", "49000").order
        market.quote(48_900)
        assert client.order(resting.id).status == "FILLED", "the price has passed it"

        market.halt()
        with pytest.raises(ApiError, match="MARKET_HALTED"):
            client.place("BTC/USDT", "BUY", "0.1", "40000")
        market.open()
        day = client.place("BTC/USDT", "BUY", "0.1", "48000", time_in_force="DAY").order
        trade_engine.clock.stop()
        stands = trade_engine.clock.now()
        trade_engine.advance(timedelta(days=1))
        ended = client.order(day.id)
        assert (ended.status, ended.reason) == ("EXPIRED", "DAY_END")
        assert ended.updated_at == trade_engine.clock.now() == stands + timedelta(days=1)
        trade_engine.clock.go_on()
        trade_engine.settle()
        assert {row.asset: row.reserved for row in client.balances()} == {"BTC": 0, "ETH": 0, "USDT": 0}


def test_both_faces_know_its_users(trade_engine: Exchange) -> None:
    key, secret = trade_engine.bob.api_key
    with trade_engine.bob.client() as client:
        placed = client.place("BTC/USDT", "SELL", "0.1", "50000").order
    from trade_engine.client import Client

    with Client(trade_engine.url, api_key=key, api_secret=secret) as signed:
        assert signed.order(placed.id).is_open
    depth = httpx.get(f"{trade_engine.url}/api/v3/depth", params={"symbol": "BTCUSDT"}).json()
    assert depth["asks"] == [["50000.00000000", "0.10000000"]]
    poor = trade_engine.user("carol", USDT="5.50")
    with poor.client() as client:
        assert [(row.asset, row.available) for row in client.balances()] == [("USDT", Decimal("5.5"))]


def test_many_stand_side_by_side_and_the_same_seed_gives_the_same(trade_engine_database: BoxDatabase) -> None:
    ways: dict[int, Any] = {}

    def live(place: int) -> None:
        with Exchange(trade_engine_database, seed=7 if place < 2 else 8) as exchange:
            way = exchange.market("ETH/USDT").walk(2_500, 5)
            with exchange.alice.client() as client:
                ways[place] = way, [trade.price for trade in client.trades("ETH/USDT")]

    threads = [threading.Thread(target=live, args=(place,)) for place in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert ways[0] == ways[1]
    assert ways[0] != ways[2]


def test_time_does_not_go_back() -> None:
    clock = BoxClock()
    with pytest.raises(ValueError, match="back"):
        clock.advance(-1)
    clock.stop()
    before_us = clock.now_us()
    clock.advance(1.5)
    clock.go_on()
    assert before_us + 1_500_000 <= clock.now_us() < before_us + 60_000_000
