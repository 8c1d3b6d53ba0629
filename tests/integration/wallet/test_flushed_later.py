"""What the wallet moves beside the writer reaches the disk with the next commit: what may be lost, what never is."""

import asyncio
import contextlib
import signal
import uuid
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from trade_engine.storage.embedded import EmbeddedPostgres, EmbeddedSettings
from trade_engine.storage.embedded.postmaster import read_postmaster
from trade_engine.storage.embedded.processes import end_processes, is_alive
from trade_engine.storage.migrate import load_migrations, up
from trade_engine.storage.pool import PoolSettings, close_pool, open_pool
from trade_engine.wallet.audit import PostgresLedger
from trade_engine.wallet.port import Reserve

SMALL = EmbeddedSettings(shared_buffers_mb=16, max_connections=20)
_BEHIND = "SELECT pg_current_wal_insert_lsn() > pg_current_wal_flush_lsn()"


def new_id() -> str:
    return str(uuid.uuid4())


class Crashing:
    """A server whose log is written when somebody waits for it, and that can be killed."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.server = EmbeddedPostgres(folder, SMALL)

    async def begin(self) -> None:
        """Start it, with the engine's schema."""
        connection = await asyncpg.connect(await self.server.start())
        await up(connection, load_migrations())
        await connection.execute("ALTER SYSTEM SET wal_writer_delay = '10s'")
        await connection.execute("SELECT pg_reload_conf()")
        await connection.close()

    async def crash(self) -> None:
        """SIGKILL, and a new start."""
        cluster = self.server.home / "cluster"
        found = read_postmaster(cluster)
        assert found is not None
        end_processes(cluster, cluster.stat().st_uid, signal.SIGKILL)
        async with asyncio.timeout(30):
            while is_alive(found.pid):
                await asyncio.sleep(0.01)
        await self.server.stop()
        self.server = EmbeddedPostgres(self.folder, SMALL)
        await self.server.start()

    @contextlib.asynccontextmanager
    async def wallets(self) -> AsyncIterator[tuple[PostgresLedger, PostgresLedger, Any]]:
        """One beside the writer, one that waits for the disk, and their pool."""
        pool = await open_pool(self.server.url, PoolSettings(max_open=1))
        yield (
            PostgresLedger(pool, reserve_timeout_s=30, timeout_s=30, flush_later=True),
            PostgresLedger(pool, reserve_timeout_s=30, timeout_s=30),
            pool,
        )
        await close_pool(pool)


@pytest.fixture
async def crashing(postgres: Any, data_dir: Path) -> AsyncIterator[Crashing]:
    """Needs the binaries of PostgreSQL, as ``postgres`` does."""
    made = Crashing(data_dir)
    await made.begin()
    yield made
    await made.server.stop()


async def test_what_a_commit_followed_is_there_after_a_crash(crashing: Crashing) -> None:
    user, other = new_id(), new_id()
    followed, alone = (Reserve(user, "USDT", amount, order, order) for amount, order in ((7, new_id()), (5, new_id())))
    async with crashing.wallets() as (beside, waiting, pool):
        assert (await beside.deposit(user, "USDT", 100, new_id())).ok, "a deposit waits for the disk"
        behind = []
        for _ in range(5):
            assert (await beside.reserve_many([followed], 1))[0].ok
            behind.append(await pool.fetchval(_BEHIND))
            assert await pool.fetchval("SHOW synchronous_commit") == "on"
            assert (await waiting.deposit(other, "USDT", 1, new_id())).ok
            assert await pool.fetchval(_BEHIND) is False
        assert behind[0], "the first reserve did not wait for the disk"
        assert (await beside.reserve_many([alone], 1))[0].ok
    await crashing.crash()
    async with crashing.wallets() as (beside, _, _):
        [balance] = await beside.balances(user)
        assert (balance.available, balance.reserved) in ((93, 7), (88, 12)), "only the last one may be lost"
        assert [each.available for each in await beside.balances(other)] == [5]
        assert await beside.audit() == []
        [again, once_more] = await beside.reserve_many([followed, alone], 1)
        assert (again.ok, once_more.ok) == (True, True)
        [balance] = await beside.balances(user)
        assert (balance.available, balance.reserved) == (88, 12), "a repeat is the same reserve"
        assert await beside.audit() == []
