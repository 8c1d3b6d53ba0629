"""A private PostgreSQL for a test session, and a fresh database for each test, copied from a migrated template."""

import asyncio
import itertools
import os
import shutil
import tempfile
import threading
from collections.abc import Coroutine
from pathlib import Path
from typing import Any, Final, TypeVar
from urllib.parse import urlsplit

import asyncpg

from trade_engine.storage.embedded import EmbeddedPostgres, EmbeddedSettings
from trade_engine.storage.embedded.account import find_home
from trade_engine.storage.migrate import load_migrations, up

#: Names a server of your own for the tests: a URL whose user may create databases.
OVERRIDE: Final = "TRADE_ENGINE_TEST_DATABASE_URL"

_MEMORY: Final = Path("/dev/shm")
_ROOMY: Final = 6 << 30

T = TypeVar("T")


def run_apart(coroutine: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine to its end on a loop and a thread of its own, whatever loop the test uses."""
    results: list[T] = []
    errors: list[BaseException] = []

    def work() -> None:
        try:
            results.append(asyncio.run(coroutine))
        except BaseException as error:  # noqa: BLE001 - handed on to the caller
            errors.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    if errors:
        raise errors[0]
    return results[0]


def with_database(url: str, name: str) -> str:
    """The same server, another database."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}/{name}" + (f"?{parts.query}" if parts.query else "")


def new_data_dir() -> Path:
    """A temporary data directory that an unprivileged server can reach, also when the tests run as root.

    In memory where there is plenty: what it holds is thrown away, so nothing need wait for a disk, and what a killed
    process had written is still there.
    """
    roomy = _MEMORY.is_dir() and shutil.disk_usage(_MEMORY).free > _ROOMY
    folder = Path(tempfile.mkdtemp(prefix="te-test-", dir=_MEMORY if roomy else None))
    folder.chmod(0o755)
    return folder


def remove_data_dir(data_dir: Path) -> None:
    """Stop the server that a killed engine left on ``data_dir``, if one did, and delete everything."""
    home = find_home(data_dir)
    if home is not None and (home / "cluster" / "postmaster.pid").exists():
        run_apart(_stop_left_over(data_dir))
    if home is not None:
        shutil.rmtree(home, ignore_errors=True)
    shutil.rmtree(data_dir, ignore_errors=True)


async def _stop_left_over(data_dir: Path) -> None:
    server = EmbeddedPostgres(data_dir)
    await server.start()
    await server.stop()


class TestServer:
    """One PostgreSQL server for the session."""

    __test__ = False

    def __init__(self) -> None:
        self._embedded: EmbeddedPostgres | None = None
        self._data_dir: Path | None = None
        self._numbers = itertools.count(1)
        self._prefix = f"te_{os.getpid()}"
        self._template: str | None = None
        self.url = os.environ.get(OVERRIDE, "")

    def start(self) -> None:
        """Start a private server, unless one was named."""
        if self.url:
            return
        self._data_dir = new_data_dir()
        settings = EmbeddedSettings(shared_buffers_mb=128, max_connections=300)
        self._embedded = EmbeddedPostgres(self._data_dir, settings)
        try:
            self.url = run_apart(self._embedded.start())
        except BaseException:
            remove_data_dir(self._data_dir)
            raise

    def stop(self) -> None:
        """Drop the template; stop the server if it is ours."""
        if self._embedded is None or self._data_dir is None:
            if self._template:
                self.drop(self._template)
            return
        run_apart(self._embedded.stop())
        remove_data_dir(self._data_dir)

    def migrated(self) -> str:
        """The URL of a fresh database with the engine's schema and the partitions of today and tomorrow."""
        if self._template is None:
            url = self.empty()
            run_apart(_migrate(url))
            self._template = url
        return self._create(f"TEMPLATE {urlsplit(self._template).path[1:]}")

    def copy(self, url: str) -> str:
        """The URL of a copy of a database that nobody is connected to."""
        return self._create(f"TEMPLATE {urlsplit(url).path[1:]}")

    def empty(self) -> str:
        """The URL of a fresh database with nothing in it."""
        return self._create("")

    def drop(self, url: str) -> None:
        """Drop a database, whoever is still connected."""
        run_apart(_execute(self.url, f"DROP DATABASE IF EXISTS {urlsplit(url).path[1:]} WITH (FORCE)"))

    def _create(self, clause: str) -> str:
        name = f"{self._prefix}_{next(self._numbers)}"
        run_apart(_execute(self.url, f"CREATE DATABASE {name} {clause}"))
        return with_database(self.url, name)


async def _execute(url: str, sql: str) -> None:
    connection = await asyncpg.connect(url)
    try:
        await connection.execute(sql)
    finally:
        await connection.close()


async def _migrate(url: str) -> None:
    connection = await asyncpg.connect(url)
    try:
        await up(connection, load_migrations())
        await connection.execute("SELECT create_partitions(1, 1)")
    finally:
        await connection.close()
