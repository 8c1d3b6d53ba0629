"""The engine's database as bootstrap starts it: its own or one by URL, checked, migrated, kept ahead of time."""

import contextlib
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Final, NamedTuple, Protocol

import asyncpg

from trade_engine.bootstrap.attached import embedded_settings
from trade_engine.config import Config
from trade_engine.ops.supervisor import EXIT_DATABASE, Death, Supervised, Work
from trade_engine.sequencer.clock import Clock
from trade_engine.storage.clock_acceptances import clock_acceptances
from trade_engine.storage.durability import require_durable
from trade_engine.storage.embedded import EmbeddedPostgres
from trade_engine.storage.migrate import load_migrations, require_current, up
from trade_engine.storage.partitions import ROWS_MAX_AT_START, ensure_partitions, keep_ahead
from trade_engine.storage.pool import ALONG_INDEXES, PoolSettings, close_pool, open_pool
from trade_engine.storage.probe import DatabaseProbe
from trade_engine.storage.types import Pool

#: What the supervisor and readiness call the task that keeps the embedded server running.
EMBEDDED: Final = "embedded database"


class Run(Protocol):
    """Runs a task under the engine's supervisor, and ends it when the engine stops."""

    def __call__(self, name: str, work: Work, death: Death = ..., *, status: int = ...) -> Supervised:
        """As ``Supervisor.start``."""


class Database(NamedTuple):
    """Where the database is."""

    url: str
    #: Past any pooler.
    direct_url: str
    #: What the engine itself does: admission, settlement, keys, operators.
    pool: Pool
    #: Of the wallet in this process; it is what every order waits for.
    wallet_pool: Pool
    #: What users read: one of them may take all of it, and no order waits.
    history_pool: Pool
    probe: DatabaseProbe
    #: Rows in the DEFAULT partition of each table, as of the last look; empty before the first.
    default_rows: dict[str, int]


async def start_database(
    config: Config, data_dir: Path, clock: Clock, stack: contextlib.AsyncExitStack, run: Run
) -> Database:
    """Bring the database up as far as the engine needs it; what is started is stopped by ``stack``.

    Raises:
        StorageError, OSError, asyncpg.PostgresError: what prevents it.
    """
    options = config.database
    url = options.url
    if url is None:
        embedded = EmbeddedPostgres(data_dir, embedded_settings(config))
        url = await embedded.start()
        stack.push_async_callback(embedded.stop)
        run(EMBEDDED, partial(embedded.keep_running, options.restart_give_up_s), Death.EXIT, status=EXIT_DATABASE)
    direct_url = options.direct_url or url
    connection = await asyncpg.connect(direct_url)
    try:
        await require_durable(connection)
        if options.url is None:
            await up(connection, load_migrations())
        await require_current(connection, load_migrations())
    finally:
        await connection.close()

    async def opened(max_open: int, timeout_s: float = 30.0, more: Mapping[str, str] | None = None) -> Pool:
        settings = PoolSettings(
            max_open=max_open,
            statement_timeout_s=timeout_s,
            behind_pooler=options.behind_pooler,
            server_settings=more or {},
        )
        made = await open_pool(url, settings)
        stack.push_async_callback(close_pool, made)
        return made

    pool = await opened(options.max_open_conns)
    wallet_pool = await opened(options.wallet_conns)
    timeout_s = options.history_timeout_s
    terms = ALONG_INDEXES | {"statement_timeout": str(round(timeout_s * 1000))}
    history_pool = await opened(options.history_conns, timeout_s, terms)
    probe = DatabaseProbe(await opened(1))
    run("database probe", probe.keep_running)
    months, days = options.partitions_months, options.partitions_days
    left: dict[str, int] = {}
    keep = partial(keep_ahead, pool, months_ahead=months, days_ahead=days, time_us=clock.now_us, left=left)
    run("partitions", keep)
    return Database(url, direct_url, pool, wallet_pool, history_pool, probe, left)


async def before_writing(config: Config, clock: Clock, pool: Pool, default_rows: dict[str, int]) -> None:
    """What the writer needs when it becomes one, and before anything is stamped: a clock, and room for its rows."""
    clock.anchor()
    clock.accept_behind((await clock_acceptances(pool)).stamped_us)
    options = config.database
    await ensure_partitions(
        pool,
        months_ahead=options.partitions_months,
        days_ahead=options.partitions_days,
        at_us=clock.now_us(),
        rows_max=ROWS_MAX_AT_START,
        left=default_rows,
    )
