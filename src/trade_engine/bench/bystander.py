"""`trade-engine bench bystander`: how somebody who trades a little fares while strangers or customers misbehave.

For each attack a server of its own: first a quiet while, then the same with the attack, which is a process of its own
and bounded in time.  Orders are sent when they are due, whatever the answers take, and timed from when they were due.
"""

import asyncio
import os
import sys
import tempfile
import time
import uuid
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import msgspec

from trade_engine.bench.attacks import STRANGERS
from trade_engine.bench.customers import CUSTOMERS, TOKENS
from trade_engine.bench.errors import BenchError
from trade_engine.bench.http_load import HttpConnection, LoadError, build_request, connect
from trade_engine.bench.own_server import free_port, funded_tokens, running_process
from trade_engine.bootstrap.attached import attached_url
from trade_engine.bootstrap.keys import jwt_secret
from trade_engine.config import load_config

RATE: Final = 20
_CONNECTIONS: Final = 16
#: An answer that takes longer counts as refused, after so long.
_PATIENCE_S: Final = 10.0
_WARM_UP_S: Final = 1.0
_FILL_BATCH: Final = 50
_USERS: Final = 3
_HISTORY: Final = "history queries"
#: Limits as they come, but that the bystander and the customers may send more orders than 10 a second.
_SETTINGS: Final = {
    "TRADE_ENGINE__RATE_LIMIT__ORDERS_PER_S": "50",
    "TRADE_ENGINE__RATE_LIMIT__ORDERS_BURST": "200",
    "TRADE_ENGINE__RATE_LIMIT__QUERIES_PER_S": "50",
    "TRADE_ENGINE__RATE_LIMIT__QUERIES_BURST": "200",
    "TRADE_ENGINE__RATE_LIMIT__PUBLIC_PER_S": "100",
    "TRADE_ENGINE__RATE_LIMIT__PUBLIC_BURST": "500",
    "TRADE_ENGINE__RATE_LIMIT__ADDRESS_PER_S": "200",
    "TRADE_ENGINE__RATE_LIMIT__ADDRESS_BURST": "1000",
}


class Waits(msgspec.Struct):
    """Milliseconds of each answer, and how many orders were not taken."""

    took_ms: list[float] = msgspec.field(default_factory=list)
    refused: int = 0

    def quantile(self, share: float) -> float:
        """In milliseconds."""
        ordered = sorted(self.took_ms) or [0.0]
        return round(ordered[min(int(len(ordered) * share), len(ordered) - 1)], 1)


async def measure_bystander(folder: Path, seconds: float, ended_orders: int, kinds: Sequence[str]) -> dict[str, Any]:
    """Figures by attack: refused, p50, p99 and the longest wait in milliseconds, and the quiet p99 on the same server.

    Raises:
        BenchError: a server did not come up.
    """
    figures: dict[str, Any] = {}
    for kind in kinds:
        with tempfile.TemporaryDirectory(prefix="attacked-", dir=folder) as place:
            figures[kind] = await _measure(Path(place) / "data", kind, seconds, ended_orders)
    return figures


async def _measure(data_dir: Path, kind: str, seconds: float, ended_orders: int) -> dict[str, Any]:
    websocket_port = free_port()
    settings = _SETTINGS | {"TRADE_ENGINE__SERVER__WEBSOCKET_PORT": str(websocket_port)}
    if kind == _HISTORY:
        settings["TRADE_ENGINE__RATE_LIMIT__ORDERS_PER_S"] = "100000"
    with running_process(data_dir, **settings) as (port, _):
        config = load_config(None, None, {})
        async with attached_url(config, data_dir) as url:
            tokens = await funded_tokens(url, jwt_secret(config, data_dir), _USERS)
        if kind == _HISTORY:
            await fill_history(port, tokens[1], ended_orders)
        await trade(port, tokens[0], _WARM_UP_S)
        quiet = await trade(port, tokens[0], seconds / 2)
        async with _attacked(kind, port, websocket_port, tokens[1:], seconds + 2 * _PATIENCE_S):
            await asyncio.sleep(_WARM_UP_S)
            met = await trade(port, tokens[0], seconds)
    return {
        "orders": len(met.took_ms) + met.refused,
        "refused": met.refused,
        "p50_ms": met.quantile(0.5),
        "p99_ms": met.quantile(0.99),
        "max_ms": met.quantile(1.0),
        "quiet_p99_ms": quiet.quantile(0.99),
    }


@asynccontextmanager
async def _attacked(
    kind: str, port: int, websocket_port: int, tokens: Sequence[str], seconds: float
) -> AsyncIterator[None]:
    words = ("-m", "trade_engine.bench.attacks", kind, str(port), str(websocket_port), str(seconds))
    attacker = await asyncio.create_subprocess_exec(
        sys.executable, *words, env=os.environ | {TOKENS: ",".join(tokens)}, stderr=asyncio.subprocess.DEVNULL
    )
    try:
        await asyncio.sleep(0.5)
        if attacker.returncode is not None:
            raise BenchError(f"the attack {kind!r} ended with status {attacker.returncode}")
        yield
    finally:
        if attacker.returncode is None:
            attacker.kill()
        await attacker.wait()


async def trade(port: int, token: str, seconds: float) -> Waits:
    """Send ``RATE`` orders a second for so long, in a market that nobody else uses."""
    waits, free = Waits(), asyncio.Queue[HttpConnection | None]()
    for _ in range(_CONNECTIONS):
        free.put_nowait(None)
    started = time.perf_counter()
    async with asyncio.TaskGroup() as group:
        for number in range(int(RATE * seconds)):
            due = started + number / RATE
            await asyncio.sleep(max(0.0, due - time.perf_counter()))
            group.create_task(_order(port, free, token, number, due, waits))
    while not free.empty():
        if (link := free.get_nowait()) is not None:
            link.close()
    return waits


async def _order(
    port: int, free: "asyncio.Queue[HttpConnection | None]", token: str, number: int, due: float, waits: Waits
) -> None:
    """One order, timed from when it was due; alternately it rests and takes."""
    side = "BUY" if number % 2 else "SELL"
    body = {"symbol": "ETH/USDT", "side": side, "type": "LIMIT", "quantity": "0.01", "price": "3000.00"}
    body |= {"client_order_id": uuid.uuid4().hex, "self_trade_prevention": "NONE"}
    request = build_request("POST", "/api/v1/orders", token, msgspec.json.encode(body))
    link: HttpConnection | None = None
    status = 0
    try:
        async with asyncio.timeout(_PATIENCE_S):
            link = await free.get()
            if link is None or link.closed:
                link = await connect("127.0.0.1", port)
            status, _ = await link.request(request)
    except (LoadError, OSError, TimeoutError):
        if link is not None:
            link.close()
            link = None
    free.put_nowait(link)
    if status == 201:
        waits.took_ms.append((time.perf_counter() - due) * 1e3)
    else:
        waits.refused += 1


async def fill_history(port: int, token: str, count: int) -> None:
    """Give a user so many ended orders.

    Raises:
        BenchError: the server took none.
    """
    link = await connect("127.0.0.1", port)
    order = {"symbol": "BTC/USDT", "side": "BUY", "type": "LIMIT", "quantity": "0.001", "price": "20000.00"}
    body = msgspec.json.encode({"orders": [order | {"time_in_force": "IOC"}] * _FILL_BATCH})
    request = build_request("POST", "/api/v1/orders/batch", token, body)
    left = count
    refused = 0
    while left > 0:
        status, _ = await link.request(request)
        if status == 200:
            left, refused = left - _FILL_BATCH, 0
        else:
            refused += 1
            if refused > 600:
                raise BenchError(f"the server takes no orders to fill its history with: {status}")
            await asyncio.sleep(0.1)
    link.close()


KINDS: Final = (*STRANGERS, *CUSTOMERS)
