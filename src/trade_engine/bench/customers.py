"""What customers with a login may do that hurts others: each request is allowed, and chosen to cost much.

Their tokens come in the environment, one of each user, with commas between them.
"""

import asyncio
import itertools
import os
import time
from collections.abc import Callable, Coroutine, Iterator
from typing import Any, Final

import msgspec

from trade_engine.bench.http_load import HttpConnection, LoadError, build_request, connect

#: The environment variable that holds the tokens.
TOKENS: Final = "TRADE_ENGINE_ATTACK_TOKENS"
_ORDERS: Final = "/api/v1/orders"
_PAUSE_S: Final = 0.02
_QUERIES: Final = (
    "limit=500", "limit=500&status=CANCELLED", "limit=500&status=FILLED", "limit=500&side=SELL",
    "limit=500&symbol=BTC/USDT&status=EXPIRED", "limit=500&start_time=0&side=SELL", "limit=1&status=REJECTED",
)  # fmt: skip

Attack = Callable[[int, int, str, float], Coroutine[Any, Any, None]]


class Customer:
    """One connection with a login."""

    def __init__(self, port: int, token: str) -> None:
        self._port = port
        self._token = token
        self._link: HttpConnection | None = None

    async def ask(self, method: str, path: str, body: Any = None) -> tuple[int, Any]:
        """One request: status and answer; 0 if there was none."""
        content = b"" if body is None else body if isinstance(body, bytes) else msgspec.json.encode(body)
        try:
            if self._link is None or self._link.closed:
                self._link = await connect("127.0.0.1", self._port)
            status, answer = await self._link.request(build_request(method, path, self._token, content))
            return status, msgspec.json.decode(answer) if answer else None
        except (LoadError, OSError, msgspec.DecodeError):
            await asyncio.sleep(_PAUSE_S)
            return 0, None

    async def place(self, side: str, quantity: str | None, price: str | None, **more: Any) -> str:
        """Place an order: its id, empty if it was refused."""
        body: dict[str, Any] = {"symbol": "BTC/USDT", "side": side, "type": "LIMIT" if price else "MARKET", **more}
        body |= {name: value for name, value in (("quantity", quantity), ("price", price)) if value}
        status, answer = await self.ask("POST", _ORDERS, body)
        return str(answer["data"]["order"]["id"]) if status in (200, 201) else ""


def _customers(port: int, connections: int) -> list[list[Customer]]:
    """So many connections of each user."""
    tokens = os.environ[TOKENS].split(",")
    return [[Customer(port, token) for _ in range(connections)] for token in tokens]


async def parallel_amendments(port: int, _: int, __: str, until_s: float) -> None:
    """Pairs of amendments of one order at the same moment."""
    pairs = _customers(port, 4)

    async def race(one: Customer, other: Customer) -> None:
        while time.monotonic() < until_s:
            path = f"{_ORDERS}/{await one.place('BUY', '1', '20000.00')}"
            await asyncio.gather(
                one.ask("PATCH", path, {"quantity": "0.5"}), other.ask("PATCH", path, {"quantity": "2"})
            )
            await one.ask("DELETE", path)
            await asyncio.sleep(_PAUSE_S)

    await asyncio.gather(*(race(mine[at], mine[at + 1]) for mine in pairs for at in (0, 2)))


async def poisonous_orders(port: int, _: int, __: str, until_s: float) -> None:
    """Amounts below a unit, market buys that meet an order of one's own with DECREMENT, texts with NUL."""
    (one, *_rest), (other, *_others) = _customers(port, 1)[:2]
    nul = b'{"symbol":"BTC/USDT","side":"BUY","type":"LIMIT","quantity":"1","price":"1","client_order_id":"a\\u0000"}'
    while time.monotonic() < until_s:
        for amount in ("0.00000001", "0.0000001", "0.01"):
            await one.place("BUY", None, None, quote_amount=amount)
        await one.place("SELL", "0.001", "50000.00")
        await other.place("SELL", "0.001", "50000.01")
        await one.place("BUY", None, None, quote_amount="90", self_trade_prevention="DECREMENT")
        await one.ask("POST", _ORDERS, nul)
        await one.ask("GET", f"{_ORDERS}?cursor=%00")
        await one.ask("DELETE", _ORDERS)
        await asyncio.sleep(_PAUSE_S)


async def history_queries(port: int, _: int, __: str, until_s: float) -> None:
    """Listings that have far to look among ended orders, page after page."""

    async def read(customer: Customer, queries: Iterator[str]) -> None:
        cursor = ""
        while time.monotonic() < until_s:
            query = next(queries)
            status, answer = await customer.ask("GET", f"{_ORDERS}?{query}" + (f"&cursor={cursor}" if cursor else ""))
            cursor = (answer["meta"].get("next_cursor") or "") if status == 200 else ""
            await asyncio.sleep(0 if status == 200 else _PAUSE_S)

    mine = _customers(port, 8)[0]
    turned = (itertools.cycle(_QUERIES[at:] + _QUERIES[:at]) for at in range(len(_QUERIES)))
    await asyncio.gather(*(read(each, queries) for each, queries in zip(mine, turned, strict=False)))


async def iceberg_cascade(port: int, _: int, __: str, until_s: float) -> None:
    """An iceberg that shows one lot, eaten by a cascade of stops that one small trade sets off."""
    (one,), (other,) = _customers(port, 1)[:2]
    while time.monotonic() < until_s:
        await one.place("SELL", "0.06", "50000.00", display_quantity="0.000001")
        await one.place("SELL", "0.06", "50000.00", display_quantity="0.005")
        await one.place("SELL", "0.001", "49990.00")
        await other.place("BUY", "0.001", "49990.00")
        for _number in range(30):
            await other.place("BUY", "0.002", None, type="STOP", stop_price="50000.00")
        await other.place("BUY", "0.0001", "50000.00")
        for customer in (one, other):
            await customer.ask("DELETE", _ORDERS)
        await asyncio.sleep(_PAUSE_S)


CUSTOMERS: Final[dict[str, Attack]] = {
    "parallel amendments": parallel_amendments,
    "poisonous orders": poisonous_orders,
    "history queries": history_queries,
    "iceberg cascade": iceberg_cascade,
}
