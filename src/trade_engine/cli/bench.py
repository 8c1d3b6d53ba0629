"""`trade-engine bench ...`: figures with the machine, the load and the command beside them."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import asyncpg
import click
import uvloop

from trade_engine.api.auth.tokens import issue_token
from trade_engine.bootstrap import attached_url, attached_wallet, jwt_secret
from trade_engine.cli.bench_core import run_core_benchmark
from trade_engine.cli.bench_fanout import FANOUT_SETTINGS, run_fanout
from trade_engine.cli.bench_latency import run_steady_load, summarise_latency
from trade_engine.cli.bench_orders import Flow, run_load, summarise
from trade_engine.cli.bench_settlement import run_settlement_benchmark
from trade_engine.cli.options import configure, explained, json_option
from trade_engine.cli.output import command_line, machine, progress, show
from trade_engine.domain.scale import MAX_UNITS

_RATE: int = 1_000_000


@click.group()
def bench() -> None:
    """Measure the engine on this machine."""


@bench.command("core")
@click.option("--messages", default=1_000_000, show_default=True, help="Length of the generated flow.")
@click.option("--seed", default=7, show_default=True, help="Seed of the flow.")
@json_option
def core_command(messages: int, seed: int, *, as_json: bool) -> None:
    """Speed of both books: per call, in batches, sweeping, on large books."""
    with progress("measuring the core"):
        figures = run_core_benchmark(messages=messages, seed=seed)
    show(figures | {"machine": machine(), "command": command_line()}, as_json=as_json)


@bench.command("orders")
@click.option("--seconds", default=20.0, show_default=True, type=click.FloatRange(1, 600), help="How long.")
@click.option("--connections", default=64, show_default=True, type=click.IntRange(1, 1_000))
@click.option("--users", default=200, show_default=True, type=click.IntRange(2, 10_000))
@click.option("--seed", default=7, show_default=True, help="Seed of the flow.")
@json_option
def orders_command(seconds: float, connections: int, users: int, seed: int, *, as_json: bool) -> None:
    """Durable orders over HTTP, against a server of its own in a temporary folder."""
    with explained(), tempfile.TemporaryDirectory(prefix="trade-engine-bench-") as folder:
        data_dir = Path(folder) / "data"
        with running_server(data_dir) as port, progress(f"{connections} connections for {seconds:g} s"):
            figures = uvloop.run(_measure(data_dir, port, seconds, connections, users, seed))
    load = f"{connections} connections, {users} users, seed {seed}, {seconds:g} s; server and database on this machine"
    show(figures | {"load": load, "machine": machine(), "command": command_line()}, as_json=as_json)


@bench.command("latency")
@click.option("--rate", default=100, show_default=True, type=click.IntRange(1, 10_000), help="Orders a second.")
@click.option("--seconds", default=60.0, show_default=True, type=click.FloatRange(1, 600), help="How long.")
@click.option("--users", default=50, show_default=True, type=click.IntRange(2, 10_000))
@click.option("--seed", default=7, show_default=True, help="Seed of the flow.")
@json_option
def latency_command(rate: int, seconds: float, users: int, seed: int, *, as_json: bool) -> None:
    """How long answers and settlement take under a steady load, against a server of its own."""
    with explained(), tempfile.TemporaryDirectory(prefix="trade-engine-bench-") as folder:
        data_dir = Path(folder) / "data"
        with running_server(data_dir) as port, progress(f"{rate} orders a second for {seconds:g} s"):
            figures = uvloop.run(_measure_latency(data_dir, port, rate, seconds, users, seed))
    load = f"{rate} requests/s offered by {users} users for {seconds:g} s, seed {seed}; server and database here too"
    show(figures | {"load": load, "machine": machine(), "command": command_line()}, as_json=as_json)


@bench.command("fanout")
@click.option("--subscribers", default=1_000, show_default=True, type=click.IntRange(2, 10_000))
@click.option("--stalled", default=200, show_default=True, type=click.IntRange(1, 9_999), help="Of them, at times.")
@click.option("--rate", default=80, show_default=True, type=click.IntRange(2, 5_000), help="Orders a second.")
@click.option("--seconds", default=60.0, show_default=True, type=click.FloatRange(3, 600), help="How long.")
@click.option("--fill", default=30.0, show_default=True, type=click.FloatRange(0, 600), help="Stalled before counting.")
@json_option
def fanout_command(subscribers: int, stalled: int, rate: int, seconds: float, fill: float, *, as_json: bool) -> None:
    """Market data to many WebSocket subscribers, some of whom stall, against a server of its own."""
    if stalled >= subscribers:
        raise click.BadParameter("must be fewer than the subscribers", param_hint="--stalled")
    with explained(), tempfile.TemporaryDirectory(prefix="trade-engine-bench-") as folder:
        data_dir = Path(folder) / "data"
        with running_process(data_dir, **FANOUT_SETTINGS) as (port, pid), progress(f"{subscribers} subscribers"):
            figures = uvloop.run(_measure_fanout(data_dir, port, pid, subscribers, stalled, rate, seconds, fill))
    load = f"{subscribers} subscribers of depth and trades, {rate} orders/s, {seconds:g} s; all on this machine"
    show(figures | {"load": load, "machine": machine(), "command": command_line()}, as_json=as_json)


@bench.command("settlement")
@click.option("--trades", default=10_000, show_default=True, type=click.IntRange(100, 1_000_000))
@click.option("--users", default=200, show_default=True, type=click.IntRange(2, 10_000))
@click.option("--batch", default=32, show_default=True, type=click.IntRange(1, 1_000), help="Trades a call.")
@click.option("--tasks", default=1, show_default=True, type=click.IntRange(1, 64), help="Calls at once (workers).")
@click.option("--seed", default=7, show_default=True, help="Seed of the trades.")
@json_option
def settlement_command(trades: int, users: int, batch: int, tasks: int, seed: int, *, as_json: bool) -> None:
    """Trades settled in the ledger, in process and through the wallet service."""
    with explained(), tempfile.TemporaryDirectory(prefix="trade-engine-bench-") as folder:
        Path(folder).chmod(0o755)
        with progress(f"settling {trades} trades"):
            figures = uvloop.run(
                run_settlement_benchmark(Path(folder), trades=trades, users=users, batch=batch, tasks=tasks, seed=seed)
            )
    show(figures | {"machine": machine(), "command": command_line()}, as_json=as_json)


@contextmanager
def running_server(data_dir: Path, **settings: str) -> Iterator[int]:
    """As ``running_process``: its port alone."""
    with running_process(data_dir, **settings) as (port, _):
        yield port


@contextmanager
def running_process(data_dir: Path, **settings: str) -> Iterator[tuple[int, int]]:
    """A server as a process of its own on a free port, the rate limit raised; ended with the block: port and pid.

    Raises:
        click.ClickException: it did not come up within 60 s.
    """
    environment = os.environ | {
        "TRADE_ENGINE__SERVER__ECHO_ROUTE": "true",
        "TRADE_ENGINE__SERVER__WEBSOCKET_PORT": "0",
        "TRADE_ENGINE__SERVER__METRICS_PORT": "0",
        "TRADE_ENGINE__LOGGING__LEVEL": "warning",
        **{f"TRADE_ENGINE__RATE_LIMIT__{name}": str(_RATE) for name in ("ORDERS_PER_S", "ORDERS_BURST")},
        **{f"TRADE_ENGINE__RATE_LIMIT__{name}": str(_RATE) for name in ("QUERIES_PER_S", "QUERIES_BURST")},
        **{f"TRADE_ENGINE__RATE_LIMIT__{name}": str(_RATE) for name in ("PUBLIC_PER_S", "PUBLIC_BURST")},
        **{f"TRADE_ENGINE__RATE_LIMIT__{name}": str(_RATE) for name in ("ADDRESS_PER_S", "ADDRESS_BURST")},
        **settings,
    }
    port = free_port()
    log = data_dir.parent / "server.log"
    with log.open("wb") as output:
        server = subprocess.Popen(
            [sys.executable, "-m", "trade_engine.cli", "serve", "--data-dir", str(data_dir), "--port", str(port)],
            env=environment,
            stdout=output,
            stderr=output,
        )
        try:
            _wait_until_ready(port, server, log)
            yield port, server.pid
        finally:
            server.send_signal(signal.SIGTERM)
            try:
                server.wait(30)
            except subprocess.TimeoutExpired:
                server.kill()
                server.wait()


def free_port() -> int:
    """A TCP port that is free on loopback at this moment."""
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _wait_until_ready(port: int, server: "subprocess.Popen[bytes]", log: Path) -> None:
    until = time.monotonic() + 60
    while time.monotonic() < until and server.poll() is None:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/health/ready", timeout=1) as answer:
                if json.load(answer)["status"] == "ready":
                    return
        except OSError:
            time.sleep(0.05)
    raise click.ClickException(f"the server did not come up: {log.read_text(errors='replace')[-2000:]}")


async def _funded_tokens(url: str, secret: str, users: int) -> list[str]:
    """Tokens of so many users with funds for any flow."""
    ids = [str(uuid.uuid5(uuid.NAMESPACE_OID, f"bench user {n}")) for n in range(users)]
    async with attached_wallet(url) as wallet:
        for user in ids:
            for asset in ("USDT", "BTC", "ETH"):
                await wallet.deposit(user, asset, MAX_UNITS // 100, str(uuid.uuid4()))
    return [issue_token(secret, user, ttl_s=3_600) for user in ids]


async def _measure_latency(
    data_dir: Path, port: int, rate: int, seconds: float, users: int, seed: int
) -> dict[str, object]:
    config = configure(None)
    async with attached_url(config, data_dir) as url:
        tokens = await _funded_tokens(url, jwt_secret(config, data_dir), users)
        timings = await run_steady_load("127.0.0.1", port, Flow(tokens, seed), tokens[0], rate=rate, seconds=seconds)
        await asyncio.sleep(1.0)
        connection = await asyncpg.connect(url)
        try:
            rows = await connection.fetch(
                "SELECT extract(epoch FROM settled_at - executed_at) * 1000 AS ms FROM trades"
                " WHERE settled_at IS NOT NULL"
            )
            unsettled = await connection.fetchval("SELECT count(*) FROM trades WHERE settled_at IS NULL")
        finally:
            await connection.close()
    figures = summarise_latency(timings, [float(row["ms"]) for row in rows])
    return figures | {"unsettled": unsettled, "rate": rate, "rate_limit": _RATE}


async def _measure_fanout(
    data_dir: Path, port: int, pid: int, subscribers: int, stalled: int, rate: int, seconds: float, fill_s: float
) -> dict[str, object]:
    config = configure(None)
    async with attached_url(config, data_dir) as url:
        tokens = await _funded_tokens(url, jwt_secret(config, data_dir), 2)
    return await run_fanout(
        port, pid, tokens, subscribers=subscribers, stalled=stalled, rate=rate, seconds=seconds, fill_s=fill_s
    )


async def _measure(
    data_dir: Path, port: int, seconds: float, connections: int, users: int, seed: int
) -> dict[str, object]:
    config = configure(None)
    secret = jwt_secret(config, data_dir)
    async with attached_url(config, data_dir) as url:
        flow = Flow(await _funded_tokens(url, secret, users), seed)
        await run_load("127.0.0.1", port, flow, connections=connections, seconds=min(1.0, seconds / 4))
        connection = await asyncpg.connect(url)
        try:
            rows_before = await connection.fetchval("SELECT count(*) FROM orders")
            tally, took = await run_load("127.0.0.1", port, flow, connections=connections, seconds=seconds)
            rows = await connection.fetchval("SELECT count(*) FROM orders") - rows_before
        finally:
            await connection.close()
        await asyncio.sleep(1.0)
        echo, echo_took = await run_load(
            "127.0.0.1", port, flow, connections=connections, seconds=min(5.0, seconds), echo=True
        )
    figures = summarise(tally, took, echo, echo_took)
    if rows != tally.orders + tally.rejected:
        figures["errors"] += abs(rows - tally.orders - tally.rejected)
    return figures | {"rows_in_table": rows, "rate_limit": _RATE}
