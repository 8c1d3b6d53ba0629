"""A notifier on a real database and a real RabbitMQ, with exchanges of its own, and events to publish to it."""

import asyncio
import contextlib
import ipaddress
import json
import random
import time
from collections.abc import AsyncIterator, Callable
from typing import Any
from uuid import uuid4

import aiormq
import asyncpg
from aiormq.abc import AbstractChannel
from pamqp.commands import Basic

from tests.harness.receiver import Receiver
from trade_engine.messaging.consumer import ConsumerSettings
from trade_engine.messaging.topology import NOTIFICATIONS_QUEUE, Topology
from trade_engine.messaging.webhooks.notifier import Notifier, NotifierSettings
from trade_engine.messaging.webhooks.sender import SenderSettings
from trade_engine.storage.webhook_queue import WebhookQueue
from trade_engine.storage.webhooks import WebhookStore

LOOPBACK = (ipaddress.ip_network("127.0.0.0/8"),)
KEY = bytes(range(32))
QUICK = NotifierSettings(
    SenderSettings(1.0, LOOPBACK, 2, "tests"), tries=4, first_pause_s=0.05, longest_pause_s=0.2, queue=1_000, lanes=2
)


def event(number: int, symbol: str = "BTC/USDT", kind: str = "trade.executed") -> dict[str, Any]:
    """An event as the relay tells it, as far as anybody here reads it."""
    return {"event": kind, "event_id": f"{STREAM}-{number}-0", "symbol": symbol, "sequence": number}


STREAM = str(uuid4())


class Ground:
    """What a test of webhooks stands on."""

    def __init__(self, rabbit_url: str, pool: asyncpg.Pool) -> None:
        self.url = rabbit_url
        self.pool = pool
        self.topology = Topology(f"trade.{uuid4().hex}", f"order.{uuid4().hex}")
        self.store = WebhookStore(pool, lambda: [KEY], LOOPBACK)
        self._running: list[tuple[Notifier, asyncio.Task[None]]] = []

    def start(self, settings: NotifierSettings = QUICK) -> Notifier:
        """Another notifier."""
        consumer = ConsumerSettings(
            self.url, self.topology, NOTIFICATIONS_QUEUE, 100, exclusive=True, backoff_s=0.05, backoff_max_s=0.2
        )
        queue = WebhookQueue(self.pool, str(uuid4()), "tests")
        notifier = Notifier(self.store, queue, consumer, settings, wall_s=time.time, chance=random.random)
        self._running.append((notifier, asyncio.create_task(notifier.run())))
        return notifier

    async def kill(self, notifier: Notifier) -> None:
        """End it as a process dies: nothing is let go."""
        (task,) = (each for known, each in self._running if known is notifier)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    async def stop(self) -> None:
        for notifier, task in self._running:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            await notifier.stop()
        self._running.clear()

    async def channel(self) -> AbstractChannel:
        """A channel that confirms; the topology is declared."""
        connection = await aiormq.connect(self.url)
        channel = await connection.channel(publisher_confirms=True)
        await self.topology.declare(channel)
        return channel

    async def publish(self, *bodies: bytes | dict[str, Any]) -> None:
        """Publish messages, in order, to the exchange of trades."""
        channel = await self.channel()
        for body in bodies:
            raw = body if isinstance(body, bytes) else json.dumps(body).encode()
            answer = await channel.basic_publish(
                raw, exchange=self.topology.trade_events, routing_key="trade.executed.BTC-USDT", mandatory=True,
                properties=Basic.Properties(message_id=uuid4().hex, delivery_mode=2),
            )  # fmt: skip
            assert isinstance(answer, Basic.Ack)
        await channel.connection.close()

    async def add(self, receiver: Receiver, *kinds: str, symbols: tuple[str, ...] = ()) -> tuple[str, str]:
        """An endpoint: its id and its secret."""
        endpoint, secret = await self.store.add(receiver.url, "tests", kinds, symbols)
        return endpoint.endpoint_id, secret


async def until(condition: Callable[[], Any], what: str, within_s: float = 30.0) -> None:
    """Wait until it holds."""
    end_s = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < end_s, what
        await asyncio.sleep(0.02)


@contextlib.asynccontextmanager
async def ground_on(rabbit_url: str, pool: asyncpg.Pool) -> AsyncIterator[Ground]:
    """A ground; its queues are emptied before and after."""
    ground = Ground(rabbit_url, pool)
    channel = await ground.channel()
    for queue in ground.topology.queues():
        await channel.queue_purge(queue.name)
    try:
        yield ground
    finally:
        await ground.stop()
        for queue in ground.topology.queues():
            await channel.queue_purge(queue.name)
        for exchange in ground.topology:
            await channel.exchange_delete(exchange=exchange)
        await channel.connection.close()
