"""Reconciliation sees what does not agree, each way it can go wrong, and nothing else."""

import asyncio
from typing import Any

import pytest

from trade_engine.settlement.instructions import InstructionStore
from trade_engine.settlement.reconcile import excess_reservations, ledger_differences
from trade_engine.settlement.worker import SettlementSettings, SettlementWorker
from trade_engine.wallet.port import Balance, Reserve

UNIT = 10**8


async def differences(pool: Any) -> list[str]:
    async with pool.acquire() as connection:
        return await ledger_differences(connection)


@pytest.fixture
async def world(pool: Any, wallet: Any, commits: Any) -> dict[str, Any]:
    """An open order, a settled trade, an unsettled one, a waiting release: all in agreement."""
    buyer, seller = await commits.fund("USDT"), await commits.fund("BTC")
    open_order = await commits.order(buyer, "BUY", 100, hold=100)
    settled = await commits.simple_trade(buyer, seller)
    worker = SettlementWorker(pool, wallet, SettlementSettings(), clock_us=lambda: 1, chance=lambda: 0.5)
    task = asyncio.create_task(worker.run())
    await worker.drain()
    worker.stop()
    await task
    unsettled = await commits.simple_trade(buyer, seller)
    reduced = await commits.order(seller, "SELL", 50, hold=20)
    await commits.release(reduced, seller, "BTC", 30)
    return {"buyer": buyer, "seller": seller, "open": open_order, "settled": settled, "unsettled": unsettled}


async def test_a_world_that_agrees_has_no_differences(pool: Any, world: dict[str, Any]) -> None:
    assert await differences(pool) == []


async def test_what_is_carried_out_but_not_marked_is_no_difference(
    pool: Any, wallet: Any, world: dict[str, Any]
) -> None:
    batch = await InstructionStore(pool).pending(0, 10)
    works = [item.work for item in batch]
    assert all(outcome.ok for outcome in await wallet.settle_many(works[:1]))
    assert all(outcome.ok for outcome in await wallet.release_many(works[1:]))
    assert await differences(pool) == []


async def test_a_changed_balance_is_seen(pool: Any, world: dict[str, Any]) -> None:
    await pool.execute("UPDATE wallet.balances SET available = available + 1 WHERE user_id = $1", world["buyer"])
    found = await differences(pool)
    assert sum(text.startswith(f"balance of user {world['buyer']}") for text in found) == 2
    assert any(text.startswith("USDT: deposits less withdrawals") for text in found)


async def test_a_reservation_of_another_size_is_seen(pool: Any, world: dict[str, Any]) -> None:
    await pool.execute("UPDATE wallet.reservations SET remaining = remaining * 2 WHERE order_id = $1", world["open"])
    found = await differences(pool)
    assert len(found) == 2
    assert "his reservations hold" in found[0]
    assert found[1].startswith(f"order {world['open']} of user")


async def test_a_lost_instruction_is_seen(pool: Any, world: dict[str, Any]) -> None:
    await pool.execute("DELETE FROM settlement_instructions WHERE kind = 'SETTLE'")
    found = await differences(pool)
    assert f"trade {world['unsettled'].trade_id} is PENDING, no instruction will settle it" in found
    assert len(found) == 3


async def test_a_trade_marked_settled_that_the_ledger_does_not_know_is_seen(pool: Any, world: dict[str, Any]) -> None:
    await InstructionStore(pool).finish(await InstructionStore(pool).pending(0, 1), 1)
    found = await differences(pool)
    assert f"trade {world['unsettled'].trade_id} is SETTLED, the ledger does not know it" in found


async def test_recovery_releases_what_no_order_needs(
    pool: Any, wallet: Any, commits: Any, world: dict[str, Any]
) -> None:
    user = await commits.fund("USDT", amount=1000)
    orphan = "019a0000-0000-7000-8000-000000000001"
    grown = await commits.order(user, "BUY", 100, hold=100)
    extra = Reserve(user, "USDT", 40, grown, "019a0000-0000-7000-8000-000000000002")
    assert all(o.ok for o in await wallet.reserve_many([Reserve(user, "USDT", 7, orphan, orphan), extra], 1))
    assert len(await differences(pool)) == 2
    assert await wallet.reserve_many([], 2) == []
    async with pool.acquire() as connection:
        assert await excess_reservations(connection, 1) == []
        excess = await excess_reservations(connection, 2)
    assert [(item.order_id, item.amount) for item in sorted(excess)] == [(orphan, None), (grown, 40)]
    assert all(outcome.ok for outcome in await wallet.release_many(excess))
    assert await differences(pool) == []
    assert await wallet.balances(user) == [Balance("USDT", 900, 100)]
    [late] = await wallet.reserve_many([Reserve(user, "USDT", 7, orphan, world["open"])], 2)
    assert late.code == "IDEMPOTENCY_CONFLICT"


async def test_only_what_differs_twice_counts_while_the_engine_runs(pool: Any, wallet: Any, commits: Any) -> None:
    user = await commits.fund("USDT", amount=1000)
    in_flight, orphan = (f"019a0000-0000-7000-8000-00000000000{n}" for n in (1, 2))
    await wallet.reserve_many([Reserve(user, "USDT", 7, order, order) for order in (in_flight, orphan)], 1)
    assert len(await differences(pool)) == 2
    async with pool.acquire() as connection:
        check = asyncio.create_task(ledger_differences(connection, again_after_s=0.3))
        await asyncio.sleep(0.1)
        await commits.write_order(in_flight, user, "BUY", hold=7)
        [found] = await check
    assert found.startswith(f"order {orphan}")


async def test_it_also_runs_inside_a_snapshot_of_the_caller(pool: Any, world: dict[str, Any]) -> None:
    async with pool.acquire() as connection, connection.transaction(isolation="repeatable_read", readonly=True):
        assert await ledger_differences(connection) == []
