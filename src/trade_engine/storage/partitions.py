"""Keeps the partitions of orders, trades and the journal ahead of time, and their DEFAULT partitions empty.

SQL functions make them; this module calls these, patiently: making a partition needs a short exclusive lock, and must
never hold up the writer, so it gives way after 200 ms and tries again.  A row that arrives with no partition made for
it lands in a DEFAULT partition: nothing is refused for want of one.  Such rows are moved, a span at a time and a
transaction each, to a partition of their own.
"""

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, Final, TypeVar

import asyncpg
import structlog

from trade_engine.storage.errors import DATABASE_ERRORS

log = structlog.get_logger(__name__)

_Answer = TypeVar("_Answer")

MONTHS_AHEAD: Final = 3
DAYS_AHEAD: Final = 30
#: Rows that one transaction may move: while orders come in, they wait for it; before a start, nobody does.
ROWS_MAX: Final = 20_000
ROWS_MAX_AT_START: Final = 1_000_000
#: Rows of a DEFAULT partition that are counted at most.
COUNTED_MAX: Final = 1_000_000
_LOCK_TIMEOUT: Final = "200ms"
_ATTEMPTS_MAX: Final = 20
_SPANS_MAX: Final = 400
_MOVE_TIMEOUT_S: Final = 300.0
#: After a failure; else it is the interval.
_RETRY_S: Final = 60.0
_PARTITIONED: Final = ("journal", "orders", "trades")


async def create_partitions(
    pool: asyncpg.Pool,
    *,
    months_ahead: int = MONTHS_AHEAD,
    days_ahead: int = DAYS_AHEAD,
    at_us: int | None = None,
    rows_max: int = ROWS_MAX,
    pause_s: float = 0.25,
) -> list[str]:
    """Make the partitions that are missing (orders by month, trades and journal by day); their names.

    They are counted from ``at_us``, or the database's time.  Rows in a DEFAULT partition get a partition, too, and are
    moved there, at most ``rows_max`` in a transaction: what cannot be moved stays, and is logged with why.

    Raises:
        asyncpg.LockNotAvailableError: 20 attempts, ``pause_s`` seconds apart, found the tables locked.
        DATABASE_ERRORS: the database is away, or refuses.
    """

    async def ahead(connection: Any) -> list[str]:
        rows = await connection.fetch(
            "SELECT create_partitions($1, $2, coalesce(at_us($3), now())) AS name", months_ahead, days_ahead, at_us
        )
        return [row["name"] for row in rows]

    made = await _patiently(pool, pause_s, ahead)
    for table in _PARTITIONED:
        made += await _empty_default(pool, table, rows_max, pause_s)
    return made


async def _empty_default(pool: asyncpg.Pool, table: str, rows_max: int, pause_s: float) -> list[str]:
    """Move the rows of a DEFAULT partition, span by span; the partitions made for them."""
    made: list[str] = []
    start: str | None = None
    for _ in range(_SPANS_MAX):
        span = await _patiently(pool, pause_s, partial(_move_span, table, start, rows_max))
        if span["name"] is None:
            break
        start = span["next"]
        if span["obstacle"] is not None:
            log.error("default_rows_stay", table=table, partition=span["name"], reason=span["obstacle"])
        else:
            log.info("default_rows_moved", table=table, partition=span["name"], rows=span["moved"])
            made.append(span["name"])
    return made


async def _move_span(table: str, start: str | None, rows_max: int, connection: Any) -> Any:
    sql = "SELECT * FROM move_default_rows($1, $2, $3)"
    return await connection.fetchrow(sql, table, start, rows_max, timeout=_MOVE_TIMEOUT_S)


async def _patiently(pool: asyncpg.Pool, pause_s: float, work: Callable[[Any], Awaitable[_Answer]]) -> _Answer:
    """Do something in a transaction that gives way to locks, again and again."""
    attempt = 0
    while True:
        attempt += 1
        try:
            async with pool.acquire() as connection, connection.transaction():
                await connection.execute(f"SET LOCAL lock_timeout = '{_LOCK_TIMEOUT}'")
                return await work(connection)
        except (asyncpg.LockNotAvailableError, asyncpg.DeadlockDetectedError):
            if attempt == _ATTEMPTS_MAX:
                raise
        await asyncio.sleep(pause_s)


async def default_rows(pool: asyncpg.Pool) -> dict[str, int]:
    """For each partitioned table, how many rows its DEFAULT partition holds (there must be none), up to a bound."""
    counted = "SELECT count(*) FROM (SELECT FROM {}_default LIMIT $1) AS found"
    return {table: await pool.fetchval(counted.format(table), COUNTED_MAX) for table in _PARTITIONED}


async def ensure_partitions(
    pool: asyncpg.Pool,
    *,
    months_ahead: int,
    days_ahead: int,
    at_us: int | None = None,
    rows_max: int = ROWS_MAX,
    left: dict[str, int] | None = None,
) -> bool:
    """As ``create_partitions``, and say in the log what came of it; whether all is as it should be.

    A failure is logged and nothing more: without its partition, a row still has a place.  ``left`` is told how many
    rows the DEFAULT partition of each table holds then; after a failure it stays as it was.
    """
    try:
        made = await create_partitions(
            pool, months_ahead=months_ahead, days_ahead=days_ahead, at_us=at_us, rows_max=rows_max
        )
        rows = await default_rows(pool)
    except DATABASE_ERRORS as error:
        log.warning("partitions_not_made", error=repr(error))
        return False
    if left is not None:
        left.update(rows)
    if made:
        log.info("partitions_made", partitions=made)
    late = [table for table, count in rows.items() if count]
    if late:
        log.error("default_partition_not_empty", tables=late)
    return not late


async def keep_ahead(
    pool: asyncpg.Pool,
    *,
    months_ahead: int = MONTHS_AHEAD,
    days_ahead: int = DAYS_AHEAD,
    interval_s: float = 3600.0,
    time_us: Callable[[], int | None] = lambda: None,
    left: dict[str, int] | None = None,
) -> None:
    """Make partitions every ``interval_s`` seconds, until cancelled; sooner again after a failure.

    ``time_us`` tells the time from which to count ahead; None: the database's.  ``left``: as ``ensure_partitions``.
    """
    wait_s = interval_s
    while True:
        await asyncio.sleep(wait_s)
        well = await ensure_partitions(
            pool, months_ahead=months_ahead, days_ahead=days_ahead, at_us=time_us(), left=left
        )
        wait_s = interval_s if well else min(interval_s, _RETRY_S)
