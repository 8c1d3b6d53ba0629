"""Wiring of the wallet's cross-check: whether there is one, and what the world may know of it."""

import contextlib
import random
import time
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import TYPE_CHECKING

from trade_engine.bootstrap.database import Run
from trade_engine.config import Config
from trade_engine.ops.metrics import Reading
from trade_engine.storage.pool import PoolSettings, close_pool, open_pool
from trade_engine.wallet.audit import PostgresLedger

if TYPE_CHECKING:
    from trade_engine.messaging.cross_check import CrossCheck


async def start_cross_check(
    config: Config, ledger_url: str, stack: contextlib.AsyncExitStack, run: Run
) -> Callable[[], Iterable[Reading]]:
    """Start it, if RabbitMQ is configured; what the metrics read of it.

    Args:
        config: all options.
        ledger_url: of the database that has the ledger; the check takes one connection, none of the wallet's own.
        stack: closes what is opened.
        run: runs the task.
    """
    rabbit = config.rabbitmq
    if rabbit.url is None or not rabbit.cross_check:
        return tuple
    # Its library takes a fifth of a second to import.
    from trade_engine.bootstrap.relay import make_topology
    from trade_engine.messaging.consumer import ConsumerSettings, keep_consuming
    from trade_engine.messaging.cross_check import PREFETCH, CrossCheck
    from trade_engine.messaging.topology import TRADES_QUEUE

    terms = PoolSettings(max_open=1, min_open=0, behind_pooler=config.database.behind_pooler)
    pool = await open_pool(ledger_url, terms)
    stack.push_async_callback(close_pool, pool)
    timeout_s = config.wallet.timeout_ms / 1e3
    check = CrossCheck(PostgresLedger(pool, reserve_timeout_s=timeout_s, timeout_s=timeout_s).known, time.monotonic)
    settings = ConsumerSettings(
        rabbit.url,
        make_topology(config),
        TRADES_QUEUE,
        PREFETCH,
        backoff_s=rabbit.retry_backoff_ms / 1000,
        backoff_max_s=max(rabbit.retry_backoff_ms, rabbit.retry_max_backoff_ms) / 1000,
    )
    run("cross-check", partial(keep_consuming, settings, check.work, random.random))
    return partial(_read, check)


def _read(check: "CrossCheck") -> Iterator[Reading]:
    """For the metrics: trades looked for, and those that were not there."""
    counts = check.counts
    yield Reading("cross_check_found", "Trades told and found in the ledger.", counts.found, counts=True)
    yield Reading("cross_check_missing", "Trades told and not in the ledger in time.", counts.missing, counts=True)
    yield Reading("cross_check_waiting", "Trades told and not in the ledger yet.", check.waiting)
    yield Reading("cross_check_unreadable", "Messages that are no trades: buried.", counts.unreadable, counts=True)
