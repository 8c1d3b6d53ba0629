"""What unsettled trades will bring a user: the right sum, by work that does not grow with what others wait for."""

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from tests.integration.settlement.conftest import UNIT, Commits, new_id
from trade_engine.settlement.proceeds import PROCEEDS, pending_proceeds
from trade_engine.storage.pool import ALONG_INDEXES, PoolSettings, open_pool
from trade_engine.wallet.port import SettleTrade

OTHERS = 3_000
#: Blocks of 8 KiB: a few ways down an index, and the user's own rows.
ROOM = 100


@pytest.fixture
async def history(database_url: str, pool: Any) -> AsyncIterator[Any]:
    """A pool as users' queries have it."""
    opened = await open_pool(database_url, PoolSettings(max_open=1, server_settings=ALONG_INDEXES))
    yield opened
    await opened.close()


async def blocks(history: Any, user_id: str) -> int:
    """Blocks that the question touches."""
    (found,) = json.loads(
        await history.fetchval(f"EXPLAIN (ANALYZE, BUFFERS, TIMING OFF, FORMAT JSON) {PROCEEDS}", user_id)
    )
    plan = found["Plan"]
    return int(plan["Shared Hit Blocks"] + plan["Shared Read Blocks"])


async def backlog(commits: Commits, count: int) -> None:
    """Trades of two others that wait to be settled."""
    one, two = await commits.fund("USDT"), await commits.fund("BTC")
    model = await commits.simple_trade(one, two)
    await commits.trades([model._replace(trade_id=new_id()) for _ in range(count - 1)])


async def test_a_backlog_of_others_costs_nothing(history: Any, pool: Any, commits: Commits) -> None:
    buyer, seller = await commits.fund("USDT"), await commits.fund("BTC")
    first = await commits.simple_trade(buyer, seller)
    before = await blocks(history, buyer)
    await backlog(commits, OTHERS)
    await commits.simple_trade(buyer, seller)
    await pool.execute("VACUUM ANALYZE trades, settlement_instructions")
    assert await blocks(history, buyer) <= before + ROOM
    assert await blocks(history, new_id()) <= ROOM
    assert await pending_proceeds(history, buyer) == {"BTC": 2 * UNIT}
    assert await pending_proceeds(history, seller) == {"USDT": 2 * 49_950 * UNIT}
    await finish(pool, first)
    assert await pending_proceeds(history, buyer) == {"BTC": UNIT}


async def finish(pool: Any, trade: SettleTrade) -> None:
    """As settlement does."""
    await pool.execute("DELETE FROM settlement_instructions WHERE trade_id = $1", trade.trade_id)
    await pool.execute("UPDATE trades SET settlement_status = 'SETTLED' WHERE trade_id = $1", trade.trade_id)


async def fail(pool: Any, trade: SettleTrade) -> None:
    """As settlement does with what the wallet never takes."""
    await pool.execute("UPDATE settlement_instructions SET status = 'FAILED' WHERE trade_id = $1", trade.trade_id)
    await pool.execute("UPDATE trades SET settlement_status = 'FAILED' WHERE trade_id = $1", trade.trade_id)


async def test_a_dead_letter_still_counts_once_and_old_trades_are_not_looked_through_for_it(
    history: Any, pool: Any, commits: Commits
) -> None:
    buyer, seller = await commits.fund("USDT"), await commits.fund("BTC")
    await fail(pool, await commits.simple_trade(buyer, seller))
    assert await pending_proceeds(history, buyer) == {"BTC": UNIT}, "there is nothing else"
    model = await commits.simple_trade(buyer, seller)
    await commits.trades([model._replace(trade_id=new_id()) for _ in range(OTHERS)])
    await pool.execute("DELETE FROM settlement_instructions WHERE status <> 'FAILED'")
    await pool.execute("UPDATE trades SET settlement_status = 'SETTLED' WHERE settlement_status = 'PENDING'")
    await commits.simple_trade(buyer, seller)
    await pool.execute("VACUUM ANALYZE trades, settlement_instructions")
    assert await pending_proceeds(history, buyer) == {"BTC": 2 * UNIT}
    assert await blocks(history, buyer) <= ROOM


async def test_who_trades_with_himself_gets_both_sides_once(history: Any, commits: Commits) -> None:
    both = await commits.fund("USDT", "BTC")
    await commits.simple_trade(both, both)
    assert await pending_proceeds(history, both) == {"BTC": UNIT, "USDT": 49_950 * UNIT}
