"""`trade-engine cache show|check`: what the engine keeps of a market in Redis, and how that server is set up."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import zip_longest
from pathlib import Path

import click
import msgspec

from trade_engine.bootstrap.redis import redis_settings
from trade_engine.cache.formats import CachedBook
from trade_engine.cache.inspection import ClusterRefused, inspect
from trade_engine.cache.reading import UnknownFormat, read_market
from trade_engine.cache.server import TROUBLE, RedisServer
from trade_engine.cli.options import asynchronous, config_option, configure, json_option
from trade_engine.cli.output import show, show_table

_HEADINGS = ("bid quantity", "bid", "ask", "ask quantity")
#: A person can wait longer than a request.
_TIMEOUT_MS = 2_000


@click.group("cache")
def cache() -> None:
    """Show what the engine keeps of a market in Redis, and check that server."""


@asynccontextmanager
async def _server(config_file: Path | None) -> AsyncIterator[RedisServer]:
    settings = redis_settings(configure(config_file))
    if settings is None:
        raise click.ClickException("redis.url is not set: there is no Redis")
    try:
        server = RedisServer(msgspec.structs.replace(settings, timeout_ms=max(settings.timeout_ms, _TIMEOUT_MS)))
    except ValueError as error:
        raise click.ClickException(f"redis.url: (hidden): {error}") from error
    try:
        yield server
    except (*TROUBLE, ClusterRefused, UnknownFormat) as error:
        raise click.ClickException(f"Redis: {error!r}") from error
    finally:
        await server.aclose()


@cache.command("show")
@click.argument("symbol")
@config_option
@json_option
@asynchronous
async def show_command(symbol: str, config_file: Path | None, *, as_json: bool) -> None:
    """Print the book, the ticker and the latest trades of SYMBOL (BTC/USDT) as they are in Redis; exit 1 if not."""
    async with _server(config_file) as server:
        market = await read_market(server.redis, server.settings.key_prefix, symbol.upper())
    if market.book is None:
        raise click.ClickException(f"there is nothing of {symbol}: no engine has written it lately")
    if as_json:
        click.echo(msgspec.json.encode(market._asdict()))
        return
    _show_book(market.book)
    ticker = market.ticker.ticker if market.ticker else None
    trades = market.trades.trades if market.trades else []
    show(
        {
            "sequence": market.book.sequence,
            "written_at": market.book.written_at,
            "stream_id": market.book.stream_id,
            "last_price": ticker.last_price if ticker else None,
            "24h_volume": ticker.volume_24h if ticker else None,
            "trades": [bytes(trade).decode() for trade in trades],
        },
        as_json=False,
    )


def _show_book(cached: CachedBook) -> None:
    rows = [
        (bid and bid.quantity, bid and bid.price, ask and ask.price, ask and ask.quantity)
        for bid, ask in zip_longest(cached.book.bids, cached.book.asks)
    ]
    show_table(_HEADINGS, rows)


@cache.command("check")
@config_option
@json_option
@asynchronous
async def check_command(config_file: Path | None, *, as_json: bool) -> None:
    """Say what of the server is not set up as advised; exit 1 if anything is not."""
    async with _server(config_file) as server:
        await server.reach()
        found = await inspect(server.redis)
    rows = [
        advice._asdict() if as_json else f"{advice.setting}: {advice.found}; advised: {advice.advised}; {advice.why}"
        for advice in found
    ]
    show({"not_as_advised": rows}, as_json=as_json)
    if found:
        raise click.exceptions.Exit(1)
