"""The wallet on a real database: what the database itself refuses, concurrency, time limits and outages."""

import asyncio
import random
import time
from typing import Any

import asyncpg
import pytest
import uuid_utils

from trade_engine.wallet.fence import FenceRefused, read_fence, set_fence
from trade_engine.wallet.ledger import FEE_ACCOUNTS, OUTSIDE_ACCOUNT
from trade_engine.wallet.port import (
    FENCE_REACH,
    Balance,
    EntryType,
    Fence,
    Release,
    Reserve,
    SettleTrade,
    WalletUnavailable,
)
from trade_engine.wallet.service import PostgresWallet

LARGEST = 2**63 - 1


def new_id() -> str:
    return str(uuid_utils.uuid7())


async def funded(wallet: PostgresWallet, amount: int = 1_000, *assets: str) -> str:
    user = new_id()
    outcomes = await wallet.fund_many(
        EntryType.DEPOSIT, [(user, asset, amount, new_id()) for asset in assets or ("USDT",)]
    )
    assert all(outcome.ok for outcome in outcomes)
    return user


async def zero_sums(pool: Any) -> bool:
    rows = await pool.fetch(
        """SELECT sum(available_delta + reserved_delta) FROM wallet.ledger_entries GROUP BY asset
        UNION ALL SELECT sum(available + reserved) FROM wallet.balances GROUP BY asset"""
    )
    return all(row[0] == 0 for row in rows)


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE wallet.ledger_entries SET description = ''",
        "DELETE FROM wallet.ledger_entries",
        "TRUNCATE wallet.ledger_entries",
    ],
)
async def test_entries_are_append_only(pool: Any, wallet: PostgresWallet, statement: str) -> None:
    await funded(wallet)
    with pytest.raises(asyncpg.RestrictViolationError, match="append-only"):
        await pool.execute(statement)


async def test_an_unbalanced_transaction_is_refused(pool: Any) -> None:
    with pytest.raises(asyncpg.CheckViolationError, match="sum to zero"):
        await pool.execute(
            """INSERT INTO wallet.ledger_entries (type, line, operation_id, user_id, reference_id, asset,
            available_delta, reserved_delta, available_after, reserved_after, description)
            VALUES ('DEPOSIT', 13, $1, $1, $1, 'USDT', 5, 0, 5, 0, 'planted')""",
            new_id(),
        )


@pytest.mark.parametrize("column", ["available", "reserved"])
async def test_no_balance_goes_below_zero(pool: Any, wallet: PostgresWallet, column: str) -> None:
    user = await funded(wallet)
    with pytest.raises(asyncpg.CheckViolationError):
        await pool.execute(f"UPDATE wallet.balances SET {column} = -1 WHERE user_id = $1", user)


async def test_a_ledger_is_listed_newest_first_in_pages(wallet: PostgresWallet) -> None:
    user = await funded(wallet)
    order, operation = new_id(), new_id()
    await wallet.reserve_many([Reserve(user, "USDT", 300, order, order, "order")], 1)
    await wallet.release_many([Release(order, user, "USDT", 100, operation, "cancelled")])
    first, second = await wallet.ledger(user, limit=2)
    assert (first.line.type, first.line.available_delta, first.line.reserved_delta) == (EntryType.RELEASE, 100, -100)
    assert (first.available_after, first.reserved_after, first.reference_id) == (800, 200, order)
    assert (first.operation_id, first.description) == (operation, "cancelled")
    assert second.line.type is EntryType.RESERVE
    [third] = await wallet.ledger(user, before_id=second.entry_id)
    assert third.line.type is EntryType.DEPOSIT


async def test_balances_are_wider_than_an_amount(wallet: PostgresWallet) -> None:
    user = await funded(wallet, LARGEST)
    assert (await wallet.deposit(user, "USDT", LARGEST, new_id())).available == 2 * LARGEST
    assert await wallet.balances(user) == [Balance("USDT", 2 * LARGEST, 0)]
    assert await wallet.balances(OUTSIDE_ACCOUNT) == [Balance("USDT", -2 * LARGEST, 0)]
    assert (await wallet.deposit(user, "USDT", LARGEST + 1, new_id())).code == "INVALID_AMOUNT"


async def test_empty_batches_answer_nothing(wallet: PostgresWallet) -> None:
    assert await wallet.reserve_many([], 3) == []
    assert await wallet.release_many([]) == []
    assert await wallet.settle_many([]) == []
    user = await funded(wallet)
    [outcome] = await wallet.reserve_many([Reserve(user, "USDT", 1, new_id(), new_id())], 2)
    assert outcome.code == "STALE_EPOCH"


async def test_a_refused_trade_leaves_no_balance_behind(pool: Any, wallet: PostgresWallet) -> None:
    buyer, seller = await funded(wallet, 10, "USDT"), await funded(wallet, 10, "BTC")
    buys, sells = new_id(), new_id()
    await wallet.reserve_many([Reserve(buyer, "USDT", 5, buys, buys), Reserve(seller, "BTC", 5, sells, sells)], 1)
    trade = SettleTrade(new_id(), buyer, seller, "BTC", "USDT", 6, 5, 1, 0, 0, "USDT", "USDT", buys, sells)
    assert [outcome.code for outcome in await wallet.settle_many([trade])] == ["INSUFFICIENT_BALANCE"]
    assert await wallet.balances(buyer) == [Balance("USDT", 5, 5)]
    assert await wallet.balances(seller) == [Balance("BTC", 5, 5)]
    assert await wallet.balances(FEE_ACCOUNTS[0]) == []


async def test_one_operation_asked_many_times_at_once_happens_once(wallet: PostgresWallet) -> None:
    user, other = await funded(wallet), await funded(wallet)
    order, operation = new_id(), new_id()
    same = Reserve(user, "USDT", 100, order, operation)
    changed = Reserve(other, "USDT", 100, new_id(), operation)
    answers = await asyncio.gather(*(wallet.reserve_many([same if n % 3 else changed], 1) for n in range(30)))
    codes = [answer[0].code for answer in answers]
    assert set(codes) == {"OK", "IDEMPOTENCY_CONFLICT"}
    reserved = [(await wallet.balances(owner))[0].reserved for owner in (user, other)]
    assert sum(reserved) == 100


async def test_release_of_all_and_reserve_at_once_leave_nothing_reserved(pool: Any, wallet: PostgresWallet) -> None:
    user = await funded(wallet)
    for _ in range(20):
        order = new_id()
        await asyncio.gather(
            wallet.reserve_many([Reserve(user, "USDT", 10, order, order)], 1),
            wallet.release_many([Release(order, user, "USDT", None, order)]),
        )
    assert await wallet.balances(user) == [Balance("USDT", 1_000, 0)]
    assert await pool.fetchval("SELECT count(*) FROM wallet.reservations WHERE closed") == 20


async def test_transfers_between_hot_wallets_keep_every_sum(pool: Any, wallet: PostgresWallet) -> None:
    """Random trades in batches from many tasks over few users: no deadlock reaches a caller, sums stay exact."""
    chance = random.Random(7)
    users = [await funded(wallet, 10**12, "BTC", "USDT") for _ in range(10)]
    wallet = PostgresWallet(pool, reserve_timeout_s=30, timeout_s=30, fee_stripes=4)

    async def task() -> int:
        settled = 0
        for _ in range(4):
            reserves, trades = [], []
            for _ in range(10):
                buyer, seller = chance.choice(users), chance.choice(users)
                buys, sells = new_id(), new_id()
                reserves += [Reserve(buyer, "USDT", 103, buys, buys), Reserve(seller, "BTC", 7, sells, sells)]
                trades.append(
                    SettleTrade(new_id(), buyer, seller, "BTC", "USDT", 7, 100, 1, 2, 1, "USDT", "USDT", buys, sells)
                )
            assert all(outcome.ok for outcome in await wallet.reserve_many(reserves, 1))
            settled += sum(outcome.ok for outcome in await wallet.settle_many(trades))
            outcomes = await wallet.release_many(
                [Release(trade.buyer_order_id, trade.buyer_user_id, "USDT", 1, new_id()) for trade in trades]
            )
            assert all(outcome.ok for outcome in outcomes)
        return settled

    assert sum(await asyncio.gather(*(task() for _ in range(25)))) == 1_000
    assert await zero_sums(pool)
    assert await pool.fetchval("SELECT count(*) FROM wallet.reservations") == 0
    fees = [balance.available for account in FEE_ACCOUNTS for balance in await wallet.balances(account)]
    assert len(fees) == 4
    assert sum(fees) == 3_000


async def test_settling_by_user_at_once_takes_each_reservation_once(pool: Any, wallet: PostgresWallet) -> None:
    """Two users trade both ways, named and unnamed at once: what is reserved is what is left, to the unit."""
    users = [await funded(wallet, 10_000, "USDT", "BTC") for _ in range(2)]
    reserves = [
        Reserve(user, asset, 10, new_id(), new_id()) for user in users for asset in ("USDT", "BTC") for _ in range(60)
    ]
    assert all(outcome.ok for outcome in await wallet.reserve_many(reserves, 1))

    def trade(number: int) -> SettleTrade:
        buyer, seller = users if number % 2 else users[::-1]
        named = next(r.order_id for r in reserves[number:] if (r.user_id, r.asset) == (seller, "BTC"))
        return SettleTrade(
            new_id(), buyer, seller, "BTC", "USDT", 7, 7, 10**8, 1, 1, "USDT", "USDT", "", "" if number % 3 else named
        )

    outcomes = await asyncio.gather(*(wallet.settle_many([trade(number)]) for number in range(60)))
    done = sum(outcome.ok for (outcome,) in outcomes)
    assert done > 30
    rows = await pool.fetch(
        "SELECT asset, (sum(remaining) * 100000000)::BIGINT FROM wallet.reservations GROUP BY asset"
    )
    assert dict(rows) == {"BTC": 1_200 - 7 * done, "USDT": 1_200 - 8 * done}
    rows = await pool.fetch("SELECT asset, (sum(reserved) * 100000000)::BIGINT FROM wallet.balances GROUP BY asset")
    assert dict(rows) == {"BTC": 1_200 - 7 * done, "USDT": 1_200 - 8 * done}
    assert await zero_sums(pool)


async def test_a_reserve_that_waits_too_long_is_unavailable_and_frees_its_connection(pool: Any) -> None:
    wallet = PostgresWallet(pool, reserve_timeout_s=0.2)
    user = await funded(wallet)
    item = Reserve(user, "USDT", 1, new_id(), new_id())
    async with pool.acquire() as blocker, blocker.transaction():
        await blocker.execute("SELECT * FROM wallet.balances WHERE user_id = $1 FOR UPDATE", user)
        begun = time.monotonic()
        with pytest.raises(WalletUnavailable):
            await wallet.reserve_many([item], 1)
        assert time.monotonic() - begun < 5
    assert (await wallet.reserve_many([item], 1))[0].ok
    assert await wallet.balances(user) == [Balance("USDT", 999, 1)]


async def test_a_lost_connection_is_unavailable_and_the_next_call_works(database_url: str) -> None:
    async with asyncpg.create_pool(database_url, min_size=1, max_size=1) as pool:
        wallet = PostgresWallet(pool, timeout_s=5)
        user = await funded(wallet)
        backend = await pool.fetchval("SELECT pg_backend_pid()")
        killer = await asyncpg.connect(database_url)
        async with killer.transaction():
            await killer.execute("SELECT * FROM wallet.balances WHERE user_id = $1 FOR UPDATE", user)
            waiting = asyncio.create_task(wallet.deposit(user, "USDT", 1, new_id()))
            await asyncio.sleep(0.1)
            await killer.execute("SELECT pg_terminate_backend($1)", backend)
            with pytest.raises(WalletUnavailable):
                await waiting
        await killer.close()
        assert await wallet.balances(user) == [Balance("USDT", 1_000, 0)]


async def test_a_database_that_is_away_is_unavailable(database_url: str) -> None:
    pool = await asyncpg.create_pool(database_url, min_size=1, max_size=1)
    wallet = PostgresWallet(pool)
    await pool.close()
    with pytest.raises(WalletUnavailable):
        await wallet.balances(new_id())


def test_fee_stripes_are_bounded(pool: Any) -> None:
    with pytest.raises(ValueError, match="fee_stripes"):
        PostgresWallet(pool, fee_stripes=17)


async def test_the_fence_goes_up_and_believes_only_what_is_near(wallet: PostgresWallet) -> None:
    assert await wallet.raise_fence(0) == Fence("OK", 0)
    assert await wallet.raise_fence(FENCE_REACH + 1) == Fence("EPOCH_TOO_FAR", 0)
    assert await wallet.raise_fence(FENCE_REACH) == Fence("OK", FENCE_REACH)
    assert await wallet.raise_fence(3) == Fence("STALE_EPOCH", FENCE_REACH)
    assert await wallet.raise_fence(2**63 - 1) == Fence("EPOCH_TOO_FAR", FENCE_REACH)
    user = await funded(wallet)
    for far in (2 * FENCE_REACH + 1, 2**63 - 1):
        outcomes = await wallet.reserve_many([Reserve(user, "USDT", 1, new_id(), new_id())] * 2, far)
        assert [outcome.code for outcome in outcomes] == ["EPOCH_TOO_FAR"] * 2
    [outcome] = await wallet.reserve_many([Reserve(user, "USDT", 1, new_id(), new_id())], FENCE_REACH)
    assert outcome.ok, "nobody was fenced out"
    [outcome] = await wallet.reserve_many([Reserve(user, "USDT", 1, new_id(), new_id())], FENCE_REACH + 1)
    assert outcome.ok
    assert await wallet.raise_fence(0) == Fence("STALE_EPOCH", FENCE_REACH + 1)


async def test_the_fence_by_hand_is_audited_and_goes_down_only_if_one_insists(connection: Any) -> None:
    assert await set_fence(connection, 5, "somebody", "why") == 0
    with pytest.raises(FenceRefused, match="--force"):
        await set_fence(connection, 4, "somebody", "why")
    assert await read_fence(connection) == 5
    assert await set_fence(connection, 4, "somebody", "why", downward=True) == 5
    assert await read_fence(connection) == 4
    assert await connection.fetchval("SELECT count(*) FROM admin_audit WHERE action = 'wallet.fence'") == 2
