"""RabbitMQ killed and started again under order load; an independent consumer counts against the tables.

An engine as a process of its own, orders over HTTP, a consumer with a durable queue of its own.  Afterwards every order
and trade of the tables must have been told, once (by message id), in order for each market, and a trade before its
settlement.  ``python -m tests.fault.rabbit`` prints the figures as one line of JSON; ``make fault`` calls it.
"""

import argparse
import asyncio
import json
import random
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

import asyncpg
import msgspec

from tests.e2e.engines import SECRET, EngineProcess
from tests.harness.events import Ear
from tests.harness.postgres import TestServer
from tests.harness.rabbitmq import TestRabbit
from trade_engine.bench.http_load import HttpConnection, LoadError, connect
from trade_engine.bench.orders import OrderFlow, read_order
from trade_engine.bench.own_server import funded_tokens

_USERS = 50
_CONNECTIONS = 8
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


async def drive(link: HttpConnection, flow: OrderFlow, pause_s: float, going: asyncio.Event, placed: list[str]) -> None:
    """Send orders and cancels for as long as told."""
    while going.is_set():
        request, user, _ = flow.draw()
        try:
            status, body = await link.request(request)
        except LoadError:
            return
        if user is not None and status == 201:
            order = read_order(body)
            placed.append(order.id)
            if order.status in ("OPEN", "PARTIALLY_FILLED"):
                flow.rested(order.id, user)
        await asyncio.sleep(pause_s)


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
    options = {name.upper().replace(".", "__"): str(value) for name, value in ear.options.items()}
    options["RABBITMQ__CROSS_CHECK"] = "true"
    engine = EngineProcess(folder, database_url, **options, LOGGING__LEVEL="warning")
    engine.start()
    placed: list[str] = []
    await ear.open()
    await ear.close(delete=False)
    listening = asyncio.create_task(ear.keep_listening())
    try:
        await engine.ready()
        flow = OrderFlow(await funded_tokens(database_url, SECRET, _USERS), seed)
        links = [await connect("127.0.0.1", engine.port) for _ in range(_CONNECTIONS)]
        going = asyncio.Event()
        going.set()
        load = [asyncio.create_task(drive(link, flow, _CONNECTIONS / rate, going, placed)) for link in links]
        await kill_and_start(rabbit, kills, random.Random(seed))
        going.clear()
        await asyncio.gather(*load)
        for link in links:
            link.close()
        connection = await asyncpg.connect(database_url)
        try:
            return await _count(connection, ear, placed, kills, started)
        finally:
            await connection.close()
    finally:
        listening.cancel()
        await asyncio.gather(listening, return_exceptions=True)
        await ear.close(delete=False)
        engine.stop()


async def _count(
    connection: asyncpg.Connection, ear: Ear, placed: list[str], kills: int, started: float
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
    stored = {row[0] for row in await connection.fetch("SELECT order_id::TEXT FROM orders")}
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
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--rate", type=float, default=200.0, help="requests a second")
    parser.add_argument("--seed", type=int, default=random.randrange(1 << 30))
    options = parser.parse_args()
    print(f"seed {options.seed}", file=sys.stderr, flush=True)
    database, rabbit = TestServer(), TestRabbit()
    database.start()
    try:
        rabbit.start()
        with tempfile.TemporaryDirectory(prefix="te-rabbit-drill-") as folder:
            figures = asyncio.run(
                drill(database.migrated(), rabbit, Path(folder), options.kills, options.rate, options.seed)
            )
    finally:
        rabbit.remove()
        database.stop()
    print(json.dumps(msgspec.to_builtins(figures)))
    return int(bool(figures.lost or figures.doubled or figures.missing or figures.out_of_order))


if __name__ == "__main__":
    sys.exit(main())
