"""`trade-engine bench ...`: figures with the machine, the load and the command beside them."""

import tempfile
from pathlib import Path

import click
import uvloop

from trade_engine.bench.bystander import KINDS, RATE, measure_bystander
from trade_engine.bench.core import run_core_benchmark
from trade_engine.bench.faces import UNWEIGHED, measure_faces
from trade_engine.bench.fanout import FANOUT_SETTINGS, measure_fanout
from trade_engine.bench.latency import measure_latency
from trade_engine.bench.machine import machine
from trade_engine.bench.orders import measure_orders
from trade_engine.bench.own_server import running_process, running_server
from trade_engine.bench.pages import FROM_ONE_ADDRESS, measure_pages
from trade_engine.bench.relay import measure_relay
from trade_engine.bench.settlement import run_settlement_benchmark
from trade_engine.cli.options import config_option, configure, explained, json_option
from trade_engine.cli.output import command_line, progress, show
from trade_engine.ops.logging import configure_logging


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
@click.option("--face", type=click.Choice(("native", "binance")), default="native", show_default=True)
@click.option("--pages", default=0, show_default=True, type=click.IntRange(0, 200), help="People at the trading page.")
@click.option("--pairs", default=5, show_default=True, type=click.IntRange(1, 100), help="Of both in turn.")
@json_option
def orders_command(
    seconds: float, connections: int, users: int, seed: int, face: str, pages: int, pairs: int, *, as_json: bool
) -> None:
    """Durable orders over HTTP, against a server of its own in a temporary folder.

    With --face binance in turns with another face, with --pages in turns with people at the trading page.
    """
    if pages and (face != "native" or pages > users):
        raise click.UsageError("--pages goes with our own face, and with as many --users at least")
    with explained(), tempfile.TemporaryDirectory(prefix="trade-engine-bench-") as folder:
        data_dir = Path(folder) / "data"
        if face == "binance":
            with running_server(data_dir, **UNWEIGHED) as port, progress(f"{pairs} pairs of {seconds:g} s"):
                figures = uvloop.run(measure_faces(data_dir, port, seconds, connections, users, seed, pairs))
            load = f"{connections} connections, {users} users, seed {seed}, {pairs} pairs of {seconds:g} s each"
            show(figures | {"load": load, "machine": machine(), "command": command_line()}, as_json=as_json)
            return
        if pages:
            with running_process(data_dir, **FROM_ONE_ADDRESS) as server, progress(f"{pairs} pairs of {seconds:g} s"):
                figures = uvloop.run(measure_pages(data_dir, server, seconds, connections, users, seed, pairs, pages))
            load = f"{connections} connections, {users} users, seed {seed}, {pairs} pairs of {seconds:g} s each"
            show(figures | {"load": load, "machine": machine(), "command": command_line()}, as_json=as_json)
            return
        with running_process(data_dir) as server, progress(f"{connections} connections for {seconds:g} s"):
            figures = uvloop.run(measure_orders(data_dir, server, seconds, connections, users, seed))
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
            figures = uvloop.run(measure_latency(data_dir, port, rate, seconds, users, seed))
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
            figures = uvloop.run(measure_fanout(data_dir, port, pid, subscribers, stalled, rate, seconds, fill))
    load = f"{subscribers} subscribers of depth and trades, {rate} orders/s, {seconds:g} s; all on this machine"
    show(figures | {"load": load, "machine": machine(), "command": command_line()}, as_json=as_json)


@bench.command("bystander")
@click.option("--seconds", default=20.0, show_default=True, type=click.FloatRange(2, 300), help="Of each attack.")
@click.option("--history", default=150_000, show_default=True, type=click.IntRange(0, 10_000_000), help="Ended orders.")
@click.option("--attack", "kinds", multiple=True, type=click.Choice(KINDS), help="Only these; all by default.")
@json_option
def bystander_command(seconds: float, history: int, kinds: tuple[str, ...], *, as_json: bool) -> None:
    """How somebody who trades a little fares beside each attack, each against a server of its own."""
    with explained(), tempfile.TemporaryDirectory(prefix="trade-engine-bench-") as folder:
        Path(folder).chmod(0o755)
        with progress(f"{len(kinds or KINDS)} attacks of {seconds:g} s"):
            figures = uvloop.run(measure_bystander(Path(folder), seconds, history, kinds or KINDS))
    load = f"{RATE} orders/s beside each attack for {seconds:g} s, {history} ended orders; all on this machine"
    show(figures | {"load": load, "machine": machine(), "command": command_line()}, as_json=as_json)


@bench.command("relay")
@click.option("--rate", default=1_000, show_default=True, type=click.IntRange(1, 10_000), help="Requests a second.")
@click.option("--seconds", default=20.0, show_default=True, type=click.FloatRange(1, 600), help="Of each part.")
@click.option("--seed", default=7, show_default=True, help="Seed of the flow.")
@config_option
@json_option
def relay_command(rate: int, seconds: float, seed: int, config_file: Path | None, *, as_json: bool) -> None:
    """Events over the RabbitMQ that is configured, which should serve nobody else, from servers of its own."""
    with explained(), tempfile.TemporaryDirectory(prefix="trade-engine-bench-") as folder:
        Path(folder).chmod(0o755)
        configure_logging("warning", "json")
        with progress(f"a backlog, and {rate} orders a second, {seconds:g} s each"):
            figures = uvloop.run(measure_relay(Path(folder), configure(config_file), rate, seconds, seed))
    load = f"{rate} requests/s offered for {seconds:g} s, seed {seed}; server, database and RabbitMQ on this machine"
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
