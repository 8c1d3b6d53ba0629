"""The settlement worker on a real database: settled, refused, waiting, resumed."""

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from tests.harness.settlement import all_settled
from trade_engine.settlement.proceeds import pending_proceeds
from trade_engine.settlement.worker import SettlementSettings, SettlementWorker
from trade_engine.wallet.ledger import FEE_ACCOUNTS
from trade_engine.wallet.port import Balance, Outcome, Release, SettleTrade, WalletUnavailable

UNIT = 10**8
QUICK = SettlementSettings(batch_max=8, backoff_ms=10, poll_ms=10, outage_backoff_ms=10, outage_backoff_max_ms=20)


class Clock:
    """A clock that moves by a step at each look, or as a test says."""

    def __init__(self, step_us: int = 1_000_000) -> None:
        self.us = 1_700_000_000_000_000
        self.step_us = step_us

    def __call__(self) -> int:
        self.us += self.step_us
        return self.us


class AwayWallet:
    """A wallet that is away until it is told to be there."""

    def __init__(self, wallet: Any) -> None:
        self.wallet = wallet
        self.away = True
        self.calls = 0

    async def settle_many(self, items: Sequence[SettleTrade]) -> list[Outcome]:
        self.calls += 1
        if self.away:
            raise WalletUnavailable("away")
        outcomes: list[Outcome] = await self.wallet.settle_many(items)
        return outcomes


def worker_of(pool: Any, wallet: Any, settings: SettlementSettings = QUICK, **callbacks: Any) -> SettlementWorker:
    return SettlementWorker(pool, wallet, settings, clock_us=Clock(), chance=lambda: 0.5, **callbacks)


async def until(condition: Callable[[], bool]) -> None:
    """Wait, five seconds at most, until something is so."""
    async with asyncio.timeout(5):
        while not condition():
            await asyncio.sleep(0.005)


async def test_a_trade_settles_and_its_instruction_goes(pool: Any, wallet: Any, commits: Any, running: Any) -> None:
    buyer, seller = await commits.fund("USDT", amount=60_000 * UNIT), await commits.fund("BTC", amount=2 * UNIT)
    trade = await commits.simple_trade(buyer, seller)
    assert await pending_proceeds(pool, buyer) == {"BTC": UNIT}
    assert await pending_proceeds(pool, seller) == {"USDT": 49_950 * UNIT}
    told: list[Any] = []
    worker = running(worker_of(pool, wallet, on_settled=told.extend))
    await all_settled(worker, pool, 5)
    row = await commits.trade_row(trade.trade_id)
    assert row["settlement_status"] == "SETTLED"
    assert row["settled_at"] is not None
    assert await pool.fetchval("SELECT count(*) FROM settlement_instructions") == 0
    assert [item.trade.trade_id for item in told] == [trade.trade_id]
    assert await wallet.balances(buyer) == [Balance("BTC", UNIT, 0), Balance("USDT", 9_950 * UNIT, 0)]
    assert await wallet.balances(seller) == [Balance("BTC", UNIT, 0), Balance("USDT", 49_950 * UNIT, 0)]
    assert await wallet.balances(FEE_ACCOUNTS[0]) == [Balance("USDT", 100 * UNIT, 0)]
    assert await pending_proceeds(pool, buyer) == {}


async def test_a_release_instruction_frees_its_amount(pool: Any, wallet: Any, commits: Any, running: Any) -> None:
    user = await commits.fund("USDT", amount=100)
    order = await commits.order(user, "BUY", 70, hold=40)
    await commits.release(order, user, "USDT", 30)
    orphan = await commits.order(user, "BUY", 20)
    await commits.release(orphan, user, "USDT", None)
    await all_settled(running(worker_of(pool, wallet)), pool, 5)
    assert await wallet.balances(user) == [Balance("USDT", 60, 40)]


async def test_a_refused_trade_is_dead_lettered_without_holding_up_its_batch(
    pool: Any, wallet: Any, commits: Any, running: Any
) -> None:
    buyer, seller = await commits.fund("USDT"), await commits.fund("BTC")
    good = [await commits.simple_trade(buyer, seller) for _ in range(3)]
    bad = (await commits.simple_trade(buyer, seller))._replace(trade_id=good[0].trade_id[:-12] + "ffffffffffff")
    bad = bad._replace(quantity=2 * UNIT, notional=100_000 * UNIT)
    await commits.trade(bad)
    good += [await commits.simple_trade(buyer, seller) for _ in range(3)]
    failed: list[Any] = []
    worker = running(worker_of(pool, wallet, on_failed=failed.extend))
    await all_settled(worker, pool, 5)
    for trade in good:
        assert (await commits.trade_row(trade.trade_id))["settlement_status"] == "SETTLED"
    await until(lambda: bool(failed))
    row = await commits.trade_row(bad.trade_id)
    assert (row["settlement_status"], row["settlement_attempts"]) == ("FAILED", 3)
    assert row["settlement_reason"].startswith(("INSUFFICIENT_BALANCE", "RESERVATION_NOT_FOUND"))
    letter = await pool.fetchrow("SELECT * FROM settlement_instructions")
    assert (letter["status"], letter["attempts"], letter["next_attempt_at"]) == ("FAILED", 3, None)
    assert letter["last_reason"] == row["settlement_reason"]
    assert [(item.trade.trade_id, item.attempts) for item in failed] == [(bad.trade_id, 3)]


async def test_a_refusal_waits_longer_each_time(pool: Any, wallet: Any, commits: Any, running: Any) -> None:
    buyer, seller = await commits.fund("USDT"), await commits.fund("BTC")
    trade = await commits.simple_trade(buyer, seller)
    everything = Release(trade.seller_order_id, seller, "BTC", None, trade.trade_id)
    assert (await wallet.release_many([everything]))[0].ok
    clock = Clock(step_us=0)
    settings = QUICK._replace(attempts_max=5, backoff_ms=1_000, backoff_max_ms=3_000)
    worker = running(SettlementWorker(pool, wallet, settings, clock_us=clock, chance=lambda: 0.5))
    waits = []
    for attempts in range(1, 5):
        await until(lambda: worker.counts.refused >= attempts)  # noqa: B023
        due = int(await pool.fetchval("SELECT extract(epoch FROM next_attempt_at) * 1e6 FROM settlement_instructions"))
        waits.append((due - clock.us) // 1_000_000)
        clock.us = due - 1
        await asyncio.sleep(0.05)
        assert await pool.fetchval("SELECT attempts FROM settlement_instructions") == attempts
        clock.us = due + QUICK.poll_ms * 1_000
    assert waits == [1, 2, 3, 3]


async def test_an_absent_wallet_uses_up_no_attempt(pool: Any, wallet: Any, commits: Any, running: Any) -> None:
    buyer, seller = await commits.fund("USDT"), await commits.fund("BTC")
    trade = await commits.simple_trade(buyer, seller)
    away = AwayWallet(wallet)
    worker = running(worker_of(pool, away))
    await until(lambda: away.calls >= 5)
    row = await pool.fetchrow("SELECT status, attempts FROM settlement_instructions")
    assert tuple(row) == ("PENDING", 0)
    away.away = False
    await all_settled(worker, pool, 5)
    assert (await commits.trade_row(trade.trade_id))["settlement_status"] == "SETTLED"
    assert worker.counts.outages >= 5


async def test_a_stop_during_an_outage_ends_at_once_and_a_restart_resumes(
    pool: Any, wallet: Any, commits: Any, running: Any
) -> None:
    buyer, seller = await commits.fund("USDT"), await commits.fund("BTC")
    trade = await commits.simple_trade(buyer, seller)
    first = worker_of(pool, AwayWallet(wallet), QUICK._replace(outage_backoff_ms=60_000, outage_backoff_max_ms=60_000))
    task = asyncio.create_task(first.run())
    await until(lambda: first.counts.outages > 0)
    first.stop()
    await asyncio.wait_for(task, 1)
    await all_settled(running(worker_of(pool, wallet)), pool, 5)
    assert (await commits.trade_row(trade.trade_id))["settlement_status"] == "SETTLED"


async def test_a_trade_settled_before_a_crash_is_only_marked(
    pool: Any, wallet: Any, commits: Any, running: Any
) -> None:
    buyer, seller = await commits.fund("USDT"), await commits.fund("BTC")
    trade = await commits.simple_trade(buyer, seller)
    await wallet.settle_many([trade])
    before = await wallet.balances(buyer)
    await all_settled(running(worker_of(pool, wallet)), pool, 5)
    assert (await commits.trade_row(trade.trade_id))["settlement_status"] == "SETTLED"
    assert await wallet.balances(buyer) == before


@pytest.mark.parametrize("workers", [1, 2, 4])
async def test_many_trades_settle_once_whatever_the_workers(
    pool: Any, wallet: Any, commits: Any, running: Any, workers: int
) -> None:
    buyer, seller = await commits.fund("USDT"), await commits.fund("BTC", amount=1_000 * UNIT)
    told: list[Any] = []
    worker = running(worker_of(pool, wallet, QUICK._replace(workers=workers), on_settled=told.extend))
    for _ in range(60):
        await commits.simple_trade(buyer, seller)
        worker.rebuilt()
    await all_settled(worker, pool, 10)
    assert len({item.trade.trade_id for item in told}) == len(told) == 60
    assert (await wallet.balances(buyer))[0] == Balance("BTC", 60 * UNIT, 0)
    assert await pool.fetchval("SELECT count(*) FROM settlement_instructions") == 0
