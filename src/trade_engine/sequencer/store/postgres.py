"""The store in PostgreSQL: the writer's own connection for commits and recovery, the pool for everybody's questions.

A question that is not answered in time says that the database is away, and for a moment nobody else waits for it.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from typing import Final, TypeVar

import asyncpg
import msgspec

from trade_engine.domain.enums import MarketState
from trade_engine.domain.market import Market
from trade_engine.domain.orders import Order, OrderPair, Trade
from trade_engine.marketdata.candles import Candle
from trade_engine.matching.protocol import MarketMemory
from trade_engine.sequencer.publish import CommittedBatch
from trade_engine.sequencer.store.commit import Writer
from trade_engine.sequencer.store.port import (
    CandleRow,
    EngineState,
    StoredMarket,
    StoreError,
    StoreUnavailable,
    SymbolTaken,
    Unstorable,
)
from trade_engine.storage import candles as candle_table
from trade_engine.storage.errors import RecoveryError
from trade_engine.storage.markets import insert_market, sync_markets, update_market
from trade_engine.storage.order_rows import (
    FUNDED_BY,
    ORDER_COLUMNS,
    find_client_orders,
    find_order,
    find_pair,
    live_order_from_row,
    trades_of_taker,
    units_of,
)
from trade_engine.storage.types import AnyConnection, Pool, Record

_PAGE: Final = 10_000
#: How long nobody asks a database that has not answered.
_PAUSE_S: Final = 0.5
#: Questions of a backfill, which may take their time.
_PATIENCE_S: Final = 30.0
_NUMBER_TRADERS: Final = (
    "WITH new AS (INSERT INTO traders (user_id) SELECT unnest($1::UUID[]) ON CONFLICT DO NOTHING"
    " RETURNING user_id, trader_number) SELECT user_id::TEXT, trader_number FROM new UNION"
    " SELECT user_id::TEXT, trader_number FROM traders WHERE user_id = ANY ($1::UUID[])"
)

_Answer = TypeVar("_Answer")


class PostgresStore:
    """Keeps ``port.Store``.

    Args:
        writer: the fenced connection.
        pool: for what orders need; may pass a pooler in transaction mode.
        history: for what users ask for, so that a crowd of them stops no order; None: the same.
        read_timeout_s: how long a question may take.
    """

    def __init__(self, writer: Writer, pool: Pool, history: Pool | None = None, read_timeout_s: float = 2.0) -> None:
        self._writer = writer
        self._pool = pool
        self._history = history or pool
        self._read_timeout_s = read_timeout_s
        self._away_until_s = 0.0

    @property
    def epoch(self) -> int:
        """Of this writer."""
        return self._writer.epoch

    @property
    def connected(self) -> bool:
        """Whether the writer has a connection."""
        return self._writer.connected

    # ---- the writer's

    async def take_over(self) -> EngineState:
        """Become the writer."""
        return await self._writer.take_over()

    async def markets(self, configured: Sequence[Market]) -> list[StoredMarket]:
        """All markets, those of the configuration listed."""
        async with self._recovering():
            rows = await sync_markets(self._writer.connection, configured)
        return [StoredMarket(market, row["event_sequence"], _remembered(market, row)) for market, row in rows]

    async def traders(self) -> dict[str, int]:
        """The numbers of all traders."""
        async with self._recovering():
            rows = await self._writer.connection.fetch("SELECT user_id::TEXT, trader_number FROM traders")
        return {row[0]: row[1] for row in rows}

    async def open_orders(self, market_id: int, traders: dict[str, int]) -> list[Order]:
        """The open orders of a market, in ascending priority."""
        query = (
            f"SELECT {ORDER_COLUMNS}, {FUNDED_BY} FROM orders WHERE market_id = $1 AND is_open"
            " ORDER BY priority_sequence"
        )
        async with self._recovering():
            connection = self._writer.connection
            async with connection.transaction(readonly=True):
                cursor = connection.cursor(query, market_id, prefetch=_PAGE)
                return [live_order_from_row(row, traders[row["user_id"]]) async for row in cursor]

    async def commit(self, batch: CommittedBatch) -> None:
        """Write one batch."""
        await self._writer.commit(batch)

    async def close(self) -> None:
        """Let the writer's connection go."""
        await self._writer.close()

    @asynccontextmanager
    async def _recovering(self) -> AsyncIterator[None]:
        try:
            yield
        except (StoreError, RecoveryError):
            raise
        except Exception as error:
            raise StoreUnavailable(f"recovery: {error!r}") from error

    # ---- anybody's

    async def find_client_orders(self, keys: Sequence[tuple[str, str]]) -> dict[tuple[str, str], str]:
        """Which client order ids are taken."""
        return await self._ask(lambda connection: find_client_orders(connection, keys))

    async def number_traders(self, user_ids: Sequence[str]) -> dict[str, int]:
        """The traders' numbers in the core."""
        rows = await self._ask(lambda connection: connection.fetch(_NUMBER_TRADERS, user_ids))
        return {row[0]: row[1] for row in rows}

    async def find_order(self, order_id: str) -> Order | None:
        """One committed order."""
        return await self._ask(lambda connection: find_order(connection, order_id))

    async def find_pair(self, order_id: str) -> OrderPair | None:
        """The pair that a committed order is a leg of."""
        return await self._ask(lambda connection: find_pair(connection, order_id))

    async def trades_of_taker(self, order: Order) -> list[Trade]:
        """The trades an order made when it came in."""
        return await self._ask(lambda connection: trades_of_taker(connection, order))

    async def insert_market(self, market: Market, *, managed: bool = True) -> Market:
        """List a market while running."""
        try:
            row = await self._ask(lambda connection: insert_market(connection, market, managed=managed))
        except asyncpg.UniqueViolationError as error:
            raise SymbolTaken(market.symbol) from error
        return msgspec.structs.replace(market, market_id=row["market_id"])

    async def update_market(self, market: Market, *, managed: bool = True) -> None:
        """Let a market have other terms."""
        await self._ask(lambda connection: update_market(connection, market, managed=managed))

    async def managed_markets(self) -> set[str]:
        """The symbols of the markets that the database speaks for."""
        rows = await self._ask(lambda connection: connection.fetch("SELECT symbol FROM markets WHERE managed"))
        return {row[0] for row in rows}

    async def placed_of(self, order_ids: Sequence[str]) -> set[str]:
        """Which of these orders are stored."""
        query = "SELECT order_id::TEXT FROM orders WHERE order_id = ANY ($1::UUID[])"
        rows = await self._ask(lambda connection: connection.fetch(query, order_ids))
        return {row[0] for row in rows}

    # ---- candles

    async def candles_since(self, start_us: int) -> list[CandleRow]:
        """Stored candles from a time on."""
        return await self._ask(lambda connection: candle_table.candles_since(connection, start_us), _PATIENCE_S)

    async def traded_minutes(self, start_us: int, after: int, limit: int) -> list[CandleRow]:
        """What later trades add to each minute."""
        return await self._ask(
            lambda connection: candle_table.traded_minutes(connection, start_us, after, limit), _PATIENCE_S
        )

    async def store_candles(self, rows: Iterable[CandleRow]) -> None:
        """Write whole candles."""
        await self._ask(lambda connection: candle_table.store_candles(connection, rows), _PATIENCE_S)

    async def candles_between(
        self, market_id: int, interval: str, start_us: int, end_us: int, limit: int
    ) -> list[Candle]:
        """The newest stored candles of a range."""
        return await self._ask(
            lambda connection: candle_table.candles_between(connection, market_id, interval, start_us, end_us, limit),
            pool=self._history,
        )

    async def _ask(
        self,
        question: Callable[[AnyConnection], Awaitable[_Answer]],
        timeout_s: float | None = None,
        *,
        pool: Pool | None = None,
    ) -> _Answer:
        """Ask on a connection of the pool, for so long at most.

        That another ``pool`` than that of orders has none left says nothing of the database.

        Raises:
            StoreUnavailable: there is no answer, or was none a moment ago.
            Unstorable: what was asked for holds what no text may.
            asyncpg.UniqueViolationError: as the database says.
        """
        loop = asyncio.get_running_loop()
        if loop.time() < self._away_until_s:
            raise StoreUnavailable("the database did not answer a moment ago")
        try:
            async with (pool or self._pool).acquire(timeout=self._read_timeout_s) as connection:
                try:
                    async with asyncio.timeout(timeout_s or self._read_timeout_s):
                        return await question(connection)
                except TimeoutError:
                    # Given back as it is, the pool would wait for the end of what it was asked.
                    connection.terminate()
                    raise
        except asyncpg.UniqueViolationError:
            raise
        except (asyncpg.DataError, ValueError) as error:
            raise Unstorable(repr(error)) from error
        except asyncpg.TransactionRollbackError as error:
            # A deadlock, say: this question has no answer, but the database is there for the next.
            raise StoreUnavailable(repr(error)) from error
        except Exception as error:
            if pool in (None, self._pool):
                self._away_until_s = loop.time() + _PAUSE_S
            raise StoreUnavailable(repr(error)) from error


def _remembered(market: Market, row: Record) -> MarketMemory:
    return MarketMemory(
        last_price=units_of(row["last_price"]) // market.tick_size,
        state=MarketState[row["state"]],
        priority=row["priority_sequence"],
        price_band_ppm=row["price_band_ppm"],
        max_slippage_ppm=row["max_slippage_ppm"],
        min_notional=row["min_notional_ticks"],
        max_open_orders=row["max_open_orders"],
        max_fills=row["max_fills"],
        rules=row["rule_flags"],
        reached_high=row["reached_high_ticks"],
        reached_low=row["reached_low_ticks"],
        next_high=row["next_high_ticks"],
        next_low=row["next_low_ticks"],
    )
