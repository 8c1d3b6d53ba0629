"""The engine's database as bootstrap starts it: its own or one by URL, checked, migrated, kept ahead of time."""

import contextlib
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Final, NamedTuple, Protocol

import structlog

from trade_engine.bootstrap.archive import archive_chore
from trade_engine.bootstrap.attached import embedded_settings
from trade_engine.config import Config
from trade_engine.ops.supervisor import EXIT_DATABASE, Death, Supervised, Work
from trade_engine.sequencer.clock import Clock
from trade_engine.sequencer.publish import CommittedBatch
from trade_engine.sequencer.store.commit import Writer
from trade_engine.sequencer.store.postgres import PostgresStore
from trade_engine.storage.clock_acceptances import clock_acceptances
from trade_engine.storage.durability import require_durable
from trade_engine.storage.embedded import EmbeddedPostgres, create_statement_statistics
from trade_engine.storage.maintenance import STATEMENT_TIMEOUT_S, Maintenance
from trade_engine.storage.migrate import load_migrations, require_current, up
from trade_engine.storage.partitions import ROWS_MAX_AT_START, ensure_partitions, keep_ahead
from trade_engine.storage.pool import ALONG_INDEXES, PoolSettings, close_pool, open_pool
from trade_engine.storage.probe import DatabaseProbe
from trade_engine.storage.reach import address_of_url, connect, reaching
from trade_engine.storage.types import Pool

log = structlog.get_logger(__name__)

#: Characters of a statement that are logged.
_STATEMENT_MAX: Final = 500
#: What the supervisor and readiness call the task that keeps the embedded server running.
EMBEDDED: Final = "embedded database"


def log_statement(statement: str, seconds: float) -> None:
    """One line a statement; its values are not in it."""
    log.info("statement", sql=" ".join(statement.split())[:_STATEMENT_MAX], ms=round(seconds * 1e3, 3))


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


class TimedStore(PostgresStore):
    """The store, which tells how long each commit took.

    Args:
        timed: told the stage, ``commit``, and seconds.
    """

    def __init__(
        self, writer: Writer, pool: Pool, history_pool: Pool, timeout_s: float, timed: Callable[[str, float], None]
    ) -> None:
        super().__init__(writer, pool, history_pool, timeout_s)
        self._timed = timed

    async def commit(self, batch: CommittedBatch) -> None:
        """Commit a batch; see the port."""
        started_s = time.perf_counter()
        try:
            await super().commit(batch)
        finally:
            self._timed("commit", time.perf_counter() - started_s)


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
    connection = await connect(direct_url, "database.direct_url" if options.direct_url else "database.url")
    try:
        await require_durable(connection)
        if options.url is None:
            await up(connection, load_migrations())
            await create_statement_statistics(connection)
        await require_current(connection, load_migrations())
    finally:
        await connection.close()

    async def opened(max_open: int, timeout_s: float = 30.0, more: Mapping[str, str] | None = None) -> Pool:
        settings = PoolSettings(
            max_open=max_open,
            min_open=min(options.max_idle_conns, max_open),
            idle_lifetime_s=options.conn_max_lifetime_s,
            statement_timeout_s=timeout_s,
            behind_pooler=options.behind_pooler,
            server_settings=more or {},
        )
        with reaching(url, "database.url"):
            made = await open_pool(url, settings, log_query=log_statement if options.log_queries else None)
        stack.push_async_callback(close_pool, made)
        return made

    pool = await opened(options.max_open_conns)
    wallet_pool = await opened(options.wallet_conns)
    timeout_s = options.history_timeout_s
    terms = ALONG_INDEXES | {"statement_timeout": str(round(timeout_s * 1000))}
    history_pool = await opened(options.history_conns, timeout_s, terms)
    probe = DatabaseProbe(await opened(1), place=str(address_of_url(url)))
    run("database probe", probe.keep_running)
    months, days = options.partitions_months, options.partitions_days
    left: dict[str, int] = {}
    keep = partial(keep_ahead, pool, months_ahead=months, days_ahead=days, time_us=clock.now_us, left=left)
    run("partitions", keep)
    return Database(url, direct_url, pool, wallet_pool, history_pool, probe, left)


async def maintenance_of(
    config: Config, urls: tuple[str, str], data_dir: Path, stack: contextlib.AsyncExitStack
) -> Maintenance | None:
    """What keeps the database in shape while this engine writes, on a connection of its own; None: nobody here does.

    Args:
        config: all options.
        urls: of the database, and of it past any pooler.
        data_dir: of the engine.
        stack: closes what is opened.

    Raises:
        OSError, asyncpg.PostgresError: the database cannot be reached.
    """
    options = config.database
    if not options.maintenance_every_s:
        return None
    settings = PoolSettings(
        max_open=1, statement_timeout_s=STATEMENT_TIMEOUT_S + 10, behind_pooler=options.behind_pooler
    )
    url, direct_url = urls
    pool = await open_pool(url, settings)
    stack.push_async_callback(close_pool, pool)
    more = {"archive": archive_chore(config, direct_url, data_dir, pool)} if options.archive_after_months else {}
    return Maintenance(pool, options.maintenance_every_s, more)


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
