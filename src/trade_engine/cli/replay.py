"""`trade-engine replay`: a recorded order flow, through the core alone or through a running server."""

import csv
import uuid
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import click

from trade_engine.api.auth.tokens import issue_token
from trade_engine.bootstrap import attached_url, attached_wallet, jwt_secret
from trade_engine.cli.http_load import LoadError, connect
from trade_engine.cli.options import asynchronous, config_option, configure, data_dir_option, json_option
from trade_engine.cli.output import Meter, now, progress, show
from trade_engine.cli.replay_core import longest_common_subsequence, match_rounded, replay_file
from trade_engine.cli.replay_server import ReplayError, funds_for, read_lines, replay_over_http, rounded
from trade_engine.config import Config, markets_of
from trade_engine.domain.market import Market
from trade_engine.domain.scale import format_units, parse_units


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
    expected = _read_trades(expect) if expect else []
    if target == "core":
        with progress("commands") as meter:
            result, trades = replay_file(commands, book, meter.update)
    else:
        config = configure(config_file)
        market = next((m for m in markets_of(config) if m.symbol == symbol), None)
        if market is None:
            raise click.ClickException(f"--symbol {symbol}: not among the configured markets (--config)")
        with progress("commands") as meter:
            result, trades = await _replay_on_server(commands, config, market, data_dir, url, users, meter)
    if trades_out:
        trades_out.write_text("".join(f"{format_units(p)},{format_units(q)}\n" for p, q in trades))
    result |= {"expected": len(expected), "in_order": longest_common_subsequence(trades, expected)}
    show(result, as_json=as_json)
    if result.get("equals_core") is False:
        raise SystemExit(1)


async def _replay_on_server(
    file: Path, config: Config, market: Market, data_dir: Path, url: str, users: int, meter: Meter
) -> tuple[dict[str, Any], list[tuple[int, int]]]:
    orders = list(rounded(read_lines(file), market.lot_size))
    ids = [str(uuid.uuid5(uuid.NAMESPACE_OID, f"replay user {n}")) for n in range(users)]

    def user_of(order: str) -> int:
        return int(order) % users if order.isdigit() else hash(order) % users

    secret = jwt_secret(config, data_dir)
    auth = config.auth
    tokens = [
        issue_token(secret, user, ttl_s=86_400, issuer=auth.jwt_issuer, audience=auth.jwt_audience) for user in ids
    ]
    async with attached_url(config, data_dir) as database, attached_wallet(database) as wallet:
        for user, needs in zip(ids, funds_for(orders, users, user_of), strict=True):
            for asset, amount in zip((market.base, market.quote), needs, strict=True):
                outcome = await wallet.deposit(user, asset, amount, str(uuid.uuid4()))
                if not outcome.ok:
                    raise click.ClickException(f"deposit refused: {outcome.code}")
    parts = urlsplit(url)
    started = now()
    link = await connect(parts.hostname or "127.0.0.1", parts.port or 80)
    try:
        trades = await replay_over_http(
            link, orders, market.symbol, lambda order: tokens[user_of(order)], lambda n: meter.update(n, len(orders))
        )
    except (LoadError, ReplayError) as error:
        raise click.ClickException(f"the replay ended early: {error}") from error
    finally:
        link.close()
    took = now() - started
    core = match_rounded(((o.id, o.side, o.price, o.quantity) for o in orders), market)
    return {
        "commands": len(orders),
        "trades": len(trades),
        "core_trades": len(core),
        "equals_core": trades == core,
        "commands_per_s": round(len(orders) / took, 1),
    }, trades


def _read_trades(file: Path) -> list[tuple[int, int]]:
    with file.open(newline="") as lines:
        return [(parse_units(row["price"]), parse_units(row["qty"])) for row in csv.DictReader(lines)]
