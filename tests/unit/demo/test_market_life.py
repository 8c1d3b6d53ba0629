"""The demo's markets on the engine in memory: they live, and leave those alone who try the engine out."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import pytest

from tests.harness.engine import MemoryVenue, memory_venue
from trade_engine.demo import market_life
from trade_engine.demo.market_life import MarketLife
from trade_engine.demo.one_market import ASIDE_S
from trade_engine.demo.users import MAKER, TAKERS, fund
from trade_engine.domain.enums import MarketState, OrderStatus
from trade_engine.domain.scale import parse_units

BTC = "BTC/USDT"


class Lively:
    """A venue whose markets are stepped by hand."""

    def __init__(self, venue: MemoryVenue, **more: Any) -> None:
        self.venue = venue
        self.now_s = 1_000.0
        engine = venue.engine
        self.life = MarketLife(
            venue.markets, engine.trading, engine.reader, engine.operations, now_s=lambda: self.now_s, **more
        )
        engine.publisher.add("demo", self.life)
        self.markets = {market.market.symbol: market for market in self.life._markets.values()}

    async def step(self, symbol: str = BTC, count: int = 1, take: bool | None = True) -> None:
        for _ in range(count):
            await self.markets[symbol].step(take=take)
            await self.venue.settle()

    def book(self, symbol: str = BTC) -> tuple[int, int]:
        depth = self.venue.engine.reader.depth(symbol, 1)
        return depth.bids[0][0], depth.asks[0][0]

    def trades(self) -> list[Any]:
        return list(self.venue.store.database.trades.values())


@contextlib.asynccontextmanager
async def lively(**more: Any) -> AsyncIterator[Lively]:
    async with memory_venue() as venue:
        await fund(venue.wallet, venue.markets, market_maker=True)
        yield Lively(venue, **more)


async def test_every_market_has_a_book_and_trades_after_a_step() -> None:
    async with lively() as live:
        for symbol in live.markets:
            await live.step(symbol)
            depth = live.venue.engine.reader.depth(symbol, 20)
            assert (len(depth.bids), len(depth.asks)) in ((8, 8), (7, 8), (8, 7)), symbol
        assert {trade.market_id for trade in live.trades()} == {market.market_id for market in live.venue.markets}
        assert {trade.buyer_user_id for trade in live.trades()} <= {MAKER, *TAKERS}


async def test_one_seed_one_course() -> None:
    courses = []
    for seed in (1, 1, 2):
        async with lively(seed=seed) as live:
            await live.step("ETH/USDT", 10)
            courses.append([(trade.price, trade.quantity) for trade in live.trades()])
    assert courses[0] == courses[1] != courses[2]


async def test_the_first_order_of_the_guide_meets_nobody_else() -> None:
    async with lively() as live:
        alice, bob = await live.venue.trader(BTC="10"), await live.venue.trader(USDT="1000000")
        await live.step(count=100)
        sold = await live.venue.sell(alice, "0.1", "50000")
        assert sold.order.status is OrderStatus.OPEN
        live.now_s += ASIDE_S + 1
        before = len(live.trades())
        await live.step(count=200)
        assert len(live.trades()) > before, "takers trade where the market maker alone is best"
        bought = await live.venue.buy(bob, "0.1", "50000")
        assert bought.order.status is OrderStatus.FILLED
        assert bought.trades[0].seller_user_id == alice


async def test_takers_stand_aside_for_a_while_after_an_order_of_somebody_else() -> None:
    async with lively() as live:
        alice = await live.venue.trader(USDT="1000000")
        await live.step()
        await live.venue.buy(alice, "0.1", "40000")
        count = len(live.trades())
        await live.step(count=20)
        assert len(live.trades()) == count
        await live.step("ETH/USDT")
        assert len(live.trades()) == count + 1, "elsewhere they go on"
        live.now_s += ASIDE_S
        await live.step()
        assert len(live.trades()) == count + 2


async def test_the_market_maker_trades_where_his_price_comes_to_somebody_s_order() -> None:
    async with lively() as live:
        alice = await live.venue.trader(ETH="10")
        await live.step("ETH/USDT", take=False)
        _, ask = live.book("ETH/USDT")
        sold = await live.venue.sell(alice, "0.5", str(ask // 100_000_000), symbol="ETH/USDT")
        for _ in range(3_000):
            await live.step("ETH/USDT", take=False)
            if live.trades():
                break
        assert live.trades()[0].seller_order_id == sold.order.order_id
        assert (
            live.markets["ETH/USDT"].inventory == live.trades()[0].quantity // live.markets["ETH/USDT"].market.lot_size
        )


async def test_what_the_market_maker_holds_is_bounded() -> None:
    async with lively() as live:
        market = live.markets["SOL/USDT"]
        for _ in range(150):
            await live.step("SOL/USDT")
            assert abs(market.inventory) <= market._ladder.inventory_limit
        held = sum(
            trade.quantity * ((trade.buyer_user_id == MAKER) - (trade.seller_user_id == MAKER))
            for trade in live.trades()
        )
        assert market.inventory * market.market.lot_size == held


async def test_a_halted_market_is_left_alone() -> None:
    async with lively() as live:
        await live.venue.engine.operations.set_market_state(BTC, MarketState.HALTED)
        await live.step(count=5)
        assert live.venue.engine.operations.status().live_orders == 0


async def test_prices_follow_a_recorded_flow() -> None:
    prices = [parse_units(text) for text in ("200", "202", "204", "206", "208", "210")]
    async with lively(recorded=prices) as live:
        await live.step(count=3, take=False)
        bid, ask = live.book()
        assert bid < parse_units("51500") < ask, "three per cent up, as in the flow"
        assert bid > parse_units("50010"), "nothing is left free"


async def test_it_comes_to_rest_and_leaves_nothing_in_the_books(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(market_life, "_PAUSE_S", 0.0)
    monkeypatch.setattr(market_life, "COMMANDS_MAX", 400)
    async with lively() as live:
        operations = live.venue.engine.operations
        running = asyncio.create_task(live.life.run())
        async with asyncio.timeout(60):
            while operations.status().sequence < 400 or operations.status().live_orders:
                await asyncio.sleep(0.01)
        orders = len(live.venue.store.database.orders)
        assert orders < 400
        await asyncio.sleep(0.1)
        assert (len(live.venue.store.database.orders), operations.status().live_orders) == (orders, 0)
        assert not running.done()
        running.cancel()
        await live.life.stop()
