"""The embedded PostgreSQL killed, with or without its engine, at any moment: it comes back, or says why not."""

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import asyncpg
import pytest

from tests.harness.postgres import TestServer, new_data_dir, remove_data_dir
from trade_engine.storage.embedded import (
    EmbeddedPostgres,
    EmbeddedSettings,
    find_binaries,
    leftovers,
    running_url,
    use_embedded,
)
from trade_engine.storage.embedded.account import Account, choose_account
from trade_engine.storage.embedded.postmaster import SOCKET, read_postmaster
from trade_engine.storage.embedded.processes import Process, is_alive, server_processes
from trade_engine.storage.errors import EmbeddedError
from trade_engine.storage.migrate import load_migrations, require_current, up

SMALL = EmbeddedSettings(shared_buffers_mb=16, max_connections=20)
#: Works for hours without asking whether its server lives.
BUSY = "SELECT count(*) FROM generate_series(1, 100000000000) AS g (n) WHERE n % 7 = 8"


@pytest.fixture(scope="module")
def pristine(postgres: TestServer) -> Iterator[Path]:
    """A data directory with a cluster that was stopped in order, to be copied; skips where there is no PostgreSQL."""
    folder = new_data_dir()

    async def make() -> None:
        async with EmbeddedPostgres(folder, SMALL):
            pass

    asyncio.run(make())
    yield folder
    remove_data_dir(folder)


@pytest.fixture
def made(pristine: Path, data_dir: Path) -> Path:
    """A data directory of the test's own, with a cluster."""
    subprocess.run(["cp", "-a", f"{pristine}/.", data_dir], check=True)
    return data_dir


@pytest.fixture
async def server(made: Path) -> AsyncIterator[EmbeddedPostgres]:
    server = EmbeddedPostgres(made, SMALL)
    yield server
    await server.stop()


@pytest.fixture
def account() -> Account:
    return choose_account()


def main_process(server: EmbeddedPostgres) -> int:
    """The number of the server's main process."""
    found = read_postmaster(server.home / "cluster")
    assert found is not None
    return found.pid


async def until_it_answers(url: str, within_s: float = 60.0) -> asyncpg.Connection:
    """A connection, as soon as there is one to be had."""
    until = time.monotonic() + within_s
    while True:
        try:
            return await asyncpg.connect(url, timeout=5)
        except (OSError, asyncpg.PostgresError):
            assert time.monotonic() < until, "the server did not come back"
            await asyncio.sleep(0.02)


@contextlib.asynccontextmanager
async def kept_running(server: EmbeddedPostgres) -> AsyncIterator["asyncio.Task[None]"]:
    task = asyncio.create_task(server.keep_running())
    await asyncio.sleep(0)
    try:
        yield task
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


@contextlib.contextmanager
def program(*words: str, account: Account | None = None) -> Iterator["subprocess.Popen[bytes]"]:
    """A program that runs meanwhile, under the server's account if it is given one."""
    user = account.uid if account is not None and account.switched else None
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, user=user, cwd="/") as running:
        try:
            yield running
        finally:
            running.kill()


def killed_engine(data_dir: Path, body: str) -> "subprocess.Popen[bytes]":
    """A process that runs ``body`` (indented) on a server of ``data_dir``, to be killed."""
    code = textwrap.dedent("""
        import asyncio, sys
        from pathlib import Path
        import asyncpg
        from trade_engine.storage.embedded import EmbeddedPostgres
        from trade_engine.storage.migrate import load_migrations, up
        async def main():
            server = EmbeddedPostgres(Path(sys.argv[1]))
        {body}
        asyncio.run(main())
    """).format(body=textwrap.indent(textwrap.dedent(body), " " * 4))
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    return subprocess.Popen([sys.executable, "-c", code, str(data_dir)], stdout=subprocess.PIPE, env=environment)


async def test_a_killed_server_is_started_again_and_pools_find_it(server: EmbeddedPostgres) -> None:
    url = await server.start()
    async with asyncpg.create_pool(url, min_size=4, max_size=4) as pool, kept_running(server) as keeping:
        await pool.execute("CREATE TABLE kept AS SELECT 7 AS x")
        for _ in range(3):
            killed = main_process(server)
            os.kill(killed, signal.SIGKILL)
            await (await until_it_answers(url)).close()
            answers = await asyncio.gather(*(pool.fetchval("SELECT x FROM kept") for _ in range(8)))
            assert answers == [7] * 8
            assert main_process(server) != killed
        assert server.url == url
        assert not keeping.done()


async def test_an_adopted_server_is_started_again(made: Path, server: EmbeddedPostgres) -> None:
    engine = killed_engine(made, "await server.start(); print('up', flush=True); await asyncio.sleep(60)")
    assert engine.stdout is not None
    assert engine.stdout.readline() == b"up\n"
    engine.kill()
    engine.wait()
    engine.stdout.close()
    url = await server.start()
    assert server.adopted
    async with kept_running(server):
        os.kill(main_process(server), signal.SIGKILL)
        await (await until_it_answers(url)).close()


async def test_a_command_that_runs_the_server_starts_it_again(made: Path) -> None:
    async with use_embedded(made, SMALL) as url:
        found = read_postmaster(made / "postgres" / "cluster")
        assert found is not None
        os.kill(found.pid, signal.SIGKILL)
        await (await until_it_answers(url)).close()
    assert running_url(made) is None


async def test_a_server_that_dies_while_it_is_adopted_is_started_anew(made: Path, server: EmbeddedPostgres) -> None:
    engine = killed_engine(made, "await server.start(); print('up', flush=True); await asyncio.sleep(60)")
    assert engine.stdout is not None
    assert engine.stdout.readline() == b"up\n"
    engine.kill()
    engine.wait()
    engine.stdout.close()
    found = read_postmaster(made / "postgres" / "cluster")
    assert found is not None
    os.kill(found.pid, signal.SIGSTOP)
    starting = asyncio.create_task(server.start())
    while server._postmaster is None:
        await asyncio.sleep(0.01)
    os.kill(found.pid, signal.SIGKILL)
    async with asyncio.timeout(100):
        await (await until_it_answers(await starting)).close()
    assert not server.adopted


async def test_processes_that_outlive_their_server_are_ended_and_no_others(
    server: EmbeddedPostgres, account: Account
) -> None:
    url = await server.start()
    busy, stopped = await asyncpg.connect(url), await asyncpg.connect(url)
    pids = [await connection.fetchval("SELECT pg_backend_pid()") for connection in (busy, stopped)]
    working = asyncio.create_task(busy.execute(BUSY))
    await asyncio.sleep(0.2)
    cluster = server.home / "cluster"
    with program("tail", "-f", str(cluster / "PG_VERSION"), account=account) as reader:
        os.kill(pids[1], signal.SIGSTOP)
        os.kill(main_process(server), signal.SIGKILL)
        async with kept_running(server):
            await (await until_it_answers(url)).close()
            assert not any(map(is_alive, pids))
            assert reader.poll() is None
    with pytest.raises((OSError, asyncpg.PostgresError, asyncpg.InterfaceError)):
        await working
    stopped.terminate()
    busy.terminate()


@pytest.mark.parametrize("kind", ["gone", "zombie", "another program", "empty"])
async def test_locks_that_nobody_stands_behind_do_not_stop_a_start(
    server: EmbeddedPostgres, account: Account, kind: str
) -> None:
    await server.start()
    cluster, locks = server.home / "cluster", server.home / "run"
    pid_file, lock = cluster / "postmaster.pid", locks / f"{SOCKET}.lock"
    left = pid_file.read_text(), lock.read_text()
    number = main_process(server)
    os.kill(number, signal.SIGKILL)
    await server.stop()
    command = ("true",) if kind == "zombie" else ("sh", "-c", "read x; true", "postgres", "-D", str(cluster))
    with program(*command, account=account) as other:
        if kind == "zombie":
            while is_alive(other.pid):
                await asyncio.sleep(0.01)
        named = number if kind == "gone" else other.pid
        for file, text in zip((pid_file, lock), left, strict=True):
            file.write_text("" if kind == "empty" else text.replace(f"{number}\n", f"{named}\n", 1))
        (locks / SOCKET).touch()
        url = await server.start()
        assert not server.adopted
        await (await until_it_answers(url)).close()
        if kind == "another program":
            assert other.poll() is None, "a program that is not ours was ended"


async def test_who_works_on_the_files_by_hand_is_named_and_left_alone(
    server: EmbeddedPostgres, account: Account
) -> None:
    await server.start()
    cluster = server.home / "cluster"
    await server.stop()
    postgres = find_binaries().folder / "postgres"
    with program(str(postgres), "--single", "-D", str(cluster), "postgres", account=account) as other:
        while not server_processes(cluster, account.uid):
            await asyncio.sleep(0.01)
        with pytest.raises(EmbeddedError, match=f"process {other.pid} .*--single.* works on {cluster}: end it first"):
            await server.start()
        assert other.poll() is None
        assert other.stdin is not None
        other.stdin.close()
        other.wait(30)
    await server.start()


async def test_a_server_that_does_not_come_back_is_given_up_with_the_reason(server: EmbeddedPostgres) -> None:
    await server.start()
    control = server.home / "cluster" / "global" / "pg_control"
    control.write_bytes(bytes(control.stat().st_size))
    keeping = asyncio.create_task(server.keep_running(give_up_s=1))
    os.kill(main_process(server), signal.SIGKILL)
    async with asyncio.timeout(60):
        with pytest.raises(EmbeddedError, match=r"(?s)died and did not come back: .*ended while it started:\n.*FATAL"):
            await keeping


async def test_files_that_are_gone_are_not_replaced_by_an_empty_database(server: EmbeddedPostgres) -> None:
    await server.start()
    cluster = server.home / "cluster"
    moved = cluster.rename(server.home / "elsewhere")
    keeping = asyncio.create_task(server.keep_running(give_up_s=1))
    (pid,) = [int((moved / "postmaster.pid").read_text().splitlines()[0])]
    os.kill(pid, signal.SIGKILL)
    async with asyncio.timeout(60):
        with pytest.raises(EmbeddedError, match="files of the embedded database are gone"):
            await keeping
    assert not cluster.exists()
    moved.rename(cluster)


async def test_a_stop_while_it_is_started_again_leaves_nothing_running(
    server: EmbeddedPostgres, account: Account
) -> None:
    await server.start()
    cluster = server.home / "cluster"
    async with kept_running(server):
        os.kill(main_process(server), signal.SIGKILL)
        await asyncio.sleep(0.05)
    await server.stop()
    assert server_processes(cluster, account.uid) == []
    await server.start()


async def test_a_start_after_the_first_one_was_killed(data_dir: Path, pristine: Path) -> None:
    """In the middle of making the cluster, whose half-made files and programs are then cleared away."""
    for wanted in ("cluster.new*", "cluster.new*/base", "cluster.new*/global/pg_control"):
        engine = killed_engine(data_dir, "await server.start()")
        while not list((data_dir / "postgres").glob(wanted)):
            assert engine.poll() is None, "the cluster was made before it could be killed"
            await asyncio.sleep(0.005)
        engine.kill()
        engine.wait()
        assert engine.stdout is not None
        engine.stdout.close()
    async with EmbeddedPostgres(data_dir, SMALL) as server:
        await (await until_it_answers(server.url)).close()
    assert list((data_dir / "postgres").glob("cluster.new*")) == []


async def test_a_start_after_the_first_migration_was_killed(made: Path, account: Account) -> None:
    body = """
        connection = await asyncpg.connect(await server.start())
        print("up", flush=True)
        await up(connection, load_migrations())
        await asyncio.sleep(60)
    """
    for pause_s in (0.0, 0.02, 0.1):
        engine = killed_engine(made, body)
        assert engine.stdout is not None
        assert engine.stdout.readline() == b"up\n"
        await asyncio.sleep(pause_s)
        engine.kill()
        engine.wait()
        engine.stdout.close()
        found = read_postmaster(made / "postgres" / "cluster")
        assert found is not None
        os.kill(found.pid, signal.SIGKILL)
        async with EmbeddedPostgres(made, SMALL) as server:
            connection = await asyncpg.connect(server.url)
            await up(connection, load_migrations())
            await require_current(connection, load_migrations())
            await connection.close()
        assert running_url(made) is None


async def test_without_room_in_shared_memory_it_starts_on_files(
    server: EmbeddedPostgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(leftovers, "_SHARED_MEMORY_MIN", 2**62)
    connection = await asyncpg.connect(await server.start())
    assert await connection.fetchval("SHOW dynamic_shared_memory_type") == "mmap"
    await connection.close()


async def test_a_process_at_its_end_is_waited_for_and_somebody_elses_is_not(
    tmp_path: Path, account: Account, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks = [[Process(7, account.uid, "")], [Process(7, account.uid, "")], []]
    monkeypatch.setattr(leftovers, "server_processes", lambda *_: looks.pop(0) if looks else [])
    await leftovers.end_orphans(tmp_path, account)
    assert not looks
    monkeypatch.setattr(leftovers, "server_processes", lambda *_: [Process(7, account.uid, "postgres --single")])
    with pytest.raises(EmbeddedError, match="process 7"):
        await leftovers.end_orphans(tmp_path, account)
