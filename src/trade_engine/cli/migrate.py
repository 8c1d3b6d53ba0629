"""`trade-engine migrate up|down|status`."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import click

from trade_engine.bootstrap.attached import attached_url
from trade_engine.cli.options import asynchronous, config_option, configure, data_dir_option, json_option
from trade_engine.cli.output import show
from trade_engine.storage.migrate import Migration, down, load_migrations, migrations_of_wallet, status, up
from trade_engine.storage.reach import connect
from trade_engine.storage.types import Connection


@click.group()
def migrate() -> None:
    """Bring the database's schema up, or take it down."""


wallet_option = click.option("--wallet", is_flag=True, help="The wallet's own database, wallet.database_url, instead.")


@asynccontextmanager
async def _connected(
    config_file: Path | None, data_dir: Path, *, wallet: bool
) -> AsyncIterator[tuple[Connection, tuple[Migration, ...]]]:
    """The database, and the migrations that it is to have."""
    config = configure(config_file)
    async with AsyncExitStack() as stack:
        if wallet:
            if not config.wallet.database_url:
                raise click.UsageError("wallet.database_url is not set")
            url = config.wallet.database_url
        else:
            url = await stack.enter_async_context(attached_url(config, data_dir))
        connection = await connect(url)
        try:
            yield connection, await migrations_of_wallet(connection) if wallet else load_migrations()
        finally:
            await connection.close()


@migrate.command("up")
@click.option("--to", "target", type=int, help="Stop after this version; default: all.")
@click.option("--beside", is_flag=True, help="Also into a database that holds tables of others.")
@wallet_option
@data_dir_option
@config_option
@json_option
@asynchronous
async def up_command(
    target: int | None,
    data_dir: Path,
    config_file: Path | None,
    *,
    wallet: bool,
    beside: bool,
    as_json: bool,
) -> None:
    """Carry out every migration that has not run yet.

    A database that is not empty, and holds nothing of the engine's, is refused.
    """
    async with _connected(config_file, data_dir, wallet=wallet) as (connection, migrations):
        done = await up(connection, migrations, target, beside=beside)
    show({"applied": [migration.label for migration in done]}, as_json=as_json)


@migrate.command("down")
@click.option("--to", "target", type=int, required=True, help="Take back all above this version; 0 takes all.")
@click.confirmation_option(prompt="This drops tables with all they hold. Go on?")
@wallet_option
@data_dir_option
@config_option
@json_option
@asynchronous
async def down_command(target: int, data_dir: Path, config_file: Path | None, *, wallet: bool, as_json: bool) -> None:
    """Take migrations back, newest first."""
    async with _connected(config_file, data_dir, wallet=wallet) as (connection, migrations):
        done = await down(connection, migrations, target)
    show({"taken_back": [migration.label for migration in done]}, as_json=as_json)


@migrate.command("status")
@wallet_option
@data_dir_option
@config_option
@json_option
@asynchronous
async def status_command(data_dir: Path, config_file: Path | None, *, wallet: bool, as_json: bool) -> None:
    """List migrations and when each ran."""
    async with _connected(config_file, data_dir, wallet=wallet) as (connection, migrations):
        steps = await status(connection, migrations)
    show(
        {s.migration.label: s.applied_at.isoformat() if s.applied_at else "not applied" for s in steps},
        as_json=as_json,
    )
