"""`trade-engine replay`: a recorded order flow, through the core alone or through a running server."""

from pathlib import Path

import click

from trade_engine.bench.recorded import read_trades
from trade_engine.bench.replay_core import longest_common_subsequence, replay_file
from trade_engine.bench.replay_server import replay_on_server
from trade_engine.cli.options import asynchronous, config_option, configure, data_dir_option, json_option
from trade_engine.cli.output import progress, show
from trade_engine.config import markets_of
from trade_engine.domain.scale import format_units


@click.command()
@click.argument("commands", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@click.option(
    "--expect", type=click.Path(path_type=Path, exists=True, dir_okay=False), help="CSV of real trades (price, qty)."
)
@click.option("--target", type=click.Choice(["core", "server"]), default="core", show_default=True)
@click.option("--book", type=click.Choice(["auto", "native", "reference"]), default="auto", show_default=True)
@click.option("--trades-out", type=click.Path(path_type=Path, dir_okay=False), help="Write the trades: price,qty.")
@click.option("--url", default="http://127.0.0.1:8080", show_default=True, help="The server (loopback only).")
@click.option("--symbol", default="BTC/USD", show_default=True, help="The server's market.")
@click.option("--users", default=20, show_default=True, type=click.IntRange(2, 10_000), help="As so many users.")
@data_dir_option
@config_option
@json_option
@asynchronous
async def replay(
    commands: Path,
    expect: Path | None,
    target: str,
    book: str,
    trades_out: Path | None,
    url: str,
    symbol: str,
    users: int,
    data_dir: Path,
    config_file: Path | None,
    *,
    as_json: bool,
) -> None:
    """Replay COMMANDS (JSON lines, gzip or plain) and count how many of its trades come out in order."""
    expected = read_trades(expect) if expect else []
    if target == "core":
        with progress("commands") as meter:
            result, trades = replay_file(commands, book, meter.update)
    else:
        config = configure(config_file)
        market = next((m for m in markets_of(config) if m.symbol == symbol), None)
        if market is None:
            raise click.ClickException(f"--symbol {symbol}: not among the configured markets (--config)")
        with progress("commands") as meter:
            result, trades = await replay_on_server(commands, config, market, data_dir, url, users, meter.update)
    if trades_out:
        trades_out.write_text("".join(f"{format_units(p)},{format_units(q)}\n" for p, q in trades))
    result |= {"expected": len(expected), "in_order": longest_common_subsequence(trades, expected)}
    show(result, as_json=as_json)
    if result.get("equals_core") is False:
        raise SystemExit(1)
