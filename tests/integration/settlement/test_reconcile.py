"""Reconciliation sees what does not agree, each way it can go wrong, and nothing else."""

import asyncio
from typing import Any

import pytest

from tests.harness.settlement import all_settled
from trade_engine.sequencer.clock import wall_clock_us
from trade_engine.settlement.comparison import compare
from trade_engine.settlement.instructions import InstructionStore
from trade_engine.settlement.reconcile import excess_reservations, reservation_differences
from trade_engine.settlement.reconciler import Reconciler
from trade_engine.settlement.worker import SettlementSettings, SettlementWorker
from trade_engine.wallet.audit import PostgresLedger
from trade_engine.wallet.port import Balance, Reserve

UNIT = 10**8


async def differences(pool: Any) -> list[str]:
    """What one comparison finds; in no other way than the reservations' own check says, too."""
    found = (await compare(pool, PostgresLedger(pool))).differences
    async with pool.acquire() as connection:
        reservations = await reservation_differences(connection, ())
    told = [difference for difference in found if difference.check == "reservations" and difference.asset]
    assert len(reservations) == len(told), (reservations, told)
    return [str(difference) for difference in found]


@pytest.fixture
async def world(pool: Any, wallet: Any, commits: Any) -> dict[str, Any]:
    """An open order, a settled trade, an unsettled one, a waiting release: all in agreement."""
    buyer, seller = await commits.fund("USDT"), await commits.fund("BTC")
    open_order = await commits.order(buyer, "BUY", 100, hold=100)
    settled = await commits.simple_trade(buyer, seller)
    worker = SettlementWorker(pool, wallet, SettlementSettings(), clock_us=lambda: 1, chance=lambda: 0.5)
    task = asyncio.create_task(worker.run())
    await all_settled(worker, pool)
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
    assert sum(text.startswith(f"balance: user {world['buyer']}") for text in found) == 2
    assert any(text.startswith("deposits: all users USDT") for text in found)


async def test_a_reservation_of_another_size_is_seen(pool: Any, world: dict[str, Any]) -> None:
    await pool.execute("UPDATE wallet.reservations SET remaining = remaining * 2 WHERE order_id = $1", world["open"])
    found = await differences(pool)
    assert len(found) == 2
    assert found[0].startswith("reserved: user")
    assert found[1].startswith(f"reservations: order {world['open']} of user")


async def test_a_lost_instruction_is_seen(pool: Any, world: dict[str, Any]) -> None:
    await pool.execute("DELETE FROM settlement_instructions WHERE kind = 'SETTLE'")
    found = await differences(pool)
    lost = f"trades: trade {world['unsettled'].trade_id} : engine: PENDING, no instruction will settle it"
    assert any(text.startswith(lost) for text in found), found
    assert len(found) == 3


async def test_a_trade_marked_settled_that_the_ledger_does_not_know_is_seen(pool: Any, world: dict[str, Any]) -> None:
    await InstructionStore(pool).finish(await InstructionStore(pool).pending(0, 1), 1)
    found = await differences(pool)
    text = next(text for text in found if text.startswith(f"trades: trade {world['unsettled'].trade_id} "))
    assert "engine: SETTLED" in text
    assert text.endswith("wallet: does not know it")


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
    reconciler = Reconciler(pool, PostgresLedger(pool), wall_clock_us, again_after_s=0.3)
    check = asyncio.create_task(reconciler.run())
    await asyncio.sleep(0.1)
    await commits.write_order(in_flight, user, "BUY", hold=7)
    [found] = (await check).differences
    assert found.subject.startswith(f"order {orphan}")


async def test_a_trade_of_other_users_is_seen(pool: Any, world: dict[str, Any]) -> None:
    """Whose money moved is compared, not only how much."""
    trade_id = world["settled"].trade_id
    await pool.execute(
        "UPDATE trades SET buyer_user_id = seller_user_id, seller_user_id = buyer_user_id WHERE trade_id = $1", trade_id
    )
    [text] = await differences(pool)
    assert text.startswith(f"trades: trade {trade_id} ")
    assert f"from {world['buyer']} to {world['seller']}; wallet" in text


async def test_reservations_are_compared_inside_a_snapshot_of_the_caller(pool: Any, world: dict[str, Any]) -> None:
    async with pool.acquire() as connection, connection.transaction(isolation="repeatable_read", readonly=True):
        assert await reservation_differences(connection, ()) == []
