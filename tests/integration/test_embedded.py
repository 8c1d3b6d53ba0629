"""The embedded PostgreSQL: started, adopted, shared, refused."""

import asyncio
import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import AsyncIterator
from pathlib import Path

import asyncpg
import pytest

from tests.harness.postgres import TestServer
from trade_engine.storage.durability import require_durable
from trade_engine.storage.embedded import EmbeddedPostgres, EmbeddedSettings, find_binaries, running_url, use_embedded
from trade_engine.storage.embedded.account import find_home
from trade_engine.storage.embedded.postmaster import read_postmaster
from trade_engine.storage.errors import DurabilityError, EmbeddedError

SMALL = EmbeddedSettings(shared_buffers_mb=16, max_connections=20)


@pytest.fixture(autouse=True)
def _needs_binaries(postgres: TestServer) -> None:
    """Skips where no PostgreSQL can be had."""


@pytest.fixture
async def server(data_dir: Path) -> AsyncIterator[EmbeddedPostgres]:
    made = EmbeddedPostgres(data_dir, SMALL)
    yield made
    await made.stop()


async def value(url: str, sql: str) -> object:
    connection = await asyncpg.connect(url)
    try:
        return await connection.fetchval(sql)
    finally:
        await connection.close()


async def test_a_new_cluster_comes_up_durable_and_keeps_its_rows(server: EmbeddedPostgres) -> None:
    url = await server.start()
    connection = await asyncpg.connect(url)
    await require_durable(connection)
    assert await connection.fetchval("SHOW listen_addresses") == ""
    assert await connection.fetchval("SHOW server_encoding") == "UTF8"
    await connection.execute("CREATE TABLE kept AS SELECT 7 AS x")
    await connection.close()
    await server.stop()
    with pytest.raises(EmbeddedError, match="not running"):
        _ = server.url
    assert not server.adopted
    assert await value(await server.start(), "SELECT x FROM kept") == 7


async def test_only_its_owner_can_enter_the_socket_folder(server: EmbeddedPostgres) -> None:
    await server.start()
    assert (server.home / "run").stat().st_mode & 0o077 == 0
    assert (server.home / "cluster").stat().st_mode & 0o077 == 0


async def test_a_server_that_outlived_its_killed_engine_is_adopted(data_dir: Path, server: EmbeddedPostgres) -> None:
    engine = textwrap.dedent("""
        import asyncio, sys
        from pathlib import Path
        from trade_engine.storage.embedded import EmbeddedPostgres
        async def main():
            await EmbeddedPostgres(Path(sys.argv[1])).start()
            print("up", flush=True)
            await asyncio.sleep(60)
        asyncio.run(main())
    """)
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    with subprocess.Popen(
        [sys.executable, "-c", engine, str(data_dir)], stdout=subprocess.PIPE, env=environment
    ) as killed:
        assert killed.stdout is not None
        assert killed.stdout.readline() == b"up\n"
        with pytest.raises(EmbeddedError, match=f"in use by another engine \\(process {killed.pid}\\)"):
            await EmbeddedPostgres(data_dir).start()
        killed.send_signal(signal.SIGKILL)
    survivor = running_url(data_dir)
    assert survivor is not None
    started = await value(survivor, "SELECT pg_postmaster_start_time()")
    assert await value(await server.start(), "SELECT pg_postmaster_start_time()") == started
    assert server.adopted
    await server.stop()
    assert running_url(data_dir) is None


async def test_a_pid_file_left_by_a_crash_does_not_stop_the_next_start(server: EmbeddedPostgres) -> None:
    await server.start()
    home = server.home
    running = read_postmaster(home / "cluster")
    assert running is not None
    os.kill(running.pid, signal.SIGQUIT)
    await server.stop()
    lines = [str(os.getpid()), str(home / "cluster"), "0", "5432", str(home / "run"), "", "", "ready"]
    (home / "cluster" / "postmaster.pid").write_text("\n".join(lines))
    assert await value(await server.start(), "SELECT 1") == 1
    assert not server.adopted


async def test_commands_join_a_running_server_or_run_it_meanwhile(data_dir: Path, server: EmbeddedPostgres) -> None:
    with pytest.raises(EmbeddedError, match="there is no database in"):
        async with use_embedded(data_dir, SMALL):
            pass
    url = await server.start()
    async with use_embedded(data_dir, SMALL) as joined:
        assert joined == url
    assert await value(url, "SELECT 1") == 1
    await server.stop()
    async with use_embedded(data_dir, SMALL) as own:
        assert await value(own, "SELECT 1") == 1
    assert running_url(data_dir) is None


async def test_a_path_too_long_for_a_socket_gets_a_short_one(data_dir: Path) -> None:
    deep = data_dir / ("d" * 100)
    async with EmbeddedPostgres(deep, SMALL) as server:
        assert await value(server.url, "SELECT 1") == 1
        running = read_postmaster(server.home / "cluster")
        assert running is not None
        assert running.socket_folder.parent != server.home
    assert not running.socket_folder.exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can make a folder that others cannot reach")
async def test_as_root_an_unreachable_data_directory_gets_a_home_elsewhere(data_dir: Path) -> None:
    data_dir.chmod(0o700)
    async with EmbeddedPostgres(data_dir, SMALL) as server:
        home = server.home
        assert not home.is_relative_to(data_dir)
        assert await value(server.url, "SELECT 1") == 1
    assert find_home(data_dir) == home
    async with EmbeddedPostgres(data_dir, SMALL) as again:
        assert again.home == home
    moved = home.with_name(f"{home.name}-moved")
    home.rename(moved)
    with pytest.raises(EmbeddedError, match="which is gone"):
        await EmbeddedPostgres(data_dir, SMALL).start()
    moved.rename(home)


async def test_a_server_that_does_not_come_up_says_why(server: EmbeddedPostgres) -> None:
    await server.start()
    control = server.home / "cluster" / "global" / "pg_control"
    await server.stop()
    control.write_bytes(bytes(control.stat().st_size))
    with pytest.raises(EmbeddedError, match=r"(?s)ended while it started:\n.*FATAL"):
        await server.start()


async def test_missing_or_wrong_binaries_are_named(tmp_path: Path) -> None:
    with pytest.raises(EmbeddedError, match=f"postgres_bin: {tmp_path} holds no working postgres"):
        find_binaries(tmp_path)
    with pytest.raises(EmbeddedError, match="PostgreSQL 9, as its files are, is needed"):
        find_binaries(major=9)
    assert find_binaries().major >= 15


async def test_a_server_without_durability_is_refused(postgres: TestServer) -> None:
    connection = await asyncpg.connect(postgres.url)
    await require_durable(connection)
    await connection.execute("SET synchronous_commit = off")
    with pytest.raises(DurabilityError, match="synchronous_commit is off"):
        await require_durable(connection)
    await connection.close()


async def test_a_start_that_is_cancelled_leaves_nothing_running(data_dir: Path) -> None:
    server = EmbeddedPostgres(data_dir, SMALL)
    starting = asyncio.create_task(server.start())
    await asyncio.sleep(0.1)
    starting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await starting
    async with EmbeddedPostgres(data_dir, SMALL) as next_one:
        assert await value(next_one.url, "SELECT 1") == 1
