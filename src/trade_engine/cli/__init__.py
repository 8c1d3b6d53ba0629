"""The command line: one module a command, thin over the rest.  ``trade-engine --help`` lists them."""

import click

from trade_engine import __version__
from trade_engine.cli.api_key import api_key
from trade_engine.cli.asyncapi import asyncapi
from trade_engine.cli.balances import balances
from trade_engine.cli.bench import bench
from trade_engine.cli.book import book
from trade_engine.cli.config import config
from trade_engine.cli.dead_letters import dead_letters
from trade_engine.cli.deposit import deposit
from trade_engine.cli.migrate import migrate
from trade_engine.cli.openapi import openapi
from trade_engine.cli.order import order
from trade_engine.cli.reconcile import reconcile
from trade_engine.cli.replay import replay
from trade_engine.cli.serve import serve
from trade_engine.cli.token import token
from trade_engine.cli.trades import trades
from trade_engine.cli.verify import verify_command
from trade_engine.cli.wallet import wallet_command


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="trade-engine")
def main() -> None:
    """Trade Engine: orders in, trades matched, stored, settled and shown."""


for _command in (
    serve,
    migrate,
    token,
    deposit,
    replay,
    verify_command,
    bench,
    config,
    wallet_command,
    reconcile,
    dead_letters,
    asyncapi,
    api_key,
    order,
    book,
    trades,
    balances,
    openapi,
):
    main.add_command(_command)
