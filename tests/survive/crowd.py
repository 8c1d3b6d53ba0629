"""Traders with mixed orders, each request and answer in the record; what has no answer is asked again until it has."""

import asyncio
import random
import time
from typing import Any, Final

from tests.survive.record import OrderRecord, Outcome, Record
from tests.survive.wire import Answer, Line, NeverSent, Overdue, Unanswered

SYMBOLS: Final = ("BTC/USDT", "ETH/USDT")
_MID: Final = {"BTC/USDT": 50_000, "ETH/USDT": 3_000}
_PAUSE_S: Final = 0.02
_AWAY_S: Final = 0.1
#: Seconds that one connection asks for what is unknown before the engine counts as stuck.
_REPEATING_S: Final = 45.0


class Trader:
    """One connection of a user that places, changes, cancels, and remembers."""

    def __init__(self, record: Record, line: Line, user_id: str, name: str, rng: random.Random) -> None:
        self.record = record
        self.user_id = user_id
        self.mine: list[OrderRecord] = []
        self.rng = rng
        self._line = line
        self._name = name
        self._numbers = 0
        self._actions = (
            (50, self._limit), (9, self._market), (8, self._stop), (7, self._iceberg), (5, self._at_once),
            (10, self._amend), (12, self._cancel), (6, self._repeat), (1, self._cancel_all),
        )  # fmt: skip

    async def trade(self, going: asyncio.Event) -> None:
        """Act for as long as told."""
        weights = [weight for weight, _ in self._actions]
        while going.is_set():
            (_, act) = self.rng.choices(self._actions, weights)[0]
            await act()
            await asyncio.sleep(_PAUSE_S * self.rng.random())

    # ---- requests

    async def ask(self, method: str, path: str, body: Any = None) -> Answer | None:
        """Send a request: its answer, None if there was none; either is counted.

        Raises:
            NeverSent: nobody listens.
        """
        try:
            answer = await self._line.ask(method, path, body)
        except NeverSent:
            self.record.count("nobody listens")
            await asyncio.sleep(_AWAY_S)
            raise
        except Unanswered as error:
            if isinstance(error, Overdue):
                self.record.overdue.append(str(error))
            self.record.count(type(error).__name__)
            await asyncio.sleep(_AWAY_S)
            return None
        self.record.count(f"{answer.status} {answer.code}".strip())
        if answer.status == 500:
            self.record.faults.append(f"{method} {path} {body}: {answer.content}")
        if answer.status == 503:
            await asyncio.sleep(_AWAY_S)
        return answer

    def client_order_id(self) -> str:
        """One that was never used."""
        self._numbers += 1
        return f"{self._name}-{self._numbers}"

    async def place(self, body: dict[str, Any]) -> OrderRecord:
        """Place an order and remember what became of it."""
        order = self.record.order(self.user_id, body | {"client_order_id": self.client_order_id()})
        await self._send(order)
        if order.outcome is not Outcome.REFUSED:
            self.mine.append(order)
        return order

    async def _send(self, order: OrderRecord) -> bool:
        try:
            answer = await self.ask("POST", "/api/v1/orders", order.body)
        except NeverSent:
            order.never_sent()
            return False
        if answer is None:
            order.unanswered()
        else:
            order.placed(answer)
        return answer is not None

    async def settle(self) -> list[OrderRecord]:
        """Ask again for all that has no answer: what is unknown even then."""
        unknown = [order for order in self.mine if order.outcome is Outcome.UNKNOWN]
        until = time.monotonic() + _REPEATING_S
        for order in unknown:
            while order.outcome is Outcome.UNKNOWN and time.monotonic() < until:
                await self._send(order)
        return [order for order in unknown if order.outcome is Outcome.UNKNOWN]

    # ---- actions

    def _price(self, symbol: str, side: str) -> str:
        away = self.rng.randint(-40, 15)
        cents = _MID[symbol] * 100 + (away if side == "BUY" else -away)
        return f"{cents // 100}.{cents % 100:02}"

    def _drawn(self) -> tuple[str, str, str]:
        symbol = self.rng.choice(SYMBOLS)
        return symbol, self.rng.choice(("BUY", "SELL")), f"0.{self.rng.randint(1, 60):03}"

    async def _limit(self) -> None:
        symbol, side, quantity = self._drawn()
        body = {"symbol": symbol, "side": side, "type": "LIMIT", "quantity": quantity}
        stp = self.rng.choice(("CANCEL_NEWEST", "CANCEL_NEWEST", "CANCEL_OLDEST", "CANCEL_BOTH"))
        await self.place(body | {"price": self._price(symbol, side), "self_trade_prevention": stp})

    async def _at_once(self) -> None:
        symbol, side, quantity = self._drawn()
        tif = self.rng.choice(("IOC", "FOK", "DAY"))
        price = self._price(symbol, side)
        body = {"symbol": symbol, "side": side, "type": "LIMIT", "quantity": quantity, "price": price}
        await self.place(body | {"time_in_force": tif})

    async def _market(self) -> None:
        symbol, side, quantity = self._drawn()
        body = {"symbol": symbol, "side": side, "type": "MARKET"}
        if side == "BUY" and self.rng.random() < 0.4:
            await self.place(body | {"quote_amount": str(self.rng.randint(20, 900))})
        else:
            await self.place(body | {"quantity": quantity})

    async def _stop(self) -> None:
        symbol, side, quantity = self._drawn()
        away, turned = self.rng.randint(1, 60), self.rng.random() < 0.3
        cents = _MID[symbol] * 100 + (away if (side == "BUY") != turned else -away)
        body = {"symbol": symbol, "side": side, "type": "STOP", "quantity": quantity, "take_profit": turned}
        body["stop_price"] = f"{cents // 100}.{cents % 100:02}"
        if self.rng.random() < 0.5:
            body |= {"type": "STOP_LIMIT", "price": body["stop_price"]}
        await self.place(body)

    async def _iceberg(self) -> None:
        symbol, side, _ = self._drawn()
        body = {"symbol": symbol, "side": side, "type": "LIMIT", "quantity": "0.2", "display_quantity": "0.02"}
        await self.place(body | {"price": self._price(symbol, side)})

    def _live(self) -> OrderRecord | None:
        if len(self.mine) > 300:
            self.mine = [order for order in self.mine if order.may_live or order.outcome is Outcome.UNKNOWN]
        live = [order for order in self.mine[-100:] if order.may_live]
        return self.rng.choice(live) if live else None

    async def _amend(self) -> None:
        order = self._live()
        if order is None or order.changes_open:
            return
        change = {"quantity": f"0.{self.rng.randint(1, 90):03}"}
        if order.body["type"] == "LIMIT" and self.rng.random() < 0.5:
            change = {"price": self._price(order.body["symbol"], order.body["side"])}
        await self.change(order, change)

    async def change(self, order: OrderRecord, change: dict[str, str]) -> None:
        """Amend an order and remember what became of it."""
        order.changing(change)
        try:
            answer = await self.ask("PATCH", f"/api/v1/orders/{order.order_id}", change)
        except NeverSent:
            order.changes_open -= 1
            return
        order.changed(answer)

    async def _cancel(self) -> None:
        if (order := self._live()) is not None:
            await self.cancel(order)

    async def cancel(self, order: OrderRecord) -> None:
        """Cancel an order and remember what became of it."""
        try:
            answer = await self.ask("DELETE", f"/api/v1/orders/{order.order_id}")
        except NeverSent:
            return
        if answer is not None:
            order.cancelling(answer)

    async def _repeat(self) -> None:
        known = [order for order in self.mine[-50:] if order.outcome is Outcome.ACKNOWLEDGED and not order.changes_open]
        if known:
            await self._send(self.rng.choice(known))

    async def _cancel_all(self) -> None:
        try:
            await self.ask("DELETE", f"/api/v1/orders?symbol={self.rng.choice(SYMBOLS)}")
        except NeverSent:
            return

    async def leave(self) -> bool:
        """Cancel all that is left; whether the engine said that it is done."""
        until = time.monotonic() + _REPEATING_S
        while time.monotonic() < until:
            try:
                answer = await self.ask("DELETE", "/api/v1/orders")
            except NeverSent:
                continue
            if answer is not None and answer.status == 200:
                return True
        return False

    def close(self) -> None:
        """Hang up."""
        self._line.close()
