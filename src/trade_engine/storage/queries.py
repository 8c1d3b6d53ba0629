"""What the API reads from the tables: orders and trades in pages, newest first.  It writes nothing."""

from typing import Any, Final

from trade_engine.domain.ids import uuid7_floor
from trade_engine.domain.orders import Order, Trade
from trade_engine.storage.order_rows import ORDER_COLUMNS, TRADE_COLUMNS, order_from_row, trade_from_row
from trade_engine.storage.pool import reachable
from trade_engine.storage.types import Pool

#: An order's id is made when it is admitted, its time when it is sequenced: far less than this later.
_ID_AGE_US: Final = 300_000_000


class Queries:
    """Reads for the API, through a pool."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def answers(self) -> bool:
        """Whether the database answers within 80 ms."""
        return await reachable(self._pool)

    async def orders(
        self,
        user_id: str,
        *,
        market_id: int | None = None,
        statuses: list[str] | None = None,
        side: str | None = None,
        start_us: int | None = None,
        end_us: int | None = None,
        before: str | None = None,
        limit: int = 100,
    ) -> list[Order]:
        """A user's orders, newest first; ``before`` is the id that the last page ended with."""
        where = _Where("user_id = ", user_id)
        where.add("orders.market_id = ", market_id)
        where.add("status = ANY (", statuses, "::order_status_enum[])")
        where.add("side = ", side)
        where.time_range("order_id", "created_at", start_us, end_us, before)
        newest = f"ORDER BY orders.order_id DESC LIMIT {limit:d}"
        select = f"SELECT {ORDER_COLUMNS} FROM orders WHERE {where.text}"
        if market_id is None:
            # The index is by user and market: the newest of each market, then the newest of those.
            each = f"{select} AND orders.market_id = markets.market_id {newest}"
            select = f"SELECT orders.* FROM markets CROSS JOIN LATERAL ({each}) AS orders"
        rows = await self._pool.fetch(f"{select} {newest}", *where.values)
        return [order_from_row(row) for row in rows]

    async def trades(
        self,
        *,
        user_id: str | None = None,
        market_id: int | None = None,
        start_us: int | None = None,
        end_us: int | None = None,
        before: str | None = None,
        limit: int = 100,
    ) -> list[Trade]:
        """Trades of a user (as buyer or seller), of a market, or both, newest first."""
        if user_id is None:
            return await self._trades(_Where("TRUE", None), market_id, start_us, end_us, before, limit)
        bought = _Where("buyer_user_id = ", user_id)
        sold = _Where("seller_user_id = ", user_id)
        found: dict[str, Trade] = {}
        for where in (bought, sold):
            for trade in await self._trades(where, market_id, start_us, end_us, before, limit):
                found[trade.trade_id] = trade
        return [found[trade_id] for trade_id in sorted(found, reverse=True)[:limit]]

    async def _trades(
        self,
        where: "_Where",
        market_id: int | None,
        start_us: int | None,
        end_us: int | None,
        before: str | None,
        limit: int,
    ) -> list[Trade]:
        where.add("market_id = ", market_id)
        where.time_range("trade_id", "executed_at", start_us, end_us, before)
        rows = await self._pool.fetch(
            f"SELECT {TRADE_COLUMNS} FROM trades WHERE {where.text} ORDER BY trades.trade_id DESC LIMIT {limit:d}",
            *where.values,
        )
        return [trade_from_row(row) for row in rows]


class _Where:
    """A condition that grows, and its values."""

    def __init__(self, column: str, value: Any) -> None:
        self.text = column
        self.values: list[Any] = []
        if value is not None:
            self.text += "$1"
            self.values.append(value)

    def add(self, column: str, value: Any, after: str = "") -> None:
        """Demand one thing more, if there is a value."""
        if value is not None:
            self.values.append(value)
            self.text += f" AND {column}${len(self.values)}{after}"

    def time_range(self, key: str, column: str, start_us: int | None, end_us: int | None, before: str | None) -> None:
        """Between two times of ``column`` (the end excluded), and before an id.

        The key holds a time too, which prunes partitions: an id is made at most ``_ID_AGE_US`` before its row's time.
        """
        if start_us is not None:
            self.add(f"{key} >= ", uuid7_floor(max(0, start_us - _ID_AGE_US)))
            self.add(f"{column} >= at_us(", start_us, ")")
        if end_us is not None:
            self.add(f"{key} < ", uuid7_floor(end_us + 1000))
            self.add(f"{column} < at_us(", end_us, ")")
        self.add(f"{key} < ", before)
