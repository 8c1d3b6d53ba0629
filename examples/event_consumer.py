"""A reference consumer: counts what each user traded, each trade exactly once, however often it is delivered.

    python examples/event_consumer.py amqp://guest:guest@127.0.0.1:5672/ volumes.sqlite

It has a queue of its own, so that it takes nothing away from others.  What to copy:

- the id of a message is written in the same transaction as the work, so both happen once or not at all;
- a message is acknowledged after that, and a second delivery is acknowledged and does nothing;
- what cannot be understood is rejected without requeueing, so that it cannot come back for ever;
- one active consumer, so that a market's events are worked on in order; prefetch is bounded;
- ids are forgotten after the time that a message can live in the queue.
"""

import argparse
import asyncio
import json
import sqlite3
import sys
from decimal import Decimal
from typing import Any

import aiormq

QUEUE = "example.volumes"
DAY_MS = 86_400_000
ARGUMENTS = {
    "x-queue-type": "quorum",
    "x-single-active-consumer": True,
    "x-message-ttl": DAY_MS,
    "x-max-length-bytes": 1 << 28,
    "x-overflow": "drop-head",
    "x-dead-letter-exchange": "dlx",
    "x-dead-letter-routing-key": "failed.example",
}


class Volumes:
    """What each user traded in each asset, and which messages are in it."""

    def __init__(self, path: str) -> None:
        self._database = sqlite3.connect(path)
        self._database.execute("CREATE TABLE IF NOT EXISTS seen (message_id TEXT PRIMARY KEY, at REAL)")
        self._database.execute(
            "CREATE TABLE IF NOT EXISTS volumes (user_id TEXT, asset TEXT, volume TEXT, trades INTEGER,"
            " PRIMARY KEY (user_id, asset))"
        )

    def take(self, message_id: str, event: dict[str, Any]) -> bool:
        """Count a trade; False: it is counted already."""
        with self._database:
            known = self._database.execute(
                "INSERT INTO seen VALUES (?, unixepoch()) ON CONFLICT DO NOTHING", (message_id,)
            )
            if not known.rowcount:
                return False
            for user_id in (event["buyer_user_id"], event["seller_user_id"]):
                self._add(user_id, event["quote_asset"], Decimal(event["notional"]))
            self._database.execute("DELETE FROM seen WHERE at < unixepoch() - ?", (2 * DAY_MS // 1000,))
            return True

    def _add(self, user_id: str, asset: str, volume: Decimal) -> None:
        row = self._database.execute(
            "SELECT volume, trades FROM volumes WHERE user_id = ? AND asset = ?", (user_id, asset)
        ).fetchone()
        before, trades = (Decimal(row[0]), row[1]) if row else (Decimal(0), 0)
        self._database.execute(
            "INSERT OR REPLACE INTO volumes VALUES (?, ?, ?, ?)", (user_id, asset, str(before + volume), trades + 1)
        )


async def consume(url: str, volumes: Volumes, exchange: str) -> None:
    """Consume until the connection ends."""
    connection = await aiormq.connect(url)
    try:
        channel = await connection.channel()
        await channel.basic_qos(prefetch_count=100)
        await channel.exchange_declare(exchange=exchange, exchange_type="topic", durable=True)
        await channel.queue_declare(QUEUE, durable=True, arguments=ARGUMENTS)  # type: ignore[arg-type]
        await channel.queue_bind(QUEUE, exchange, routing_key="trade.executed.#")

        async def take(message: aiormq.abc.DeliveredMessage) -> None:
            properties, tag = message.header.properties, message.delivery_tag or 0
            if (properties.headers or {}).get("schema_version") != 1 or not properties.message_id:
                await channel.basic_reject(tag, requeue=False)
                return
            try:
                is_new = volumes.take(properties.message_id, json.loads(message.body))
            except (ValueError, KeyError):
                await channel.basic_reject(tag, requeue=False)
                return
            await channel.basic_ack(tag)
            print("counted" if is_new else "known", properties.message_id, flush=True)

        await channel.basic_consume(QUEUE, take)
        await channel.closing
    finally:
        await connection.close()


async def main() -> None:
    """Consume, and connect anew when the connection is lost."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("url")
    parser.add_argument("database")
    parser.add_argument("--exchange", default="trade.events")
    options = parser.parse_args()
    volumes = Volumes(options.database)
    while True:
        try:
            await consume(options.url, volumes, options.exchange)
        except (aiormq.AMQPError, OSError) as error:
            print(f"waiting for RabbitMQ: {error!r}", file=sys.stderr)
        await asyncio.sleep(1.0)


if __name__ == "__main__":
    asyncio.run(main())
