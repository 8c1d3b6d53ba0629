"""Wiring of the relay: whether there is one, and what the world may know of it."""

import os
import platform
import random
import uuid
from collections.abc import Callable, Iterator

from trade_engine.config import Config
from trade_engine.domain.trace_context import trace_context
from trade_engine.messaging.broker import Broker
from trade_engine.messaging.relay import Relay, RelaySettings
from trade_engine.messaging.source import RelaySource
from trade_engine.messaging.telling import Traced
from trade_engine.messaging.topology import Topology
from trade_engine.ops.metrics import Reading


def make_topology(config: Config) -> Topology:
    """The names of exchanges that the configuration gives."""
    return Topology(config.rabbitmq.exchange_trade_events, config.rabbitmq.exchange_order_events)


def make_relay(config: Config, database_url: str, clock_us: Callable[[], int]) -> Relay | None:
    """The relay; None: no RabbitMQ is configured.

    Args:
        config: all options.
        database_url: of the engine's database, directly.
        clock_us: microseconds since 1970.
    """
    options = config.rabbitmq
    if options.url is None:
        return None
    name = f"{platform.node() or 'unknown'} process {os.getpid()}"
    settings = RelaySettings(
        window=options.publisher_confirms,
        backoff_s=options.retry_backoff_ms / 1000,
        backoff_max_s=max(options.retry_backoff_ms, options.retry_max_backoff_ms) / 1000,
    )
    return Relay(
        RelaySource(database_url, str(uuid.uuid4()), name),
        Broker(options.url, make_topology(config), options.confirm_timeout_s),
        settings,
        clock_us=clock_us,
        chance=random.random,
        traced=_traced(config),
    )


def _traced(config: Config) -> Traced | None:
    """Which trace an order's events belong to, if the engine traces."""
    options = config.monitoring
    if not options.jaeger_enabled:
        return None
    return lambda order_id: trace_context(order_id, options.trace_ratio).traceparent


def read_relay(relay: Relay) -> Iterator[Reading]:
    """For the metrics: how far behind the relay is, and what it has done since the start."""
    counts = relay.counts
    yield Reading("rabbitmq_up", "1 while the relay publishes.", float(relay.is_up))
    yield Reading("relay_lag_seconds", "How long the oldest batch that is not published waits.", relay.lag_s)
    yield Reading("relay_lag_commands", "Commands committed after the last one published.", relay.lag_commands)
    yield Reading("relay_published", "Messages published and confirmed.", counts.published, counts=True)
    yield Reading("relay_unconfirmed", "Windows of messages that were not confirmed.", counts.unconfirmed, counts=True)
    yield Reading("relay_connects", "Connections made to RabbitMQ.", counts.connects, counts=True)
    for queue in relay.depths:
        label = ("queue", queue.name)
        yield Reading("rabbitmq_queue_messages", "Messages that wait in a queue.", queue.messages, label)
        yield Reading("rabbitmq_queue_consumers", "Who consumes from a queue.", queue.consumers, label)
