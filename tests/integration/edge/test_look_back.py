"""Trades of many years: a page opens a bounded number of partitions, and all pages together tell everything."""

import json
import random
import uuid
from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import pytest

from tests.integration.edge.test_queries import ALICE, BOB, CAROL, TRADE_SQL, Book
from trade_engine.domain.ids import uuid7
from trade_engine.storage.look_back import FEW, STEPS_DAYS, LookBack
from trade_engine.storage.pool import ALONG_INDEXES, PoolSettings, open_pool
from trade_engine.storage.queries import Queries, Range, trades_statement
from trade_engine.storage.types import Pool

DAYS = 170
DAY_US = 86_400_000_000
#: As the engine makes them, of trades alone: that is quicker.
_PARTITIONS = f"""
    DO $$ DECLARE span RECORD; BEGIN
        FOR n IN 0..{DAYS} LOOP
            span := partition_of('trades', now() - make_interval(days => n));
            CONTINUE WHEN to_regclass(span.name) IS NOT NULL;
            EXECUTE format('CREATE TABLE %I PARTITION OF trades FOR VALUES FROM (%L) TO (%L)',
                span.name, span.low, span.high);
        END LOOP;
    END $$"""


class Years:
    """A database with a partition for each of many days, and trades here and there."""

    def __init__(self, pool: asyncpg.Pool) -> None:
        self.pool = pool
        self.now_us = 0
        self._numbers = 0

    async def make(self) -> None:
        """The partitions, and two orders for all trades."""
        book = Book(self.pool)
        await book.markets()
        self.now_us = await self.pool.fetchval("SELECT (extract(epoch FROM now()) * 1000000)::BIGINT")
        await self.pool.execute(_PARTITIONS)
        self._orders = await book.order(ALICE), await book.order(BOB, 1, "SELL")

    async def trade(self, days_ago: float, buyer: str = ALICE, market: int = 1) -> str:
        """A trade so many days ago; its id."""
        self._numbers += 1
        at_us = self.now_us - int(days_ago * DAY_US)
        trade_id = uuid7(at_us // 1000, 0, self._numbers)
        values = trade_id, self._numbers, market, *self._orders, buyer, BOB, at_us
        await self.pool.execute(TRADE_SQL, *values)
        return trade_id


@pytest.fixture
async def years(pool: asyncpg.Pool) -> Years:
    made = Years(pool)
    await made.make()
    return made


@pytest.fixture
async def history(database_url: str) -> AsyncIterator[Pool]:
    """A pool as the API's is."""
    opened = await open_pool(database_url, PoolSettings(max_open=1, server_settings=ALONG_INDEXES))
    yield opened
    await opened.close()


async def all_of(queries: Queries, pages_max: int = 100, **asked: Any) -> list[str]:
    """All pages, and how it ends."""
    found: list[str] = []
    before: str | None = None
    for _ in range(pages_max):
        page = await queries.trades(before=before, **asked)
        assert len(page.rows) <= asked.get("limit", 100)
        found += [trade.trade_id for trade in page.rows]
        before = page.next_before
        if before is None:
            return found
    raise AssertionError(f"more than {pages_max} pages")


async def test_a_page_opens_a_bounded_number_of_partitions(years: Years, history: Pool) -> None:
    await years.trade(1)
    for span in ((None, None, None), (0, None, None), (None, years.now_us - 20 * DAY_US, None)):
        steps = list(await LookBack(history).steps(*span))
        assert len(steps) == len(STEPS_DAYS)
        opened = 0
        for step in steps:
            statement = trades_statement(ALICE, None, Range(span[0], span[1], step.before), 100, step.low)
            text = f"EXPLAIN (FORMAT JSON) {statement.text}"
            opened += json.dumps(json.loads(await history.fetchval(text, *statement.values))).count('"Relation Name"')
        # Twice, as buyer and as seller; a day more a step, and DEFAULT.
        assert opened <= 2 * (FEW + 3 * len(STEPS_DAYS)), span


async def test_all_pages_together_tell_everything(years: Years, history: Pool) -> None:
    seed = random.randrange(2**32)
    chance = random.Random(seed)
    users, markets = (ALICE, CAROL), (1, 2)
    made = []
    for _ in range(60):
        user, market = chance.choice(users), chance.choice(markets)
        made.append(
            (
                await years.trade(chance.choice((chance.random() * 5, chance.random() * DAYS)), user, market),
                user,
                market,
            )
        )
    made.sort(reverse=True)
    queries = Queries(history)
    for user in users:
        own = [trade for trade, buyer, _ in made if buyer == user]
        for limit in (1, 7, 100):
            assert await all_of(queries, user_id=user, limit=limit) == own, seed
        assert await all_of(queries, user_id=user, market_id=2) == [t for t, b, m in made if (b, m) == (user, 2)], seed
    assert await all_of(queries, market_id=1, limit=10) == [trade for trade, _, market in made if market == 1], seed
    start_us, end_us = years.now_us - 140 * DAY_US, years.now_us - 5 * DAY_US
    low, high = uuid7(start_us // 1000, 0, 0), uuid7(end_us // 1000, 0, 0)
    inside = [trade for trade, _, _ in made if low <= trade < high]
    assert await all_of(queries, user_id=BOB, start_us=start_us, end_us=end_us) == inside, seed


async def test_who_stood_still_for_long_goes_on_from_an_empty_page(years: Years, history: Pool) -> None:
    old = await years.trade(150)
    queries = Queries(history)
    first = await queries.trades(user_id=ALICE)
    assert first.rows == []
    assert first.next_before is not None
    assert await all_of(queries, pages_max=5, user_id=ALICE) == [old]
    assert await all_of(queries, pages_max=5, user_id=str(uuid.UUID(int=9))) == []


async def test_few_partitions_are_looked_at_at_once(pool: asyncpg.Pool) -> None:
    await pool.execute("SELECT create_partitions(0, 100)")
    assert [tuple(step) for step in await LookBack(pool).steps(None, None, None)] == [(None, None)]
