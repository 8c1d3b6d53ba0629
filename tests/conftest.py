"""Fixtures that every test may use; the machinery is in ``tests/harness``."""

import os
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import asyncpg
import pytest

from tests.harness.pgbouncer import PgBouncerMissing, TestPgBouncer
from tests.harness.postgres import OVERRIDE, TestServer, new_data_dir, remove_data_dir
from tests.harness.rabbitmq import OVERRIDE as RABBIT_OVERRIDE
from tests.harness.rabbitmq import RabbitMissing, TestRabbit
from tests.harness.redis import OVERRIDE as REDIS_OVERRIDE
from tests.harness.redis import RedisMissing, TestRedis, TestSentinels
from trade_engine.storage.errors import EmbeddedError

#: What the environment says of databases, ports and files is meant for others.
os.environ["TRADE_ENGINE_USUAL_NAMES"] = "off"
for _name in ("TRADE_ENGINE_CONFIG", "TRADE_ENGINE_DATA_DIR"):
    os.environ.pop(_name, None)

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def postgres() -> Iterator[TestServer]:
    """One PostgreSQL server for the session; the test is skipped if there is none to be had, except in CI."""
    server = TestServer()
    try:
        server.start()
    except EmbeddedError as error:
        if os.environ.get("CI") == "true":
            raise
        pytest.skip(f"no PostgreSQL: {error} (or set {OVERRIDE})")
    yield server
    server.stop()


@pytest.fixture
def own_redis() -> Iterator[TestRedis]:
    """A Redis that the test may stop; the test is skipped if there is none to be had, except in CI."""
    try:
        server = TestRedis()
        server.start()
    except RedisMissing as error:
        if os.environ.get("CI") == "true":
            raise
        pytest.skip(f"no Redis: {error}")
    yield server
    server.remove()


@pytest.fixture
def sentinels() -> Iterator[TestSentinels]:
    """Two Redis servers and three Sentinels; the test is skipped if there are none to be had, except in CI."""
    try:
        watched = TestSentinels()
        watched.start()
    except RedisMissing as error:
        if os.environ.get("CI") == "true":
            raise
        pytest.skip(f"no Redis: {error}")
    yield watched
    watched.remove()


@pytest.fixture(scope="session")
def redis_url() -> Iterator[str]:
    """One Redis for the session; the test is skipped if there is none to be had, except in CI."""
    given = os.environ.get(REDIS_OVERRIDE)
    if given:
        yield given
        return
    try:
        server = TestRedis()
        server.start()
    except RedisMissing as error:
        if os.environ.get("CI") == "true":
            raise
        pytest.skip(f"no Redis: {error} (or set {REDIS_OVERRIDE})")
    yield server.url
    server.remove()


@pytest.fixture(scope="session")
def pgbouncer(postgres: TestServer) -> Iterator[TestPgBouncer]:
    """One PgBouncer before that server; the test is skipped if there is none to be had, except in CI."""
    try:
        pooler = TestPgBouncer(postgres.url)
        pooler.start()
    except PgBouncerMissing as error:
        if os.environ.get("CI") == "true":
            raise
        pytest.skip(str(error))
    yield pooler
    pooler.remove()


@pytest.fixture(scope="session")
def rabbit_url() -> Iterator[str]:
    """One RabbitMQ for the session; the test is skipped if there is none to be had, except in CI."""
    given = os.environ.get(RABBIT_OVERRIDE)
    if given:
        yield given
        return
    server = _rabbit()
    yield server.url
    server.remove()


@pytest.fixture
def own_rabbit() -> Iterator[TestRabbit]:
    """A RabbitMQ that the test may kill; the test is skipped if there is none to be had, except in CI."""
    server = _rabbit()
    yield server
    server.remove()


@pytest.fixture
def counting_rabbit() -> Iterator[TestRabbit]:
    """A RabbitMQ that shows its counters; the test is skipped if there is none to be had, except in CI."""
    server = _rabbit(counted=True)
    yield server
    server.remove()


def _rabbit(*, counted: bool = False) -> TestRabbit:
    try:
        server = TestRabbit(counted=counted)
        server.start()
    except RabbitMissing as error:
        if os.environ.get("CI") == "true":
            raise
        pytest.skip(f"no RabbitMQ: {error} (or set {RABBIT_OVERRIDE})")
    return server


@pytest.fixture
def database_url(postgres: TestServer) -> Iterator[str]:
    """A fresh database with the engine's schema and the partitions of this month and day and the next."""
    url = postgres.migrated()
    yield url
    postgres.drop(url)


@pytest.fixture
def empty_database_url(postgres: TestServer) -> Iterator[str]:
    """A fresh database with nothing in it."""
    url = postgres.empty()
    yield url
    postgres.drop(url)


@pytest.fixture
async def connection(database_url: str) -> AsyncIterator[asyncpg.Connection]:
    """One connection to ``database_url``."""
    opened = await asyncpg.connect(database_url)
    yield opened
    await opened.close()


@pytest.fixture
async def pool(database_url: str) -> AsyncIterator[asyncpg.Pool]:
    """A pool of up to 8 connections to ``database_url``."""
    async with asyncpg.create_pool(database_url, min_size=1, max_size=8) as opened:
        yield opened


@pytest.fixture
def data_dir() -> Iterator[Path]:
    """A data directory for a server that the test starts; a PostgreSQL left running in it is stopped and removed."""
    folder = new_data_dir()
    yield folder
    remove_data_dir(folder)


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of shared recordings and scenarios; the test is skipped where it is absent."""
    folder = Path(os.environ.get("TRADE_ENGINE_SHARED_DATA") or ROOT.parent / "shared" / "data")
    if not folder.is_dir():
        pytest.skip(f"no shared data in {folder}: set TRADE_ENGINE_SHARED_DATA")
    return folder
