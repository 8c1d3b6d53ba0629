"""`trade-engine book SYMBOL`: a market's book, live over the WebSocket, or once over REST.  Needs no login."""

import asyncio
import contextlib
import sys
from collections.abc import Sequence
from decimal import Decimal
from itertools import zip_longest
from typing import Any, Final

import click
from rich.live import Live
from rich.table import Table
from rich.text import Text

from trade_engine.cli.connection import Server, amount, asks_a_server, say_json
from trade_engine.cli.output import show_table
from trade_engine.client import (
    ChannelMessage,
    DepthMessage,
    Level,
    LocalBook,
    MarketTrade,
    PriceLevel,
    Stream,
    TradesMessage,
)

Levels = Sequence[Level | PriceLevel]
_HEADINGS: Final = ("bid quantity", "bid", "ask", "ask quantity")
#: Characters of the longest bar.
_BAR_WIDTH: Final = 12
_LOOK_EVERY_S: Final = 1.0


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
        if on_screen:
            await stream.subscribe("trades", symbol)
        await stream.subscribe("depth", symbol)
        with Live(auto_refresh=False) if on_screen else contextlib.nullcontext() as live:
            seen, last = 0, None
            while seen != updates:
                message = await _next(stream)
                if isinstance(message, TradesMessage) and message.data:
                    last = message.data[-1]
                current = _current(stream, symbol)
                if current is None:
                    continue
                if live is not None:
                    live.update(_screen(current, depth, last, connected=stream.connected), refresh=True)
                elif isinstance(message, DepthMessage) and as_json:
                    say_json(_shown(current, depth))
                elif isinstance(message, DepthMessage):
                    click.echo(_line(current))
                seen += isinstance(message, DepthMessage)


async def _next(stream: Stream) -> ChannelMessage | None:
    """The next message; None if there is none for a while, so that a screen can say that it is old."""
    try:
        return await asyncio.wait_for(anext(stream), _LOOK_EVERY_S)
    except TimeoutError:
        return None


def _current(stream: Stream, symbol: str) -> LocalBook | None:
    """The book; None before its first snapshot."""
    try:
        return stream.book(symbol)
    except KeyError:
        return None


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


def _screen(current: LocalBook, depth: int, last: MarketTrade | None, *, connected: bool) -> Table:
    """Both sides with a bar for what is offered at each price, the spread, and the last trade."""
    bids, asks = current.bids(depth), current.asks(depth)
    most = max((level.quantity for level in (*bids, *asks)), default=Decimal(1))
    screen = Table(title=_title(current, connected=connected), caption=_caption(current, last))
    for heading in ("", *_HEADINGS, ""):
        style = "green" if len(screen.columns) < 3 else "red"
        screen.add_column(heading, justify="left" if len(screen.columns) == 5 else "right", style=style)
    for bid, ask in zip_longest(bids, asks):
        cells = _rows([bid] if bid else [], [ask] if ask else [])[0]
        screen.add_row(_bar(bid, most), *(cell or "" for cell in cells), _bar(ask, most))
    return screen


def _bar(level: PriceLevel | None, most: Decimal) -> Text:
    width = 0 if level is None else max(1, round(level.quantity / most * _BAR_WIDTH))
    return Text("█" * width)


def _title(current: LocalBook, *, connected: bool) -> str:
    return f"{current.symbol}  {current.sequence}" + ("" if connected and current.synced else "  (old: not connected)")


def _caption(current: LocalBook, last: MarketTrade | None) -> str:
    said = []
    if current.best_bid and current.best_ask:
        spread = current.best_ask.price - current.best_bid.price
        share = 100 * spread / current.best_bid.price
        said.append(f"spread {spread:f} ({share:.3f} %)")
    if last is not None:
        taker = "sold" if last.is_buyer_maker else "bought"
        said.append(f"last {last.price:f}, {last.quantity:f} {taker}, {last.executed_at:%H:%M:%S}")
    return "   ".join(said) or "no trade yet"


def _shown(current: LocalBook, depth: int) -> dict[str, Any]:
    sides = {"bids": current.bids(depth), "asks": current.asks(depth)}
    levels = {name: [(amount(level.price), amount(level.quantity)) for level in side] for name, side in sides.items()}
    return {"symbol": current.symbol, "sequence": current.sequence, **levels}


def _line(current: LocalBook) -> str:
    bid, ask = (
        f"{level.quantity:f} at {level.price:f}" if level else "none" for level in (current.best_bid, current.best_ask)
    )
    return f"{current.symbol} {current.sequence}  bid {bid}  ask {ask}"
