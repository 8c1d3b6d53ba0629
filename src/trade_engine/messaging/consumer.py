"""A queue of RabbitMQ consumed with manual acknowledgements: what is taken and not acknowledged comes again.

    keep_consuming: connect, declare, take -> work on a link until the connection ends -> wait, longer each time

How much a link holds is bounded by the prefetch.  A message that cannot be understood is buried: it goes to the dead
letters, with where it was and why, so that it never comes back by itself.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Any, Final, NamedTuple

import aiormq
import asyncpg
import structlog
from aiormq.abc import AbstractChannel, DeliveredMessage
from pamqp.commands import Basic

from trade_engine.messaging.broker import BrokerAway, away
from trade_engine.messaging.topology import BURIED_IN, BURIED_WHY, DEAD_EXCHANGE, Topology
from trade_engine.wallet.port import WalletUnavailable

log = structlog.get_logger(__name__)

_CONNECT_TIMEOUT_S: Final = 10.0
_CLOSE_TIMEOUT_S: Final = 2.0
#: With nothing to take for so long, the queue is looked for: one that was deleted tells nobody.
_LOOK_EVERY_S: Final = 15.0
_AWAY: Final = (
    BrokerAway, OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError,
    WalletUnavailable,
)  # fmt: skip


class ConsumerSettings(NamedTuple):
    """How a queue is consumed."""

    url: str
    topology: Topology
    queue: str
    #: Messages held and not acknowledged, at most.
    prefetch: int
    #: Nobody else may consume: what comes, comes in order.
    exclusive: bool = False
    #: First and longest wait while RabbitMQ is away, seconds.
    backoff_s: float = 0.5
    backoff_max_s: float = 30.0


class Received(NamedTuple):
    """One delivery."""

    tag: int
    message_id: str
    type: str
    body: bytes
    properties: Any


class Link:
    """One connection that consumes; of no more use once it has raised."""

    def __init__(self, channel: AbstractChannel, settings: ConsumerSettings) -> None:
        self._channel = channel
        self._settings = settings
        #: No more than the prefetch; None: nothing comes any more.
        self._arrived: asyncio.Queue[Received | None] = asyncio.Queue()
        self._look_s = 0.0

    async def begin(self) -> None:
        """Have messages come."""
        settings = self._settings
        self._channel.closing.add_done_callback(lambda _: self._arrived.put_nowait(None))
        await self._channel.basic_qos(prefetch_count=settings.prefetch)
        await self._channel.basic_consume(settings.queue, self._take, exclusive=settings.exclusive)

    async def _take(self, message: DeliveredMessage) -> None:
        properties = message.header.properties
        self._arrived.put_nowait(
            Received(
                message.delivery_tag or 0, properties.message_id or "", properties.message_type or "", message.body,
                properties,
            )
        )  # fmt: skip

    async def batch(self, most: int, within_s: float = _LOOK_EVERY_S) -> list[Received]:
        """What has come, oldest first; waits for the first of it, and no longer than ``within_s``.

        Raises:
            BrokerAway: the connection has ended, or the queue is gone.
        """
        taken: list[Received] = []
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(within_s):
                taken.append(self._come(await self._arrived.get()))
        while len(taken) < most and not self._arrived.empty():
            taken.append(self._come(self._arrived.get_nowait()))
        await self._look(bool(taken))
        return taken

    async def _look(self, something_came: bool) -> None:
        """See now and then whether this link still consumes; one whose queue was deleted is never told."""
        now_s = asyncio.get_running_loop().time()
        if something_came or not self._look_s:
            self._look_s = now_s + _LOOK_EVERY_S
        if now_s < self._look_s:
            return
        self._look_s = now_s + _LOOK_EVERY_S
        async with away(), asyncio.timeout(_CONNECT_TIMEOUT_S):
            said = await self._channel.queue_declare(self._settings.queue, passive=True)
        if not said.consumer_count:
            raise BrokerAway("the queue is another, which nobody consumes")

    def _come(self, arrived: Received | None) -> Received:
        if arrived is None:
            raise BrokerAway("the connection was closed")
        return arrived

    async def done(self, received: Sequence[Received], *, up_to: bool = False) -> None:
        """Acknowledge; ``up_to``: everything up to the last of them at once.

        Raises:
            BrokerAway: nobody knows; what is not acknowledged comes again.
        """
        async with away():
            for each in received[-1:] if up_to else received:
                await self._channel.basic_ack(each.tag, multiple=up_to, wait=False)

    async def give_up(self, received: Received) -> None:
        """Refuse a message for good: it goes where its queue's dead letters go.

        Raises:
            BrokerAway: nobody knows.
        """
        async with away():
            await self._channel.basic_reject(received.tag, requeue=False, wait=False)

    async def bury(self, received: Received, why: str) -> None:
        """Put a message that cannot be understood among the dead letters; it is still to be acknowledged.

        Raises:
            BrokerAway: it is not there, or nobody knows.
        """
        properties = received.properties
        properties.headers = (properties.headers or {}) | {BURIED_IN: self._settings.queue, BURIED_WHY: why[:100]}
        properties.expiration = None
        async with away(), asyncio.timeout(_CONNECT_TIMEOUT_S):
            key = f"failed.{self._settings.queue.partition('.')[0]}"
            answer = await self._channel.basic_publish(
                received.body, exchange=DEAD_EXCHANGE, routing_key=key, properties=properties, mandatory=True
            )
        if not isinstance(answer, Basic.Ack):
            raise BrokerAway(f"message {received.message_id} was not taken by {DEAD_EXCHANGE}")
        log.error("message_buried", queue=self._settings.queue, message_id=received.message_id[:100], why=why[:100])


async def keep_consuming(
    settings: ConsumerSettings, work: Callable[[Link], Awaitable[None]], chance: Callable[[], float]
) -> None:
    """Consume until cancelled; ``work`` is called with each new link, and ends with it.

    Args:
        settings: which queue, and how.
        work: goes on until it raises; what it holds then comes again.
        chance: a number from 0 to 1 that spreads waits.
    """
    wait_s, is_told = settings.backoff_s, False
    while True:
        try:
            async with _link(settings) as link:
                log.info("consumes", queue=settings.queue)
                wait_s, is_told = settings.backoff_s, False
                await work(link)
        except _AWAY as error:
            if not is_told:
                log.warning("consumer_waits", queue=settings.queue, why=str(error)[:200], error=type(error).__name__)
            is_told = True
        await asyncio.sleep(wait_s * (0.5 + chance() / 2))
        wait_s = min(wait_s * 2, settings.backoff_max_s)


@contextlib.asynccontextmanager
async def _link(settings: ConsumerSettings) -> AsyncIterator[Link]:
    connection = None
    try:
        async with away(), asyncio.timeout(_CONNECT_TIMEOUT_S):
            connection = await aiormq.connect(settings.url)
            channel = await connection.channel(publisher_confirms=True)
            await settings.topology.declare(channel)
            link = Link(channel, settings)
            await link.begin()
        yield link
    finally:
        if connection is not None:
            with contextlib.suppress(aiormq.AMQPError, OSError, TimeoutError, RuntimeError):
                async with asyncio.timeout(_CLOSE_TIMEOUT_S):
                    await connection.close()
