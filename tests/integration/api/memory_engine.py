"""An engine in memory, for tests of the HTTP layer: it keeps orders, crosses equal prices, and fails on demand."""

import asyncio
from typing import Any

import msgspec

from trade_engine.domain.enums import MarketState, OrderStatus, Reason, Side
from trade_engine.domain.errors import NotFound, Refused
from trade_engine.domain.ids import trade_uuid, uuid7
from trade_engine.domain.market import Market, default_markets
from trade_engine.domain.orders import Order, PlaceOrder, Trade
from trade_engine.domain.rules import check_order
from trade_engine.domain.scale import UNIT
from trade_engine.marketdata.candles import Candle, Candles
from trade_engine.sequencer.amending import Amendment
from trade_engine.sequencer.memory import MarketView
from trade_engine.sequencer.requests import CandlesView, DepthView, EngineStatus, MarketStatus, Placed, TickerView

START_US = 1_767_225_600_000_000


class MemoryEngine:
    """Keeps the ``Engine`` protocol; two orders trade if one's price equals the other's, whole."""

    def __init__(self) -> None:
        self.markets: dict[str, Market] = {market.symbol: market for market in default_markets()}
        self.orders: dict[str, Order] = {}
        self.trades: list[Trade] = []
        #: Raised by the next calls, if set.
        self.failure: Exception | None = None
        self.delay_s = 0.0
        self.parts = {"engine": "ok", "database": "ok", "wallet": "ok"}
        self._by_client: dict[tuple[str, str], Placed] = {}
        self._sequence = 0

    def market(self, market_id: int) -> Market:
        """The market of a number."""
        return next(market for market in self.markets.values() if market.market_id == market_id)

    async def place(self, request: PlaceOrder) -> Placed:
        """Check, keep, and trade with the first order of the same price on the other side."""
        await self._meet_trouble()
        key = (request.user_id, request.client_order_id or "")
        if request.client_order_id and key in self._by_client:
            return self._by_client[key]._replace(replayed=True)
        market = self.markets[request.symbol]
        check_order(request, market)
        self._sequence += 1
        now = START_US + self._sequence
        order = Order(
            order_id=uuid7(now // 1000, 0, self._sequence), sequence=self._sequence, user_id=request.user_id, user=1,
            market_id=market.market_id, side=request.side, type=request.type, time_in_force=request.time_in_force,
            stp=request.stp, status=OrderStatus.OPEN, client_order_id=request.client_order_id,
            institution_id=request.institution_id, price=request.price, quantity=request.quantity,
            stop_price=request.stop_price, display=request.display_quantity, created_us=now, updated_us=now,
            expires_us=request.expires_us,
        )  # fmt: skip
        self.orders[order.order_id] = order
        placed = Placed(order, self._cross(order, market, now))
        if request.client_order_id:
            self._by_client[key] = placed
        return placed

    def _cross(self, taker: Order, market: Market, now: int) -> list[Trade]:
        for maker in self.orders.values():
            meets = maker.market_id == taker.market_id and maker.price == taker.price
            if not (meets and maker.side is not taker.side and maker.status is OrderStatus.OPEN):
                continue
            buyer, seller = (taker, maker) if taker.side is Side.BUY else (maker, taker)
            notional = taker.price * taker.quantity // UNIT
            trade = Trade(
                trade_id=trade_uuid(now, taker.sequence, 0), sequence=len(self.trades) + 1,
                market_id=market.market_id, price=taker.price, quantity=taker.quantity, notional=notional,
                buyer_order_id=buyer.order_id, seller_order_id=seller.order_id, buyer_user_id=buyer.user_id,
                seller_user_id=seller.user_id, buyer_fee=200, seller_fee=100, buyer_fee_asset=market.quote,
                seller_fee_asset=market.quote, is_buyer_maker=buyer is maker, executed_us=now,
            )  # fmt: skip
            for order in (taker, maker):
                order.filled, order.filled_notional = order.quantity, notional
                order.status, order.filled_us = OrderStatus.FILLED, now
            self.trades.append(trade)
            return [trade]
        return []

    async def cancel(self, order_id: str, user_id: str | None) -> Order:
        """End an order; again, the same answer."""
        order = await self.order(order_id, user_id)
        if order.status is OrderStatus.FILLED:
            raise Refused("ORDER_NOT_CANCELLABLE", "the order has ended", status=order.status.name)
        order.status, order.reason = OrderStatus.CANCELLED, Reason.USER_REQUEST
        order.cancelled_us = order.cancelled_us or START_US
        return order

    async def amend(self, order_id: str, user_id: str | None, change: Amendment) -> Placed:
        """Change what is given."""
        order = await self.order(order_id, user_id)
        order.quantity = change.quantity or order.quantity
        order.price = change.price or order.price
        return Placed(order, [])

    async def cancel_all(self, user_id: str | None, symbol: str | None) -> int:
        """End all that are open."""
        chosen = self.markets[symbol].market_id if symbol else None
        ended = [
            order.order_id
            for order in self.orders.values()
            if user_id in (None, order.user_id) and order.status.is_open and chosen in (None, order.market_id)
        ]
        for order_id in ended:
            await self.cancel(order_id, user_id)
        return len(ended)

    async def order(self, order_id: str, user_id: str | None) -> Order:
        """One order of the user's."""
        await self._meet_trouble()
        order = self.orders.get(order_id)
        if order is None or (user_id is not None and order.user_id != user_id):
            raise NotFound("ORDER_NOT_FOUND", "there is no such order", field="order_id", provided=order_id)
        return order

    @property
    def committed_us(self) -> int:
        """When all this happens."""
        return START_US

    def is_live(self, order_id: str) -> bool:
        """Whether it is open."""
        return order_id in self.orders and self.orders[order_id].status.is_open

    def view(self, symbol: str) -> MarketView:
        """A market where nothing happened: streams are tested on the real engine."""
        return MarketView(self.markets[symbol])

    def depth(self, symbol: str, levels: int) -> DepthView:
        """Every open order a level of its own."""
        market_id = self.markets[symbol].market_id
        rows = [o for o in self.orders.values() if o.market_id == market_id and o.status is OrderStatus.OPEN]
        bids = sorted(((o.price, o.quantity, 1) for o in rows if o.side is Side.BUY), reverse=True)
        asks = sorted((o.price, o.quantity, 1) for o in rows if o.side is Side.SELL)
        return DepthView(bids[:levels], asks[:levels], self._sequence)

    def ticker(self, symbol: str) -> TickerView:
        """The last trade's price, everywhere."""
        market_id = self.markets[symbol].market_id
        last = next((trade for trade in reversed(self.trades) if trade.market_id == market_id), None)
        if last is None:
            return TickerView(0, 0, 0, 0, 0, 0, 0, 0, 0)
        price = last.price
        return TickerView(price, price * 2, price * 2, price, last.quantity, last.notional, 1, 0, 0)

    async def candles(self, symbol: str, interval: str, start_us: int, end_us: int, limit: int) -> CandlesView:
        """Every trade a part; nothing is stored."""
        fold = Candles()
        market_id = self.markets[symbol].market_id
        for t in self.trades:
            if t.market_id == market_id:
                fold.fold(
                    Candle(t.executed_us, t.price, t.price, t.price, t.price, t.quantity, t.notional, 1, t.sequence)
                )
        return CandlesView(fold.between(interval, start_us, end_us, limit), START_US)

    async def list_market(self, market: Market) -> Market:
        """Keep it."""
        if market.symbol in self.markets:
            raise Refused("MARKET_EXISTS", "the market is listed already", field="symbol", provided=market.symbol)
        listed = msgspec.structs.replace(market, market_id=len(self.markets) + 1)
        self.markets[market.symbol] = listed
        return listed

    async def change_market(self, symbol: str, **terms: Any) -> Market:
        """Change what is given, but its scales."""
        if "tick_size" in terms:
            raise Refused("MARKET_FIXED", "tick_size of a market cannot be changed", field="tick_size")
        self.markets[symbol] = msgspec.structs.replace(self.markets[symbol], **terms)
        return self.markets[symbol]

    async def set_market_state(self, symbol: str, state: MarketState) -> None:
        """Keep it."""
        await self._meet_trouble()
        self.markets[symbol] = msgspec.structs.replace(self.markets[symbol], state=state)

    def status(self) -> EngineStatus:
        """How many orders there are."""
        markets = [MarketStatus(market.symbol, market.state, 0) for market in self.markets.values()]
        live = sum(order.status.is_open for order in self.orders.values())
        return EngineStatus(None, 1, self._sequence, 0, 1, live, markets)

    def condition(self) -> dict[str, str]:
        """What the test says."""
        return dict(self.parts)

    async def _meet_trouble(self) -> None:
        if self.delay_s:
            await asyncio.sleep(self.delay_s)
        if self.failure is not None:
            raise self.failure
