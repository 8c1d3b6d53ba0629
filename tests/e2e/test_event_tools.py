"""Commands that look at events, and the reference consumer, with a real RabbitMQ and a real engine."""

import asyncio
import json
import os
import sqlite3
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any
from uuid import uuid4

import aiormq
import asyncpg
import pytest
from pamqp.commands import Basic

from tests.e2e.test_events import running
from tests.e2e.venue import Venue
from tests.harness.events import Ear
from trade_engine.messaging.topology import DEAD_QUEUE, NOTIFICATIONS_QUEUE, TRADES_QUEUE, Topology

ROOT = Path(__file__).parents[2]


@pytest.fixture
async def ear(rabbit_url: str) -> AsyncIterator[Ear]:
    opened = await Ear(rabbit_url).open()
    yield opened
    await opened.close()


async def one_trade(venue: Venue, ear: Ear, symbol: str) -> None:
    """A trade, settled and told."""
    count = ear.types().count("trade.settled")
    seller = await venue.trader(**{symbol.partition("/")[0]: "10"})
    buyer = await venue.trader(USDT="1000")
    await seller.order(symbol, "SELL", "1", "100.00")
    await buyer.order(symbol, "BUY", "1", "100.00")
    await ear.until(lambda e: e.types().count("trade.settled") > count, "the trade is told")


async def command(database_url: str, folder: Path, ear: Ear, *words: str) -> str:
    """What a command prints; it must succeed."""
    environment = os.environ | {
        "TRADE_ENGINE__DATABASE__URL": database_url,
        "TRADE_ENGINE__RABBITMQ__URL": ear.url,
        "TRADE_ENGINE__RABBITMQ__EXCHANGE_TRADE_EVENTS": ear.trade_events,
        "TRADE_ENGINE__RABBITMQ__EXCHANGE_ORDER_EVENTS": ear.order_events,
    }
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "trade_engine.cli", "events", *words,
        env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=folder,
    )  # fmt: skip
    out, err = await asyncio.wait_for(process.communicate(), 60)
    assert process.returncode == 0, err.decode()
    return out.decode()


async def test_tail_tells_the_journal_as_it_was_published(database_url: str, tmp_path: Path, ear: Ear) -> None:
    async with running(database_url, tmp_path, ear) as venue:
        await one_trade(venue, ear, venue.market())
        printed = await command(database_url, tmp_path, ear, "tail", "--from-sequence", "1")
        told = [json.loads(line) for line in printed.splitlines()]
        assert told == [heard.body for heard in ear.unique() if heard.type != "trade.settled"]
        later = told[-1]["sequence"]
        printed = await command(database_url, tmp_path, ear, "tail", "--from-sequence", str(later), "--limit", "2")
        assert [json.loads(line)["sequence"] for line in printed.splitlines()] == [later, later]


async def test_dead_letters_are_listed_and_put_back(database_url: str, tmp_path: Path, ear: Ear) -> None:
    connection = await aiormq.connect(ear.url)
    try:
        async with running(database_url, tmp_path, ear) as venue:
            channel = await connection.channel()
            for queue in (TRADES_QUEUE, NOTIFICATIONS_QUEUE, DEAD_QUEUE):
                await channel.queue_purge(queue)
            await one_trade(venue, ear, venue.market())
            (executed,) = (heard for heard in ear.unique() if heard.type == "trade.executed")
            message: Any = await channel.basic_get(TRADES_QUEUE)
            assert message.header.properties.message_id == executed.message_id
            await channel.basic_reject(message.delivery_tag, requeue=False)
            until = time.monotonic() + 30
            while not json.loads(await command(database_url, tmp_path, ear, "dead", "--json"))["dead"]:
                assert time.monotonic() < until
            (dead,) = json.loads(await command(database_url, tmp_path, ear, "dead", "--json"))["dead"]
            assert (dead["message_id"], dead["queue"]) == (executed.message_id, TRADES_QUEUE)
            assert (dead["reason"], dead["body"]) == ("rejected", executed.body)
            (back,) = json.loads(await command(database_url, tmp_path, ear, "requeue", "--json"))["requeued"]
            assert back == dead
            assert json.loads(await command(database_url, tmp_path, ear, "dead", "--json"))["dead"] == []
            printed = await command(database_url, tmp_path, ear, "tail", "--queue", TRADES_QUEUE)
            assert [json.loads(line) for line in printed.splitlines()] == [executed.body]
            message = await channel.basic_get(TRADES_QUEUE)
            assert isinstance(message.delivery, Basic.GetOk)
            assert message.routing_key == TRADES_QUEUE
            await channel.basic_ack(message.delivery_tag)
    finally:
        await connection.close()


async def test_the_topology_is_as_the_specification_says(rabbit_url: str) -> None:
    """RabbitMQ takes every argument, and the same declaration again; another one it refuses."""
    connection = await aiormq.connect(rabbit_url)
    try:
        topology = Topology(f"trade.{uuid4().hex}", f"order.{uuid4().hex}")
        channel = await connection.channel()
        await topology.declare(channel)
        await topology.declare(channel)
        trades, notifications, dead = topology.queues()
        assert trades.arguments["x-message-ttl"] == notifications.arguments["x-message-ttl"] == 24 * 3_600_000
        assert (trades.arguments["x-dead-letter-exchange"], trades.arguments["x-dead-letter-routing-key"]) == (
            "dlx", "failed.trades",
        )  # fmt: skip
        assert all(queue.arguments["x-max-length-bytes"] == 1 << 30 for queue in (trades, notifications, dead))
        for exchange in topology:
            await channel.exchange_delete(exchange=exchange)
        with pytest.raises(aiormq.AMQPError):
            await channel.queue_declare(TRADES_QUEUE, durable=True, arguments={"x-queue-type": "classic"})
    finally:
        await connection.close()


async def until(condition: Callable[[], Awaitable[bool]], what: str) -> None:
    """Wait until it holds."""
    end_s = time.monotonic() + 60
    while not await condition():
        assert time.monotonic() < end_s, what
        await asyncio.sleep(0.1)


async def said(folder: Path, word: str) -> bool:
    """Whether the consumer said it."""
    return word in (folder / "consumer.log").read_text()


async def has_queue(url: str) -> bool:
    """Whether somebody consumes from the example's queue."""
    connection = await aiormq.connect(url)
    try:
        declared = await (await connection.channel()).queue_declare("example.volumes", passive=True)
        return bool(declared.consumer_count)
    except aiormq.AMQPError:
        return False
    finally:
        await connection.close()


async def test_what_cannot_be_routed_is_published_again(database_url: str, tmp_path: Path, rabbit_url: str) -> None:
    """Somebody takes the bindings away: RabbitMQ returns the message, and the relay makes them anew."""
    unbound = Ear(rabbit_url)
    connection = await aiormq.connect(rabbit_url)
    try:
        channel = await connection.channel()
        async with running(database_url, tmp_path, unbound) as venue:
            relay = venue.running.relay
            await until(lambda: as_asked(relay.is_up), "the relay does not come up")
            await channel.queue_unbind(NOTIFICATIONS_QUEUE, unbound.order_events, routing_key="order.#")
            await channel.queue_purge(NOTIFICATIONS_QUEUE)
            symbol = venue.market()
            seller = await venue.trader(**{symbol.partition("/")[0]: "10"})
            order, _ = await seller.order(symbol, "SELL", "1", "100.00")
            await until(lambda: as_asked(relay.counts.published), "it is not published again")
            assert relay.counts.unconfirmed == 1
            message: Any = await channel.basic_get(NOTIFICATIONS_QUEUE)
            assert json.loads(message.body)["order_id"] == order["id"]
            await channel.basic_ack(message.delivery_tag)
        for exchange in (unbound.trade_events, unbound.order_events):
            await channel.exchange_delete(exchange=exchange)
    finally:
        await connection.close()


async def as_asked(value: object) -> bool:
    """Whether it is true now."""
    return bool(value)


async def test_the_reference_consumer_counts_each_trade_once(database_url: str, tmp_path: Path, ear: Ear) -> None:
    words = (str(ROOT / "examples" / "event_consumer.py"), ear.url, str(tmp_path / "v.sqlite"))
    with (tmp_path / "consumer.log").open("wb") as log:
        consumer = subprocess.Popen([sys.executable, *words, "--exchange", ear.trade_events], stdout=log, stderr=log)
    try:
        async with running(database_url, tmp_path, ear) as venue:
            symbol = venue.market()
            await until(lambda: has_queue(ear.url), "the consumer does not declare its queue")
            await one_trade(venue, ear, symbol)
            await until(lambda: said(tmp_path, "counted"), "nothing is counted")
        # The relay goes back, as after a crash before its place was noted.
        connection = await asyncpg.connect(database_url)
        await connection.execute("UPDATE event_relay SET sequence = begun_after")
        await connection.close()
        async with running(database_url, tmp_path, ear):
            await until(lambda: said(tmp_path, "known"), "nothing comes again")
        rows = sqlite3.connect(tmp_path / "v.sqlite").execute("SELECT volume, trades FROM volumes").fetchall()
        assert rows == [("100", 1), ("100", 1)]
    finally:
        consumer.kill()
        consumer.wait()
        cleaner = await aiormq.connect(ear.url)
        await (await cleaner.channel()).queue_delete("example.volumes")
        await cleaner.close()
