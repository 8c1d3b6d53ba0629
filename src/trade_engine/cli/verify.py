"""`trade-engine verify`: replay the journal and compare it with everything the database says."""

from pathlib import Path

import click
import msgspec

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
from trade_engine.cli.output import progress, show
from trade_engine.matching.books import new_book
from trade_engine.sequencer.verify import check_files, verify
from trade_engine.storage.reach import connect


@click.command("verify")
@click.option(
    "--from",
    "start",
    type=click.Choice(["anchor", "genesis"]),
    default="anchor",
    show_default=True,
    help="From the latest anchor, or from the beginning: for that, restore what is archived.",
)
@click.option("--archive", "files", is_flag=True, help="Read the archived files, too: hashes, and the journal's chain.")
@folder_option
@data_dir_option
@config_option
@json_option
@asynchronous
async def verify_command(
    start: str, folder: Path | None, data_dir: Path, config_file: Path | None, *, files: bool, as_json: bool
) -> None:
    """Check the journal's chain, the books' state, every order, every trade and the ledger; exit 1 on a difference."""
    config = configure(config_file)
    async with attached_url(config, data_dir) as url:
        connection = await connect(url)
        try:
            with progress("replaying batches") as meter:
                report = await verify(
                    connection,
                    new_book,
                    meter.update,
                    ledger=config.wallet.mode == "in_process",
                    from_genesis=start == "genesis",
                )
            if files:
                with progress("reading files") as meter:
                    await check_files(connection, archive_folder(folder, config, data_dir), report, meter.update)
        finally:
            await connection.close()
    show(msgspec.to_builtins(report), as_json=as_json)
    if not report.ok:
        raise SystemExit(1)
