"""The command line: one module a command, thin over the rest.  ``trade-engine --help`` lists them.

Nothing is imported here but what lists them: a command's module is when it is called.
"""

from typing import Final

import click

from trade_engine import __version__
from trade_engine.cli.lazy import LazyCommand, LazyGroup

#: Their summaries are the first lines of their helps.
COMMANDS: Final = (
    LazyCommand(
        "account",
        "trade_engine.cli.account:account",
        "Show what is a user's; withdraw, and correct a balance, with a reason.",
    ),
    LazyCommand(
        "api-key",
        "trade_engine.cli.api_key:api_key",
        "Make, list and revoke API keys; change what encrypts their secrets.",
    ),
    LazyCommand("asyncapi", "trade_engine.cli.asyncapi:asyncapi", "Print the AsyncAPI document of the WebSocket."),
    LazyCommand("backup", "trade_engine.cli.backup:backup", "Write the whole engine to FOLDER, beside its work."),
    LazyCommand(
        "balances",
        "trade_engine.cli.balances:balances",
        "Show what you have: available, reserved for orders, and what unsettled trades will bring.",
    ),
    LazyCommand("bench", "trade_engine.cli.bench:bench", "Measure the engine on this machine."),
    LazyCommand(
        "book",
        "trade_engine.cli.book:book",
        "Show the book of SYMBOL as it changes: a table on a terminal, else a line a change.",
    ),
    LazyCommand(
        "cache",
        "trade_engine.cli.cache:cache",
        "Show what the engine keeps of a market in Redis, and check that server.",
    ),
    LazyCommand("clock", "trade_engine.cli.clock:clock", "Say that the machine's clock is right although it jumped."),
    LazyCommand("config", "trade_engine.cli.config:config", "Show and check the configuration."),
    LazyCommand(
        "dead-letters",
        "trade_engine.cli.dead_letters:dead_letters",
        "List, show, retry and resolve settlements that the wallet refused for good.",
    ),
    LazyCommand(
        "deposit",
        "trade_engine.cli.deposit:deposit",
        "Credit USER (a UUID, or a demo name such as alice) with AMOUNT of ASSET; works while the engine runs.",
    ),
    LazyCommand(
        "events",
        "trade_engine.cli.events:events",
        "Show events and dead letters of RabbitMQ, or begin a new stream of them.",
    ),
    LazyCommand(
        "make-market",
        "trade_engine.cli.make_market:make_market",
        "Quote a market on both sides until SIGINT or SIGTERM, within an inventory limit.",
    ),
    LazyCommand("migrate", "trade_engine.cli.migrate:migrate", "Bring the database's schema up, or take it down."),
    LazyCommand(
        "openapi",
        "trade_engine.cli.openapi:openapi",
        "Print the OpenAPI 3.1 description of the REST API, ours or the one for clients of Binance.",
    ),
    LazyCommand("order", "trade_engine.cli.order:order", "Place, cancel, amend and list orders at a running server."),
    LazyCommand(
        "partitions",
        "trade_engine.cli.partitions:partitions",
        "Make partitions ahead, archive old ones to files, restore them.",
    ),
    LazyCommand(
        "reconcile",
        "trade_engine.cli.reconcile:reconcile",
        "Compare reservations, trades, balances and deposits of engine and wallet; exit 1 on a difference.",
    ),
    LazyCommand(
        "replay",
        "trade_engine.cli.replay:replay",
        "Replay COMMANDS (JSON lines, gzip or plain) and count how many of its trades come out in order.",
    ),
    LazyCommand("restore", "trade_engine.cli.backup:restore", "Make an engine from BACKUP, verified at the end."),
    LazyCommand("serve", "trade_engine.cli.serve:serve", "Run the engine until SIGINT or SIGTERM."),
    LazyCommand(
        "status",
        "trade_engine.cli.status:status",
        "Show how a running engine is: rates, latencies, queues, dependencies, role.",
    ),
    LazyCommand(
        "token",
        "trade_engine.cli.token:token",
        "Print a token for USER (a UUID, or a demo name such as alice) that the engine on DATA_DIR accepts.",
    ),
    LazyCommand("trades", "trade_engine.cli.trades:trades", "Show the latest trades of SYMBOL, newest first."),
    LazyCommand(
        "verify",
        "trade_engine.cli.verify:verify_command",
        "Check the journal's chain, the books' state, every order, every trade and the ledger; exit 1 on a difference.",
    ),
    LazyCommand(
        "wallet",
        "trade_engine.cli.wallet:wallet_command",
        "Run the wallet service until SIGINT or SIGTERM; or, by a command, look after the wallet.",
    ),
    LazyCommand(
        "webhooks",
        "trade_engine.cli.webhooks:webhooks",
        "Register and look after the endpoints that events are sent to.",
    ),
)


@click.group(
    cls=LazyGroup,
    lazy=COMMANDS,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(__version__, prog_name="trade-engine")
def main() -> None:
    """Trade Engine: orders in, trades matched, stored, settled and shown."""
