"""The store in memory: it keeps the port's promises and the tables' checks, and can be made to fail.

For tests and simulation: no I/O, nothing outlives the process.  Several stores on one ``MemoryDatabase`` are several
engines on one database.
"""

import asyncio
import enum
from collections import deque
from collections.abc import Iterable, Sequence
from typing import Final

import msgspec

from trade_engine.domain.ids import uuid7_floor
from trade_engine.domain.market import Market
from trade_engine.domain.orders import Order, OrderPair, Trade
from trade_engine.marketdata.candles import MINUTE_US, Candle
from trade_engine.matching.protocol import MarketMemory
from trade_engine.sequencer.bookkeeping import WalletInstruction
from trade_engine.sequencer.journal import JournalBatch
from trade_engine.sequencer.publish import CommittedBatch
from trade_engine.sequencer.store.checks import broken_check, is_text
from trade_engine.sequencer.store.port import (
    CandleRow,
    CommitRefused,
    CommitUnknown,
    EngineState,
    Fenced,
    StoredMarket,
    StoreUnavailable,
    SymbolTaken,
    Unstorable,
)
from trade_engine.storage.errors import RecoveryError

#: Calls over the writer's own connection.
_WRITERS: Final = ("take_over", "markets", "traders", "open_orders", "commit")
_START: Final = EngineState(0, 0, 0, 0, 0, b"", bytes(16), 1)


class Fault(enum.Enum):
    """What a call may suffer."""

    #: The commit is refused, as by a check of a table.
    REFUSED = "refused"
    #: The connection is lost before the call had its effect, or (a commit's) after.
    LOST_BEFORE = "lost before"
    LOST_AFTER = "lost after"
    #: No answer, until ``MemoryStore.go_on`` or until time is up.
    HANGS = "hangs"


class MemoryDatabase:
    """The tables."""

    def __init__(self) -> None:
        self.state = _START
        #: Who writes.
        self.writer: MemoryStore | None = None
        self.markets: dict[int, StoredMarket] = {}
        #: Markets that were listed or changed while running.
        self.managed: set[int] = set()
        self.traders: dict[str, int] = {}
        self.orders: dict[str, Order] = {}
        self.client_orders: dict[tuple[str, str], str] = {}
        self.trades: dict[str, Trade] = {}
        #: By the id of each leg.
        self.pairs: dict[str, OrderPair] = {}
        self.instructions: dict[int, WalletInstruction] = {}
        self.journal: list[JournalBatch] = []
        self.candles: dict[tuple[int, str, int], Candle] = {}


class MemoryStore:
    """Keeps ``port.Store``.

    Args:
        timeout_s: how long a call that hangs takes before it fails.
    """

    def __init__(self, database: MemoryDatabase | None = None, timeout_s: float = 1.0) -> None:
        self.database = database or MemoryDatabase()
        self.epoch = 0
        self.connected = False
        #: Whether a commit was tried under this epoch.
        self._used = False
        #: While set, nothing answers.
        self.away = False
        self._timeout_s = timeout_s
        self._faults: dict[str, deque[Fault | BaseException | None]] = {}
        self._going = asyncio.Event()

    # ---- mischief

    def plan(self, call: str, *faults: Fault | BaseException | None) -> None:
        """Have the next calls of that name suffer these, one each; None is no fault."""
        self._faults.setdefault(call, deque()).extend(faults)

    def go_on(self) -> None:
        """Let what hangs go on."""
        self._going.set()

    async def _suffer(self, call: str) -> Fault | None:
        """What is planned for a call; raises what befalls it before its effect."""
        await asyncio.sleep(0)
        planned = self._faults.get(call)
        fault = planned.popleft() if planned else None
        lost: type[CommitUnknown | StoreUnavailable] = CommitUnknown if call == "commit" else StoreUnavailable
        if isinstance(fault, BaseException):
            raise fault
        if self.away or fault is Fault.LOST_BEFORE:
            self.connected = self.connected and call not in _WRITERS
            raise lost("the connection is lost")
        if fault is Fault.REFUSED:
            raise CommitRefused("planned")
        if fault is Fault.HANGS:
            self._going.clear()
            try:
                async with asyncio.timeout(self._timeout_s):
                    await self._going.wait()
            except TimeoutError as error:
                raise lost("no answer in time") from error
        return fault

    # ---- the writer's

    def seize(self) -> None:
        """Become the writer, whoever was it before."""
        self.database.writer = self
        self._used = True
        self._begin()

    async def take_over(self) -> EngineState:
        """Become the writer anew."""
        await self._suffer("take_over")
        if self.database.writer is not self:
            raise Fenced(f"this engine may not write after epoch {self.epoch}")
        self._begin()
        return self.database.state

    def _begin(self) -> None:
        """The epoch is bumped, but for a writer anew that has tried no commit under its own."""
        state = self.database.state
        self.database.state = state._replace(epoch=state.epoch + int(self._used))
        self.epoch, self.connected, self._used = self.database.state.epoch, True, False

    async def markets(self, configured: Sequence[Market]) -> list[StoredMarket]:
        """All markets, those of the configuration listed."""
        await self._suffer("markets")
        known = {stored.market.symbol: stored for stored in self.database.markets.values()}
        for market in configured:
            stored = known.get(market.symbol)
            if stored is None:
                self._list(market)
                continue
            if (stored.market.tick_size, stored.market.lot_size) != (market.tick_size, market.lot_size):
                raise RecoveryError(f"matching.markets {market.symbol}: tick_size and lot_size cannot be changed")
            number = stored.market.market_id
            if number not in self.database.managed:
                named = msgspec.structs.replace(market, market_id=number, state=stored.market.state)
                self.database.markets[number] = stored._replace(market=named)
        return list(self.database.markets.values())

    def _list(self, market: Market) -> Market:
        number = max(self.database.markets, default=0) + 1
        listed = msgspec.structs.replace(market, market_id=number)
        remembered = MarketMemory(0, market.state, 0, 0, 0, 0, 0, 0)
        self.database.markets[number] = StoredMarket(listed, 0, remembered)
        return listed

    async def traders(self) -> dict[str, int]:
        """The numbers of all traders."""
        await self._suffer("traders")
        return dict(self.database.traders)

    async def open_orders(self, market_id: int, traders: dict[str, int]) -> list[Order]:
        """The open orders of a market, in ascending priority."""
        await self._suffer("open_orders")
        found = [o for o in self.database.orders.values() if o.market_id == market_id and o.status.is_open]
        found.sort(key=lambda order: order.priority)
        return [msgspec.structs.replace(order, user=traders[order.user_id]) for order in found]

    async def commit(self, batch: CommittedBatch) -> None:
        """Write one batch."""
        if not self.connected:
            raise StoreUnavailable("the connection is closed")
        self._used = True
        fault = await self._suffer("commit")
        tables, state = self.database, self.database.state
        if (state.epoch, state.sequence) != (self.epoch, batch.previous_sequence):
            raise Fenced(f"another writer took over from epoch {self.epoch}")
        self._check(batch)
        for order in batch.orders:
            tables.orders[order.order_id] = order
            if order.sequence in batch.new and order.client_order_id is not None:
                tables.client_orders[order.user_id, order.client_order_id] = order.order_id
        tables.trades.update((trade.trade_id, trade) for trade in batch.trades)
        for pair in batch.pairs:
            tables.pairs[pair.first_order_id] = tables.pairs[pair.second_order_id] = pair
        tables.instructions.update(enumerate(batch.instructions, batch.instruction_id + 1))
        tables.journal.append(batch.journal)
        for touched in batch.markets:
            number = touched.market.market_id
            remembered = touched.remembered
            market = msgspec.structs.replace(tables.markets[number].market, state=touched.market.state)
            tables.markets[number] = StoredMarket(market, touched.event_sequence, remembered)
        tables.state = EngineState(
            state.epoch,
            batch.journal.last_sequence,
            batch.trade_sequence,
            batch.instruction_id + len(batch.instructions),
            batch.time_us,
            batch.journal.hash,
            batch.journal.state_hash,
            state.facts_since,
        )
        if fault is Fault.LOST_AFTER:
            self.connected = False
            raise CommitUnknown("the connection is lost")

    def _check(self, batch: CommittedBatch) -> None:
        """What the tables would refuse.

        Raises:
            CommitRefused: says which check.
        """
        tables = self.database
        seen: set[str] = set()
        clients: set[tuple[str, str]] = set()
        for order in batch.orders:
            known = tables.orders.get(order.order_id)
            if order.sequence in batch.new:
                client = (order.user_id, order.client_order_id or "")
                if known is not None or order.order_id in seen:
                    raise CommitRefused(f"orders_pkey: {order.order_id}")
                if order.client_order_id is not None and (client in clients or self._is_taken(client, order)):
                    raise CommitRefused(f"client_orders_pkey: {client}")
                clients.add(client)
            elif known is None or not known.status.is_open:
                raise CommitRefused(f"commit: open order expected: {order.order_id}")
            seen.add(order.order_id)
        orders = tables.orders.keys() | seen
        for trade in batch.trades:
            if trade.trade_id in tables.trades or not {trade.buyer_order_id, trade.seller_order_id} <= orders:
                raise CommitRefused(f"trades: {trade.trade_id} is there already, or one of its orders is not")
        first = batch.instruction_id + 1
        taken = tables.instructions.keys() & set(range(first, first + len(batch.instructions)))
        if taken:
            raise CommitRefused(f"settlement_instructions_pkey: {sorted(taken)}")
        broken = broken_check(batch, tables.markets.keys())
        if broken is not None:
            raise CommitRefused(broken)

    def _is_taken(self, client: tuple[str, str], order: Order) -> bool:
        """Whether a client order id is an earlier order's, and may not be this one's."""
        earlier = self.database.client_orders.get(client)
        return earlier is not None and (not order.reuses_id or self.database.orders[earlier].status.is_open)

    async def close(self) -> None:
        """Let the writer's connection go."""
        self.connected = False

    # ---- anybody's

    async def find_client_orders(self, keys: Sequence[tuple[str, str]]) -> dict[tuple[str, str], str]:
        """Which client order ids are taken."""
        await self._suffer("find_client_orders")
        for key in keys:
            if not is_text(key[1]):
                raise Unstorable(repr(key))
        taken = self.database.client_orders
        return {key: taken[key] for key in keys if key in taken}

    async def number_traders(self, user_ids: Sequence[str]) -> dict[str, int]:
        """The traders' numbers in the core."""
        await self._suffer("number_traders")
        traders = self.database.traders
        return {user_id: traders.setdefault(user_id, len(traders) + 1) for user_id in user_ids}

    async def find_order(self, order_id: str) -> Order | None:
        """One committed order."""
        await self._suffer("find_order")
        order = self.database.orders.get(order_id)
        return None if order is None else msgspec.structs.replace(order, user=0)

    async def find_pair(self, order_id: str) -> OrderPair | None:
        """The pair that a committed order is a leg of."""
        await self._suffer("find_pair")
        return self.database.pairs.get(order_id)

    async def trades_of_taker(self, order: Order) -> list[Trade]:
        """The trades an order made when it came in."""
        await self._suffer("trades_of_taker")
        return [
            trade
            for trade in self.database.trades.values()
            if order.order_id == (trade.seller_order_id if trade.is_buyer_maker else trade.buyer_order_id)
        ]

    async def insert_market(self, market: Market, *, managed: bool = True) -> Market:
        """List a market while running."""
        await self._suffer("insert_market")
        if any(stored.market.symbol == market.symbol for stored in self.database.markets.values()):
            raise SymbolTaken(market.symbol)
        listed = self._list(market)
        if managed:
            self.database.managed.add(listed.market_id)
        return listed

    async def update_market(self, market: Market, *, managed: bool = True) -> None:
        """Let a market have other terms."""
        await self._suffer("update_market")
        stored = self.database.markets[market.market_id]
        kept = msgspec.structs.replace(market, state=stored.market.state)
        self.database.markets[market.market_id] = stored._replace(market=kept)
        if managed:
            self.database.managed.add(market.market_id)

    async def managed_markets(self) -> set[str]:
        """The symbols of the markets that the store speaks for."""
        return {self.database.markets[number].market.symbol for number in self.database.managed}

    async def placed_of(self, order_ids: Sequence[str]) -> set[str]:
        """Which of these orders are stored."""
        await self._suffer("placed_of")
        return self.database.orders.keys() & set(order_ids)

    # ---- candles

    async def candles_since(self, start_us: int) -> list[CandleRow]:
        """Stored candles from a time on, and the newest of each."""
        await self._suffer("candles_since")
        newest: dict[tuple[int, str], int] = {}
        for number, interval, begun_us in sorted(self.database.candles):
            newest[number, interval] = begun_us
        return [
            (number, interval, candle)
            for (number, interval, begun_us), candle in sorted(self.database.candles.items())
            if begun_us >= start_us or newest[number, interval] == begun_us
        ]

    async def traded_minutes(self, start_us: int, after: int, limit: int) -> list[CandleRow]:
        """What later trades add to each minute."""
        await self._suffer("traded_minutes")
        floor = uuid7_floor(start_us)
        trades = sorted(
            (t for t in self.database.trades.values() if t.sequence > after and t.trade_id >= floor),
            key=lambda trade: trade.trade_id,
        )[:limit]
        minutes: dict[tuple[int, int], Candle] = {}
        for t in trades:
            begun_us = t.executed_us - t.executed_us % MINUTE_US
            minute = minutes.setdefault(
                (begun_us, t.market_id), Candle(begun_us, t.price, t.price, t.price, t.price, 0, 0, 0, 0)
            )
            minute.high, minute.low = max(minute.high, t.price), min(minute.low, t.price)
            minute.close, minute.last_sequence = t.price, t.sequence
            minute.volume += t.quantity
            minute.quote_volume += t.notional
            minute.trades += 1
        return [(number, "1m", minutes[begun_us, number]) for begun_us, number in sorted(minutes)]

    async def store_candles(self, rows: Iterable[CandleRow]) -> None:
        """Write whole candles."""
        await self._suffer("store_candles")
        for number, interval, candle in rows:
            key = (number, interval, candle.start_us)
            known = self.database.candles.get(key)
            if known is None or known.last_sequence < candle.last_sequence:
                self.database.candles[key] = msgspec.structs.replace(candle)

    async def candles_between(
        self, market_id: int, interval: str, start_us: int, end_us: int, limit: int
    ) -> list[Candle]:
        """The newest stored candles of a range."""
        await self._suffer("candles_between")
        found = [
            candle
            for (number, name, begun_us), candle in sorted(self.database.candles.items())
            if (number, name) == (market_id, interval) and start_us <= begun_us < end_us
        ]
        return found[-limit:] if limit else []
