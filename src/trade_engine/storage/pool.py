"""Pools of PostgreSQL connections.

Two kinds are meant to exist: the writer's, direct, and the readers', which may pass a pooler in transaction mode and
so prepare nothing and set nothing that should outlive a transaction.  uuid parameters take ``str``; uuid results are
objects whose ``str()`` is the canonical text.
"""

import asyncio
import contextlib
from collections.abc import Callable, Mapping
from typing import Any, Final

import asyncpg
import msgspec

from trade_engine.storage.errors import DATABASE_ERRORS

#: Called with the statement and its seconds, for each statement, when queries are to be logged.
QueryLog = Callable[[str, float], None]

_CONNECT_TIMEOUT_S: Final = 10.0

#: For pages out of long histories: whatever statistics say of the average user, walk along the index in its order.
#: Nothing else ends after a page with the one who has a million rows.
ALONG_INDEXES: Final = {"enable_bitmapscan": "off", "enable_seqscan": "off", "enable_sort": "off"}


class PoolSettings(msgspec.Struct, frozen=True, kw_only=True):
    """How many connections, how long they live; times in seconds."""

    max_open: int = 10
    #: Connections kept when idle.
    min_open: int = 1
    #: A connection that has rested for so long is closed; 0 never.
    idle_lifetime_s: float = 3600.0
    #: A statement that takes longer is cancelled; 0 never.
    statement_timeout_s: float = 30.0
    #: True when a pooler in transaction mode (PgBouncer) stands between: no statement is kept prepared.
    behind_pooler: bool = False
    application_name: str = "trade-engine"
    #: More options of the server for each connection; none of them reaches it past a pooler.
    server_settings: Mapping[str, str] = {}


async def open_pool(
    url: str, settings: PoolSettings | None = None, *, log_query: QueryLog | None = None
) -> asyncpg.Pool:
    """Open a pool on ``url`` (``postgresql://user:password@host/name``, or ``...?host=/socket/folder``).

    Raises:
        OSError, asyncpg.PostgresError, TimeoutError: the server cannot be reached, or refuses.
    """
    chosen = settings or PoolSettings()

    async def prepare(connection: asyncpg.Connection) -> None:
        if log_query is not None:
            connection.add_query_logger(lambda record: log_query(record.query, record.elapsed))

    pool = await asyncpg.create_pool(
        url,
        min_size=min(chosen.min_open, chosen.max_open),
        max_size=chosen.max_open,
        max_inactive_connection_lifetime=chosen.idle_lifetime_s,
        command_timeout=chosen.statement_timeout_s or None,
        statement_cache_size=0 if chosen.behind_pooler else 256,
        timeout=_CONNECT_TIMEOUT_S,
        init=prepare,
        reset=_leave_as_it_is,
        server_settings=None if chosen.behind_pooler else {
            "application_name": chosen.application_name,
            "timezone": "UTC",
            "jit": "off",
            **chosen.server_settings,
        },
    )  # fmt: skip
    if pool is None:
        raise OSError("the pool was closed while it opened")
    return pool


async def _leave_as_it_is(connection: Any) -> None:
    """Save the round trip of a reset: nothing here changes a session, or leaves a transaction open."""
    if connection.is_in_transaction():
        await connection.reset()


async def close_pool(pool: asyncpg.Pool, *, grace_s: float = 5.0) -> None:
    """Close a pool: what runs may finish within ``grace_s`` seconds, then it is cut off."""
    try:
        async with asyncio.timeout(grace_s):
            await pool.close()
    except TimeoutError:
        pool.terminate()
    except asyncpg.PostgresError:
        with contextlib.suppress(asyncpg.PostgresError):
            pool.terminate()


async def reachable(pool: asyncpg.Pool, *, timeout_s: float) -> bool:
    """Whether the database answers within ``timeout_s`` seconds."""
    try:
        async with asyncio.timeout(timeout_s):
            return bool(await pool.fetchval("SELECT 1") == 1)
    except DATABASE_ERRORS:
        return False
