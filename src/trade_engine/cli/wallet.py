"""`trade-engine wallet`: the wallet as a service of its own, and its fence."""

import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Final

import click
import uvloop

from trade_engine.bootstrap.attached import attached_url, embedded_settings
from trade_engine.bootstrap.keys import jwt_secret
from trade_engine.cli.log_lines import begin_log, logged
from trade_engine.cli.options import (
    asynchronous,
    config_option,
    configure,
    configured,
    data_dir_option,
    explained,
    json_option,
)
from trade_engine.cli.output import show
from trade_engine.cli.service import run_service
from trade_engine.config import Config, Loaded
from trade_engine.roles.wallet import WalletService
from trade_engine.storage.reach import connect
from trade_engine.storage.types import Connection
from trade_engine.wallet.fence import FenceRefused, read_fence, set_fence

_ACTOR: Final = "command line"
_EPOCH_MAX: Final = 9_007_199_254_740_991


@click.group("wallet", invoke_without_command=True)
@data_dir_option
@config_option
@click.option("--host", help="Address to listen on.")
@click.option("--port", type=int, help="Port; 0 picks a free one.")
@click.pass_context
def wallet_command(
    context: click.Context, data_dir: Path, config_file: Path | None, host: str | None, port: int | None
) -> None:
    """Run the wallet service until SIGINT or SIGTERM; or, by a command, look after the wallet."""
    if context.invoked_subcommand is not None:
        return
    with logged(), explained():
        serve_wallet(configured(config_file, wallet__host=host, wallet__port=port), data_dir)


def serve_wallet(loaded: Loaded, data_dir: Path) -> None:
    """Run the wallet service until SIGINT or SIGTERM."""
    config = begin_log(loaded, "wallet")
    service = WalletService(config, data_dir, embedded_settings(config), jwt_secret(config, data_dir))
    uvloop.run(run_service(service, "Wallet service", config.wallet.host))


@wallet_command.command("fence")
@click.option("--to", "epoch", type=click.IntRange(0, _EPOCH_MAX), help="Set it to this epoch; else it is shown only.")
@click.option("--force", is_flag=True, help="Also downwards: engines that were fenced out may then write again.")
@click.option("--reason", default="not given", show_default=True, help="Why, for the audit.")
@data_dir_option
@config_option
@json_option
@asynchronous
async def fence_command(
    epoch: int | None, reason: str, data_dir: Path, config_file: Path | None, *, force: bool, as_json: bool
) -> None:
    """Show the wallet's fence, or set it: the lowest epoch of an engine that may reserve.

    Engines raise it by themselves.  By hand it is set when the wallet and the engine's database do not fit together
    any more, as after one of them was restored; the engine's message at start says to which epoch.
    """
    async with _database(configure(config_file), data_dir) as connection:
        if epoch is None:
            show({"epoch": await read_fence(connection)}, as_json=as_json)
            return
        try:
            before = await set_fence(connection, epoch, _ACTOR, reason[:500] or "not given", downward=force)
        except FenceRefused as error:
            raise click.ClickException(str(error)) from error
        show({"epoch": epoch, "before": before}, as_json=as_json)


@contextlib.asynccontextmanager
async def _database(config: Config, data_dir: Path) -> AsyncIterator[Connection]:
    """A connection to the wallet's database."""
    async with contextlib.AsyncExitStack() as stack:
        url = config.wallet.database_url
        if url is None:
            url = await stack.enter_async_context(attached_url(config, data_dir))
        connection = await connect(url)
        try:
            yield connection
        finally:
            await connection.close()
