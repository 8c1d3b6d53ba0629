"""The real engine without a database: on the store in memory, the wallet in memory, and a clock that the test moves."""

import contextlib
import uuid
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any

from trade_engine.domain.enums import OrderType, Side
from trade_engine.domain.market import Market, default_markets
from trade_engine.domain.orders import PlaceOrder, Trade
from trade_engine.domain.scale import UNIT, parse_units
from trade_engine.matching.books import new_book
from trade_engine.ops.supervisor import Supervised, Supervisor
from trade_engine.sequencer.clock import Clock
from trade_engine.sequencer.engine import Engine, EngineSettings, Work
from trade_engine.sequencer.failpoints import Failpoints
from trade_engine.sequencer.ports import Placed
from trade_engine.sequencer.store.memory import MemoryDatabase, MemoryStore
from trade_engine.settlement.comparison import Excess
from trade_engine.settlement.instructions import release_operation
from trade_engine.wallet.memory import MemoryWallet
from trade_engine.wallet.port import Release, SettleTrade, buyer_need, seller_need

START_US = 1_767_225_600_000_000
PLENTY = 1_000_000 * UNIT


class MemoryVenue:
    """A running engine, and what it stands on."""

    def __init__(
        self,
        database: MemoryDatabase | None = None,
        wallet: MemoryWallet | None = None,
        markets: Sequence[Market] | None = None,
        settings: EngineSettings | None = None,
        book: str = "auto",
    ) -> None:
        self.store = MemoryStore(database, timeout_s=0.2)
        self.wallet = wallet or MemoryWallet()
        self.now_us = START_US
        self.clock = Clock(self._tick)
        self.failpoints = Failpoints()
        self.supervisor = Supervisor()
        #: Why the engine had to end, and whether it was superseded.
        self.ended: list[tuple[str, bool]] = []
        self.markets = tuple(markets or default_markets())
        self.engine = Engine(
            self.store,
            self.wallet,
            self.clock,
            self.markets,
            lambda market_id: new_book(market_id, book),  # type: ignore[arg-type]
            self.failpoints,
            settings or EngineSettings(),
            earlier_excess=self._earlier_excess,
            excess=self.excess,
            unwell=self.supervisor.condition,
            on_doubt=lambda why: self.ended.append((why, True)),
            end_engine=lambda why: self.ended.append((why, False)),
        )
        self.trading = self.engine.trading
        self.sequencer = self.engine.sequencer

    def _tick(self) -> int:
        self.now_us += 1
        return self.now_us

    def run(self, name: str, work: Work, *, stuck_after_s: float | None = None) -> Supervised:
        """Run a task under the venue's supervisor."""
        return self.supervisor.start(name, work, stuck_after_s=stuck_after_s)

    async def start(self) -> None:
        """Become the writer, and start the engine."""
        self.store.seize()
        await self.engine.start(self.run)

    async def stop(self) -> None:
        """Stop it."""
        await self.engine.stop()
        await self.supervisor.stop()

    # ---- traders

    async def trader(self, **funds: str) -> str:
        """A new user with these funds (asset=amount)."""
        user_id = str(uuid.uuid4())
        for asset, amount in funds.items():
            assert (await self.wallet.deposit(user_id, asset, parse_units(amount), str(uuid.uuid4()))).ok
        return user_id

    async def place(
        self, user_id: str, side: Side, quantity: str, price: str | None, symbol: str = "BTC/USDT", **more: Any
    ) -> Placed:
        """Place an order."""
        kind = more.pop("type", OrderType.MARKET if price is None else OrderType.LIMIT)
        given = PlaceOrder(
            user_id=user_id,
            symbol=symbol,
            side=side,
            type=kind,
            quantity=parse_units(quantity),
            price=parse_units(price) if price is not None else 0,
            **more,
        )
        return await self.trading.place(given)

    async def buy(self, user_id: str, quantity: str, price: str | None, **more: Any) -> Placed:
        """Place a BUY."""
        return await self.place(user_id, Side.BUY, quantity, price, **more)

    async def sell(self, user_id: str, quantity: str, price: str | None, **more: Any) -> Placed:
        """Place a SELL."""
        return await self.place(user_id, Side.SELL, quantity, price, **more)

    async def reserved(self, user_id: str, asset: str) -> int:
        """What a user has reserved, once everything instructed is carried out."""
        await self.settle()
        return next((row.reserved for row in await self.wallet.balances(user_id) if row.asset == asset), 0)

    # ---- what settlement does

    def _funding(self, order_id: str) -> str:
        """The order whose reservation pays for an order."""
        pair = self.store.database.pairs.get(order_id)
        return order_id if pair is None else pair.first_order_id

    def _trade(self, trade: Trade) -> SettleTrade:
        market = self.store.database.markets[trade.market_id].market
        return SettleTrade(
            trade.trade_id, trade.buyer_user_id, trade.seller_user_id, market.base, market.quote, trade.quantity,
            trade.notional, trade.price, trade.buyer_fee, trade.seller_fee, trade.buyer_fee_asset,
            trade.seller_fee_asset, self._funding(trade.buyer_order_id), self._funding(trade.seller_order_id),
        )  # fmt: skip

    async def settle(self) -> None:
        """Carry out every instruction; each must be taken."""
        for number, item in sorted(self.store.database.instructions.items()):
            if item.kind == "SETTLE":
                assert item.trade_id is not None
                (outcome,) = await self.wallet.settle_many([self._trade(self.store.database.trades[item.trade_id])])
            else:
                assert item.order_id is not None
                assert item.user_id is not None
                assert item.asset is not None
                operation = release_operation(item.order_id, number)
                (outcome,) = await self.wallet.release_many(
                    [Release(item.order_id, item.user_id, item.asset, item.amount, operation, item.reason)]
                )
            assert outcome.ok, (item, outcome)
            self.store.database.instructions.pop(number, None)

    async def excess(self) -> list[Excess]:
        """What reservations hold beyond what the engine needs."""
        tables = self.store.database
        needed: Counter[str] = Counter()
        for order in tables.orders.values():
            needed[self._funding(order.order_id)] += order.hold if order.status.is_open else 0
        waived = set()
        for item in tables.instructions.values():
            if item.kind == "SETTLE":
                work = self._trade(tables.trades[str(item.trade_id)])
                for order_id, amount in (
                    (work.buyer_order_id, buyer_need(work)),
                    (work.seller_order_id, seller_need(work)),
                ):
                    needed[order_id] += amount
            elif item.amount is None:
                waived.add(item.order_id)
            else:
                needed[str(item.order_id)] += item.amount
        return [
            Excess(held, needed[held.order_id], held.order_id in tables.orders)
            for held in await self.wallet.reservations_after("", 1 << 30)
            if held.order_id not in waived and held.remaining > needed[held.order_id]
        ]

    async def _earlier_excess(self, epoch: int) -> list[Release]:
        return [
            Release(
                held.order_id, held.user_id, held.asset,
                held.remaining - needed if placed or needed else None, held.order_id, "orphaned",
            )
            for held, needed, placed in await self.excess()
            if held.epoch < epoch
        ]  # fmt: skip


@contextlib.asynccontextmanager
async def memory_venue(
    prepare: Callable[[MemoryVenue], None] | None = None, **terms: Any
) -> AsyncIterator[MemoryVenue]:
    """A venue that is running."""
    venue = MemoryVenue(**terms)
    if prepare is not None:
        prepare(venue)
    await venue.start()
    try:
        yield venue
    finally:
        await venue.stop()
