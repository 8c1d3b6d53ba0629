"""`trade-engine migrate up|down|status`."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import click

from trade_engine.bootstrap.attached import attached_url
from trade_engine.cli.options import asynchronous, config_option, configure, data_dir_option, json_option
from trade_engine.cli.output import show
from trade_engine.storage.migrate import down, load_migrations, status, up
from trade_engine.storage.reach import connect
from trade_engine.storage.types import Connection


@click.group()
def migrate() -> None:
    """Bring the database's schema up, or take it down."""


@asynccontextmanager
async def _connected(config_file: Path | None, data_dir: Path) -> AsyncIterator[Connection]:
    async with attached_url(configure(config_file), data_dir) as url:
        connection = await connect(url)
        try:
            yield connection
        finally:
            await connection.close()


@migrate.command("up")
@click.option("--to", "target", type=int, help="Stop after this version; default: all.")
@click.option("--beside", is_flag=True, help="Also into a database that holds tables of others.")
@data_dir_option
@config_option
@json_option
@asynchronous
async def up_command(
    target: int | None, data_dir: Path, config_file: Path | None, *, beside: bool, as_json: bool
) -> None:
    """Carry out every migration that has not run yet.

    A database that is not empty, and holds nothing of the engine's, is refused.
    """
    async with _connected(config_file, data_dir) as connection:
        done = await up(connection, load_migrations(), target, beside=beside)
    show({"applied": [migration.label for migration in done]}, as_json=as_json)


@migrate.command("down")
@click.option("--to", "target", type=int, required=True, help="Take back all above this version; 0 takes all.")
@click.confirmation_option(prompt="This drops tables with all they hold. Go on?")
@data_dir_option
@config_option
@json_option
@asynchronous
async def down_command(target: int, data_dir: Path, config_file: Path | None, *, as_json: bool) -> None:
    """Take migrations back, newest first."""
    async with _connected(config_file, data_dir) as connection:
        done = await down(connection, load_migrations(), target)
    show({"taken_back": [migration.label for migration in done]}, as_json=as_json)


@migrate.command("status")
@data_dir_option
@config_option
@json_option
@asynchronous
async def status_command(data_dir: Path, config_file: Path | None, *, as_json: bool) -> None:
    """List migrations and when each ran."""
    async with _connected(config_file, data_dir) as connection:
        steps = await status(connection, load_migrations())
    show(
        {s.migration.label: s.applied_at.isoformat() if s.applied_at else "not applied" for s in steps},
        as_json=as_json,
    )
