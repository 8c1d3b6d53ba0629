"""A private PostgreSQL for exchanges in boxes: one server a process, and for each exchange a copy of one made before.

It starts while the engine is imported: each takes about as long as the other.
"""

import asyncio
import itertools
import shutil
import tempfile
import threading
from collections.abc import Coroutine
from concurrent.futures import Future, wait
from importlib import import_module
from pathlib import Path
from typing import Any, Final, Self, TypeVar

import asyncpg

from trade_engine.storage.embedded import EmbeddedPostgres, EmbeddedSettings
from trade_engine.storage.migrate import load_migrations, up

T = TypeVar("T")

_TEMPLATE: Final = "box_template"
#: Engines side by side: each has about ten connections.
_CONNECTIONS: Final = 300
_DROPS_S: Final = 10.0


class LoopThread:
    """An event loop in a thread of its own, whatever loop the test has."""

    def __init__(self, name: str) -> None:
        self.loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self.loop.run_forever, name=name, daemon=True)
        self._thread.start()

    def run(self, work: Coroutine[Any, Any, T], within_s: float | None = 60.0) -> T:
        """Carry out a coroutine there, and wait for its result.

        Raises:
            TimeoutError: it took too long.
        """
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(within_s)

    def end(self) -> None:
        """Stop the loop and the thread."""
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join()
        self.loop.close()


class BoxDatabase:
    """The server; use it in ``with``."""

    def __init__(self) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="trade-engine-box-"))
        # The server runs as another user if this one is root.
        self._folder.chmod(0o755)
        self._server = EmbeddedPostgres(self._folder, EmbeddedSettings(max_connections=_CONNECTIONS))
        self._thread = LoopThread("trade-engine-box-database")
        self._numbers = itertools.count(1)
        self._drops: list[Future[None]] = []
        self._started = asyncio.run_coroutine_threadsafe(self._start(), self._thread.loop)

    async def _start(self) -> str:
        url = await self._server.start()
        await self._execute(url, f"CREATE DATABASE {_TEMPLATE}")
        connection = await asyncpg.connect(url, database=_TEMPLATE)
        try:
            await up(connection, load_migrations())
            await connection.execute("SELECT create_partitions(1, 1)")
        finally:
            await connection.close()
        return url

    def __enter__(self) -> Self:
        """Import the engine while the server starts."""
        import_module("trade_engine.box.exchange")
        self._started.result()
        return self

    def __exit__(self, *_: object) -> None:
        """Stop the server and delete its files."""
        try:
            wait(self._drops, _DROPS_S)
            self._thread.run(self._server.stop())
        finally:
            home = self._server.home
            shutil.rmtree(home, ignore_errors=True)
            shutil.rmtree(self._folder, ignore_errors=True)
            self._thread.end()

    def copy(self) -> str:
        """The URL of a fresh database with the engine's schema."""
        url, name = self._started.result(), f"box_{next(self._numbers)}"
        self._thread.run(self._execute(url, f"CREATE DATABASE {name} TEMPLATE {_TEMPLATE} STRATEGY WAL_LOG"))
        before, mark, after = url.partition("?")
        return f"{before.rpartition('/')[0]}/{name}{mark}{after}"

    def drop(self, url: str) -> None:
        """Drop a database, whoever is still connected; nobody waits for it, since that takes a checkpoint."""
        sql = f"DROP DATABASE IF EXISTS {url.partition('?')[0].rpartition('/')[2]} WITH (FORCE)"
        work = self._execute(self._started.result(), sql)
        self._drops.append(asyncio.run_coroutine_threadsafe(work, self._thread.loop))

    async def _execute(self, url: str, sql: str) -> None:
        connection = await asyncpg.connect(url)
        try:
            await connection.execute(sql)
        finally:
            await connection.close()
