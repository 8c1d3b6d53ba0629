"""Whatever the driver raises of a database that went away, what works in the background goes on.

A server cannot be made to end a connection in the one moment in which the driver takes that for an error of its own
(InternalClientError), so it is played here; drills with real servers are in ``tests/e2e`` and ``tests/survive``.
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Generator
from typing import Any, Final, NoReturn

import asyncpg
import pytest

from trade_engine.domain.errors import Unavailable
from trade_engine.edge.auth.key_ring import KeyRing
from trade_engine.sequencer.clock import Clock
from trade_engine.sequencer.clock_watch import ClockWatch
from trade_engine.storage.api_keys import ApiKeyStore
from trade_engine.storage.errors import StorageError
from trade_engine.storage.maintenance import Maintenance
from trade_engine.storage.partitions import ensure_partitions
from trade_engine.storage.pool import reachable
from trade_engine.storage.reach import reaching

ERRORS: Final = (
    OSError("connection refused"),
    TimeoutError(),
    asyncpg.ConnectionDoesNotExistError("connection was closed in the middle of operation"),
    asyncpg.CannotConnectNowError("the database system is in recovery mode"),
    asyncpg.InterfaceError("connection is closed"),
    asyncpg.InternalClientError("got result for unknown protocol state 3"),
)


class Failing:
    """What raises when it is awaited or entered."""

    def __init__(self, error: Exception) -> None:
        self._error = error

    def __await__(self) -> Generator[None, None, NoReturn]:
        yield from ()
        raise self._error

    async def __aenter__(self) -> NoReturn:
        raise self._error

    async def __aexit__(self, *_: object) -> None:
        pass


class FailingPool:
    """A pool on which every call fails."""

    def __init__(self, error: Exception) -> None:
        self._error = error

    def __getattr__(self, name: str) -> Callable[..., Failing]:
        return lambda *_, **__: Failing(self._error)


@pytest.fixture(params=ERRORS, ids=lambda error: type(error).__name__)
def pool(request: pytest.FixtureRequest) -> Any:
    """A pool of a database that went away."""
    return FailingPool(request.param)


async def goes_on(work: Callable[[], Awaitable[object]]) -> None:
    """Have something run for a moment; it must not end by itself."""
    task = asyncio.ensure_future(work())
    done, _ = await asyncio.wait([task], timeout=0.05)
    assert not done, task
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task


async def test_readiness_says_that_it_is_away(pool: Any) -> None:
    assert await reachable(pool, timeout_s=1) is False


async def test_a_command_says_where_it_was_looked_for(pool: Any) -> None:
    cannot = r"database\.url: cannot use PostgreSQL at "
    with pytest.raises(StorageError, match=cannot), reaching("postgresql://db:5432/x", "database.url"):
        await pool.execute("SELECT 1")


async def test_partitions_are_made_later(pool: Any) -> None:
    assert await ensure_partitions(pool, months_ahead=1, days_ahead=1) is False


async def test_maintenance_goes_on(pool: Any) -> None:
    await goes_on(Maintenance(pool, 0.01).keep_running)


async def test_the_clock_is_watched_on(pool: Any) -> None:
    await goes_on(lambda: ClockWatch(Clock(), pool).keep_running(0.01))


async def test_api_keys_are_unavailable_and_their_use_is_noted_later(pool: Any) -> None:
    ring = KeyRing(ApiKeyStore(pool, lambda: [b"k" * 32]))
    with pytest.raises(Unavailable, match="the database does not answer"):
        await ring.find("tek_1")
    ring.used("tek_1", 1)
    await ring._flush()
