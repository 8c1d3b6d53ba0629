"""RabbitMQ as the relay sees it: one connection, one channel, and messages in windows that are confirmed as a whole.

One channel keeps messages in order.  Many are written in one piece, which costs a quarter of as many single calls;
a window counts once RabbitMQ has confirmed all of it: each message is then on the disk of every queue it is for.  What
cannot be routed, is refused, or is not confirmed in time fails the window, which is then published again.
"""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Sequence
from typing import Final, NamedTuple, cast

import aiormq
from aiormq.abc import AbstractConnection, ChannelFrame
from aiormq.channel import Channel
from aiormq.exceptions import ChannelInvalidStateError

from trade_engine.messaging.frames import frames_of
from trade_engine.messaging.telling import EventMessage
from trade_engine.messaging.topology import Topology

# It writes a line and a traceback for each attempt; the relay says once that RabbitMQ is away.
logging.getLogger("aiormq").setLevel(logging.CRITICAL)

_CONNECT_TIMEOUT_S: Final = 10.0
#: Messages written in one piece, before the loop is given to others.
_AT_ONCE: Final = 50
_CLOSE_TIMEOUT_S: Final = 2.0


class BrokerAway(Exception):
    """RabbitMQ is not to be reached, or did not take a window; nothing of it counts as published."""


class QueueDepth(NamedTuple):
    """How much waits in a queue, and how many consume it."""

    name: str
    messages: int
    consumers: int


class _Window:
    """Counts the confirms of a window; aiormq takes it for the future of each of its messages."""

    __slots__ = ("_left", "confirmed")

    def __init__(self, messages: int, confirmed: "asyncio.Future[None]") -> None:
        self._left = messages
        #: Fails as well when the channel is closed.
        self.confirmed = confirmed

    def done(self) -> bool:
        """Whether nothing more is expected; only the window knows."""
        return False

    def set_result(self, _: object) -> None:
        """One more is confirmed."""
        self._left -= 1
        if not self._left and not self.confirmed.done():
            self.confirmed.set_result(None)

    def set_exception(self, error: BaseException) -> None:
        """One was refused or returned."""
        if not self.confirmed.done():
            self.confirmed.set_exception(error)


@contextlib.asynccontextmanager
async def away() -> AsyncIterator[None]:
    """Whatever the library raises when its connection ends means that RabbitMQ is away.

    It may cancel what it was asked for, which is no cancellation of whoever asked.
    """
    try:
        yield
    except TimeoutError as error:
        raise BrokerAway("RabbitMQ does not answer in time") from error
    except (aiormq.AMQPError, ChannelInvalidStateError, OSError) as error:
        raise BrokerAway(repr(error)) from error
    except asyncio.CancelledError as error:
        task = asyncio.current_task()
        if task is not None and task.cancelling():
            raise
        raise BrokerAway("the connection was closed") from error


class Broker:
    """A connection to RabbitMQ that ``open`` makes anew after each failure.

    Args:
        url: amqp:// or amqps://.
        topology: declared when the connection is there.
        confirm_timeout_s: how long a window may take to be confirmed.
    """

    def __init__(self, url: str, topology: Topology, confirm_timeout_s: float = 30.0) -> None:
        self._url = url
        self._topology = topology
        self._confirm_timeout_s = confirm_timeout_s
        self._connection: AbstractConnection | None = None
        self._channel: Channel | None = None

    @property
    def is_open(self) -> bool:
        """Whether there is a connection, as far as is known."""
        return self._channel is not None and not self._channel.is_closed

    async def open(self) -> None:
        """Connect and declare everything.

        Raises:
            BrokerAway: it cannot be done now.
        """
        await self.close()
        async with away():
            async with asyncio.timeout(_CONNECT_TIMEOUT_S):
                self._connection = await aiormq.connect(self._url)
                self._channel = cast("Channel", await self._connection.channel(publisher_confirms=True))
                await self._topology.declare(self._channel)

    async def publish(self, messages: Sequence[EventMessage]) -> None:
        """Publish a window, in order; all of it is confirmed when this returns.

        Raises:
            BrokerAway: it is not, or nobody knows; the connection is of no more use.
        """
        channel = self._channel
        if channel is None or channel.is_closed:
            raise BrokerAway("there is no connection")
        window = _Window(len(messages), channel.create_future())
        async with away():
            async with asyncio.timeout(self._confirm_timeout_s):
                for start in range(0, len(messages), _AT_ONCE):
                    await self._write(channel, messages[start : start + _AT_ONCE], window)
                await window.confirmed
        channel.message_id_delivery_tag.clear()

    async def _write(self, channel: Channel, messages: Sequence[EventMessage], window: _Window) -> None:
        """Write some messages in one piece."""
        frames, frame_max = [], channel.connection.connection_tune.frame_max
        for message in messages:
            exchange = self._topology.exchange_of(message.type)
            frames.append(frames_of(message, exchange, channel.number, frame_max))
            channel.delivery_tag += 1
            channel.confirmations[channel.delivery_tag] = window  # type: ignore[assignment]
            # By this a returned message is found.
            channel.message_id_delivery_tag[message.message_id] = channel.delivery_tag
        await channel.write_queue.put(ChannelFrame(payload=b"".join(frames), should_close=False, drain_future=None))
        await asyncio.sleep(0)

    async def depths(self) -> list[QueueDepth]:
        """What waits in each queue.

        Raises:
            BrokerAway: it does not say.
        """
        channel = self._channel
        if channel is None:
            raise BrokerAway("there is no connection")
        found = []
        async with away():
            async with asyncio.timeout(_CONNECT_TIMEOUT_S):
                for queue in self._topology.queues():
                    said = await channel.queue_declare(queue.name, passive=True)
                    found.append(QueueDepth(queue.name, said.message_count or 0, said.consumer_count or 0))
        return found

    async def close(self) -> None:
        """Let the connection go; a second call does nothing."""
        connection, self._connection, self._channel = self._connection, None, None
        if connection is not None:
            with contextlib.suppress(aiormq.AMQPError, OSError, TimeoutError, RuntimeError):
                async with asyncio.timeout(_CLOSE_TIMEOUT_S):
                    await connection.close()
