"""The wallet as a process of its own: 1 database -> 2 ledger -> 3 cross-check -> 4 API."""

import contextlib
from collections.abc import Callable
from functools import partial
from pathlib import Path

from trade_engine import __version__
from trade_engine.bootstrap.api import make_verifier
from trade_engine.bootstrap.cross_check import start_cross_check
from trade_engine.config import Config
from trade_engine.edge.problems import Unauthorized
from trade_engine.http.server import ApiServer
from trade_engine.http.settings import ServerSettings
from trade_engine.ops.metrics import exposition
from trade_engine.ops.supervisor import Supervisor
from trade_engine.storage.embedded import EmbeddedSettings, use_embedded
from trade_engine.storage.migrate import load_migrations, migrations_of_wallet, require_current, up
from trade_engine.storage.pool import PoolSettings, close_pool, open_pool
from trade_engine.storage.probe import DatabaseProbe
from trade_engine.storage.reach import connect
from trade_engine.wallet.audit import PostgresLedger
from trade_engine.wallet.http_app import Roles, create_wallet_app


class WalletService:
    """The wallet as a process of its own: ``start`` it, serve, ``stop`` it.

    Args:
        config: all options.
        data_dir: where the embedded database is, if neither wallet nor engine have one by url.
        secret: what service tokens are signed with.
    """

    def __init__(self, config: Config, data_dir: Path, embedded: EmbeddedSettings, secret: str) -> None:
        self._config = config
        self._data_dir = data_dir
        self._embedded = embedded
        self._secret = secret
        self._stack = contextlib.AsyncExitStack()
        self._supervisor = Supervisor()

    async def start(self) -> int:
        """Start; the port that it listens on.

        Raises:
            StorageError, OSError: what prevents it; everything started until then is stopped.
        """
        try:
            return await self._start()
        except BaseException:
            await self.stop()
            raise

    async def _start(self) -> int:
        config = self._config
        url = config.wallet.database_url or config.database.url
        if url is None:
            url = await self._stack.enter_async_context(use_embedded(self._data_dir, self._embedded))
        behind_pooler = config.database.behind_pooler
        connection = await connect(url, statement_cache_size=0 if behind_pooler else 100)
        try:
            own = config.wallet.database_url and config.wallet.database_url != config.database.url
            migrations = await migrations_of_wallet(connection) if own else load_migrations()
            if config.wallet.database_url:
                await up(connection, migrations)
            await require_current(connection, migrations)
        finally:
            await connection.close()
        pool = await open_pool(url, PoolSettings(max_open=config.database.max_open_conns, behind_pooler=behind_pooler))
        self._stack.push_async_callback(close_pool, pool)
        # The client waits half a second for a reserve; past that an answer helps nobody.
        wallet = PostgresLedger(
            pool,
            reserve_timeout_s=config.wallet.reserve_timeout_ms / 1e3,
            timeout_s=config.wallet.timeout_ms / 1e3,
        )
        run = partial(self._supervisor.start, stack=self._stack)
        read = await start_cross_check(config, url, self._stack, run)
        probed = await self._probe(url)
        app = create_wallet_app(wallet, _roles(config, self._secret), __version__, probed, lambda: exposition(read))
        server = ApiServer(
            app,
            ServerSettings(
                host=config.wallet.host,
                port=config.wallet.port,
                shutdown_timeout_s=int(config.server.shutdown_timeout_s),
            ),
        )
        await server.start()
        self._stack.push_async_callback(server.stop)
        return server.port

    async def _probe(self, url: str) -> Callable[[], str]:
        """How the database is, asked for in the background on a connection that no request takes."""
        pool = await open_pool(url, PoolSettings(max_open=1, behind_pooler=self._config.database.behind_pooler))
        self._stack.push_async_callback(close_pool, pool)
        probe = DatabaseProbe(pool)
        await probe.look()
        self._supervisor.start("database probe", probe.keep_running, stack=self._stack)
        return probe.condition

    async def stop(self) -> None:
        """Stop everything, last started first; a second call does nothing."""
        stack, self._stack = self._stack, contextlib.AsyncExitStack()
        await stack.aclose()


def _roles(config: Config, secret: str) -> Roles:
    verifier = make_verifier(config, secret)

    def roles(header: bytes) -> frozenset[str] | None:
        try:
            return verifier.verify(header).roles
        except Unauthorized:
            return None

    return roles
