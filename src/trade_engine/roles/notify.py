"""Notification as a process of its own: 1 database -> 2 health and metrics -> 3 what sends webhooks."""

import contextlib
from pathlib import Path

import msgspec
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from trade_engine.bootstrap.attached import attached_url
from trade_engine.bootstrap.webhooks import POOL, make_notifier, read_notifier
from trade_engine.config import Config
from trade_engine.http.server import ApiServer
from trade_engine.http.settings import ServerSettings
from trade_engine.messaging.webhooks.notifier import Notifier
from trade_engine.ops.metrics import Reading, exposition
from trade_engine.ops.supervisor import Supervisor
from trade_engine.storage.migrate import load_migrations, require_current
from trade_engine.storage.pool import PoolSettings, close_pool, open_pool
from trade_engine.storage.probe import DatabaseProbe
from trade_engine.storage.reach import connect


class NotifyService:
    """Sends webhooks beside an engine: ``start`` it, serve, ``stop`` it.  Several may run: one of them sends.

    Args:
        config: all options.
        data_dir: where the embedded database is, if there is none by url, and the key that secrets are encrypted with.
    """

    def __init__(self, config: Config, data_dir: Path) -> None:
        self._config = config
        self._data_dir = data_dir
        self._stack = contextlib.AsyncExitStack()
        self._supervisor = Supervisor()

    async def start(self) -> int:
        """Start; the port of its health and metrics.

        Raises:
            ConfigError, StorageError, OSError: what prevents it; everything started until then is stopped.
        """
        try:
            return await self._start()
        except BaseException:
            await self.stop()
            raise

    async def _start(self) -> int:
        config, stack = self._config, self._stack
        url = await stack.enter_async_context(attached_url(config, self._data_dir))
        connection = await connect(url)
        try:
            await require_current(connection, load_migrations())
        finally:
            await connection.close()
        pool = await open_pool(url, PoolSettings(max_open=POOL))
        stack.push_async_callback(close_pool, pool)
        probe = DatabaseProbe(pool)
        await probe.look()
        self._supervisor.start("database probe", probe.keep_running, stack=stack)
        notifier = make_notifier(config, pool, self._data_dir)
        stack.push_async_callback(notifier.stop)
        self._supervisor.start("webhooks", notifier.run, stack=stack)
        options, shutdown_s = config.webhooks, int(config.server.shutdown_timeout_s)
        server = ApiServer(
            _app(probe, notifier),
            ServerSettings(host=options.host, port=options.port, name="webhooks.port", shutdown_timeout_s=shutdown_s),
        )
        await server.start()
        stack.push_async_callback(server.stop)
        return server.port

    async def stop(self) -> None:
        """Stop everything, last started first; a second call does nothing."""
        stack, self._stack = self._stack, contextlib.AsyncExitStack()
        await stack.aclose()


def _app(probe: DatabaseProbe, notifier: Notifier) -> Starlette:
    """Health and metrics; nothing is asked for them."""

    async def live(_: Request) -> Response:
        return _json(200, {"status": "alive"})

    async def ready(_: Request) -> Response:
        database = probe.condition()
        is_ready = database == "ok"
        said = {"status": "ready" if is_ready else "not ready", "database": database, "webhooks": notifier.condition()}
        return _json(200 if is_ready else 503, said)

    async def metrics(_: Request) -> Response:
        up = Reading("database_up", "1 while the database answers.", float(probe.condition() == "ok"))
        return Response(
            exposition(lambda: [up, *read_notifier(notifier)]), media_type="text/plain; version=0.0.4; charset=utf-8"
        )

    places = {"/health": live, "/health/live": live, "/health/ready": ready, "/ready": ready, "/metrics": metrics}
    return Starlette(routes=[Route(path, handler) for path, handler in places.items()])


def _json(status: int, content: dict[str, str]) -> Response:
    return Response(msgspec.json.encode(content), status, media_type="application/json")
