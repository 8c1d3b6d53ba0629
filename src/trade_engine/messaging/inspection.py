"""What an operator may look at and do: events as they pass, queues, dead letters, and the journal told anew."""

import asyncio
import contextlib
import uuid
from collections.abc import AsyncGenerator, AsyncIterator
from typing import Any, Final, NamedTuple

import aiormq
from aiormq.abc import AbstractChannel, DeliveredMessage
from pamqp.commands import Basic

from trade_engine.messaging.broker import BrokerAway, away
from trade_engine.messaging.reader import JournalReader, groups
from trade_engine.messaging.source import RelaySource
from trade_engine.messaging.telling import EventMessage
from trade_engine.messaging.topology import BURIED_IN, BURIED_WHY, DEAD_QUEUE, Topology

_TIMEOUT_S: Final = 10.0
_PAGE_BATCHES: Final = 64
_WAITING_MAX: Final = 1_000


class Passing(NamedTuple):
    """One message as somebody meets it."""

    message_id: str
    key: str
    body: bytes
    #: Of a dead letter: the queue it died in, why, and how often.
    died_in: str | None = None
    why: str | None = None
    times: int = 0


@contextlib.asynccontextmanager
async def channel_of(url: str) -> AsyncIterator[AbstractChannel]:
    """A channel of its own.

    Raises:
        BrokerAway: RabbitMQ is not to be reached.
    """
    async with away():
        async with asyncio.timeout(_TIMEOUT_S):
            connection = await aiormq.connect(url)
    try:
        async with away():
            yield await connection.channel()
    finally:
        with contextlib.suppress(aiormq.AMQPError, OSError, RuntimeError):
            await connection.close()


async def passing(channel: AbstractChannel, topology: Topology, key: str = "#") -> AsyncGenerator[Passing, None]:
    """Every event with such a routing key from now on, by a queue that goes with the connection; ends with it."""
    queue = f"trade-engine.tail.{uuid.uuid4().hex}"
    arrived: asyncio.Queue[Passing] = asyncio.Queue(_WAITING_MAX)

    async def take(message: DeliveredMessage) -> None:
        await arrived.put(_passing(message))

    await channel.queue_declare(queue, exclusive=True, auto_delete=True)
    for exchange in (topology.trade_events, topology.order_events):
        await channel.queue_bind(queue, exchange, routing_key=key)
    await channel.basic_consume(queue, take, no_ack=True)
    while not channel.is_closed:
        try:
            async with asyncio.timeout(1.0):
                yield await arrived.get()
        except TimeoutError:
            continue


async def waiting(channel: AbstractChannel, queue: str, limit: int) -> list[Passing]:
    """The first messages that wait in a queue; they go on waiting there.

    Raises:
        BrokerAway: there is no such queue, or RabbitMQ went away.
    """
    async with away():
        found = [_passing(message) for message in await _take(channel, queue, limit)]
        if found:
            await channel.basic_nack(0, multiple=True, requeue=True)
    return found


async def requeue_dead(channel: AbstractChannel, limit: int) -> list[Passing]:
    """Put dead letters back into the queue that each died in, oldest first; those that say no queue stay.

    Raises:
        BrokerAway: RabbitMQ went away; what was not put back is still dead.
    """
    done: list[Passing] = []
    async with away():
        for message in await _take(channel, DEAD_QUEUE, limit):
            dead = _passing(message)
            tag = message.delivery_tag or 0
            if dead.died_in is None:
                await channel.basic_nack(tag, requeue=True)
                continue
            properties = message.header.properties
            properties.headers = {
                name: value
                for name, value in (properties.headers or {}).items()
                if not name.startswith("x-") and name not in (BURIED_IN, BURIED_WHY)
            }
            properties.expiration = None
            answer = await channel.basic_publish(
                message.body, routing_key=dead.died_in, properties=properties, mandatory=True
            )
            if not isinstance(answer, Basic.Ack):
                raise BrokerAway(f"message {dead.message_id} was not taken by {dead.died_in}")
            await channel.basic_ack(tag)
            done.append(dead)
    return done


async def told_after(source: RelaySource, sequence: int) -> AsyncGenerator[EventMessage, None]:
    """The messages of the journal after a command's number, up to its end now; nothing is published.

    Raises:
        ValueError: a batch there is of a version that had no facts.
    """
    reader = JournalReader(source)
    await reader.begin(await source.stand_after(sequence))
    while page := await source.page(_PAGE_BATCHES):
        for group in groups(page):
            trades = await reader.prepare(group)
            for batch in group:
                for message in reader.tell(batch, trades):
                    if message.sequence > sequence:
                        yield message
                source.read_past(batch)
            reader.shrink()


async def _take(channel: AbstractChannel, queue: str, limit: int) -> list[DeliveredMessage]:
    """The first messages of a queue, held by this channel."""
    taken: list[DeliveredMessage] = []
    async with asyncio.timeout(_TIMEOUT_S):
        while len(taken) < limit:
            message = await channel.basic_get(queue)
            if not isinstance(message.delivery, Basic.GetOk):
                break
            taken.append(message)
    return taken


def _passing(message: DeliveredMessage) -> Passing:
    properties = message.header.properties
    headers: dict[str, Any] = dict(properties.headers or {})
    deaths = headers.get("x-death")
    last: dict[str, Any] = deaths[0] if isinstance(deaths, list) and deaths else {}
    if BURIED_IN in headers:
        last = {"queue": headers[BURIED_IN], "reason": headers.get(BURIED_WHY), "count": 1}
    return Passing(
        properties.message_id or "", message.routing_key or "", message.body, last.get("queue"), last.get("reason"),
        int(last.get("count", 0)),
    )  # fmt: skip
