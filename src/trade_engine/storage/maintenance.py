"""What keeps the database in shape beside the engine: statistics refreshed, old client order ids forgotten, a report.

Each step is a transaction of its own that gives way to locks after 200 ms and ends after a minute, on a connection that
nothing else uses; it takes no lock that a writer waits for.  One engine does it at a time: who finds the lock taken
skips.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Final

import structlog

from trade_engine.storage.errors import DATABASE_ERRORS
from trade_engine.storage.types import Connection, Pool

log = structlog.get_logger(__name__)

#: As the migrations' lock: any number that nothing else in this database takes.
_LOCK: Final = 0x7472_6164_655F_6D74
_LOCK_TIMEOUT: Final = "200ms"
STATEMENT_TIMEOUT_S: Final = 60
#: Ids forgotten in one transaction, and transactions in one round.
_PURGED_MAX: Final = 10_000
_PURGES_MAX: Final = 100
_REPORT_EVERY_S: Final = 86_400.0

#: One more thing to do each round.
Chore = Callable[[], Awaitable[object]]


class Maintenance:
    """Does what is due, round after round.

    Args:
        pool: for one connection at a time, whose statements may take a minute.
        every_s: seconds between rounds.
        more: what else belongs to a round, by name; it bounds itself.
    """

    def __init__(self, pool: Pool, every_s: float, more: dict[str, Chore] | None = None) -> None:
        self._pool = pool
        self._every_s = every_s
        self._more = more or {}
        self._reported_s: float | None = None

    async def keep_running(self) -> None:
        """A round at once, then every so often; never ends."""
        while True:
            await self.round()
            await asyncio.sleep(self._every_s)

    async def round(self) -> None:
        """Do everything once; what fails is logged, and the rest goes on."""
        chores = {
            "refresh_statistics": self.refresh,
            "purge_client_order_ids": self.purge,
            "daily_report": self._report_if_due,
            **self._more,
        }
        for name, chore in chores.items():
            try:
                await chore()
            except DATABASE_ERRORS as error:
                log.warning("maintenance_not_done", chore=name, error=repr(error))

    async def refresh(self) -> bool:
        """Make the materialized views anew; False if another engine is at it."""
        return await self._alone(lambda connection: connection.execute("SELECT monitoring.refresh_trading_stats()"))

    async def purge(self) -> int:
        """Forget client order ids whose orders ended 90 days ago; how many."""
        purged = 0
        for _ in range(_PURGES_MAX):
            found: list[int] = []

            async def forget(connection: Connection, found: list[int] = found) -> None:
                found.append(await connection.fetchval("SELECT monitoring.purge_client_orders($1)", _PURGED_MAX))

            if not await self._alone(forget):
                break
            purged += found[0]
            if found[0] < _PURGED_MAX:
                break
        if purged:
            log.info("client_order_ids_forgotten", ids=purged)
        return purged

    async def _report_if_due(self) -> None:
        now_s = asyncio.get_running_loop().time()
        if self._reported_s is not None and now_s - self._reported_s < _REPORT_EVERY_S:
            return
        await self.report()
        self._reported_s = now_s

    async def report(self) -> None:
        """Tell the daily report in the log, as a warning if it warns of anything."""
        rows: list[Any] = []

        async def read(connection: Connection) -> None:
            rows.extend(await connection.fetch("SELECT * FROM monitoring.generate_daily_performance_report()"))

        if not await self._alone(read):
            return
        warnings = [row["metric"] for row in rows if row["status"] == "WARNING"]
        told = {row["metric"]: row["value"] for row in rows}
        if warnings:
            log.warning("daily_report", warnings=warnings, **told)
        else:
            log.info("daily_report", **told)

    async def _alone(self, work: Callable[[Any], Awaitable[object]]) -> bool:
        """Do something in a transaction that is bounded; False if another engine has the lock."""
        async with self._pool.acquire() as connection, connection.transaction():
            await connection.execute(
                f"SET LOCAL lock_timeout = '{_LOCK_TIMEOUT}'; SET LOCAL statement_timeout = '{STATEMENT_TIMEOUT_S}s'"
            )
            if not await connection.fetchval("SELECT pg_try_advisory_xact_lock($1)", _LOCK):
                return False
            await work(connection)
            return True
