"""What drills with another server have in common: an engine of its own process under order load, and their command."""

import argparse
import asyncio
import contextlib
import json
import random
import sys
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

import asyncpg
import msgspec

from tests.e2e.engines import SECRET, EngineProcess
from tests.harness.postgres import TestServer
from trade_engine.bench.http_load import HttpConnection, LoadError, connect
from trade_engine.bench.orders import OrderFlow, read_order
from trade_engine.bench.own_server import funded_tokens

_USERS = 50
_CONNECTIONS = 8


class OtherServer(Protocol):
    """A server that the engine uses beside its database."""

    @property
    def url(self) -> str:
        """Where it is."""

    def start(self) -> None:
        """Start it."""

    def remove(self) -> None:
        """End it, and delete what it kept."""


async def _drive(
    link: HttpConnection, flow: OrderFlow, pause_s: float, going: asyncio.Event, placed: list[str]
) -> None:
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


@contextlib.asynccontextmanager
async def under_load(engine: EngineProcess, database_url: str, rate: float, seed: int) -> AsyncIterator[list[str]]:
    """The engine takes so many requests a second until the block ends; the orders that it acknowledged."""
    await engine.ready()
    flow = OrderFlow(await funded_tokens(database_url, SECRET, _USERS), seed)
    links = [await connect("127.0.0.1", engine.port) for _ in range(_CONNECTIONS)]
    going, placed = asyncio.Event(), list[str]()
    going.set()
    load = [asyncio.create_task(_drive(link, flow, _CONNECTIONS / rate, going, placed)) for link in links]
    try:
        yield placed
    finally:
        going.clear()
        await asyncio.gather(*load)
        for link in links:
            link.close()


async def stored_orders(database_url: str) -> set[str]:
    """The ids of all orders in the tables."""
    connection = await asyncpg.connect(database_url)
    try:
        return {row[0] for row in await connection.fetch("SELECT order_id::TEXT FROM orders")}
    finally:
        await connection.close()


@contextmanager
def _servers(other: OtherServer) -> Iterator[str]:
    database = TestServer()
    database.start()
    try:
        other.start()
        yield database.migrated()
    finally:
        other.remove()
        database.stop()


def run_drill(
    about: str | None,
    other: OtherServer,
    drill: Callable[[str, Path, argparse.Namespace], Awaitable[msgspec.Struct]],
    wrong: tuple[str, ...],
    **numbers: float,
) -> int:
    """Run a drill on servers of its own as a command: a line of JSON; 1 if a figure that should be 0 is not.

    Args:
        about: for ``--help``.
        other: the server beside the database.
        drill: given the database's url, a folder and the options.
        wrong: the figures that should be 0.
        numbers: options and what they are by default; each drill has ``rate``, requests a second, and ``seed``.
    """
    parser = argparse.ArgumentParser(description=about)
    for name, default in ({"rate": 200.0} | numbers).items():
        parser.add_argument(f"--{name}", type=type(default), default=default)
    parser.add_argument("--seed", type=int, default=random.randrange(1 << 30))
    options = parser.parse_args()
    print(f"seed {options.seed}", file=sys.stderr, flush=True)
    with _servers(other) as url, tempfile.TemporaryDirectory(prefix="te-drill-") as folder:

        async def run() -> dict[str, Any]:
            return dict(msgspec.to_builtins(await drill(url, Path(folder), options)))

        figures = asyncio.run(run())
    print(json.dumps(figures))
    return int(any(figures[name] for name in wrong))
