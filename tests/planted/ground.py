"""A small real database, copied for each falsification, and what verify and reconcile say of a copy."""

import asyncio
import tempfile
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

import asyncpg

from tests.fixtures import flow
from tests.harness.postgres import with_database
from tests.planted.plants import Plant
from trade_engine.matching.books import new_book
from trade_engine.sequencer.verify import verify
from trade_engine.settlement.comparison import compare
from trade_engine.wallet.audit import PostgresLedger


class Verdict(NamedTuple):
    """What was found in one copy."""

    verify: list[str]
    reconcile: list[str]

    @property
    def all(self) -> list[str]:
        return [*self.verify, *self.reconcile]


class Ground:
    """The database to copy, on a server of the tests.

    Args:
        url: of a migrated database that the flow may write.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        self._name = urlsplit(url).path[1:]
        self._fingerprint = ""

    async def prepare(self) -> None:
        """Run the engine on it, with a restart in between."""
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            async with flow.desk(flow.engine_of(self.url, folder)) as desk:
                await flow.first_day(desk)
                await flow.second_day(desk)
            async with flow.desk(flow.engine_of(self.url, folder, taker_fee="0.0012")) as desk:
                await flow.third_day(desk)
        connection = await asyncpg.connect(self.url)
        try:
            self._fingerprint = await fingerprint(connection)
        finally:
            await connection.close()

    async def unplanted(self) -> Verdict:
        """What is found in a copy as it is."""
        return await self._judged(None)

    async def planted(self, plant: Plant) -> Verdict:
        """What is found in a copy that a falsification was planted in.

        Raises:
            AssertionError: a statement of it changed nothing.
        """
        return await self._judged(plant)

    async def _judged(self, plant: Plant | None) -> Verdict:
        copy = f"{self._name}_copy"
        admin = await asyncpg.connect(with_database(self.url, "postgres"))
        try:
            await admin.execute(f"DROP DATABASE IF EXISTS {copy} WITH (FORCE)")
            await admin.execute(f"CREATE DATABASE {copy} TEMPLATE {self._name}")
            return await self._look(with_database(self.url, copy), plant)
        finally:
            await admin.execute(f"DROP DATABASE IF EXISTS {copy} WITH (FORCE)")
            await admin.close()

    async def _look(self, url: str, plant: Plant | None) -> Verdict:
        connection = await asyncpg.connect(url)
        try:
            if plant is not None:
                await connection.execute("SET session_replication_role = replica")
                for statement in plant.sql:
                    done = await connection.execute(statement)
                    assert not done.endswith(" 0"), f"{plant.name}: {done}: {statement}"
                await connection.execute("SET session_replication_role = origin")
                assert await fingerprint(connection) != self._fingerprint, f"{plant.name}: it changed nothing"
            report = await verify(connection, new_book)
        finally:
            await connection.close()
        async with asyncpg.create_pool(url, min_size=1, max_size=1) as pool:
            found = await compare(pool, PostgresLedger(pool, timeout_s=60))
        assert report.ok == (not report.differences)
        return Verdict(report.differences, [str(difference) for difference in found.differences])


async def fingerprint(connection: asyncpg.Connection) -> str:
    """A hash over every row of every table of the engine and the wallet."""
    tables = await connection.fetch(
        "SELECT c.oid::REGCLASS::TEXT FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace"
        " WHERE n.nspname IN ('public', 'wallet') AND c.relkind IN ('r', 'p') AND NOT c.relispartition ORDER BY 1"
    )
    parts = [
        await connection.fetchval(f"SELECT md5(string_agg(t::TEXT, chr(10) ORDER BY t::TEXT)) FROM {row[0]} t")
        for row in tables
    ]
    return " ".join(map(str, parts))


async def wait_for_none(url: str) -> None:
    """Wait until nobody is connected: a database with connections is not copied."""
    admin = await asyncpg.connect(with_database(url, "postgres"))
    try:
        for _ in range(200):
            name = urlsplit(url).path[1:]
            if not await admin.fetchval("SELECT count(*) FROM pg_stat_activity WHERE datname = $1", name):
                return
            await asyncio.sleep(0.05)
    finally:
        await admin.close()
