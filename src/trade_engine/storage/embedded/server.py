"""Starts, adopts and stops the private PostgreSQL of a data directory.

A file lock makes one engine the owner of a data directory.  A server that outlived its engine (which was killed) is
adopted, not started twice; one that dies is started again.  fsync and synchronous_commit stay on; this module must
never trade them for speed.
"""

import asyncio
import fcntl
import os
import secrets
import signal
import subprocess
import tempfile
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Final, ParamSpec, Self, TypeVar
from urllib.parse import quote

import asyncpg
import structlog

from trade_engine.storage.embedded.account import Account, choose_account, find_home, make_home, reachable_binaries
from trade_engine.storage.embedded.binaries import Binaries, find_binaries
from trade_engine.storage.embedded.configuration import EmbeddedSettings, server_configuration
from trade_engine.storage.embedded.leftovers import clear_files, clear_half_made, end_orphans, shared_memory_type
from trade_engine.storage.embedded.postmaster import (
    PORT,
    Postmaster,
    read_postmaster,
    socket_path_fits,
    wait_for_death,
)
from trade_engine.storage.embedded.processes import cluster_label, is_alive
from trade_engine.storage.errors import DATABASE_ERRORS, EmbeddedError

log = structlog.get_logger(__name__)

P = ParamSpec("P")
T = TypeVar("T")

_NAME: Final = "trade_engine"
_POLL_S: Final = 0.02
#: Crash recovery of a long write-ahead log may take its time.
_START_TIMEOUT_S: Final = 600.0
_STOP_TIMEOUT_S: Final = 60.0
_LOG_BYTES_MAX: Final = 64 * 1024 * 1024
_RESTART_PAUSE_S: Final = 0.1
_RESTART_PAUSE_MAX_S: Final = 5.0
#: A server that lived so long has come back; one that dies sooner goes on dying.
_STEADY_S: Final = 10.0
_ERRORS: Final = (EmbeddedError, *DATABASE_ERRORS)
#: What a server that comes up may answer until it is there.
_NOT_YET: Final = (
    OSError,
    asyncpg.PostgresConnectionError,
    asyncpg.OperatorInterventionError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
)


class EmbeddedPostgres:
    """The private server of one data directory; ``start`` it, use ``url``, ``stop`` it."""

    def __init__(self, data_dir: Path, settings: EmbeddedSettings | None = None) -> None:
        """Nothing happens before ``start``."""
        self._data_dir = data_dir.absolute()
        self._settings = settings or EmbeddedSettings()
        self._lock: int | None = None
        self._account: Account | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._postmaster: Postmaster | None = None
        self._home = self._data_dir
        #: Whether the server had outlived the engine that started it.
        self.adopted = False

    @property
    def url(self) -> str:
        """Where to connect, for asyncpg and psql alike.

        Raises:
            EmbeddedError: it does not run.
        """
        if self._postmaster is None:
            raise EmbeddedError("the embedded database is not running")
        return _url(self._postmaster.socket_folder)

    @property
    def home(self) -> Path:
        """Where the cluster, its socket and its log are."""
        return self._home

    @property
    def exists(self) -> bool:
        """Whether the data directory has a cluster, running or not."""
        return find_home(self._data_dir) is not None

    async def start(self) -> str:
        """Make the cluster if there is none, start or adopt its server, wait until it answers; its URL.

        Raises:
            EmbeddedError: another engine owns the data directory, there are no binaries, or the server does not come
                up; the message holds the end of its log.
        """
        await _to_the_end(self._take_lock)
        try:
            self._account = choose_account()
            self._home = await _to_the_end(make_home, self._data_dir, self._account)
            self.adopted = await self._adopt()
            if not self.adopted:
                await self._boot(self._account)
                await self._wait_until_ready()
            return self.url
        except BaseException:
            await self.stop()
            raise

    async def keep_running(self, give_up_s: float = 60.0) -> None:
        """Start the server again whenever it dies, until cancelled; ``start`` has returned before.

        Raises:
            EmbeddedError: it could not be started for ``give_up_s`` seconds, or died again and again for so long.
        """
        dying_since: float | None = None
        pause_s = _RESTART_PAUSE_S
        while True:
            began = time.monotonic()
            await self._death()
            died = time.monotonic()
            if dying_since is None or died - began >= _STEADY_S:
                dying_since, pause_s = died, _RESTART_PAUSE_S
            failure = "it died again and again"
            while True:
                if time.monotonic() - dying_since >= give_up_s:
                    raise EmbeddedError(f"the embedded PostgreSQL died and did not come back: {failure}")
                try:
                    await self._restart()
                    break
                except _ERRORS as error:
                    failure = str(error) or repr(error)
                    log.error("database_not_restarted", error=failure, retry_in_s=pause_s)
                await asyncio.sleep(pause_s)
                pause_s = min(pause_s * 2, _RESTART_PAUSE_MAX_S)
            log.warning("database_restarted", after_s=round(time.monotonic() - died, 3))

    async def stop(self) -> None:
        """Shut the server down in order (sessions are ended, everything is written) and give the directory free."""
        try:
            running = read_postmaster(self._home / "cluster") if self._postmaster or self._process else None
            pid = running.pid if running else self._process.pid if self._process else None
            if pid is not None and not await self._end(pid, signal.SIGINT, _STOP_TIMEOUT_S):
                await self._end(pid, signal.SIGQUIT, _STOP_TIMEOUT_S)
            if self._postmaster is not None and self._postmaster.socket_folder.parent != self._home:
                with suppress(OSError):
                    self._postmaster.socket_folder.rmdir()
        finally:
            self._process = None
            self._postmaster = None
            if self._lock is not None:
                os.close(self._lock)
                self._lock = None

    async def __aenter__(self) -> Self:
        """Start."""
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        """Stop."""
        await self.stop()

    def _take_lock(self) -> None:
        """Take the data directory for this process, until ``stop`` or the process's end.

        The lock is held by a bare descriptor, which no garbage collection closes early.
        """
        try:
            self._data_dir.mkdir(parents=True, exist_ok=True)
            lock = os.open(self._data_dir / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        except OSError as error:
            raise EmbeddedError(f"the data directory {self._data_dir} cannot be used: {error.strerror}") from error
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            owner = os.read(lock, 20).decode(errors="replace").strip() or "unknown"
            os.close(lock)
            raise EmbeddedError(
                f"the data directory {self._data_dir} is in use by another engine (process {owner})"
            ) from error
        os.ftruncate(lock, 0)
        os.pwrite(lock, f"{os.getpid()}\n".encode(), 0)
        self._lock = lock

    async def _adopt(self) -> bool:
        """Take over the server that runs, if one does and does not end just now."""
        self._postmaster = await self._find_running()
        if self._postmaster is None:
            return False
        try:
            await self._wait_until_ready()
        except EmbeddedError:
            if is_alive(self._postmaster.pid):
                raise
            self._postmaster = None
        return self._postmaster is not None

    async def _find_running(self) -> Postmaster | None:
        cluster = self._home / "cluster"
        found = read_postmaster(cluster)
        until = time.monotonic() + _STOP_TIMEOUT_S
        while found is not None and found.status == "stopping":
            if time.monotonic() > until:
                await self._end(found.pid, signal.SIGQUIT, _STOP_TIMEOUT_S)
            await asyncio.sleep(_POLL_S)
            found = read_postmaster(cluster)
        return found

    async def _boot(self, account: Account) -> None:
        """Start the server on a cluster on which none runs, whatever the last one left behind."""
        cluster = self._home / "cluster"
        await end_orphans(cluster, account)
        await _to_the_end(clear_files, self._home, cluster)
        await _to_the_end(self._spawn, account)
        self._postmaster = await self._wait_until_listening()

    async def _death(self) -> None:
        """Return when the server has died."""
        assert self._postmaster is not None
        pid = self._postmaster.pid
        await wait_for_death(pid, self._home / "cluster")
        status = None if self._process is None else self._process.wait()
        self._process = None
        log.error("database_died", process=pid, exit_status=status)

    async def _restart(self) -> None:
        """One attempt to have the server back."""
        assert self._account is not None
        try:
            await self._boot(self._account)
            await self._wait_until_ready()
        except _ERRORS:
            if self._process is not None:
                await self._end(self._process.pid, signal.SIGQUIT, _STOP_TIMEOUT_S)
                self._process = None
            raise

    def _spawn(self, account: Account) -> None:
        cluster = self._home / "cluster"
        version = cluster / "PG_VERSION"
        major = int(version.read_text(encoding="utf-8")) if version.exists() else None
        binaries = reachable_binaries(find_binaries(self._settings.postgres_bin, major=major), account)
        if major is None and self._postmaster is not None:
            raise EmbeddedError(f"the files of the embedded database are gone from {cluster}")
        if major is None:
            self._initialise(binaries, account)
        configuration = server_configuration(
            self._settings, cluster_label(cluster), self._socket_folder(account), shared_memory_type(), binaries
        )
        (cluster / "postgresql.conf").write_text(configuration, encoding="utf-8")
        told = self._home / "postgres.log"
        if told.exists() and told.stat().st_size > _LOG_BYTES_MAX:
            told.replace(told.with_suffix(".log.1"))
        with told.open("ab") as output:
            self._process = account.spawn(
                [str(binaries.folder / "postgres"), "-D", str(cluster)], _environment(), output
            )

    def _initialise(self, binaries: Binaries, account: Account) -> None:
        """Make the cluster under another name and rename it: a crash on the way leaves no half of one."""
        clear_half_made(self._home)
        fresh = self._home / f"cluster.new.{secrets.token_hex(4)}"
        options = ["--username", _NAME, "--auth", "trust", "--encoding", "UTF8", "--locale", "C", "--data-checksums"]
        answer = account.run([str(binaries.folder / "initdb"), "-D", str(fresh), *options], _environment())
        if answer.returncode:
            raise EmbeddedError(f"initdb failed in {fresh}:\n{answer.stdout.strip()}")
        fresh.rename(self._home / "cluster")
        home = os.open(self._home, os.O_RDONLY)
        try:
            os.fsync(home)
        finally:
            os.close(home)

    def _socket_folder(self, account: Account) -> Path:
        if self._postmaster is not None and self._postmaster.socket_folder.exists():
            return self._postmaster.socket_folder
        folder = self._home / "run"
        if not socket_path_fits(folder):
            folder = Path(tempfile.mkdtemp(prefix="trade-engine-", dir="/tmp"))
        account.own_folder(folder)
        return folder

    async def _wait_until_listening(self) -> Postmaster:
        async with _bounded("start"):
            while True:
                found = read_postmaster(self._home / "cluster")
                if found is not None and str(found.socket_folder) not in ("", "."):
                    return found
                self._require_process()
                await asyncio.sleep(_POLL_S)

    async def _wait_until_ready(self) -> None:
        """Wait until the server answers, and make the database if it is a new cluster."""
        assert self._postmaster is not None
        maintenance = _url(self._postmaster.socket_folder, "postgres")
        async with _bounded("answer"):
            while True:
                try:
                    await _make_database(maintenance)
                    return
                except _NOT_YET:
                    self._require_process()
                    await asyncio.sleep(_POLL_S)

    def _require_process(self) -> None:
        ended = self._process is not None and self._process.poll() is not None
        gone = self._process is None and self._postmaster is not None and not is_alive(self._postmaster.pid)
        if ended or gone:
            told = self._home / "postgres.log"
            tail = told.read_text(encoding="utf-8", errors="replace").splitlines()[-10:] if told.exists() else []
            raise EmbeddedError("the embedded PostgreSQL ended while it started:\n" + "\n".join(tail))

    async def _end(self, pid: int, how: signal.Signals, timeout_s: float) -> bool:
        """Signal the server and wait until it is gone; False if it still lives after ``timeout_s`` seconds."""
        with suppress(ProcessLookupError):
            os.kill(pid, how)
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                while is_alive(pid):
                    await asyncio.sleep(_POLL_S)
                if self._process is not None:
                    self._process.wait()
                return True
        return False


def running_url(data_dir: Path) -> str | None:
    """The URL of the private server that runs on ``data_dir`` now, whoever owns it; None if none does."""
    home = find_home(data_dir.absolute())
    found = read_postmaster(home / "cluster") if home else None
    return _url(found.socket_folder) if found and found.status in ("ready", "starting") else None


@asynccontextmanager
async def use_embedded(data_dir: Path, settings: EmbeddedSettings | None = None) -> AsyncIterator[str]:
    """For a command beside a server: join the database that an engine runs on ``data_dir``, else run it meanwhile.

    Run by the command, it is started again when it dies, as an engine would.

    Raises:
        EmbeddedError: as ``EmbeddedPostgres.start``, or there is no database in ``data_dir``.
    """
    server = EmbeddedPostgres(data_dir, settings)
    if not server.exists:
        raise EmbeddedError(f"there is no database in {data_dir}: start the engine there first")
    try:
        url = await server.start()
    except EmbeddedError:
        joined = running_url(data_dir)
        if joined is None:
            raise
        yield joined
        return
    keeping = asyncio.create_task(server.keep_running(), name="embedded database")
    keeping.add_done_callback(_say_why)
    try:
        yield url
    finally:
        keeping.cancel()
        await asyncio.wait([keeping])
        await server.stop()


async def _make_database(maintenance_url: str) -> None:
    """Make the engine's database, unless it is there."""
    connection = await asyncpg.connect(maintenance_url)
    try:
        if not await connection.fetchval("SELECT true FROM pg_database WHERE datname = $1", _NAME):
            await connection.execute(f"CREATE DATABASE {_NAME}")
        await connection.close()
    finally:
        connection.terminate()


def _say_why(keeping: "asyncio.Task[None]") -> None:
    if not keeping.cancelled() and (error := keeping.exception()) is not None:
        log.critical("database_given_up", error=str(error))


@asynccontextmanager
async def _bounded(what: str) -> AsyncIterator[None]:
    try:
        async with asyncio.timeout(_START_TIMEOUT_S):
            yield
    except TimeoutError as error:
        raise EmbeddedError(f"the embedded PostgreSQL does not {what} within {_START_TIMEOUT_S:.0f} s") from error


async def _to_the_end(work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Run blocking work in a thread; if the caller is cancelled, wait for it all the same before giving up."""
    running = asyncio.ensure_future(asyncio.to_thread(work, *args, **kwargs))
    try:
        return await asyncio.shield(running)
    except asyncio.CancelledError:
        await asyncio.wait([running])
        raise


def _url(socket_folder: Path, database: str = _NAME) -> str:
    return f"postgresql://{_NAME}@/{database}?host={quote(str(socket_folder), safe='/')}&port={PORT}"


def _environment() -> dict[str, str]:
    """What the server's programs get: nothing of ours that could redirect or translate them."""
    return {"PATH": os.environ.get("PATH", "/usr/bin:/bin"), "LC_ALL": "C", "TZ": "UTC"}
