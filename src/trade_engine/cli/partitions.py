"""`trade-engine partitions ensure|status|archive|restore`."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import asyncpg
import click

from trade_engine.bootstrap.attached import attached_url
from trade_engine.cli.options import (
    archive_folder,
    asynchronous,
    config_option,
    configure,
    data_dir_option,
    folder_option,
    json_option,
)
from trade_engine.cli.output import progress, show, show_table
from trade_engine.config import Config
from trade_engine.edge.times import show_time
from trade_engine.matching.books import new_book
from trade_engine.sequencer.archiving import archive_before, month_edge
from trade_engine.storage.archive import ArchivedFile, archived, check_file, partition_status, restore
from trade_engine.storage.migrate import load_migrations, require_current
from trade_engine.storage.partitions import create_partitions, default_rows
from trade_engine.storage.pool import PoolSettings, close_pool, open_pool
from trade_engine.storage.types import Connection

_MONTHS = 12


@click.group()
def partitions() -> None:
    """Make partitions ahead, archive old ones to files, restore them."""


@asynccontextmanager
async def _connected(config: Config, data_dir: Path) -> AsyncIterator[Connection]:
    async with attached_url(config, data_dir) as url:
        connection = await asyncpg.connect(url)
        try:
            await require_current(connection, load_migrations())
            yield connection
        finally:
            await connection.close()


def _file_row(file: ArchivedFile) -> dict[str, Any]:
    return {"partition": file.partition, "rows": file.rows, "bytes": file.file_bytes, "sha256": file.sha256}


@partitions.command("ensure")
@data_dir_option
@config_option
@json_option
@asynchronous
async def ensure_command(data_dir: Path, config_file: Path | None, *, as_json: bool) -> None:
    """Make the partitions that are missing ahead, as the engine does by itself; exit 1 if a row has none."""
    config = configure(config_file)
    async with attached_url(config, data_dir) as url:
        pool = await open_pool(url, PoolSettings(max_open=2))
        try:
            made = await create_partitions(
                pool, months_ahead=config.database.partitions_months, days_ahead=config.database.partitions_days
            )
            late = [table for table, filled in (await default_rows(pool)).items() if filled]
        finally:
            await close_pool(pool)
    show({"made": made, "without_partition": late}, as_json=as_json)
    if late:
        raise SystemExit(1)


@partitions.command("status")
@click.option("--check", is_flag=True, help="Read every file and compare it with its hash; exit 1 on a difference.")
@folder_option
@data_dir_option
@config_option
@json_option
@asynchronous
async def status_command(
    folder: Path | None, data_dir: Path, config_file: Path | None, *, check: bool, as_json: bool
) -> None:
    """List partitions: attached, detached (waiting for their file) or archived, with their files."""
    config = configure(config_file)
    async with _connected(config, data_dir) as connection:
        rows = await partition_status(connection)
        if check:
            for row in await archived(connection):
                await check_file(row, archive_folder(folder, config, data_dir))
        edge = await connection.fetchval("SELECT max(edge_at) FROM anchors")
    listed = [
        dict(row) | {name: show_time(round(row[name].timestamp() * 1e6)) for name in ("low_at", "high_at")}
        for row in rows
    ]
    if as_json:
        anchored = edge.isoformat() if edge else None
        show({"anchored_before": anchored, "checked": check, "partitions": listed}, as_json=True)
        return
    names = ("partition", "state", "row_count", "file_bytes", "file_sha256")
    show_table(names, [[row[name] for name in names] for row in listed])


@partitions.command("archive")
@click.option(
    "--months", type=click.IntRange(0, 1200), help="Keep so many whole months; default: as configured, or 12."
)
@click.option("--before", type=click.DateTime(["%Y-%m-%d"]), help="Archive what is older than this day, instead.")
@folder_option
@data_dir_option
@config_option
@json_option
@asynchronous
async def archive_command(
    months: int | None,
    before: datetime | None,
    folder: Path | None,
    data_dir: Path,
    config_file: Path | None,
    *,
    as_json: bool,
) -> None:
    """Verify everything, then make files of journal, trades and orders that are old enough; the engine may run.

    Nothing is dropped before its file was read back.  Orders follow their trades 180 days later.
    """
    config = configure(config_file)
    kept = config.database.archive_after_months or _MONTHS
    edge = before.replace(tzinfo=UTC) if before else month_edge(datetime.now(UTC), kept if months is None else months)
    async with _connected(config, data_dir) as connection:
        with progress("archiving"):
            outcome = await archive_before(
                connection,
                new_book,
                edge,
                archive_folder(folder, config, data_dir),
                now=datetime.now(UTC),
                ledger=config.wallet.mode == "in_process",
            )
    files = [_file_row(file) for file in outcome.files]
    show(
        {
            "before": edge.date().isoformat(),
            "anchor": outcome.anchor,
            "detached": outcome.detached,
            "kept": outcome.kept,
            "files": files if as_json else [" ".join(map(str, row.values())) for row in files],
            "rows": sum(file.rows for file in outcome.files),
            "bytes": sum(file.file_bytes for file in outcome.files),
        },
        as_json=as_json,
    )


@partitions.command("restore")
@click.argument("names", metavar="[PARTITION]...", nargs=-1)
@click.option("--all", "everything", is_flag=True, help="All that is archived.")
@folder_option
@data_dir_option
@config_option
@json_option
@asynchronous
async def restore_command(
    names: tuple[str, ...],
    folder: Path | None,
    data_dir: Path,
    config_file: Path | None,
    *,
    everything: bool,
    as_json: bool,
) -> None:
    """Make partitions of files again; the engine may run.  Trades need the orders that they refer to."""
    if bool(names) == everything:
        raise click.UsageError("name partitions, or give --all")
    config = configure(config_file)
    async with _connected(config, data_dir) as connection:
        rows = await archived(connection, None if everything else list(names))
        unknown = set(names) - {row["partition_name"] for row in rows}
        if unknown:
            raise click.UsageError(f"not archived: {', '.join(sorted(unknown))}")
        restored = [await restore(connection, row, archive_folder(folder, config, data_dir)) for row in rows]
    show(
        {
            "restored": [file.partition for file in restored],
            "rows": sum(file.rows for file in restored),
        },
        as_json=as_json,
    )
