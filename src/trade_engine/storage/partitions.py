"""Keeps the partitions of orders, trades and the journal ahead of time.

The SQL function ``create_partitions`` makes them; this module calls it, patiently: making a partition needs a short
exclusive lock, and must never hold up the writer, so it gives way after 200 ms and tries again.  A row that arrives
with no partition made for it lands in a DEFAULT partition, which must stay empty; ``default_rows`` tells.
"""

import asyncio
from typing import Final

import asyncpg
import structlog

log = structlog.get_logger(__name__)

MONTHS_AHEAD: Final = 3
DAYS_AHEAD: Final = 30
_LOCK_TIMEOUT: Final = "200ms"
_ATTEMPTS_MAX: Final = 20
_PARTITIONED: Final = ("orders", "trades", "journal")


async def create_partitions(
    pool: asyncpg.Pool, *, months_ahead: int = MONTHS_AHEAD, days_ahead: int = DAYS_AHEAD, pause_s: float = 0.25
) -> list[str]:
    """Make the partitions that are missing (orders by month, trades and journal by day); their names.

    Raises:
        asyncpg.LockNotAvailableError: 20 attempts, ``pause_s`` seconds apart, found the tables locked.
    """
    attempt = 0
    while True:
        attempt += 1
        try:
            async with pool.acquire() as connection, connection.transaction():
                await connection.execute(f"SET LOCAL lock_timeout = '{_LOCK_TIMEOUT}'")
                rows = await connection.fetch("SELECT create_partitions($1, $2) AS name", months_ahead, days_ahead)
            return [row["name"] for row in rows]
        except (asyncpg.LockNotAvailableError, asyncpg.DeadlockDetectedError):
            if attempt == _ATTEMPTS_MAX:
                raise
        await asyncio.sleep(pause_s)


async def default_rows(pool: asyncpg.Pool) -> dict[str, bool]:
    """For each partitioned table, whether its DEFAULT partition holds rows (it must not)."""
    return {table: bool(await pool.fetchval(f"SELECT EXISTS (SELECT FROM {table}_default)")) for table in _PARTITIONED}


async def keep_ahead(
    pool: asyncpg.Pool, *, months_ahead: int = MONTHS_AHEAD, days_ahead: int = DAYS_AHEAD, interval_s: float = 3600.0
) -> None:
    """Make partitions every ``interval_s`` seconds, until cancelled; a failure is logged and tried again next time."""
    while True:
        await asyncio.sleep(interval_s)
        try:
            made = await create_partitions(pool, months_ahead=months_ahead, days_ahead=days_ahead)
            late = [table for table, filled in (await default_rows(pool)).items() if filled]
        except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
            log.warning("partitions_not_made", error=str(error))
            continue
        if made:
            log.info("partitions_made", partitions=made)
        if late:
            log.error("default_partition_not_empty", tables=late)
