"""`trade-engine order place|cancel|amend|list`: orders at a running server."""

from datetime import UTC, datetime
from decimal import Decimal
from itertools import islice
from typing import Any, Final, get_args

import click

from trade_engine.cli.connection import (
    AMOUNT,
    ORDER_HEADINGS,
    Server,
    amount,
    asks_a_server,
    order_rows,
    say_json,
)
from trade_engine.cli.output import show, show_table
from trade_engine.client import OrderType, Placed, SelfTradePrevention, Side, TimeInForce


def _words(literal: Any) -> click.Choice[str]:
    return click.Choice(get_args(literal), case_sensitive=False)


_TIMES: Final = ["%Y-%m-%dT%H:%M:%SZ", "%Y-%m-%dT%H:%M:%S", "%Y-%m-%d"]


@click.group()
def order() -> None:
    """Place, cancel, amend and list orders at a running server."""


@order.command()
@click.argument("symbol")
@click.argument("side", type=_words(Side))
@click.argument("quantity", type=AMOUNT, required=False)
@click.argument("price", type=AMOUNT, required=False)
@click.option("--type", "kind", type=_words(OrderType), default="LIMIT", show_default=True)
@click.option("--stop-price", type=AMOUNT, help="Of STOP and STOP_LIMIT orders.")
@click.option("--take-profit", is_flag=True, help="STOP and STOP_LIMIT: reached when the price is better, not worse.")
@click.option("--time-in-force", type=_words(TimeInForce), default="GTC", show_default=True)
@click.option("--expires-at", type=click.DateTime(_TIMES), help="Of GTD orders, UTC.")
@click.option("--quote-amount", type=AMOUNT, help="What a market BUY may spend, instead of QUANTITY.")
@click.option("--display-quantity", type=AMOUNT, help="What an iceberg shows at a time.")
@click.option("--post-only", is_flag=True, help="Be refused rather than take.")
@click.option("--self-trade-prevention", type=_words(SelfTradePrevention), default="CANCEL_NEWEST", show_default=True)
@click.option("--client-order-id", help="Your id; the same one again places nothing twice. Made up if not given.")
@asks_a_server
def place(
    server: Server,
    symbol: str,
    side: Side,
    quantity: Decimal | None,
    price: Decimal | None,
    kind: OrderType,
    expires_at: datetime | None,
    client_order_id: str | None,
    *,
    as_json: bool,
    **options: Any,
) -> None:
    """Place an order: SIDE (buy or sell) QUANTITY of SYMBOL at PRICE."""
    if client_order_id is not None:
        options["client_order_id"] = client_order_id
    expiry = expires_at and expires_at.replace(tzinfo=UTC)
    with server.client() as client:
        placed = client.place(symbol, side, quantity, price, type=kind, expires_at=expiry, **options)
    _tell(placed, as_json=as_json)


@order.command()
@click.argument("order_id", required=False)
@click.option("--all", "everything", is_flag=True, help="All of yours, instead of one.")
@click.option("--symbol", help="With --all: those of one market.")
@asks_a_server
def cancel(server: Server, order_id: str | None, symbol: str | None, *, everything: bool, as_json: bool) -> None:
    """Cancel the order ORDER_ID, or all."""
    if (order_id is not None) == everything:
        raise click.UsageError("give ORDER_ID or --all")
    if symbol is not None and not everything:
        raise click.UsageError("--symbol goes with --all")
    with server.client() as client:
        if order_id is None:
            show({"cancelled": client.cancel_all(symbol)}, as_json=as_json)
            return
        cancelled = client.cancel(order_id)
    if as_json:
        say_json(cancelled)
    else:
        show_table(ORDER_HEADINGS, order_rows([cancelled]))


@order.command()
@click.argument("order_id")
@click.option("--quantity", type=AMOUNT, help="The new total.")
@click.option("--price", type=AMOUNT)
@click.option("--stop-price", type=AMOUNT)
@asks_a_server
def amend(
    server: Server,
    order_id: str,
    quantity: Decimal | None,
    price: Decimal | None,
    stop_price: Decimal | None,
    *,
    as_json: bool,
) -> None:
    """Change the order ORDER_ID."""
    if quantity is None and price is None and stop_price is None:
        raise click.UsageError("give --quantity, --price or --stop-price")
    with server.client() as client:
        _tell(client.amend(order_id, quantity=quantity, price=price, stop_price=stop_price), as_json=as_json)


@order.command("list")
@click.option("--symbol", help="Of one market.")
@click.option("--status", help="One or several with commas; `open` is all that live.")
@click.option("--side", type=_words(Side))
@click.option("--limit", type=click.IntRange(1), default=50, show_default=True)
@asks_a_server
def list_command(
    server: Server, symbol: str | None, status: str | None, side: Side | None, limit: int, *, as_json: bool
) -> None:
    """List your orders, newest first."""
    with server.client() as client:
        rows = client.orders(symbol, status=status, side=side, limit=min(limit, 500))
        orders = list(islice(rows, limit))
    if as_json:
        say_json({"orders": orders})
    else:
        show_table(ORDER_HEADINGS, order_rows(orders))


def _tell(placed: Placed, *, as_json: bool) -> None:
    if as_json:
        say_json(placed)
        return
    show_table(ORDER_HEADINGS, order_rows([placed.order]))
    if placed.replayed:
        click.echo("placed before; nothing was placed again")
        if placed.differs:
            click.echo(f"you asked for another {', '.join(placed.differs)} than the order has")
    if placed.order.reason:
        click.echo(f"reason: {placed.order.reason}")
    for trade in placed.trades:
        click.echo(f"traded {amount(trade.quantity)} at {amount(trade.price)}")
