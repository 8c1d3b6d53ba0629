"""`trade-engine bench orders`: durable orders over HTTP against a server of its own (DESIGN 9).

55 % of the requests are limit orders that rest, 15 % cross, 30 % cancel; an order counts when it was answered 201
and is not REJECTED.  In the same run the server's echo route gives the ceiling of HTTP, token and JSON alone.
"""

import asyncio
import random
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

import asyncpg
import msgspec

from trade_engine.bench.http_load import HttpConnection, LoadError, build_request, connect
from trade_engine.bench.own_server import RATE_LIMIT, funded_tokens, own_config
from trade_engine.bench.spent import CostMeter, Spent
from trade_engine.bootstrap.attached import attached_url
from trade_engine.bootstrap.keys import jwt_secret

_MID: Final = 5_000_000
_SYMBOLS: Final = ("BTC/USDT", "ETH/USDT")


class Drawn(NamedTuple):
    """A request's bytes and, of an order, the user it is for (None: a cancel) and its market."""

    request: bytes
    user: int | None
    symbol: str


class ReadAnswer(NamedTuple):
    """What an answer says of a placed order: what a cancel calls it, its status, its trades, and whether it rests."""

    name: str
    status: str
    trades: int
    rests: bool


def _body(symbol: str, side: str, quantity: str, price: str) -> bytes:
    return (
        f'{{"symbol":"{symbol}","side":"{side}","type":"LIMIT","quantity":"{quantity}","price":"{price}"}}'
    ).encode()


class OrderFlow:
    """The requests of one run, drawn from a seed."""

    def __init__(self, tokens: Sequence[str], seed: int) -> None:
        self._random = random.Random(seed)
        self._tokens = tokens
        self._open: list[tuple[str, int]] = []

    def draw(self, *, echo: bool = False) -> Drawn:
        """The next request."""
        rng = self._random
        if not echo and self._open and rng.random() < 0.30:
            at = rng.randrange(len(self._open))
            self._open[at], self._open[-1] = self._open[-1], self._open[at]
            order_id, user = self._open.pop()
            return Drawn(self.cancelling(order_id, user), None, "")
        user = rng.randrange(len(self._tokens))
        buy = rng.random() < 0.5
        crossing = rng.random() < 0.15 / 0.70
        away = -rng.randint(0, 200) if crossing else rng.randint(1, 2_000)
        price = _MID - away if buy else _MID + away
        symbol = _SYMBOLS[rng.random() < 0.3]
        terms = (symbol, "BUY" if buy else "SELL", f"0.{rng.randint(10, 200):04}", f"{price // 100}.{price % 100:02}")
        if echo:
            return Drawn(build_request("POST", "/api/v1/echo", self._tokens[user], _body(*terms)), user, symbol)
        return Drawn(self.placing(*terms, user), user, symbol)

    def cancelling(self, name: str, user: int) -> bytes:
        """The request that ends an order."""
        return build_request("DELETE", f"/api/v1/orders/{name}", self._tokens[user])

    def placing(self, symbol: str, side: str, quantity: str, price: str, user: int) -> bytes:
        """The request that places an order."""
        return build_request("POST", "/api/v1/orders", self._tokens[user], _body(symbol, side, quantity, price))

    def read(self, status: int, body: bytes, symbol: str) -> ReadAnswer | None:  # noqa: ARG002 - other faces need it
        """What an answer to an order says; None if it was refused."""
        if status != 201:
            return None
        found = _decoder.decode(body).data
        rests = found.order.status in ("OPEN", "PARTIALLY_FILLED")
        return ReadAnswer(found.order.id, found.order.status, len(found.trades), rests=rests)

    def rested(self, order_id: str, user: int) -> None:
        """Remember an open order as one that may be cancelled."""
        self._open.append((order_id, user))


class Tally(msgspec.Struct):
    """What was counted."""

    requests: int = 0
    orders: int = 0
    cancels: int = 0
    refused: int = 0
    rejected: int = 0
    trades: int = 0
    errors: int = 0
    order_ms: list[float] = msgspec.field(default_factory=list)


class OrderPart(msgspec.Struct):
    """What a generator needs to know of an order."""

    id: str
    status: str


class _Answer(msgspec.Struct):
    order: OrderPart
    trades: list[msgspec.Raw] = msgspec.field(default_factory=list)


class _PlacedEnvelope(msgspec.Struct):
    data: _Answer


_decoder = msgspec.json.Decoder(_PlacedEnvelope)


def read_order(body: bytes) -> OrderPart:
    """The order in an answer of POST /orders."""
    return _decoder.decode(body).data.order


async def run_load(
    host: str, port: int, flow: OrderFlow, *, connections: int, seconds: float, echo: bool = False
) -> tuple[Tally, float]:
    """Drive the server with so many connections for so long; the tally and the seconds it really took."""
    tally = Tally()
    links = [await connect(host, port) for _ in range(connections)]
    started = time.perf_counter()
    until = started + seconds
    await asyncio.gather(*(_drive(link, flow, tally, until, echo=echo) for link in links))
    took = time.perf_counter() - started
    for link in links:
        link.close()
    return tally, took


async def _drive(link: HttpConnection, flow: OrderFlow, tally: Tally, until: float, *, echo: bool) -> None:
    while (sent := time.perf_counter()) < until:
        request, user, symbol = flow.draw(echo=echo)
        try:
            status, body = await link.request(request)
        except LoadError:
            tally.errors += 1
            return
        tally.requests += 1
        if echo:
            tally.errors += status != 200
        elif user is None:
            tally.cancels += status == 200
            tally.errors += status >= 500
            tally.refused += 400 <= status < 500
        elif (placed := flow.read(status, body, symbol)) is not None:
            tally.order_ms.append((time.perf_counter() - sent) * 1e3)
            tally.orders += placed.status != "REJECTED"
            tally.trades += placed.trades
            if placed.rests:
                flow.rested(placed.name, user)
        elif status >= 500:
            tally.errors += 1
        else:
            tally.refused += 1
            tally.rejected += status == 422


def summarise(tally: Tally, took: float, echo: Tally, echo_took: float) -> dict[str, Any]:
    """The figures DESIGN 9 names."""
    times = sorted(tally.order_ms) or [0.0]
    requests_per_s = tally.requests / took
    echo_per_s = echo.requests / echo_took
    return {
        "orders_per_s": round(tally.orders / took, 1),
        "requests_per_s": round(requests_per_s, 1),
        "orders": tally.orders,
        "cancels": tally.cancels,
        "refused": tally.refused,
        "trades": tally.trades,
        "errors": tally.errors + echo.errors,
        "p50_ms": round(times[len(times) // 2], 2),
        "p99_ms": round(times[int(len(times) * 0.99)], 2),
        "echo_per_s": round(echo_per_s, 1),
        "ratio_to_echo": round(requests_per_s / echo_per_s, 3),
    }


def summarise_spent(before: Spent, after: Spent, requests: int, took: float) -> dict[str, Any]:
    """What a request cost, by who paid: microseconds of CPU time, batches, flushes."""
    each = max(requests, 1)
    batches = after.batches - before.batches
    return {
        "server_cpu_us": round((after.server_us - before.server_us) / each, 1),
        "postgres_cpu_us": round((after.postgres_us - before.postgres_us) / each, 1),
        "generator_cpu_us": round((after.generator_us - before.generator_us) / each, 1),
        "fsyncs_per_s": round((after.flushes - before.flushes) / took, 1),
        "batch_mean": round(requests / max(batches, 1), 1),
        "settled": after.settled - before.settled,
    }


async def measure_orders(
    data_dir: Path, server: tuple[int, int], seconds: float, connections: int, users: int, seed: int
) -> dict[str, Any]:
    """Durable orders on the server (its port and process id), then its echo route: the figures."""
    config = own_config()
    secret = jwt_secret(config, data_dir)
    port, pid = server
    async with attached_url(config, data_dir) as url:
        flow = OrderFlow(await funded_tokens(url, secret, users), seed)
        await run_load("127.0.0.1", port, flow, connections=connections, seconds=min(1.0, seconds / 4))
        connection = await asyncpg.connect(url)
        try:
            meter = CostMeter(pid, connection)
            await meter.drain()
            rows_before = await connection.fetchval("SELECT count(*) FROM orders")
            before = await meter.read()
            tally, took = await run_load("127.0.0.1", port, flow, connections=connections, seconds=seconds)
            # What settlement has left behind is part of what the orders cost, and would disturb the echo.
            drained = await meter.drain()
            between = await meter.read()
            rows = await connection.fetchval("SELECT count(*) FROM orders") - rows_before
            await asyncio.sleep(1.0)
            quiet = await meter.read()
            echo, echo_took = await run_load(
                "127.0.0.1", port, flow, connections=connections, seconds=min(5.0, seconds), echo=True
            )
            after = await meter.read()
        finally:
            await connection.close()
    figures = summarise(tally, took, echo, echo_took) | summarise_spent(before, between, tally.requests, took)
    figures["echo_cpu_us"] = round((after.server_us - quiet.server_us) / max(echo.requests, 1), 1)
    if rows != tally.orders + tally.rejected:
        figures["errors"] += abs(rows - tally.orders - tally.rejected)
    return figures | {"drained": drained, "rows_in_table": rows, "rate_limit": RATE_LIMIT}
