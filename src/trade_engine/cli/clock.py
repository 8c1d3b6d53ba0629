"""`trade-engine clock accept`: tell an engine whose machine's clock jumped that the clock is right as it is."""

from pathlib import Path
from typing import Final

import click

from trade_engine.bootstrap.attached import attached_url
from trade_engine.cli.options import asynchronous, config_option, configure, data_dir_option, json_option
from trade_engine.cli.output import show
from trade_engine.edge.times import show_time
from trade_engine.storage.clock_acceptances import accept_clock
from trade_engine.storage.reach import connect

_ACTOR: Final = "command line"


@click.group()
def clock() -> None:
    """Say that the machine's clock is right although it jumped."""


@clock.command("accept")
@click.option("--reason", required=True, help="Why; kept in the audit, at most 500 characters.")
@data_dir_option
@config_option
@json_option
@asynchronous
async def accept(reason: str, data_dir: Path, config_file: Path | None, *, as_json: bool) -> None:
    """Have an engine that stands still (CLOCK_JUMPED) go on with the machine's clock as it is; it may run or not."""
    if not 0 < len(reason) <= 500:
        raise click.UsageError("--reason has 1 to 500 characters")
    async with attached_url(configure(config_file), data_dir) as url:
        connection = await connect(url)
        try:
            accepted = await accept_clock(connection, _ACTOR, reason)
            machine = await connection.fetchval("SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::BIGINT")
        finally:
            await connection.close()
    last = show_time(accepted.stamped_us) if accepted.stamped_us else None
    show({"acceptance": accepted.number, "machine_clock": show_time(machine), "last_commit": last}, as_json=as_json)
