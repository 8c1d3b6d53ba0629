"""An independent consumer of events: a queue of its own on the engine's exchanges, and what came, in order."""

import asyncio
import contextlib
import json
import logging
import time
from collections.abc import Callable
from typing import Any, NamedTuple
from uuid import uuid4

import aiormq
from aiormq.abc import AbstractConnection, DeliveredMessage

# It writes a line and a traceback for each attempt while a drill has the server away.
logging.getLogger("aiormq").setLevel(logging.CRITICAL)


class Heard(NamedTuple):
    """One delivery."""

    message_id: str
    type: str
    key: str
    body: dict[str, Any]
    redelivered: bool
    properties: Any


class Ear:
    """Hears everything that is published to two exchanges of its own names, which the engine must be given."""

    def __init__(self, url: str, names: tuple[str, str] | None = None, queue: str | None = None) -> None:
        self.url = url
        mark = uuid4().hex[:12]
        self.trade_events, self.order_events = names or (f"trade.{mark}", f"order.{mark}")
        self.queue = queue or f"ear.{mark}"
        self.heard: list[Heard] = []
        self._connection: AbstractConnection | None = None

    @property
    def options(self) -> dict[str, Any]:
        """What the engine must be configured with."""
        return {
            "rabbitmq.url": self.url,
            "rabbitmq.exchange_trade_events": self.trade_events,
            "rabbitmq.exchange_order_events": self.order_events,
            "rabbitmq.retry_backoff_ms": 50,
            "rabbitmq.retry_max_backoff_ms": 500,
            # Its queue is everybody's in this RabbitMQ: trades of other tests would be missing.
            "rabbitmq.cross_check": False,
        }

    @property
    def settings(self) -> dict[str, str]:
        """The same as an engine is told that is a process of its own."""
        return {name.upper().replace(".", "__"): str(value) for name, value in self.options.items()}

    async def open(self) -> "Ear":
        """Declare, bind and consume; what the queue has is heard, too."""
        self._connection = await aiormq.connect(self.url)
        channel = await self._connection.channel()
        for exchange in (self.trade_events, self.order_events):
            await channel.exchange_declare(exchange=exchange, exchange_type="topic", durable=True)
        # One at a time, also after a kill: without this a new consumer gets newer messages before RabbitMQ takes back
        # what it had sent to the dead one.
        await channel.queue_declare(
            self.queue, durable=True, arguments={"x-queue-type": "quorum", "x-single-active-consumer": True}
        )
        for exchange in (self.trade_events, self.order_events):
            await channel.queue_bind(self.queue, exchange, routing_key="#")
        await channel.basic_qos(prefetch_count=500)

        async def take(message: DeliveredMessage) -> None:
            properties, delivery = message.header.properties, message.delivery
            self.heard.append(
                Heard(
                    properties.message_id or "", properties.message_type or "", message.routing_key or "",
                    json.loads(message.body), bool(getattr(delivery, "redelivered", False)), properties,
                )
            )  # fmt: skip
            await channel.basic_ack(message.delivery_tag or 0)

        await channel.basic_consume(self.queue, take)
        return self

    async def keep_listening(self) -> None:
        """Listen, and connect anew whenever the server went away; until cancelled."""
        while True:
            try:
                async with asyncio.timeout(10):
                    await self.open()
                connection = self._connection
                assert connection is not None
                await asyncio.wait([asyncio.ensure_future(connection.closing)])
            except (aiormq.AMQPError, OSError, TimeoutError):
                pass
            with contextlib.suppress(aiormq.AMQPError, OSError, TimeoutError, RuntimeError):
                async with asyncio.timeout(2):
                    await self.close(delete=False)
            await asyncio.sleep(0.2)

    async def close(self, *, delete: bool = True) -> None:
        """Let go, and delete the queue."""
        connection, self._connection = self._connection, None
        if connection is None:
            return
        if delete and not connection.is_closed:
            channel = await connection.channel()
            await channel.queue_delete(self.queue)
            for exchange in (self.trade_events, self.order_events):
                await channel.exchange_delete(exchange=exchange)
        await connection.close()

    async def until(self, condition: Callable[["Ear"], bool], what: str, within_s: float = 60.0) -> None:
        """Wait until what was heard is enough."""
        end_s = time.monotonic() + within_s
        while not condition(self):
            assert time.monotonic() < end_s, f"{what}: heard {len(self.heard)}: {[h.key for h in self.heard[-20:]]}"
            await asyncio.sleep(0.02)

    def unique(self) -> list[Heard]:
        """Each message once, as it came first."""
        return list({heard.message_id: heard for heard in reversed(self.heard)}.values())[::-1]

    def types(self) -> list[str]:
        """The types of unique messages, in order."""
        return [heard.type for heard in self.unique()]


async def emptied(url: str, queue: str) -> None:
    """Take away what other tests left in a queue that all share: copies of one database give the same message ids."""
    connection = await aiormq.connect(url)
    try:
        channel = await connection.channel()
        with contextlib.suppress(aiormq.exceptions.ChannelNotFoundEntity):
            await channel.queue_purge(queue)
    finally:
        await connection.close()
