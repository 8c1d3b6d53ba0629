"""`trade-engine balances`: what you have at a running server."""

import click

from trade_engine.cli.connection import Server, amount, asks_a_server, say_json
from trade_engine.cli.output import show_table


@click.command()
@asks_a_server
def balances(server: Server, *, as_json: bool) -> None:
    """Show what you have: available, reserved for orders, and what unsettled trades will bring."""
    with server.client() as client:
        rows = client.balances()
    if as_json:
        say_json({"balances": rows})
        return
    lines = [(row.asset, *map(amount, (row.available, row.reserved, row.pending, row.total))) for row in rows]
    show_table(("asset", "available", "reserved", "pending", "total"), lines)
