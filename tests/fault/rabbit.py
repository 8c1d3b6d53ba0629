"""RabbitMQ killed and started again under order load; an independent consumer counts against the tables.

An engine as a process of its own, orders over HTTP, a consumer with a durable queue of its own.  Afterwards every order
and trade of the tables must have been told, once (by message id), in order for each market, and a trade before its
settlement.  ``python -m tests.fault.rabbit`` prints the figures as one line of JSON; ``make fault`` calls it.
"""

import asyncio
import random
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import asyncpg
import msgspec

from tests.e2e.engines import EngineProcess
from tests.fault.other_servers import run_drill, stored_orders, under_load
from tests.harness.events import Ear
from tests.harness.rabbitmq import TestRabbit

_CAUGHT_UP_S = 120.0
_ENDS = {"FILLED": "order.filled", "CANCELLED": "order.cancelled", "EXPIRED": "order.expired"}


class RabbitFigures(msgspec.Struct):
    """What came of it."""

    acknowledged: int
    #: Acknowledged orders that no table, or no event, has.
    lost: int
    #: Events told under two ids.
    doubled: int
    events: int
    missing: int
    out_of_order: int
    redelivered: int
    kills: int
    seconds: float


async def kill_and_start(rabbit: TestRabbit, kills: int, rng: random.Random) -> None:
    """Let it run a little, kill it, leave it away a little, start it."""
    for _ in range(kills):
        await asyncio.sleep(rng.uniform(0.5, 2.0))
        await asyncio.to_thread(rabbit.kill)
        await asyncio.sleep(rng.uniform(0.0, 1.0))
        await asyncio.to_thread(rabbit.start)
    await asyncio.sleep(1.0)


async def drill(
    database_url: str, rabbit: TestRabbit, folder: Path, kills: int, rate: float, seed: int
) -> RabbitFigures:
    """The whole drill: its figures."""
    started = time.monotonic()
    ear = Ear(rabbit.url)
    engine = EngineProcess(folder, database_url, **ear.settings | {"RABBITMQ__CROSS_CHECK": "true"})
    engine.start()
    await ear.open()
    await ear.close(delete=False)
    listening = asyncio.create_task(ear.keep_listening())
    try:
        async with under_load(engine, database_url, rate, seed) as placed:
            await kill_and_start(rabbit, kills, random.Random(seed))
        connection = await asyncpg.connect(database_url)
        try:
            return await _count(connection, ear, placed, await stored_orders(database_url), kills, started)
        finally:
            await connection.close()
    finally:
        listening.cancel()
        await asyncio.gather(listening, return_exceptions=True)
        await ear.close(delete=False)
        engine.stop()


async def _count(
    connection: asyncpg.Connection, ear: Ear, placed: list[str], stored: set[str], kills: int, started: float
) -> RabbitFigures:
    until = time.monotonic() + _CAUGHT_UP_S
    while await connection.fetchval("SELECT count(*) FROM settlement_instructions"):
        assert time.monotonic() < until, "settlement does not end"
        await asyncio.sleep(0.1)
    wanted = await _wanted(connection)
    while time.monotonic() < until:
        if not wanted.keys() - {_what(heard.body) for heard in ear.heard}:
            break
        await asyncio.sleep(0.2)
    # What would be told twice, is told by now.
    await asyncio.sleep(1.0)
    unique = ear.unique()
    told = Counter(_what(heard.body) for heard in unique)
    opened = {what[1] for what in told if what[0] in ("order.opened", "order.rejected")}
    return RabbitFigures(
        acknowledged=len(placed),
        lost=sum(order_id not in stored or order_id not in opened for order_id in placed),
        doubled=sum(count - 1 for count in told.values()),
        events=len(unique),
        missing=len(wanted.keys() - told.keys()),
        out_of_order=_out_of_order(ear),
        redelivered=len(ear.heard) - len(unique),
        kills=kills,
        seconds=round(time.monotonic() - started, 1),
    )


def _what(body: dict[str, Any]) -> tuple[Any, ...]:
    """What a message is about, whatever its id is."""
    event = body["event"]
    if event.startswith("trade."):
        return (event, body["trade_id"])
    if event in ("order.filled", "order.partially_filled"):
        return ("fill", body["order_id"], body["trade_id"])
    if event == "order.amended":
        return (event, body["order_id"], body["sequence"], body["index"])
    return (event, body["order_id"])


async def _wanted(connection: asyncpg.Connection) -> Counter[tuple[Any, ...]]:
    """What must have been told, by the tables."""
    wanted: Counter[tuple[Any, ...]] = Counter()
    for trade_id, buyer, seller in await connection.fetch(
        "SELECT trade_id::TEXT, buyer_order_id::TEXT, seller_order_id::TEXT FROM trades"
    ):
        wanted.update((("trade.executed", trade_id), ("trade.settled", trade_id)))
        wanted.update((("fill", buyer, trade_id), ("fill", seller, trade_id)))
    for order_id, status in await connection.fetch("SELECT order_id::TEXT, status::TEXT FROM orders"):
        wanted[("order.rejected" if status == "REJECTED" else "order.opened", order_id)] += 1
        if status in ("CANCELLED", "EXPIRED"):
            wanted[(_ENDS[status], order_id)] += 1
    return wanted


def _out_of_order(ear: Ear) -> int:
    wrong = 0
    last: dict[str, tuple[int, int]] = {}
    executed = set()
    for heard in ear.unique():
        body = heard.body
        if heard.type in ("trade.settled", "trade.settlement_failed"):
            wrong += body["trade_id"] not in executed
            continue
        if heard.type == "trade.executed":
            executed.add(body["trade_id"])
        place, before = (body["sequence"], body["index"]), last.get(body["symbol"], (0, 0))
        if place <= before:
            wrong += 1
            print(f"{heard.message_id} after {before}, redelivered {heard.redelivered}", file=sys.stderr)
        last[body["symbol"]] = place
    return wrong


def main() -> int:
    """Run it on servers of its own; 1 if anything was lost, doubled, missing or out of order."""
    rabbit = TestRabbit()
    return run_drill(
        __doc__,
        rabbit,
        lambda url, folder, given: drill(url, rabbit, folder, given.kills, given.rate, given.seed),
        ("lost", "doubled", "missing", "out_of_order"),
        kills=20,
    )


if __name__ == "__main__":
    sys.exit(main())
