"""Archiving on the engine's schedule: `trade-engine partitions archive` as a process of its own, of low priority.

It replays the journal, which would hold up the engine's loop for minutes.
"""

import asyncio
import os
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import structlog

from trade_engine.config import Config
from trade_engine.sequencer.archiving import month_edge
from trade_engine.storage.maintenance import Chore
from trade_engine.storage.types import Pool

log = structlog.get_logger(__name__)

_LONGEST_S: Final = 6 * 3600.0
_NICE: Final = 10
_OUTPUT_MAX: Final = 2_000
_DUE: Final = """
    SELECT (SELECT count(*) FROM archivable_partitions($1))
        + (SELECT count(*) FROM pg_class WHERE relnamespace = 'archive'::REGNAMESPACE AND relkind = 'r')"""


def archive_chore(config: Config, url: str, data_dir: Path, pool: Pool) -> Chore:
    """What archives if something is old enough.

    Args:
        config: says after how many months, and where to.
        url: of the database, past any pooler.
        data_dir: of the engine.
        pool: to look what is due.
    """
    options = config.database
    folder = Path(options.archive_folder) if options.archive_folder else data_dir / "archive"

    async def archive() -> None:
        edge = month_edge(datetime.now(UTC), options.archive_after_months)
        if not await pool.fetchval(_DUE, edge):
            return
        environment = os.environ | {
            "TRADE_ENGINE__DATABASE__URL": url,
            "TRADE_ENGINE__DATABASE__DIRECT_URL": url,
            "TRADE_ENGINE__WALLET__MODE": config.wallet.mode,
        }
        command = ["partitions", "archive", "--before", f"{edge:%Y-%m-%d}", "--folder", str(folder), "--json"]
        child = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "trade_engine.cli", *command,
            env=environment, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
        )  # fmt: skip
        try:
            os.setpriority(os.PRIO_PROCESS, child.pid, _NICE)
            async with asyncio.timeout(_LONGEST_S):
                output, _ = await child.communicate()
        finally:
            if child.returncode is None:
                child.kill()
                await child.wait()
        said = output.decode(errors="replace")[-_OUTPUT_MAX:].strip()
        if child.returncode:
            log.error("archive_failed", status=child.returncode, output=said)
        else:
            log.info("archived", output=said)

    return archive
