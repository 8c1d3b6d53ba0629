"""What callers do with orders, in the domain's terms: the same over every face, whatever it reads and shows."""

import time
from collections.abc import Sequence

from trade_engine.domain.enums import OrderStatus, Side
from trade_engine.domain.errors import Refused
from trade_engine.domain.market import Market
from trade_engine.domain.orders import Order, PlaceOrder, PlacePair
from trade_engine.edge.limits import RateLimits, debit_fills
from trade_engine.edge.markets import Markets
from trade_engine.edge.meter import Meter
from trade_engine.sequencer.ports import Amendment, Placed, PlacedPair, Trading
from trade_engine.storage.queries import Page, Queries


class Desk:
    """Orders of callers: places, changes, ends and finds them; measures placing, and counts what fills cost.

    A ``user_id`` of None is an operator, for whom every order is his.  Every method may raise an ``EngineError``.
    """

    def __init__(self, trading: Trading, markets: Markets, queries: Queries, limits: RateLimits, meter: Meter) -> None:
        self._trading = trading
        self.markets = markets
        self._queries = queries
        self._limits = limits
        self._meter = meter

    async def place(self, request: PlaceOrder) -> Placed:
        """Place an order; returns after the commit."""
        started = time.perf_counter()
        try:
            placed = await self._trading.place(request)
        except Refused as error:
            raise self.markets.explain(error, request) from error
        self._meter.placed(request.symbol, time.perf_counter() - started)
        debit_fills(self._limits, request.user_id, placed.fills)
        return placed

    async def place_pair(self, request: PlacePair) -> PlacedPair:
        """Place two orders of which one cancels the other; returns after the commit."""
        try:
            return await self._trading.place_pair(request)
        except Refused as error:
            raise self.markets.explain(error, request.legs[0]) from error

    async def pair(self, order_id: str, user_id: str) -> PlacedPair:
        """The pair that a user's order is a leg of."""
        return await self._trading.pair(order_id, user_id)

    async def amend(self, order_id: str, user_id: str, change: Amendment) -> Placed:
        """Change an order; returns after the commit."""
        changed = await self._trading.amend(order_id, user_id, change)
        debit_fills(self._limits, user_id, changed.fills)
        return changed

    async def cancel(self, order_id: str, user_id: str | None) -> Order:
        """End an order; returns after the commit."""
        return await self._trading.cancel(order_id, user_id)

    async def cancel_numbered(self, number: int, user_id: str, market: Market) -> Order:
        """End a live order in a market by its number; returns after the commit."""
        return await self._trading.cancel_numbered(number, user_id, market.market_id)

    async def cancel_all(self, user_id: str | None, market: Market | None) -> int:
        """End all orders of a user, in one market or all; how many.  Returns after the commits."""
        return await self._trading.cancel_all(user_id, market.symbol if market is not None else None)

    async def order_id_of(self, client_order_id: str, user_id: str) -> str:
        """The id of the order that a user placed with a client order id."""
        return await self._trading.order_id_of(client_order_id, user_id)

    async def find(self, order_id: str, user_id: str | None) -> Order:
        """One order, open or ended."""
        return await self._trading.order(order_id, user_id)

    async def page(
        self,
        user_id: str,
        *,
        market: Market | None = None,
        statuses: Sequence[OrderStatus] | None = None,
        side: Side | None = None,
        start_us: int | None = None,
        end_us: int | None = None,
        before: str | None = None,
        limit: int,
    ) -> Page[Order]:
        """A page of a user's orders, newest first."""
        return await self._queries.orders(
            user_id,
            market_id=market.market_id if market is not None else None,
            statuses=[status.name for status in statuses] if statuses is not None else None,
            side=side.name if side is not None else None,
            start_us=start_us,
            end_us=end_us,
            before=before,
            limit=limit,
        )

    def is_live(self, order_id: str) -> bool:
        """Whether an order can still trade."""
        return self._trading.is_live(order_id)
