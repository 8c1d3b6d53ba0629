"""Webhooks from RabbitMQ to receivers, all real: order, repetitions, failures, and who may hold up whom."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import pytest
from pamqp.commands import Basic

from tests.harness.receiver import Receiver, hang
from tests.harness.webhooks import QUICK, STREAM, Ground, event, ground_on, until
from trade_engine.messaging.topology import BURIED_IN, DEAD_QUEUE, NOTIFICATIONS_QUEUE
from trade_engine.messaging.webhooks.notifier import NotifierSettings


@pytest.fixture
async def ground(rabbit_url: str, pool: asyncpg.Pool) -> AsyncIterator[Ground]:
    async with ground_on(rabbit_url, pool) as opened:
        yield opened


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    opened = await Receiver().start()
    yield opened
    await opened.stop()


def numbers(receiver: Receiver, symbol: str = "BTC/USDT") -> list[int]:
    """Which events of a market were taken, in order."""
    return [taken.event["sequence"] for taken in receiver.taken if taken.event["symbol"] == symbol]


async def test_each_event_is_sent_once_signed_and_in_order(ground: Ground, receiver: Receiver) -> None:
    _, secret = await ground.add(receiver)
    notifier = ground.start()
    events = [event(n, ("BTC/USDT", "ETH/USDT")[n % 2]) for n in range(100)]
    # As a relay does that starts over.
    await ground.publish(*events[:60], *events[40:])
    await until(lambda: len(receiver.taken) >= 100 and notifier.intake.counts.taken >= 120, "not all is sent")
    assert numbers(receiver) == list(range(0, 100, 2))
    assert numbers(receiver, "ETH/USDT") == list(range(1, 100, 2))
    assert all(taken.is_signed_with(secret) for taken in receiver.taken)
    assert [taken.message_id for taken in receiver.taken if taken.event["sequence"] == 7] == [f"{STREAM}-7-0"]
    assert json.loads(receiver.taken[0].body) in events
    assert notifier.intake.counts.repeated == 20


async def test_an_endpoint_gets_every_event_that_comes_after_it(ground: Ground) -> None:
    notifier = ground.start()
    await until(lambda: notifier.is_active, "it does not begin")
    for first in (0, 10, 20):
        receiver = await Receiver().start()
        try:
            await ground.add(receiver)
            await ground.publish(*(event(n, "BTC/USDT") for n in range(first, first + 10)))
            await until(lambda late=receiver: len(late.taken) >= 10, "not all is sent")  # type: ignore[misc]
            assert numbers(receiver) == list(range(first, first + 10))
        finally:
            await receiver.stop()


async def test_a_minute_of_failures_and_then_everything_in_order(ground: Ground, receiver: Receiver) -> None:
    """Its short form: the receiver fails, hangs, and goes away, each longer than a try."""
    endpoint_id, secret = await ground.add(receiver)
    patient = QUICK._replace(tries=100, sender=QUICK.sender._replace(timeout_s=0.2))
    ground.start(patient)
    receiver.status = 503
    await ground.publish(*(event(n, ("BTC/USDT", "ETH/USDT", "SOL/USDT")[n % 3]) for n in range(90)))
    await until(lambda: receiver.requests >= 5, "nothing is tried")
    await receiver.stop()
    await asyncio.sleep(0.5)
    receiver.misbehave = hang
    await receiver.start()
    await until(lambda: receiver.requests >= 10, "it is not tried again")
    assert not receiver.taken
    receiver.misbehave, receiver.status = None, 200
    await until(lambda: len(receiver.taken) >= 90, "not all is sent")
    for place, symbol in enumerate(("BTC/USDT", "ETH/USDT", "SOL/USDT")):
        assert numbers(receiver, symbol) == list(range(place, 90, 3))
    assert all(taken.is_signed_with(secret) for taken in receiver.taken)
    assert await ground.store.dead(endpoint_id) == []


async def test_one_that_hangs_holds_up_nobody(ground: Ground, receiver: Receiver) -> None:
    slow = [await Receiver().start() for _ in range(5)]
    for each in slow:
        each.misbehave = hang
        await ground.add(each)
    await ground.add(receiver)
    ground.start(QUICK._replace(tries=100, sender=QUICK.sender._replace(timeout_s=30.0)))
    await ground.publish(*(event(n) for n in range(50)))
    await until(lambda: len(receiver.taken) >= 50, "others hold it up")
    assert numbers(receiver) == list(range(50))
    assert all(each.requests == 1 for each in slow)
    for each in slow:
        await each.stop()


async def test_the_last_try_makes_a_dead_letter_which_can_be_replayed(ground: Ground, receiver: Receiver) -> None:
    endpoint_id, _ = await ground.add(receiver)
    ground.start()
    receiver.status = 500
    await ground.publish(event(1), event(2))
    await until(lambda: receiver.requests >= QUICK.tries, "it is not tried")
    await asyncio.sleep(1.0)
    assert receiver.requests == QUICK.tries
    (endpoint,) = await ground.store.every()
    assert endpoint.paused_why == f"4 tries of {STREAM}-1-0 failed: status 500"
    (dead,) = await ground.store.dead(endpoint_id)
    assert (dead.message_id, dead.attempts, dead.last_outcome) == (f"{STREAM}-1-0", 4, "status 500")
    assert json.loads(dead.body) == event(1)
    receiver.status = 200
    await ground.store.resume(endpoint_id)
    await until(lambda: numbers(receiver) == [2], "it does not go on")
    assert await ground.store.replay(endpoint_id, dead.delivery_id) == 1
    await until(lambda: numbers(receiver) == [2, 1], "it is not replayed")
    assert await ground.store.dead(endpoint_id) == []


async def test_filters_rotation_and_removal(ground: Ground, receiver: Receiver) -> None:
    endpoint_id, old = await ground.add(receiver, "trade.executed", symbols=("BTC/USDT",))
    ground.start()
    await ground.publish(event(1, kind="trade.settled"), event(2, "ETH/USDT"), event(3))
    await until(lambda: numbers(receiver) == [3], "what it wants is not sent")
    _, new = await ground.store.rotate(endpoint_id)
    await asyncio.sleep(1.5)
    await ground.publish(event(4))
    await until(lambda: len(receiver.taken) == 2, "it is not sent")
    assert receiver.taken[1].is_signed_with(old)
    assert receiver.taken[1].is_signed_with(new)
    await ground.store.rotate(endpoint_id, overlap_h=0)
    await asyncio.sleep(1.5)
    await ground.publish(event(5))
    await until(lambda: len(receiver.taken) == 3, "it is not sent")
    assert not receiver.taken[2].is_signed_with(new)
    await ground.store.remove(endpoint_id)
    assert await ground.pool.fetchval("SELECT count(*) FROM webhook_deliveries") == 0


async def test_what_is_no_event_is_buried_and_the_rest_goes_on(ground: Ground, receiver: Receiver) -> None:
    await ground.add(receiver)
    notifier = ground.start()
    bad: list[Any] = [
        b"", b"\xff\x00", b"[" * 50_000, b'{"event":1}', {}, event(1) | {"symbol": "x\0y"}, event(1) | {"event_id": ""},
        event(1) | {"event_id": "a\r\nwebhook-signature: v1,forged"}, event(1) | {"event_id": "\u2028"},
        event(1) | {"more": "x" * 70_000},
    ]  # fmt: skip
    await ground.publish(*bad, event(2))
    await until(lambda: numbers(receiver) == [2], "a message stops the rest")
    assert notifier.intake.counts.unreadable == len(bad)
    channel = await ground.channel()
    message: Any = await channel.basic_get(DEAD_QUEUE)
    assert message.header.properties.headers[BURIED_IN] == NOTIFICATIONS_QUEUE
    assert message.delivery.message_count == len(bad) - 1
    await channel.connection.close()


async def test_only_one_sends_and_another_goes_on_when_it_is_gone(
    ground: Ground, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed between an answer and its note: the same event again, under the same id, and nothing else twice."""
    await ground.add(receiver)
    first, second = ground.start(), ground.start()
    await until(lambda: first.is_active or second.is_active, "nobody sends")
    active, idle = (first, second) if first.is_active else (second, first)
    delivered = asyncio.Event()

    async def never(*_: Any) -> bool:
        delivered.set()
        await asyncio.Event().wait()
        return False

    monkeypatch.setattr(active._queue, "delivered", never)
    await ground.publish(event(1), event(2))
    await asyncio.wait_for(delivered.wait(), 20)
    assert not idle.is_active
    await ground.kill(active)
    await ground.pool.execute("UPDATE webhook_notifier SET renewed_at = renewed_at - interval '1 minute'")
    await until(lambda: numbers(receiver) == [1, 1, 2], "nobody goes on")
    assert idle.is_active


async def test_one_that_was_taken_over_writes_nothing(ground: Ground, receiver: Receiver) -> None:
    await ground.add(receiver)
    notifier = ground.start()
    await until(lambda: notifier.is_active, "it does not start")
    await ground.pool.execute("UPDATE webhook_notifier SET epoch = epoch + 1, holder_id = gen_random_uuid()")
    await ground.publish(event(1))
    await until(lambda: not notifier.is_active, "it does not notice")
    assert await ground.pool.fetchval("SELECT count(*) FROM webhook_deliveries") == 0
    channel = await ground.channel()
    await until_waits(channel)
    await channel.connection.close()


async def until_waits(channel: Any) -> None:
    """Wait until what was taken is in the queue again."""
    for _ in range(200):
        message = await channel.basic_get(NOTIFICATIONS_QUEUE)
        if isinstance(message.delivery, Basic.GetOk):
            await channel.basic_ack(message.delivery_tag)
            return
        await asyncio.sleep(0.05)
    raise AssertionError("the message is gone")


async def test_a_full_queue_drops_its_oldest_and_counts_them(ground: Ground, receiver: Receiver) -> None:
    endpoint_id, _ = await ground.add(receiver)
    await ground.store.pause(endpoint_id, "tests")
    small: NotifierSettings = QUICK._replace(queue=10)
    notifier = ground.start(small)
    await ground.publish(*(event(n) for n in range(25)))
    await until(lambda: notifier.dropped.get(endpoint_id) == 15, "nothing is dropped")
    await ground.store.resume(endpoint_id)
    await until(lambda: len(receiver.taken) == 10, "the rest is not sent")
    assert numbers(receiver) == list(range(15, 25))
