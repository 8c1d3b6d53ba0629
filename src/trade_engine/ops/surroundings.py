"""What metrics read of what an engine stands on: database, pools, wallet, backlog, its own tasks."""

import asyncio
import time
from collections.abc import Iterator, Mapping
from typing import Final, Protocol

import structlog

from trade_engine.ops.metrics import Reading
from trade_engine.ops.supervisor import Supervisor
from trade_engine.ops.watchdog import Watchdog
from trade_engine.storage.oversight import Backlog, settlement_backlog
from trade_engine.storage.types import Pool
from trade_engine.wallet.outage import TRANSPORT_ERRORS
from trade_engine.wallet.port import Breaker, BreakerState

log = structlog.get_logger(__name__)

_EVERY_S: Final = 5.0
_TIMEOUT_S: Final = 5.0
#: What was counted longer ago says nothing.
_OLD_S: Final = 60.0


class Conditioned(Protocol):
    """Something that knows how it is."""

    def condition(self) -> str:
        """``ok``, or what is wrong."""


class BacklogCount:
    """How far settlement is behind: counted in the background, because no scrape may wait for the database."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        #: As last counted; None: not yet.
        self.found: Backlog | None = None
        self._found_s = 0.0

    async def keep_running(self) -> None:
        """Count again and again, until cancelled."""
        while True:
            try:
                async with asyncio.timeout(_TIMEOUT_S):
                    self.found = await settlement_backlog(self._pool)
                self._found_s = time.monotonic()
            except TRANSPORT_ERRORS as error:
                log.debug("backlog_not_counted", error=repr(error))
            await asyncio.sleep(_EVERY_S)

    def readings(self) -> Iterator[Reading]:
        """What was found; nothing, if that is long ago."""
        if self.found is None or time.monotonic() - self._found_s > _OLD_S:
            return
        found = self.found
        yield Reading("settlement_pending", "Wallet instructions not carried out.", found.pending)
        yield Reading("settlement_lag_seconds", "Age of the oldest of them.", found.lag_us / 1e6)
        yield Reading("settlement_dead_letters", "Dead letters that nobody has resolved.", found.dead_letters)


def read_surroundings(
    supervisor: Supervisor, watchdog: Watchdog, database: Conditioned, pools: Mapping[str, Pool]
) -> Iterator[Reading]:
    """The process's own tasks, and its database."""
    restarts = "Tasks of the engine that died and were started again."
    for task in supervisor.tasks:
        yield Reading("engine_task_restarts", restarts, task.restarts, ("task", task.name), counts=True)
    yield Reading("event_loop_stalls", "Times that the event loop stood still.", watchdog.stalls, counts=True)
    yield Reading("database_up", "1 while the database answers.", float(database.condition() == "ok"))
    for name, pool in pools.items():
        label, size = ("pool", name), pool.get_size()
        yield Reading("database_pool_connections", "Connections that are open.", size, label)
        yield Reading("database_pool_in_use", "Connections in use.", size - pool.get_idle_size(), label)
        yield Reading("database_pool_max", "Connections there may be.", pool.get_max_size(), label)


def read_wallet(breaker: Breaker | None) -> Iterator[Reading]:
    """The wallet's circuit breaker, if it has one."""
    if breaker is None:
        return
    state = breaker.state
    yield Reading("wallet_circuit_open", "1 while the wallet is not called.", float(state is BreakerState.OPEN))
    for each in BreakerState:
        label = ("state", each.value)
        yield Reading("wallet_breaker_state", "1 for the state of the wallet's breaker.", float(each is state), label)
    yield Reading("wallet_breaker_opened", "Times that the breaker opened.", breaker.opened, counts=True)
