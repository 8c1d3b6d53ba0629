"""A customer whose requests are all allowed, and all chosen to hurt."""

import asyncio
import random
from typing import Final

from tests.survive.crowd import Trader
from tests.survive.record import Record
from tests.survive.wire import Line, NeverSent
from tests.survive.world import World

_PAUSE_S: Final = 0.05
_ABSENT: Final = "00000000-0000-7000-8000-000000000000"


class Poisoner:
    """Two users' worth of poison; several connections of the first, because races need them."""

    def __init__(self, world: World, record: Record, users: tuple[str, str], rng: random.Random) -> None:
        self._rng = rng
        one, other = users
        self.first = Trader(record, Line(world.port, "127.0.4.1", world.token(one)), one, "poison", rng)
        self.twin = Trader(record, Line(world.port, "127.0.4.1", world.token(one)), one, "twin", rng)
        self.other = Trader(record, Line(world.port, "127.0.4.2", world.token(other)), other, "other", rng)
        self.traders = (self.first, self.twin, self.other)
        self._kinds = (
            self._parallel_amendments, self._below_a_unit, self._decrement, self._one_lot_iceberg, self._odd_texts,
            self._good_till_date, self._cascade,
        )  # fmt: skip

    async def hurt(self, going: asyncio.Event, pause_s: float = _PAUSE_S) -> None:
        """Send poison for as long as told, all kinds in turn."""
        at = self._rng.randrange(len(self._kinds))
        while going.is_set():
            at += 1
            await self._kinds[at % len(self._kinds)]()
            await asyncio.sleep(pause_s)

    def _limit(self, side: str, quantity: str, price: str, **more: str) -> dict[str, str]:
        return {"symbol": "BTC/USDT", "side": side, "type": "LIMIT", "quantity": quantity, "price": price, **more}

    async def _parallel_amendments(self) -> None:
        order = await self.first.place(self._limit("BUY", "1", "49000.00"))
        if order.may_live:
            smaller, larger = {"quantity": "0.5"}, {"quantity": self._rng.choice(("1.5", "2", "3"))}
            await asyncio.gather(self.first.change(order, smaller), self.twin.change(order, larger))
            await asyncio.gather(self.first.change(order, {"price": "49010.00"}), self.twin.cancel(order))

    async def _below_a_unit(self) -> None:
        for amount in ("0.00000001", "0.00000009", "0.0000001", "0.01"):
            body = {"symbol": "BTC/USDT", "side": "BUY", "type": "MARKET", "quote_amount": amount}
            await self.first.place(body)

    async def _decrement(self) -> None:
        await self.first.place(self._limit("SELL", "0.001", "49999.50"))
        await self.other.place(self._limit("SELL", "0.001", "49999.51"))
        body = {"symbol": "BTC/USDT", "side": "BUY", "type": "MARKET", "quote_amount": "90"}
        await self.first.place(body | {"self_trade_prevention": "DECREMENT"})

    async def _one_lot_iceberg(self) -> None:
        shows = self._rng.choice(("0.000001", "0.00005"))
        await self.first.place(self._limit("SELL", "0.001", "49999.90", display_quantity=shows))
        await self.other.place(self._limit("BUY", "0.001", "50000.00", time_in_force="IOC"))

    async def _odd_texts(self) -> None:
        bodies = (
            b'{"symbol":"BTC/USDT","side":"BUY","type":"LIMIT","quantity":"1","price":"1","client_order_id":"a\\u0000b"}',
            b'{"symbol":"BTC\\u0000/USDT","side":"BUY","type":"LIMIT","quantity":"1","price":"1"}',
            b'{"symbol":"BTC/USDT","side":"BUY","type":"LIMIT","quantity":"1","price":"1","client_order_id":"\\ud800"}',
            b"\x00" * 64,
        )
        try:
            for body in bodies:
                await self.first.ask("POST", "/api/v1/orders", body)
            for path in ("/api/v1/orders/%00", "/api/v1/orders?symbol=%00", "/api/v1/orders?cursor=%00"):
                await self.first.ask("GET", path)
            await self.first.ask("PATCH", f"/api/v1/orders/{_ABSENT}", {"quantity": "\x00"})
        except NeverSent:
            return

    async def _good_till_date(self) -> None:
        body = self._limit("BUY", "0.5", "48990.00", time_in_force="GTD", expires_at="2029-01-01T00:00:00Z")
        order = await self.first.place(body)
        for change in ({"quantity": "0.25"}, {"price": "48991.00"}, {"quantity": "0.75"}):
            if order.may_live:
                await self.first.change(order, change)

    async def _cascade(self) -> None:
        for step in range(6):
            price = f"{50_000 + step / 100:.2f}"
            body = {"symbol": "BTC/USDT", "side": "BUY", "type": "STOP", "quantity": "0.001", "stop_price": price}
            await self.other.place(body)
        await self.first.place(self._limit("SELL", "0.02", "50000.00"))
        await self.other.place(self._limit("BUY", "0.001", "50000.00"))
