"""`trade-engine make-market`: a market maker at a running server, as a user of its own."""

import asyncio
import signal
import time
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

import click

from trade_engine.cli.connection import AMOUNT, Server, amount, asks_a_server, plain, say_json
from trade_engine.cli.output import show
from trade_engine.client import Ticker
from trade_engine.market_maker.over_client import LEVELS_MAX, MakerTerms, MarketMaker, TermsRefused

#: A price that somebody writes to a file is believed for so long.
_PRICE_AGE_S: Final = 60.0


@click.command("make-market")
@click.option("--symbol", required=True, help="The market.")
@click.option("--spread", type=AMOUNT, required=True, help="From best bid to best ask, a share of the price: 0.002.")
@click.option("--levels", type=click.IntRange(1, LEVELS_MAX), default=5, show_default=True, help="Quotes of a side.")
@click.option("--size", type=AMOUNT, required=True, help="Of each quote, in the base asset.")
@click.option(
    "--inventory-limit", type=AMOUNT, required=True, help="Hold at most so much more, or less, than at first."
)
@click.option("--gap", type=AMOUNT, help="Between two levels, a share of the price; half the spread if not given.")
@click.option("--price", type=AMOUNT, help="What the base is worth; as the market is at the start, if not given.")
@click.option(
    "--price-file",
    type=click.Path(path_type=Path, dir_okay=False),
    help=f"What it is worth, read anew each turn; nothing is quoted while it is older than {_PRICE_AGE_S:.0f} s.",
)
@click.option(
    "--switch",
    "switch_s",
    type=click.IntRange(2, 3600),
    default=30,
    show_default=True,
    help="Seconds after which the engine ends the quotes of a maker that it no longer hears of.",
)
@asks_a_server
def make_market(
    server: Server,
    symbol: str,
    gap: Decimal | None,
    price: Decimal | None,
    price_file: Path | None,
    *,
    as_json: bool,
    **given: Any,
) -> None:
    """Quote a market on both sides until SIGINT or SIGTERM, within an inventory limit.

    The user whose login it has is for this alone: his other orders in the market are cancelled.
    """
    if price is not None and price_file is not None:
        raise click.UsageError("give --price or --price-file, not both")
    if price is not None and price <= 0:
        raise click.BadParameter("must be above 0", param_hint="--price")
    terms = MakerTerms(gap=gap if gap is not None else given["spread"] / 2, **given)

    def tell(event: str, **what: Any) -> None:
        if as_json:
            say_json({"event": event, **what})
        else:
            said = "  ".join(f"{name} {value}" for name, value in plain(what).items())
            click.echo(f"{time.strftime('%H:%M:%S')}  {event}  {said}".rstrip())

    try:
        result = asyncio.run(_make(server, symbol, terms, _source(price, price_file), tell))
    except TermsRefused as error:
        raise click.BadParameter(str(error), param_hint=f"--{error.name.replace('_', '-')}") from error
    show(result, as_json=as_json)


async def _make(
    server: Server,
    symbol: str,
    terms: MakerTerms,
    source: Callable[[], Decimal | None] | None,
    tell: Callable[..., None],
) -> dict[str, Any]:
    stopping = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stopping.set)
    async with server.async_client() as client:
        market = await client.market(symbol)
        if source is None:
            found = _market_price(await client.ticker(symbol))
            source = lambda: found  # noqa: E731 - a constant as a function
        maker = MarketMaker(client, market, terms, source, tell)
        tell("begins", symbol=market.symbol, price=source(), levels=terms.levels, size=terms.size)
        cancelled = await maker.run(stopping)
    return {
        "cancelled": cancelled,
        "bought": amount(maker.bought),
        "sold": amount(maker.sold),
        "inventory": amount(maker.inventory),
    }


def _source(price: Decimal | None, file: Path | None) -> Callable[[], Decimal | None] | None:
    """Where the price comes from; None: from the market, once."""
    if price is not None:
        return lambda: price
    return None if file is None else lambda: _written(file)


def _written(file: Path) -> Decimal | None:
    """The price in a file; None unless it is a fresh one."""
    try:
        if time.time() - file.stat().st_mtime > _PRICE_AGE_S:
            return None
        price = Decimal(file.read_text().strip())
    except (OSError, ArithmeticError, UnicodeDecodeError):
        return None
    return price if price.is_finite() and price > 0 else None


def _market_price(ticker: Ticker) -> Decimal:
    """What a market is worth as it stands: the middle of its book, else its last trade."""
    if ticker.best_bid is not None and ticker.best_ask is not None:
        return (ticker.best_bid + ticker.best_ask) / 2
    if ticker.last_price is None:
        raise click.UsageError(f"{ticker.symbol} has no price yet: give --price or --price-file")
    return ticker.last_price
