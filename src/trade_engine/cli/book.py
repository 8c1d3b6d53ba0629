"""`trade-engine book SYMBOL`: a market's book, live over the WebSocket, or once over REST.  Needs no login."""

import asyncio
import contextlib
import sys
from collections.abc import Sequence
from itertools import zip_longest
from typing import Any

import click
from rich.live import Live
from rich.table import Table

from trade_engine.cli.connection import Server, amount, asks_a_server, say_json
from trade_engine.cli.output import show_table
from trade_engine.client import DepthMessage, Level, LocalBook, PriceLevel

Levels = Sequence[Level | PriceLevel]
_HEADINGS = ("bid quantity", "bid", "ask", "ask quantity")


@click.command()
@click.argument("symbol")
@click.option("--depth", type=click.IntRange(1, 1000), default=10, show_default=True, help="Levels a side.")
@click.option("--once", is_flag=True, help="Print the book as it is, and stop.")
@click.option("--updates", type=click.IntRange(1), help="Stop after so many changes.")
@asks_a_server
def book(server: Server, symbol: str, depth: int, updates: int | None, *, once: bool, as_json: bool) -> None:
    """Show the book of SYMBOL as it changes: a table on a terminal, else a line a change.  Ctrl-C stops it."""
    if once:
        with server.client() as client:
            shown = client.order_book(symbol, depth)
        if as_json:
            say_json(shown)
        else:
            show_table(_HEADINGS, _rows(shown.bids, shown.asks))
        return
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(_follow(server, symbol, depth, updates, as_json=as_json))


async def _follow(server: Server, symbol: str, depth: int, updates: int | None, *, as_json: bool) -> None:
    on_screen = sys.stdout.isatty() and not as_json
    async with server.async_client() as client, client.stream() as stream:
        await stream.subscribe("depth", symbol)
        with Live(auto_refresh=False) if on_screen else contextlib.nullcontext() as live:
            seen = 0
            async for message in stream:
                if not isinstance(message, DepthMessage):
                    continue
                current = stream.book(symbol)
                if live is not None:
                    live.update(_screen(current, depth), refresh=True)
                elif as_json:
                    say_json(_shown(current, depth))
                else:
                    click.echo(_line(current))
                seen += 1
                if seen == updates:
                    return


def _rows(bids: Levels, asks: Levels) -> list[tuple[str | None, ...]]:
    return [
        (
            amount(bid.quantity) if bid else None,
            amount(bid.price) if bid else None,
            amount(ask.price) if ask else None,
            amount(ask.quantity) if ask else None,
        )
        for bid, ask in zip_longest(bids, asks)
    ]


def _screen(current: LocalBook, depth: int) -> Table:
    screen = Table(title=f"{current.symbol}  {current.sequence}")
    for heading in _HEADINGS:
        screen.add_column(heading, justify="right", style="green" if heading.startswith("bid") else "red")
    for row in _rows(current.bids(depth), current.asks(depth)):
        screen.add_row(*(cell or "" for cell in row))
    return screen


def _shown(current: LocalBook, depth: int) -> dict[str, Any]:
    sides = {"bids": current.bids(depth), "asks": current.asks(depth)}
    levels = {name: [(amount(level.price), amount(level.quantity)) for level in side] for name, side in sides.items()}
    return {"symbol": current.symbol, "sequence": current.sequence, **levels}


def _line(current: LocalBook) -> str:
    bid, ask = (
        f"{level.quantity:f} at {level.price:f}" if level else "none" for level in (current.best_bid, current.best_ask)
    )
    return f"{current.symbol} {current.sequence}  bid {bid}  ask {ask}"
