"""Exchanges, queues and bindings in RabbitMQ (SPEC 10), declared at each connection; declaring twice changes nothing.

A queue's arguments can never be changed: RabbitMQ refuses the declaration, and the relay says so (ADR 15).  All of them
are known to RabbitMQ 3.10.
"""

from typing import Any, Final, NamedTuple

from aiormq.abc import AbstractChannel

TRADES_QUEUE: Final = "wallet.service.trades"
NOTIFICATIONS_QUEUE: Final = "notification.service.trades"
DEAD_QUEUE: Final = "dlx.failed"
DEAD_EXCHANGE: Final = "dlx"
DEAD_TRADES_KEY: Final = "failed.trades"
#: Headers of a dead letter that no queue's terms buried but its consumer: the queue it was in, and why.
BURIED_IN: Final = "buried_in"
BURIED_WHY: Final = "buried_why"

_DAY_MS: Final = 86_400_000
_GIB: Final = 1 << 30
_MESSAGES_MAX: Final = 1_000_000


class QueueTerms(NamedTuple):
    """A queue: its arguments, and what is bound to it (exchange, key)."""

    name: str
    arguments: dict[str, Any]
    bindings: tuple[tuple[str, str], ...]


class Topology(NamedTuple):
    """The names that may be chosen."""

    trade_events: str = "trade.events"
    order_events: str = "order.events"

    def exchange_of(self, event_type: str) -> str:
        """Where an event of this type is published."""
        return self.trade_events if event_type.startswith("trade.") else self.order_events

    def queues(self) -> tuple[QueueTerms, ...]:
        """All queues; each is bounded, and what overflows is its oldest message."""
        bound = {"x-queue-type": "quorum", "x-max-length-bytes": _GIB, "x-overflow": "drop-head"}
        return (
            QueueTerms(
                TRADES_QUEUE,
                bound | {
                    "x-message-ttl": _DAY_MS,
                    "x-dead-letter-exchange": DEAD_EXCHANGE,
                    "x-dead-letter-routing-key": DEAD_TRADES_KEY,
                },
                ((self.trade_events, "trade.executed.#"),),
            ),
            QueueTerms(
                NOTIFICATIONS_QUEUE,
                bound | {"x-message-ttl": _DAY_MS, "x-max-length": _MESSAGES_MAX},
                ((self.trade_events, "trade.#"), (self.order_events, "order.#")),
            ),
            QueueTerms(DEAD_QUEUE, bound, ((DEAD_EXCHANGE, "#"),)),
        )  # fmt: skip

    async def declare(self, channel: AbstractChannel) -> None:
        """Declare everything.

        Raises:
            aiormq.AMQPError: a part exists and is another; or the connection is lost.
        """
        for exchange in (self.trade_events, self.order_events, DEAD_EXCHANGE):
            await channel.exchange_declare(exchange=exchange, exchange_type="topic", durable=True)
        for queue in self.queues():
            await channel.queue_declare(queue.name, durable=True, arguments=queue.arguments)
            for exchange, key in queue.bindings:
                await channel.queue_bind(queue.name, exchange, routing_key=key)
