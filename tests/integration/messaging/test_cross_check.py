"""The wallet's cross-check over a real RabbitMQ: what is in the ledger, what is not in time, and what is no trade."""

import asyncio
import random
from collections.abc import AsyncIterator, Sequence
from typing import Any
from uuid import uuid4

import aiormq
import asyncpg
import pytest
import structlog

from tests.harness.webhooks import Ground, event, ground_on, until
from trade_engine.messaging.broker import BrokerAway
from trade_engine.messaging.consumer import ConsumerSettings, Link, Received, keep_consuming
from trade_engine.messaging.cross_check import CrossCheck
from trade_engine.messaging.topology import DEAD_QUEUE, TRADES_QUEUE, Topology
from trade_engine.wallet.port import WalletUnavailable


@pytest.fixture
async def ground(rabbit_url: str, pool: asyncpg.Pool) -> AsyncIterator[Ground]:
    async with ground_on(rabbit_url, pool) as opened:
        yield opened


class Ledger:
    """A ledger whose contents and health a test decides."""

    def __init__(self) -> None:
        self.trades: set[str] = set()
        self.is_away = False
        self.asked = 0

    async def known(self, trade_ids: Sequence[str]) -> set[str]:
        self.asked += 1
        if self.is_away:
            raise WalletUnavailable("away")
        return self.trades & set(trade_ids)


class Check:
    """A cross-check that runs."""

    def __init__(self, ground: Ground, within_s: float) -> None:
        self.ledger = Ledger()
        self.now_s = 0.0
        self.check = CrossCheck(self.ledger.known, lambda: self.now_s, within_s)
        settings = ConsumerSettings(ground.url, ground.topology, TRADES_QUEUE, 100, backoff_s=0.05, backoff_max_s=0.2)
        self.task = asyncio.create_task(keep_consuming(settings, self.check.work, random.random))

    async def stop(self) -> None:
        self.task.cancel()
        await asyncio.gather(self.task, return_exceptions=True)


def trade(number: int, trade_id: str) -> dict[str, Any]:
    return event(number) | {"trade_id": trade_id}


async def waiting(ground: Ground, queue: str) -> int:
    """Messages in a queue that nobody holds."""
    channel = await ground.channel()
    declared = await channel.queue_declare(queue, passive=True)
    await channel.connection.close()
    return declared.message_count or 0


async def test_a_trade_in_the_ledger_is_found_once_and_a_missing_one_is_told(ground: Ground) -> None:
    running, ids = Check(ground, 60.0), [str(uuid4()) for _ in range(3)]
    running.ledger.trades = {ids[0]}
    counts = running.check.counts
    with structlog.testing.capture_logs() as lines:
        await ground.publish(*(trade(n, ids[n]) for n in range(3)), trade(0, ids[0]))
        await until(lambda: counts.found == 1 and counts.repeated == 1, "it is not found")
        assert running.check.waiting == 2
        running.now_s = 59.0
        running.ledger.trades.add(ids[1])
        await until(lambda: counts.found == 2, "what comes late is not found")
        assert counts.missing == 0
        running.now_s = 61.0
        await until(lambda: counts.missing == 1, "what is missing is not told")
    (line,) = (line for line in lines if line["event"] == "trade_not_in_ledger")
    assert (line["trade_id"], line["log_level"]) == (ids[2], "error")
    # An operator has it looked for again, once the ledger is mended.
    channel = await ground.channel()
    dead: Any = await channel.basic_get(DEAD_QUEUE)
    assert dead.header.properties.headers["x-death"][0]["queue"] == TRADES_QUEUE
    await channel.basic_ack(dead.delivery_tag)
    running.ledger.trades.add(ids[2])
    await ground.publish(dead.body)
    await until(lambda: counts.found == 3, "it is not looked for again")
    await channel.connection.close()
    await running.stop()
    assert await waiting(ground, TRADES_QUEUE) == 0


async def test_while_the_ledger_is_away_nothing_is_said_and_nothing_acknowledged(ground: Ground) -> None:
    running, trade_id = Check(ground, 60.0), str(uuid4())
    running.ledger.is_away = True
    await ground.publish(trade(1, trade_id))
    await until(lambda: running.ledger.asked >= 3, "it is not asked again")
    running.now_s = 1_000.0
    await asyncio.sleep(0.5)
    assert running.check.counts.missing == 0
    running.ledger.is_away, running.ledger.trades = False, {trade_id}
    await until(lambda: running.check.counts.found == 1, "it is not found")
    await running.stop()
    assert await waiting(ground, TRADES_QUEUE) == 0


async def test_what_is_no_trade_is_buried_and_stops_nothing(ground: Ground) -> None:
    running, trade_id = Check(ground, 60.0), str(uuid4())
    running.ledger.trades = {trade_id}
    bad: list[Any] = [b"", b"[" * 100_000, b"\xff", {}, trade(1, "no uuid"), trade(2, str(uuid4())) | {"event": "x"}]
    await ground.publish(*bad, trade(3, trade_id))
    await until(lambda: running.check.counts.found == 1, "a message stops the rest")
    assert running.check.counts.unreadable == len(bad)
    await running.stop()
    assert await waiting(ground, DEAD_QUEUE) == len(bad)


async def test_what_is_held_when_it_dies_is_delivered_to_the_next(ground: Ground) -> None:
    first, trade_id = Check(ground, 60.0), str(uuid4())
    await ground.publish(trade(1, trade_id))
    await until(lambda: first.check.waiting == 1, "it is not taken")
    await first.stop()
    second = Check(ground, 60.0)
    second.ledger.trades = {trade_id}
    await until(lambda: second.check.counts.found == 1, "the next one does not get it")
    await second.stop()


async def test_a_queue_that_was_deleted_is_declared_anew(ground: Ground, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trade_engine.messaging.consumer._LOOK_EVERY_S", 0.5)
    running, trade_id = Check(ground, 60.0), str(uuid4())
    running.ledger.trades = {trade_id}
    await ground.publish(trade(1, trade_id))
    await until(lambda: running.check.counts.found == 1, "it is not found")
    channel = await ground.channel()
    with structlog.testing.capture_logs() as lines:
        await channel.queue_delete(TRADES_QUEUE)
        await channel.connection.close()
        # Whoever publishes here declares the queue, too: that must not be before it is missed.
        await until(lambda: "consumes" in [line["event"] for line in lines], "it is not declared anew")
    await ground.publish(trade(2, trade_id))
    await until(lambda: running.check.counts.found == 2, "the new queue is not consumed")
    await running.stop()


async def test_a_channel_that_has_closed_is_a_broker_that_is_away(rabbit_url: str) -> None:
    """The library has an error of its own for it, which is none of its others."""
    connection = await aiormq.connect(rabbit_url)
    channel = await connection.channel()
    await channel.close()
    link = Link(channel, ConsumerSettings(rabbit_url, Topology(), TRADES_QUEUE, 10))
    with pytest.raises(BrokerAway):
        await link.done([Received(1, "", "", b"", None)])
    await connection.close()
