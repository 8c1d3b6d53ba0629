"""One market of a demo: quotes that follow a path, and takers who trade with them and with nobody else.

People who try the engine out trade beside it.  A taker takes only where the market maker alone is best, so no order of
theirs is traded away; in a market where one of them has just placed an order takers stand aside, so that what he sees
next is his own.  The market maker does trade with them, as with anybody, where his price comes to theirs.
"""

import asyncio
from collections.abc import Callable
from random import Random
from typing import Final, NamedTuple

from trade_engine.demo.paths import Path
from trade_engine.demo.users import MAKER, TAKERS
from trade_engine.domain.enums import MarketState, OrderType, Side, TimeInForce
from trade_engine.domain.errors import EngineError
from trade_engine.domain.market import Market
from trade_engine.domain.orders import PlaceOrder
from trade_engine.domain.scale import ceil_div
from trade_engine.market_maker.ladder import Free, LadderTerms, Quote, changes, ladder
from trade_engine.sequencer.ports import MarketReader, Trading

#: How long takers stand aside after an order of somebody else.
ASIDE_S: Final = 30.0
_TAKE: Final = 0.6
_PPM: Final = 1_000_000


class DemoTerms(NamedTuple):
    """How a market of the demo begins; prices in units of 1e-8."""

    #: What the base is worth in the beginning.
    price: int
    #: Between the levels, and from the fair price to the best; parts per million of the price.
    gap_ppm: int = 200
    levels: int = 8
    #: What a level is worth, in the quote asset; units of 1e-8.
    level_value: int = 0
    #: Prices that the market maker keeps out of.
    free: tuple[int, int] | None = None


class DemoMarket:
    """One market that lives; ``step`` it."""

    def __init__(
        self,
        market: Market,
        terms: DemoTerms,
        trading: Trading,
        reader: MarketReader,
        path: Path,
        random: Random,
        now_s: Callable[[], float],
    ) -> None:
        self.market = market
        self._trading = trading
        self._reader = reader
        self._path = path
        self._random = random
        self._now_s = now_s
        self._price = terms.price // market.tick_size
        self._least_lots = max(
            market.min_quantity // market.lot_size,
            # What is worth the least notional at a third of the price, at most.
            ceil_div(3 * market.min_notional_ticks, self._price),
        )
        lots = max(3 * self._least_lots, terms.level_value // market.notional_unit // self._price)
        gap = max(1, self._price * terms.gap_ppm // _PPM)
        self._ladder = LadderTerms(gap, gap, terms.levels, lots, 3 * terms.levels * lots)
        self._free = terms.free and Free(terms.free[0] // market.tick_size, terms.free[1] // market.tick_size)
        self._live: dict[str, Quote] = {}
        self._others_s = float("-inf")
        #: What the market maker holds more than in the beginning; lots.
        self.inventory = 0

    def others_came(self) -> None:
        """Somebody else has placed an order here."""
        self._others_s = self._now_s()

    async def step(self, *, take: bool | None = None) -> None:
        """Follow the path by one step, and let a taker trade: always, never or (None) sometimes.

        Raises:
            EngineError: the engine does not take it now.
        """
        if self._reader.markets[self.market.symbol].state is not MarketState.OPEN:
            return
        fair = max(1, self._price * self._path.step() // _PPM)
        await self._quote(fair)
        if self._random.random() < _TAKE if take is None else take:
            await self._take()

    async def _quote(self, fair: int) -> None:
        self._live = {number: quote for number, quote in self._live.items() if self._trading.is_live(number)}
        wanted = ladder(fair, self.inventory, self._ladder, self._free, self._least_lots)
        stale, missing = changes(self._live, wanted)
        await asyncio.gather(*map(self._cancel, stale))
        await asyncio.gather(*map(self._rest, missing))

    async def _cancel(self, order_id: str) -> None:
        self._live.pop(order_id, None)
        try:
            await self._trading.cancel(order_id, MAKER)
        except EngineError as error:
            if error.code != "ORDER_NOT_CANCELLABLE":
                raise

    async def _rest(self, quote: Quote) -> None:
        placed = await self._trading.place(self._order(MAKER, quote, TimeInForce.GTC))
        if placed.order.status.is_open:
            self._live[placed.order.order_id] = quote

    async def _take(self) -> None:
        if self._now_s() - self._others_s < ASIDE_S:
            return
        # Who holds much sells more often than he buys, and the other way round.
        lean = self.inventory / (2 * self._ladder.inventory_limit)
        side = Side.BUY if self._random.random() < 0.5 + lean else Side.SELL
        best = self._best_of_maker(side)
        if best is None:
            return
        price, most = best
        lots = max(self._least_lots, round(most * self._random.uniform(0.05, 0.6)))
        quote = Quote(side, price, lots)
        await self._trading.place(self._order(self._random.choice(TAKERS), quote, TimeInForce.IOC))

    def _best_of_maker(self, side: Side) -> tuple[int, int] | None:
        """Price and lots of what a taker of a side meets, if all of it is the market maker's."""
        depth = self._reader.depth(self.market.symbol, 1)
        levels = depth.asks if side is Side.BUY else depth.bids
        if not levels:
            return None
        price, quantity, orders = levels[0]
        ticks = price // self.market.tick_size
        own = sum(quote.side is not side and quote.price == ticks for quote in self._live.values())
        return (ticks, quantity // self.market.lot_size) if own == orders else None

    def _order(self, user_id: str, quote: Quote, time_in_force: TimeInForce) -> PlaceOrder:
        return PlaceOrder(
            user_id=user_id,
            symbol=self.market.symbol,
            side=quote.side,
            type=OrderType.LIMIT,
            quantity=quote.lots * self.market.lot_size,
            price=quote.price * self.market.tick_size,
            time_in_force=time_in_force,
        )
