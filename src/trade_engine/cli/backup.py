"""`trade-engine backup` and `restore`: the whole engine as files, and an engine made from them, verified."""

from pathlib import Path
from typing import Any

import asyncpg
import click
import msgspec

from trade_engine.bootstrap.attached import attached_wallet
from trade_engine.bootstrap.backup import restored, take_backup
from trade_engine.bootstrap.keys import jwt_secret
from trade_engine.cli.options import asynchronous, config_option, configure, data_dir_option, json_option
from trade_engine.cli.output import progress, show
from trade_engine.config import Config
from trade_engine.matching.books import new_book
from trade_engine.sequencer.clock import wall_clock_us
from trade_engine.sequencer.verify import verify
from trade_engine.settlement.reconciler import Reconciler
from trade_engine.storage.pool import PoolSettings, close_pool, open_pool


@click.command("backup")
@click.argument("folder", type=click.Path(path_type=Path))
@data_dir_option
@config_option
@json_option
@asynchronous
async def backup(folder: Path, data_dir: Path, config_file: Path | None, *, as_json: bool) -> None:
    """Write the whole engine to FOLDER, beside its work.

    The database as of one moment, and the secrets that were made in the data directory: keep it as safe as those.  What
    is needed beside it is listed as left_out.
    """
    with progress("dumping the database"):
        manifest = await take_backup(configure(config_file), data_dir, folder)
    show({"folder": str(folder), **msgspec.to_builtins(manifest)}, as_json=as_json)


@click.command("restore")
@click.argument("backup", type=click.Path(path_type=Path, file_okay=False, exists=True))
@click.option("--reason", default="a backup was restored", show_default=True, help="Why, for the audit.")
@data_dir_option
@config_option
@json_option
@asynchronous
async def restore(backup: Path, reason: str, data_dir: Path, config_file: Path | None, *, as_json: bool) -> None:
    """Make an engine from BACKUP, verified at the end.

    Into an empty data directory, or the empty database that database.url names.  A new stream of events begins, and
    whoever wrote before is fenced out.  Exit 1 on a difference: what is restored is there then, to be looked at.
    """
    config = configure(config_file)
    async with restored(config, data_dir, backup, reason) as (url, anew):
        found = {**anew._asdict(), **await _checked(url, config, data_dir)}
    show(found, as_json=as_json)
    if found["differences"]:
        raise SystemExit(1)


async def _checked(url: str, config: Config, data_dir: Path) -> dict[str, Any]:
    """What verification and reconciliation say."""
    connection = await asyncpg.connect(url)
    try:
        with progress("replaying batches") as meter:
            report = await verify(connection, new_book, meter.update, ledger=config.wallet.mode == "in_process")
    finally:
        await connection.close()
    pool = await open_pool(url, PoolSettings(max_open=2))
    try:
        async with attached_wallet(url, config, jwt_secret(config, data_dir)) as wallet:
            outcome = await Reconciler(pool, wallet, wall_clock_us).run()
    finally:
        await close_pool(pool)
    return {
        "journal_batches": report.journal_batches,
        "journal_head": report.journal_head,
        "verified": report.ok,
        "reconciled": outcome.ok,
        "differences": [*report.differences, *map(str, outcome.differences)],
    }
