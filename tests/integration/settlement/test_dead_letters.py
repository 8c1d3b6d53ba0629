"""Dead letters: a permanent refusal stays alone, and an operator retries or resolves it; both are audited."""

import asyncio
from typing import Any

import pytest

from tests.harness.reservations import reserved
from trade_engine.domain.errors import InvalidRequest, NotFound, Refused
from trade_engine.settlement.dead_letters import DeadLetters
from trade_engine.settlement.reconciler import Reconciler
from trade_engine.settlement.worker import SettlementSettings, SettlementWorker
from trade_engine.wallet.audit import PostgresLedger
from trade_engine.wallet.port import Release, Reserve, SettleTrade

UNIT = 10**8
QUICK = SettlementSettings(batch_max=8, backoff_ms=1, poll_ms=5)


@pytest.fixture
def wallet(pool: Any) -> PostgresLedger:
    return PostgresLedger(pool, reserve_timeout_s=5)


@pytest.fixture
def letters(pool: Any, wallet: PostgresLedger) -> DeadLetters:
    return DeadLetters(pool, wallet)


def worker_of(pool: Any, wallet: Any) -> SettlementWorker:
    from trade_engine.sequencer.clock import wall_clock_us

    return SettlementWorker(pool, wallet, QUICK, clock_us=wall_clock_us, chance=lambda: 0.5)


async def status(pool: Any, trade: SettleTrade) -> str:
    return str(await pool.fetchval("SELECT settlement_status FROM trades WHERE trade_id = $1", trade.trade_id))


async def until(pool: Any, trade: SettleTrade, wanted: str) -> None:
    async with asyncio.timeout(5):
        while await status(pool, trade) != wanted:
            await asyncio.sleep(0.01)


async def differences(pool: Any, wallet: PostgresLedger) -> list[str]:
    found = await Reconciler(pool, wallet, lambda: 0, again_after_s=0.01).run()
    return [str(difference) for difference in found.differences]


@pytest.fixture
async def refused(pool: Any, wallet: PostgresLedger, commits: Any, running: Any) -> SettleTrade:
    """A trade whose buyer's funds were taken away, among others that settle."""
    buyer, seller = await commits.fund("USDT"), await commits.fund("BTC")
    victim: SettleTrade = await commits.simple_trade(buyer, seller)
    need = victim.notional + victim.buyer_fee
    taken = Release(victim.buyer_order_id, buyer, "USDT", need, victim.seller_order_id)
    assert (await wallet.release_many([taken]))[0].ok
    others = [await commits.simple_trade(buyer, seller) for _ in range(5)]
    running(worker_of(pool, wallet))
    await until(pool, victim, "FAILED")
    assert {await status(pool, other) for other in others} == {"SETTLED"}
    return victim


async def test_it_is_listed_with_its_reason(letters: DeadLetters, refused: SettleTrade) -> None:
    [letter] = await letters.page()
    assert (letter.trade_id, letter.attempts) == (refused.trade_id, 3)
    assert (letter.last_reason or "").startswith("RESERVATION_NOT_FOUND")
    assert await letters.show(letter.instruction_id) == letter
    assert await letters.page(letter.instruction_id) == []
    with pytest.raises(NotFound):
        await letters.show(letter.instruction_id + 1)


async def test_mended_and_retried_it_settles(
    pool: Any, wallet: PostgresLedger, letters: DeadLetters, refused: SettleTrade
) -> None:
    order, need = refused.buyer_order_id, refused.notional + refused.buyer_fee
    [difference] = await differences(pool, wallet)
    assert order in difference
    assert "engine: needs" in difference
    assert "wallet: has reserved nothing" in difference
    [again] = await wallet.reserve_many([Reserve(refused.buyer_user_id, "USDT", need, order, refused.trade_id)], 1)
    assert again.ok
    [letter] = await letters.page()
    with pytest.raises(InvalidRequest):
        await letters.retry(letter.instruction_id, "olga", "")
    await letters.retry(letter.instruction_id, "olga", "funds are back")
    await until(pool, refused, "SETTLED")
    assert await letters.page() == []
    assert await differences(pool, wallet) == []
    [row] = await pool.fetch("SELECT actor, action, reason FROM admin_audit")
    assert tuple(row) == ("olga", "dead_letter.retry", "funds are back")


async def test_resolved_it_gives_the_funds_back_for_good(
    pool: Any, wallet: PostgresLedger, letters: DeadLetters, refused: SettleTrade
) -> None:
    [letter] = await letters.page()
    await letters.resolve(letter.instruction_id, "olga", "agreed with both sides")
    assert await letters.page() == []
    assert await status(pool, refused) == "FAILED"
    assert await differences(pool, wallet) == []
    assert {row.reserved for row in await wallet.balances(refused.seller_user_id)} == {0}
    with pytest.raises(NotFound):
        await letters.resolve(letter.instruction_id, "olga", "again")
    [row] = await pool.fetch("SELECT action, outcome FROM admin_audit")
    assert tuple(row) == ("dead_letter.resolve", "buyer's funds: RESERVATION_NOT_FOUND, seller's funds: OK")


async def test_what_the_ledger_has_settled_is_not_resolved(
    pool: Any, wallet: PostgresLedger, letters: DeadLetters, commits: Any
) -> None:
    buyer, seller = await commits.fund("USDT"), await commits.fund("BTC")
    trade = await commits.simple_trade(buyer, seller)
    assert (await wallet.settle_many([trade]))[0].ok
    await pool.execute("UPDATE settlement_instructions SET status = 'FAILED', attempts = 3")
    [letter] = await letters.page()
    with pytest.raises(Refused) as caught:
        await letters.resolve(letter.instruction_id, "olga", "give up")
    assert caught.value.code == "ALREADY_SETTLED"
    assert await pool.fetchval("SELECT count(*) FROM admin_audit") == 0


async def test_repair_releases_what_an_earlier_writer_left(pool: Any, wallet: PostgresLedger, commits: Any) -> None:
    user = await commits.fund("USDT", amount=1000)
    orphan = "019a0000-0000-7000-8000-000000000001"
    kept = await commits.order(user, "BUY", 100, hold=100)
    assert (await wallet.reserve_many([Reserve(user, "USDT", 7, orphan, orphan)], 1))[0].ok
    await pool.execute("UPDATE engine_state SET epoch = 2")
    reconciler = Reconciler(pool, wallet, lambda: 0, again_after_s=0.01)
    seen = await reconciler.run()
    assert [str(difference) for difference in seen.differences] == [
        (
            f"reservations: order {orphan} of user {user} USDT: engine: needs 0; "
            f"wallet: has reserved 0.00000007 USDT of user {user}"
        )
    ]
    repaired = await reconciler.run(repair=True)
    assert (repaired.released, repaired.differences) == ([orphan], [])
    assert [row.order_id for row in await reserved(wallet)] == [kept]
