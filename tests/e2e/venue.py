"""A venue for end-to-end tests: the whole engine in this process, reached through real sockets."""

import asyncio
import itertools
import time
import uuid
from typing import Any

import httpx

from trade_engine.domain.scale import parse_units

#: The market whose buyers pay their fee in base.
RECEIVED = "RCV/USDT"


def markets_yaml() -> list[dict[str, Any]]:
    """Enough markets that every question can have one of its own; BTC/USDT's scales and default fees, no band."""
    plain = {"tick_size": "0.01", "lot_size": "0.000001", "max_slippage": "0"}
    numbered = [
        {"symbol": f"T{n:02}/USDT", "min_quantity": "0.0001", "max_quantity": "1000000"} | plain
        for n in (*range(1, 6), 60)
    ]
    return [*numbered, {"symbol": RECEIVED, "fee_asset": "RECEIVED"} | plain]


class Trader:
    """One user with a token, who speaks to the REST API."""

    def __init__(self, http: httpx.AsyncClient, user_id: str, token: str) -> None:
        self.http = http
        self.user_id = user_id
        self.headers = {"Authorization": f"Bearer {token}"}

    async def post(self, body: Any) -> httpx.Response:
        """POST /orders with any body."""
        return await self.http.post("/api/v1/orders", json=body, headers=self.headers)

    async def order(self, symbol: str, side: str, quantity: str, price: str | None = None, **more: Any) -> Any:
        """Place an order that must be taken: the answer's data, (order, trades)."""
        body = {"symbol": symbol, "side": side, "type": "MARKET" if price is None else "LIMIT", "quantity": quantity}
        if price is not None:
            body["price"] = price
        answer = await self.post(body | more)
        assert answer.status_code == 201, answer.text
        data = answer.json()["data"]
        return data["order"], data["trades"]

    async def cancel(self, order_id: str) -> httpx.Response:
        """DELETE /orders/{id}."""
        return await self.http.delete(f"/api/v1/orders/{order_id}", headers=self.headers)

    async def get(self, path: str, **params: Any) -> Any:
        """GET a path that must answer: its data."""
        answer = await self.http.get(f"/api/v1{path}", params=params, headers=self.headers)
        assert answer.status_code == 200, answer.text
        return answer.json()["data"]

    async def balance(self, asset: str) -> tuple[int, int, int]:
        """Available, reserved and pending of one asset, units of 1e-8."""
        for row in await self.get("/balances"):
            if row["asset"] == asset:
                return tuple(parse_units(row[key]) for key in ("available", "reserved", "pending"))  # type: ignore[return-value]
        return 0, 0, 0


class Venue:
    """The engine, a way to fund users, and an unused market for whoever asks."""

    def __init__(self, http: httpx.AsyncClient, running: Any) -> None:
        self.http = http
        self.running = running
        self._numbers = itertools.count(1)

    def market(self) -> str:
        """A symbol no other test has used."""
        return f"T{next(self._numbers):02}/USDT"

    async def trader(self, **funds: str) -> Trader:
        """A new user with these funds (asset=amount) and a token."""
        user_id = str(uuid.uuid4())
        for asset, amount in funds.items():
            outcome = await self.running.wallet.deposit(user_id, asset, parse_units(amount), str(uuid.uuid4()))
            assert outcome.ok
        return Trader(self.http, user_id, self.token(user_id))

    def token(self, user_id: str, roles: tuple[str, ...] = ("trader",)) -> str:
        """A token of the venue for a user."""
        return str(self.running.issue_token(user_id, roles))

    async def book(self, symbol: str) -> tuple[list[Any], list[Any]]:
        """Bids and asks as (price, quantity, number of orders)."""
        answer = await self.http.get(f"/api/v1/orderbook/{symbol}", params={"depth": 100})
        assert answer.status_code == 200, answer.text
        data = answer.json()["data"]
        bids, asks = (
            [(level["price"], level["quantity"], level["num_orders"]) for level in data[side]]
            for side in ("bids", "asks")
        )
        return bids, asks

    async def settled(self, within_s: float = 10.0) -> None:
        """Wait until nothing is left to settle or release."""
        until = time.monotonic() + within_s
        while await self.running.pool.fetchval("SELECT count(*) FROM settlement_instructions WHERE status <> 'FAILED'"):
            assert time.monotonic() < until, "settlement did not finish"
            await asyncio.sleep(0.01)
