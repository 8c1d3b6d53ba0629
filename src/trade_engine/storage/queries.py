"""What the API reads from the tables: orders and trades in pages, newest or oldest first.  It writes nothing.

A page costs a bounded amount of work, whatever the filters and however long the history:

    probes     one walk along an index each, newest first, as far as the page or ``SCAN_MAX`` rows
    scanned    the newest of what the probes found
    found      those of them that fit the filters no index knows

So a page may be short, or empty, and still have a next one: the search goes on where it stopped.  A page of trades
stops after about four months of days on which there was nothing (``look_back``), for each is a partition to open.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from typing import Any, Final, Generic, NamedTuple, TypeVar

import asyncpg

from trade_engine.domain.enums import OrderStatus
from trade_engine.domain.errors import Unavailable
from trade_engine.domain.ids import uuid7_floor
from trade_engine.domain.orders import Order, Trade
from trade_engine.storage import order_lookup
from trade_engine.storage.look_back import LookBack
from trade_engine.storage.order_lookup import ID_AGE_US, Statement
from trade_engine.storage.order_rows import ORDER_COLUMNS, TRADE_COLUMNS, order_from_row, trade_from_row
from trade_engine.storage.pool import ALONG_INDEXES
from trade_engine.storage.types import Pool, Record
from trade_engine.wallet.outage import TRANSPORT_ERRORS

#: Rows that one page looks at, at most, if it has a filter that no index knows.
SCAN_MAX: Final = 2_000
#: Beyond this nobody waits for a page.
_TIMEOUT_S: Final = 10.0
_AWAY: Final = (*TRANSPORT_ERRORS, asyncpg.QueryCanceledError)
_OPEN: Final = frozenset(status.name for status in OrderStatus if status.is_open)
_ENDED: Final = tuple(status.name for status in OrderStatus if not status.is_open)
#: How most orders end: to look for them by market is sooner than by status.
_COMMON: Final = frozenset(("FILLED", "CANCELLED"))

Row = TypeVar("Row")


class Page(NamedTuple, Generic[Row]):
    """Rows in the order asked for; ``next_before`` is what the next page is asked for with, None after the last."""

    rows: list[Row]
    next_before: str | None


class Queries:
    """Reads for the API, through a pool.

    Args:
        pool: of connections that only walk along indexes (``pool.ALONG_INDEXES``), unless it is behind a pooler.
        timeout_s: how long a page may take, waiting for a connection included.
        behind_pooler: connections are told with each statement what they may do.
    """

    def __init__(self, pool: Pool, timeout_s: float = _TIMEOUT_S, *, behind_pooler: bool = False) -> None:
        self._pool = pool
        self._timeout_s = timeout_s
        self._told = "; ".join(f"SET LOCAL {name} = {value}" for name, value in ALONG_INDEXES.items())
        self._behind_pooler = behind_pooler
        self._look_back = LookBack(pool)

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
        oldest_first: bool = False,
    ) -> Page[Order]:
        """A page of a user's orders.

        Raises:
            Unavailable: DATABASE_UNAVAILABLE.
        """
        span = Range(start_us, end_us, before, oldest_first)
        statement = orders_statement(user_id, market_id, statuses, side, span, limit)
        async with self._answered():
            rows, next_before = await self._find(statement, "order_id", limit)
        return Page([order_from_row(row) for row in rows], next_before)

    async def trades(
        self,
        *,
        user_id: str | None = None,
        market_id: int | None = None,
        start_us: int | None = None,
        end_us: int | None = None,
        before: str | None = None,
        limit: int = 100,
        oldest_first: bool = False,
        from_sequence: int = 0,
    ) -> Page[Trade]:
        """A page of the trades of a user (as buyer or seller), of a market, or both; one of them is given.

        ``from_sequence`` keeps those of that number and later ones.

        Raises:
            Unavailable: DATABASE_UNAVAILABLE.
        """
        if oldest_first:
            span = Range(start_us, end_us, before, oldest_first)
            statement = trades_statement(user_id, market_id, span, limit, None, from_sequence)
            async with self._answered():
                rows, next_before = await self._find(statement, "trade_id", limit)
            return Page([trade_from_row(row) for row in rows], next_before)
        rows = []
        async with self._answered():
            for step in await self._look_back.steps(start_us, end_us, before):
                span = Range(start_us, end_us, step.before or before)
                statement = trades_statement(user_id, market_id, span, limit, step.low, from_sequence)
                found, next_before = await self._find(statement, "trade_id", limit)
                rows += found
                if len(rows) > limit:
                    rows, next_before = rows[:limit], rows[limit - 1]["trade_id"]
                if len(rows) == limit or next_before is not None:
                    next_before = next_before or step.low
                    break
                next_before = step.low
        return Page([trade_from_row(row) for row in rows], next_before)

    async def order_of_client(self, user_id: str, client_order_id: str) -> Order | None:
        """A user's order by his own id for it.

        Raises:
            Unavailable: DATABASE_UNAVAILABLE.
        """
        return _first(await self.rows(order_lookup.of_client(user_id, client_order_id)))

    async def order_of_number(self, user_id: str, market_id: int, number: int) -> Order | None:
        """A user's order by its number.

        Raises:
            Unavailable: DATABASE_UNAVAILABLE.
        """
        stamped_us = await self.time_of_number(number)
        if stamped_us is None:
            return None
        return _first(await self.rows(order_lookup.of_number(user_id, market_id, number, stamped_us)))

    async def time_of_number(self, number: int) -> int | None:
        """When the batch with the command of a number was carried out; None if there was none yet.

        Raises:
            Unavailable: DATABASE_UNAVAILABLE.
        """
        found = await self.rows(order_lookup.stamp_of(number))
        return found[0]["stamped_us"] if found else None

    async def orders_of_ids(self, order_ids: Sequence[str]) -> list[Order]:
        """The orders of these ids, oldest first.

        Raises:
            Unavailable: DATABASE_UNAVAILABLE.
        """
        return [order_from_row(row) for row in await self.rows(order_lookup.of_ids(order_ids))]

    async def numbers_of(self, order_ids: Sequence[str]) -> dict[str, int]:
        """The numbers of orders, by id.

        Raises:
            Unavailable: DATABASE_UNAVAILABLE.
        """
        return {row[0]: row[1] for row in await self.rows(order_lookup.numbers_of(order_ids))}

    async def rows(self, statement: Statement) -> list[Record]:
        """The rows of one statement.

        Raises:
            Unavailable: DATABASE_UNAVAILABLE.
        """
        async with self._answered():
            return await self._fetch(statement)

    @contextlib.asynccontextmanager
    async def _answered(self) -> AsyncIterator[None]:
        """Demand that the database answers in time.

        Raises:
            Unavailable: DATABASE_UNAVAILABLE.
        """
        try:
            async with asyncio.timeout(self._timeout_s):
                yield
        except _AWAY as error:
            raise Unavailable("DATABASE_UNAVAILABLE", "the database does not answer, nothing was done") from error

    async def _find(self, statement: Statement, key: str, limit: int) -> tuple[list[Record], str | None]:
        found = await self._fetch(statement)
        rows = [row for row in found if row[key] is not None]
        if len(rows) > limit:
            return rows[:limit], rows[limit - 1][key]
        looked_at_all = found[0]["scanned"] < statement.scan
        return rows, None if looked_at_all else found[0]["reached"]

    async def _fetch(self, statement: Statement) -> list[Record]:
        if not self._behind_pooler:
            return await self._pool.fetch(statement.text, *statement.values)
        async with self._pool.acquire() as connection, connection.transaction():
            await connection.execute(self._told)
            return await connection.fetch(statement.text, *statement.values)


def _first(rows: list[Record]) -> Order | None:
    return order_from_row(rows[0]) if rows else None


class Range(NamedTuple):
    """What pages are of: from (included), to (excluded), both microseconds, and where the last one ended."""

    start_us: int | None = None
    end_us: int | None = None
    #: The id that the last page ended with.
    before: str | None = None
    oldest_first: bool = False


def orders_statement(
    user_id: str, market_id: int | None, statuses: list[str] | None, side: str | None, span: Range, limit: int
) -> Statement:
    """A page of a user's orders."""
    walk = _Walk("orders", "order_id", "created_at", span)
    user = walk.value([user_id])
    asked = _OPEN.union(_ENDED) if statuses is None else frozenset(statuses)
    if market_id is not None and (statuses is None or _COMMON & asked):
        walk.probe("user_id", user, f"market_id = {walk.value(market_id)}")
        if statuses is not None:
            walk.fits(f"status = ANY ({walk.value(statuses)}::order_status_enum[])")
    else:
        if _OPEN & asked:
            walk.probe("user_id", user, "is_open")
            if not asked >= _OPEN:
                walk.fits(f"status = ANY ({walk.value(statuses)}::order_status_enum[])")
        for status in _ENDED:
            if status in asked:
                walk.probe("user_id", user, f"NOT is_open AND status = '{status}'")
        if market_id is not None:
            walk.fits(f"market_id = {walk.value(market_id)}")
    if side is not None:
        walk.fits(f"side = {walk.value(side)}")
    return walk.statement(ORDER_COLUMNS, limit, limit + 1)


def trades_statement(
    user_id: str | None, market_id: int | None, span: Range, limit: int, low: str | None = None, from_sequence: int = 0
) -> Statement:
    """A page of trades; none below the id ``low``, none of a lower number than ``from_sequence``."""
    walk = _Walk("trades", "trade_id", "executed_at", span, low)
    if from_sequence:
        walk.fits(f"sequence >= {walk.value(from_sequence)}")
    if user_id is None:
        walk.probe("market_id", walk.value([market_id]))
        return walk.statement(TRADE_COLUMNS, limit, limit + 1)
    user = walk.value([user_id])
    walk.probe("buyer_user_id", user)
    walk.probe("seller_user_id", user)
    if market_id is not None:
        walk.fits(f"market_id = {walk.value(market_id)}")
    # A trade with oneself is found by both.
    return walk.statement(f"DISTINCT ON (trade_id) {TRADE_COLUMNS}", limit, 2 * (limit + 1))


class _Walk:
    """A statement in the making: probes along indexes, and filters of what they find."""

    def __init__(self, table: str, key: str, time: str, span: Range, low: str | None = None) -> None:
        self._table, self._key = table, key
        self._values: list[Any] = []
        self._probes: list[str] = []
        self._filters: list[str] = []
        start_us, end_us, before, oldest_first = span
        self._direction, self._end = ("ASC", "max") if oldest_first else ("DESC", "min")
        # The key holds a time too, which prunes partitions: an id is made at most ``ID_AGE_US`` before its row's time.
        bounds = [] if low is None else [f"{key} >= {self.value(low)}"]
        if start_us is not None:
            bounds.append(f"{key} >= {self.value(uuid7_floor(max(0, start_us - ID_AGE_US)))}")
            self.fits(f"{time} >= at_us({self.value(start_us)})")
        if end_us is not None:
            bounds.append(f"{key} < {self.value(uuid7_floor(end_us + 1000))}")
            self.fits(f"{time} < at_us({self.value(end_us)})")
        if before is not None:
            bounds.append(f"{key} {'>' if oldest_first else '<'} {self.value(before)}")
        self._bounds = "".join(f" AND {bound}" for bound in bounds)

    def value(self, value: Any) -> str:
        """A parameter."""
        self._values.append(value)
        return f"${len(self._values)}"

    def probe(self, owner: str, caller: str, where: str = "TRUE") -> None:
        """Walk along the index of ``owner``, the columns that ``where`` fixes, and the key.

        The owner is one of a list of one: so the planner does not take it for a constant, and this index is the only
        one that it knows the asked order of.
        """
        self._probes.append(
            f"(SELECT * FROM {self._table} WHERE {owner} = ANY ({caller}) AND {where}{self._bounds}"
            f" ORDER BY {owner} {self._direction}, {self._key} {self._direction} LIMIT "
        )

    def fits(self, condition: str) -> None:
        """Of what was found keep only what fits."""
        self._filters.append(condition)

    def statement(self, columns: str, limit: int, rows: int) -> Statement:
        """The statement; ``rows`` are enough to look at where nothing is filtered out."""
        scan = max(SCAN_MAX, rows) if self._filters else rows
        first = f"ORDER BY {self._key} {self._direction} LIMIT"
        probes = [f"{probe}{scan:d})" for probe in self._probes]
        fits = " AND ".join(self._filters) or "TRUE"
        text = (
            f"WITH scanned AS MATERIALIZED (SELECT * FROM ({' UNION ALL '.join(probes)}) AS probes {first} {scan:d}),"
            f" {self._table} AS (SELECT * FROM scanned WHERE {fits}),"
            f" found AS (SELECT {columns} FROM {self._table} {first} {limit + 1:d})"
            " SELECT looked.*, found.* FROM"
            f' (SELECT count(*) AS scanned, {self._end}({self._key}::TEXT COLLATE "C") AS reached FROM scanned)'
            f" AS looked LEFT JOIN found ON TRUE ORDER BY found.{self._key} {self._direction}"
        )
        return Statement(text, self._values, scan)
