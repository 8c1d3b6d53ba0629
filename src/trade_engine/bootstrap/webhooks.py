"""Wiring of webhooks: the operators' side of them, and what sends them."""

import contextlib
import ipaddress
import os
import platform
import random
import time
import uuid
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final

from trade_engine import __version__
from trade_engine.bootstrap.database import Run
from trade_engine.bootstrap.keys import encryption_keys
from trade_engine.config import Config, ConfigError
from trade_engine.ops.metrics import Reading
from trade_engine.storage.pool import PoolSettings, close_pool, open_pool
from trade_engine.storage.types import Pool
from trade_engine.storage.webhook_queue import WebhookQueue
from trade_engine.storage.webhooks import WebhookStore

if TYPE_CHECKING:
    from trade_engine.messaging.webhooks.notifier import Notifier

#: Connections to the database: the lanes of many endpoints share them, for a millisecond a time.
POOL: Final = 4


def webhook_store(config: Config, pool: Pool, data_dir: Path) -> WebhookStore:
    """What operators register endpoints with."""
    listed = [ipaddress.ip_network(text) for text in config.webhooks.private_networks]
    return WebhookStore(pool, encryption_keys(config, data_dir), listed)


def make_notifier(config: Config, pool: Pool, data_dir: Path) -> "Notifier":
    """What sends webhooks; to be run.

    Raises:
        ConfigError: there is no RabbitMQ to hear of events from.
    """
    # Their libraries take a fifth of a second to import.
    from trade_engine.bootstrap.relay import make_topology
    from trade_engine.messaging.consumer import ConsumerSettings
    from trade_engine.messaging.topology import NOTIFICATIONS_QUEUE
    from trade_engine.messaging.webhooks.intake import PREFETCH
    from trade_engine.messaging.webhooks.notifier import Notifier, NotifierSettings
    from trade_engine.messaging.webhooks.sender import SenderSettings

    rabbit, options = config.rabbitmq, config.webhooks
    if rabbit.url is None:
        raise ConfigError("rabbitmq.url: it is not set: webhooks tell of what comes from RabbitMQ")
    listed = [ipaddress.ip_network(text) for text in options.private_networks]
    name = f"{platform.node() or 'unknown'} process {os.getpid()}"
    return Notifier(
        webhook_store(config, pool, data_dir),
        WebhookQueue(pool, str(uuid.uuid4()), name),
        ConsumerSettings(
            rabbit.url,
            make_topology(config),
            NOTIFICATIONS_QUEUE,
            PREFETCH,
            exclusive=True,
            backoff_s=rabbit.retry_backoff_ms / 1000,
            backoff_max_s=max(rabbit.retry_backoff_ms, rabbit.retry_max_backoff_ms) / 1000,
        ),
        NotifierSettings(
            SenderSettings(options.timeout_s, listed, options.lanes, f"trade-engine/{__version__}"),
            tries=options.tries,
            first_pause_s=options.first_pause_s,
            longest_pause_s=options.longest_pause_s,
            queue=options.queue,
            lanes=options.lanes,
        ),
        wall_s=time.time,
        chance=random.random,
    )


async def start_notifier(
    config: Config, url: str, data_dir: Path, stack: contextlib.AsyncExitStack, run: Run
) -> Callable[[], Iterable[Reading]]:
    """Send webhooks in this process, if the configuration wants it; what the metrics read of it.

    Args:
        config: all options.
        url: of the engine's database, past any pooler; none of the engine's own connections is used.
        data_dir: has the key that secrets are encrypted with.
        stack: closes what is opened.
        run: runs the task.
    """
    if not config.webhooks.enabled:
        return tuple
    pool = await open_pool(url, PoolSettings(max_open=POOL))
    stack.push_async_callback(close_pool, pool)
    notifier = make_notifier(config, pool, data_dir)
    stack.push_async_callback(notifier.stop)
    run("webhooks", notifier.run)
    return partial(read_notifier, notifier)


def read_notifier(notifier: "Notifier") -> Iterator[Reading]:
    """For the metrics: what was sent, what waits, what is dead."""
    counts, intake = notifier.counts, notifier.intake.counts
    yield Reading("webhooks_active", "1 in the process that sends webhooks.", float(notifier.is_active))
    yield Reading("webhooks_events", "Events taken from RabbitMQ.", intake.taken, counts=True)
    yield Reading("webhooks_repeated", "Events that came again, and were known.", intake.repeated, counts=True)
    yield Reading("webhooks_unreadable", "Messages that are no events: buried.", intake.unreadable, counts=True)
    yield Reading("webhooks_delivered", "Webhooks that a receiver took.", counts.delivered, counts=True)
    yield Reading("webhooks_failed", "Attempts that failed.", counts.failed, counts=True)
    if not notifier.is_active:
        return
    for queue in notifier.queues:
        label = ("endpoint", queue.endpoint_id)
        yield Reading("webhooks_waiting", "Events that wait for an endpoint.", queue.waiting, label)
        yield Reading("webhooks_waiting_seconds", "Age of the oldest of them.", queue.oldest_s, label)
        yield Reading("webhooks_dead", "Dead letters of an endpoint, which nobody replayed.", queue.dead, label)
    for endpoint_id, dropped in notifier.dropped.items():
        label = ("endpoint", endpoint_id)
        yield Reading("webhooks_dropped", "Events that a full queue had no room for.", dropped, label, counts=True)
