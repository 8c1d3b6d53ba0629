"""`serve --demo`: markets that live, on this machine and on a database of its own only."""

import asyncio
import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx

from tests.e2e.processes import checked, funded, served
from trade_engine.bench.own_server import free_port

#: Longer than anything here takes on a machine that is busy.
BOUND_S = 60.0
SYMBOLS = ("BTC-USDT", "AVAX-USDT")


def reached(condition: Callable[[], bool], what: str) -> None:
    until = time.monotonic() + BOUND_S
    while not condition():
        assert time.monotonic() < until, what
        time.sleep(0.1)


def refused(data_dir: Path, *words: str) -> str:
    """Why a server does not start."""
    command = [sys.executable, "-m", "trade_engine.cli", "serve", "--data-dir", str(data_dir), *words]
    done = subprocess.run(command, capture_output=True, text=True, timeout=BOUND_S, check=False)
    assert done.returncode not in (0, None)
    assert "Traceback" not in done.stderr
    return done.stderr


def test_books_candles_and_tapes_move_and_nothing_is_left_in_the_books(data_dir: Path) -> None:
    with served(data_dir, "--demo") as (port, server):
        with httpx.Client(base_url=f"http://127.0.0.1:{port}/api/v1") as http:

            def asked(path: str, **params: Any) -> Any:
                return http.get(path, params=params).json()["data"]

            def all_live() -> bool:
                return all(row["24h_trades"] and row["best_bid"] and row["best_ask"] for row in asked("/tickers"))

            reached(all_live, "a trade in each of the ten markets")
            assert len(asked("/tickers")) == 10
            before = {symbol: asked(f"/orderbook/{symbol}")["sequence"] for symbol in SYMBOLS}
            tape = len(asked("/trades", symbol="ETH/USDT"))
            for symbol, sequence in before.items():
                reached(lambda: asked(f"/orderbook/{symbol}")["sequence"] > sequence, symbol)  # noqa: B023
                assert asked(f"/markets/{symbol}/candles", interval="1m")
            reached(lambda: len(asked("/trades", symbol="ETH/USDT")) > tape, "the tape goes on")
        server.send_signal(signal.SIGTERM)
        assert server.wait(30) == 0
    with served(data_dir, "--demo", "--demo-quiet") as (port, _):
        with httpx.Client(base_url=f"http://127.0.0.1:{port}/api/v1") as http:
            for row in http.get("/tickers").json()["data"]:
                assert (row["best_bid"], row["best_ask"]) == (None, None), "it stopped cleanly, and is quiet now"
        asyncio.run(checked(data_dir, {}))


def test_a_recorded_flow_moves_the_prices(data_dir: Path) -> None:
    flow = data_dir / "flow.jsonl"
    orders = [
        {"op": "place", "id": f"{number}{side}", "side": side, "px": price, "qty": "1"}
        for number, price in enumerate(("100.00", "101.00", "102.00", "103.00"))
        for side in ("sell", "buy")
    ]
    flow.write_text("".join(json.dumps(order) + "\n" for order in orders))
    with served(data_dir, "--demo", "--demo-flow", str(flow)) as (port, _):

        def high() -> float:
            shown = httpx.get(f"http://127.0.0.1:{port}/api/v1/markets/BTC-USDT/ticker").json()["data"]
            return float(shown["24h_high"] or 0)

        reached(lambda: high() > 51_000, "three per cent up, as in the flow")
    (data_dir / "none.jsonl").write_text('{"op": "place"}\n')
    assert "is no recorded flow" in refused(data_dir, "--demo", "--demo-flow", str(data_dir / "none.jsonl"))


def test_a_demo_is_not_shown_to_the_network(tmp_path: Path) -> None:
    assert "--demo is for this machine alone" in refused(tmp_path, "--demo", "--host", "0.0.0.0")
    assert not (tmp_path / "postgres").exists()


def test_a_demo_wants_no_database_of_others(data_dir: Path) -> None:
    with served(data_dir):
        asyncio.run(funded(data_dir, 1))
    said = refused(data_dir, "--demo", "--port", str(free_port()))
    assert "users that it did not make" in said
