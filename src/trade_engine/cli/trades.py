"""`trade-engine trades`: a market's latest trades, or your own, at a running server."""

from itertools import islice

import click

from trade_engine.cli.connection import Server, amount, asks_a_server, say_json
from trade_engine.cli.output import show_table
from trade_engine.client import MarketTrade, Trade


@click.command()
@click.argument("symbol", required=False)
@click.option("--own", is_flag=True, help="Your own; of all markets without SYMBOL.")
@click.option("--limit", type=click.IntRange(1), default=20, show_default=True)
@asks_a_server
def trades(server: Server, symbol: str | None, limit: int, *, own: bool, as_json: bool) -> None:
    """Show the latest trades of SYMBOL, newest first."""
    if symbol is None and not own:
        raise click.UsageError("give SYMBOL, or --own")
    with server.client() as client:
        size = min(limit, 500)
        rows: list[MarketTrade] = []
        if own:
            rows += islice(client.my_trades(symbol, limit=size), limit)
        elif symbol is not None:
            rows += islice(client.trades(symbol, limit=size), limit)
    if as_json:
        say_json({"trades": rows})
        return
    headings = ("time", "symbol", "price", "quantity", *(("side", "fee", "settlement") if own else ("taker",)))
    show_table(headings, map(_row, rows))


def _row(trade: MarketTrade) -> tuple[object, ...]:
    time = f"{trade.executed_at:%Y-%m-%d %H:%M:%S.%f}"
    row = (time, trade.symbol, amount(trade.price), amount(trade.quantity))
    if not isinstance(trade, Trade):
        return (*row, "SELL" if trade.is_buyer_maker else "BUY")
    buys = trade.side == "BUY"
    fee, asset = (trade.buyer_fee, trade.buyer_fee_asset) if buys else (trade.seller_fee, trade.seller_fee_asset)
    return (*row, trade.side, None if fee is None else f"{fee:f} {asset}", trade.settlement_status)
