"""`trade-engine bench latency`: answers under a steady load, as a trader meets them (SPEC 15).

Requests are sent when they are due, whatever the answers take, and each is timed from when it was due, so that a slow
answer is not hidden by the requests it held up.
"""

import asyncio
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import asyncpg
import msgspec

from trade_engine.bench.http_load import HttpConnection, LoadError, build_request, connect
from trade_engine.bench.orders import OrderFlow, read_order
from trade_engine.bench.own_server import RATE_LIMIT, funded_tokens, own_config
from trade_engine.bootstrap.attached import attached_url
from trade_engine.bootstrap.keys import jwt_secret


class Timings(msgspec.Struct):
    """Milliseconds by kind of request, and what went wrong."""

    order_ms: list[float] = msgspec.field(default_factory=list)
    cancel_ms: list[float] = msgspec.field(default_factory=list)
    book_ms: list[float] = msgspec.field(default_factory=list)
    errors: int = 0


async def run_steady_load(
    host: str, port: int, flow: OrderFlow, token: str, *, rate: int, seconds: float, connections: int = 32
) -> Timings:
    """Send ``rate`` orders or cancels a second, and a tenth as many order books, for so long."""
    timings = Timings()
    free: asyncio.Queue[HttpConnection] = asyncio.Queue()
    for _ in range(connections):
        free.put_nowait(await connect(host, port))
    book = build_request("GET", "/api/v1/orderbook/BTC-USDT?depth=20", token)
    started = time.perf_counter()
    async with asyncio.TaskGroup() as group:
        for number in range(int(rate * seconds)):
            due = started + number / rate
            await asyncio.sleep(max(0.0, due - time.perf_counter()))
            request, user, _ = flow.draw()
            group.create_task(_order(free, request, user, due, flow, timings))
            if number % 10 == 0:
                group.create_task(_book(free, book, due, timings))
    while not free.empty():
        free.get_nowait().close()
    return timings


async def _order(
    free: "asyncio.Queue[HttpConnection]",
    request: bytes,
    user: int | None,
    due: float,
    flow: OrderFlow,
    timings: Timings,
) -> None:
    status, body = await _send(free, request, timings)
    took_ms = (time.perf_counter() - due) * 1e3
    if user is None:
        timings.cancel_ms.append(took_ms)
        timings.errors += status not in (200, 409)
        return
    timings.order_ms.append(took_ms)
    if status != 201:
        timings.errors += 1
        return
    order = read_order(body)
    if order.status in ("OPEN", "PARTIALLY_FILLED"):
        flow.rested(order.id, user)


async def _book(free: "asyncio.Queue[HttpConnection]", request: bytes, due: float, timings: Timings) -> None:
    status, _ = await _send(free, request, timings)
    timings.book_ms.append((time.perf_counter() - due) * 1e3)
    timings.errors += status != 200


async def _send(free: "asyncio.Queue[HttpConnection]", request: bytes, timings: Timings) -> tuple[int, bytes]:
    link = await free.get()
    try:
        return await link.request(request)
    except LoadError:
        timings.errors += 1
        return 0, b""
    finally:
        free.put_nowait(link)


def summarise_latency(timings: Timings, settled_ms: Sequence[float]) -> dict[str, Any]:
    """Medians and 99th percentiles, in milliseconds; ``settled_ms``: from a trade's execution to its settlement."""
    figures: dict[str, Any] = {"orders": len(timings.order_ms), "cancels": len(timings.cancel_ms)}
    kinds = {
        "order": timings.order_ms,
        "cancel": timings.cancel_ms,
        "order_book": timings.book_ms,
        "settled": settled_ms,
    }
    for name, times in kinds.items():
        ordered = sorted(times) or [0.0]
        figures[f"{name}_p50_ms"] = round(ordered[len(ordered) // 2], 2)
        figures[f"{name}_p99_ms"] = round(ordered[int(len(ordered) * 0.99)], 2)
    return figures | {"trades": len(settled_ms), "errors": timings.errors}


async def measure_latency(
    data_dir: Path, port: int, rate: int, seconds: float, users: int, seed: int
) -> dict[str, Any]:
    """Answers and settlement under a steady load on the server at ``port``: the figures."""
    config = own_config()
    async with attached_url(config, data_dir) as url:
        tokens = await funded_tokens(url, jwt_secret(config, data_dir), users)
        timings = await run_steady_load(
            "127.0.0.1", port, OrderFlow(tokens, seed), tokens[0], rate=rate, seconds=seconds
        )
        await asyncio.sleep(1.0)
        connection = await asyncpg.connect(url)
        try:
            rows = await connection.fetch(
                "SELECT extract(epoch FROM settled_at - executed_at) * 1000 AS ms FROM trades"
                " WHERE settled_at IS NOT NULL"
            )
            unsettled = await connection.fetchval("SELECT count(*) FROM trades WHERE settled_at IS NULL")
        finally:
            await connection.close()
    figures = summarise_latency(timings, [float(row["ms"]) for row in rows])
    return figures | {"unsettled": unsettled, "rate": rate, "rate_limit": RATE_LIMIT}
