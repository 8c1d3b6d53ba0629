"""The engine's own PostgreSQL is killed, alone or with its engine: it comes back, or the engine ends and says so."""

import asyncio
import os
import signal
import time
from pathlib import Path

import httpx
import pytest

from tests.e2e.processes import checked, funded, load, served
from tests.harness import clocked_serve
from trade_engine.cli import main
from trade_engine.ops.supervisor import EXIT_DATABASE
from trade_engine.storage.embedded.account import find_home
from trade_engine.storage.embedded.postmaster import read_postmaster


def cluster_of(data_dir: Path) -> Path:
    """Where the database's files are."""
    home = find_home(data_dir)
    assert home is not None
    return home / "cluster"


def main_process(data_dir: Path) -> int:
    """The number of the database's main process."""
    found = read_postmaster(cluster_of(data_dir))
    assert found is not None
    return found.pid


def until_ready(port: int, status: int = 200, within_s: float = 60.0) -> dict[str, str]:
    """Wait until readiness answers with a status; what it says."""
    until = time.monotonic() + within_s
    while True:
        answer = httpx.get(f"http://127.0.0.1:{port}/health/ready", timeout=10)
        if answer.status_code == status:
            said: dict[str, str] = answer.json()
            return said
        assert time.monotonic() < until, answer.text
        time.sleep(0.05)


def trades_on(port: int, tokens: list[str], acknowledged: dict[str, int]) -> bool:
    """Whether it becomes ready, and orders are acknowledged then."""
    until_ready(port)
    before = len(acknowledged)
    asyncio.run(load(port, tokens, acknowledged, 1))
    return len(acknowledged) > before


async def kill_again_and_again(data_dir: Path, times: int, pause_s: float) -> None:
    """Kill the database whenever it is there."""
    for _ in range(times):
        await asyncio.sleep(pause_s)
        while (found := read_postmaster(cluster_of(data_dir))) is None:
            await asyncio.sleep(0.05)
        os.kill(found.pid, signal.SIGKILL)


def test_a_database_that_is_killed_under_load_comes_back_and_nothing_is_lost(data_dir: Path) -> None:
    acknowledged: dict[str, int] = {}
    with served(data_dir) as (port, server):
        tokens = asyncio.run(funded(data_dir, 4))

        async def both() -> None:
            await asyncio.gather(load(port, tokens, acknowledged, 8), kill_again_and_again(data_dir, 3, 1.5))

        asyncio.run(both())
        assert trades_on(port, tokens, acknowledged)
        assert server.poll() is None
        asyncio.run(checked(data_dir, acknowledged))


def test_engine_and_database_killed_together_start_again(data_dir: Path) -> None:
    acknowledged: dict[str, int] = {}
    with served(data_dir) as (port, server):
        tokens = asyncio.run(funded(data_dir, 4))
        asyncio.run(load(port, tokens, acknowledged, 1))
        server.kill()
        os.kill(main_process(data_dir), signal.SIGKILL)
        server.wait()
    with served(data_dir) as (port, _):
        asyncio.run(load(port, tokens, acknowledged, 0.5))
        asyncio.run(checked(data_dir, acknowledged))


def test_a_database_that_does_not_come_back_ends_the_engine(data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRADE_ENGINE__DATABASE__RESTART_GIVE_UP_S", "2")
    with served(data_dir) as (port, server):
        control = cluster_of(data_dir) / "global" / "pg_control"
        control.write_bytes(bytes(control.stat().st_size))
        os.kill(main_process(data_dir), signal.SIGKILL)
        assert until_ready(port, 503)["status"] == "not ready"
        assert server.wait(90) == EXIT_DATABASE
    assert "the embedded PostgreSQL died and did not come back" in (data_dir / "server.log").read_text()


def test_an_operator_accepts_a_clock_that_was_set(
    data_dir: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    file = data_dir / "offset"
    monkeypatch.setenv(clocked_serve.OFFSET_FILE, str(file))
    with served(data_dir, program=[clocked_serve.__file__]) as (port, _):
        tokens = asyncio.run(funded(data_dir, 2))
        acknowledged: dict[str, int] = {}
        file.write_text("3600")
        assert "clock jumped by +3600.0 s" in until_ready(port, 503)["engine"]
        asyncio.run(load(port, tokens, acknowledged, 0.5))
        assert not acknowledged
        command = ["clock", "accept", "--data-dir", str(data_dir), "--reason", "summer time", "--json"]
        main(command, standalone_mode=False)
        assert '"acceptance": 1' in capsys.readouterr().out
        until_ready(port)
        asyncio.run(load(port, tokens, acknowledged, 0.5))
        assert acknowledged
        asyncio.run(checked(data_dir, acknowledged))
