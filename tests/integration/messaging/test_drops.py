"""What a full queue of RabbitMQ drops is counted, under the name that the alert rule watches."""

import asyncio
import re

import httpx

from tests.harness.rabbitmq import TestRabbit
from tests.harness.webhooks import event
from trade_engine.messaging.broker import Broker
from trade_engine.messaging.telling import EventMessage
from trade_engine.messaging.topology import NOTIFICATIONS_QUEUE, Topology

_COUNTER = "rabbitmq_global_messages_dead_lettered_maxlen_total"
_ROOM, _SENT = 10, 25


async def drops(server: TestRabbit) -> float:
    """How many messages RabbitMQ says that full quorum queues dropped, those without a dead letter exchange."""
    async with httpx.AsyncClient() as http:
        text = (await http.get(server.metrics_url)).text
    found = re.search(rf'^{_COUNTER}{{[^}}]*rabbit_quorum_queue[^}}]*"disabled"[^}}]*}} (\S+)$', text, re.MULTILINE)
    return float(found[1]) if found else 0.0


async def test_the_oldest_of_a_full_queue_are_dropped_and_counted(counting_rabbit: TestRabbit) -> None:
    """A policy makes the queue's bound smaller than a million: the lower of the two holds."""
    broker = Broker(counting_rabbit.url, Topology())
    await broker.open()
    policy = ("set_policy", "small", f"^{NOTIFICATIONS_QUEUE}$", f'{{"max-length":{_ROOM}}}', "--apply-to", "queues")
    await asyncio.to_thread(counting_rabbit.control, *policy)
    assert await drops(counting_rabbit) == 0
    messages = [
        EventMessage(str(event(n)["event_id"]), "order.opened", "order.opened.BTC-USDT", 1, b"{}", n, 0)
        for n in range(_SENT)
    ]
    await broker.publish(messages)
    async with asyncio.timeout(30):
        while await drops(counting_rabbit) < _SENT - _ROOM:
            await asyncio.sleep(0.2)
    waiting = {depth.name: depth.messages for depth in await broker.depths()}
    assert waiting[NOTIFICATIONS_QUEUE] == _ROOM
    assert await drops(counting_rabbit) == _SENT - _ROOM
    await broker.close()
