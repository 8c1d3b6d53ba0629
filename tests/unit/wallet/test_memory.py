"""The wallet's contract, item by item, on the wallet in memory (the PostgreSQL one is shown to be its twin)."""

from typing import Any

import pytest

from tests.harness.reservations import reserved
from trade_engine.wallet.ledger import FEE_ACCOUNTS, OUTSIDE_ACCOUNT, trade_is_valid, trade_lines
from trade_engine.wallet.memory import MemoryWallet
from trade_engine.wallet.port import Balance, EntryType, Release, Reserve, SettleTrade

ALICE, BOB, ORDER, OTHER, OP, NEXT, TRADE = (f"01900000-0000-7000-8000-00000000000{n}" for n in range(7))
BUY = SettleTrade(
    TRADE, ALICE, BOB, "BTC", "USDT", 10, 500, 5_000_000_000, 5, 3, "USDT", "USDT", ORDER, OTHER
)  # fmt: skip


@pytest.fixture
async def wallet() -> MemoryWallet:
    made = MemoryWallet()
    await made.deposit(ALICE, "USDT", 1000, OP)
    await made.deposit(BOB, "BTC", 20, NEXT)
    return made


async def reserve(wallet: MemoryWallet, *items: Reserve, epoch: int = 1) -> list[str]:
    return [outcome.code for outcome in await wallet.reserve_many(items, epoch)]


async def release(wallet: MemoryWallet, *items: Release) -> list[tuple[str, int]]:
    return [(outcome.code, outcome.amount) for outcome in await wallet.release_many(items)]


async def test_a_reserve_moves_available_to_reserved(wallet: MemoryWallet) -> None:
    [outcome] = await wallet.reserve_many([Reserve(ALICE, "USDT", 600, ORDER, ORDER)], 1)
    assert (outcome.available, outcome.reserved, outcome.reservation_id) == (400, 600, ORDER)


async def test_each_item_is_decided_in_order_on_its_own(wallet: MemoryWallet) -> None:
    items = [
        Reserve(ALICE, "USDT", 600, ORDER, ORDER),
        Reserve(ALICE, "USDT", 600, OTHER, OTHER),
        Reserve(ALICE, "USDT", 400, TRADE, TRADE),
        Reserve(ALICE, "ETH", 1, OP, OP),
        Reserve(TRADE, "USDT", 1, NEXT, NEXT),
        Reserve(BOB, "BTC", 0, NEXT, NEXT),
    ]
    assert await reserve(wallet, *items) == [
        "OK", "INSUFFICIENT_BALANCE", "OK", "INSUFFICIENT_BALANCE", "USER_NOT_FOUND", "INVALID_AMOUNT",
    ]  # fmt: skip
    assert await wallet.balances(ALICE) == [Balance("USDT", 0, 1000)]


async def test_a_repeat_gets_the_first_answer_and_a_changed_one_is_refused(wallet: MemoryWallet) -> None:
    item = Reserve(ALICE, "USDT", 600, ORDER, OP)
    [first] = await wallet.reserve_many([item], 1)
    await wallet.reserve_many([Reserve(ALICE, "USDT", 100, OTHER, NEXT)], 1)
    assert await wallet.reserve_many([item], 1) == [first]
    assert await reserve(wallet, item._replace(amount=601)) == ["IDEMPOTENCY_CONFLICT"]
    assert await reserve(wallet, item._replace(order_id=OTHER)) == ["IDEMPOTENCY_CONFLICT"]


async def test_a_lower_epoch_is_refused(wallet: MemoryWallet) -> None:
    assert await reserve(wallet, epoch=5) == []
    item = Reserve(ALICE, "USDT", 1, ORDER, ORDER)
    assert await reserve(wallet, item, epoch=4) == ["STALE_EPOCH"]
    assert await reserve(wallet, item, epoch=5) == ["OK"]


async def test_a_release_of_all_that_is_left_refuses_a_late_reserve(wallet: MemoryWallet) -> None:
    assert await release(wallet, Release(ORDER, ALICE, "USDT", None, OP)) == [("OK", 0)]
    assert await reserve(wallet, Reserve(ALICE, "USDT", 600, ORDER, ORDER)) == ["IDEMPOTENCY_CONFLICT"]
    await reserve(wallet, Reserve(ALICE, "USDT", 600, OTHER, OTHER))
    item = Release(OTHER, ALICE, "USDT", None, NEXT)
    assert await release(wallet, item, item) == [("OK", 600), ("OK", 600)]
    assert await reserve(wallet, Reserve(ALICE, "USDT", 1, OTHER, TRADE)) == ["IDEMPOTENCY_CONFLICT"]


async def test_releases_are_bounded_by_what_is_left(wallet: MemoryWallet) -> None:
    await reserve(wallet, Reserve(ALICE, "USDT", 600, ORDER, ORDER))
    assert await release(
        wallet,
        Release(ORDER, ALICE, "USDT", 601, OP),
        Release(ORDER, ALICE, "USDT", 200, OP),
        Release(ORDER, ALICE, "USDT", 300, OP),
        Release(ORDER, BOB, "USDT", 1, NEXT),
        Release(OTHER, ALICE, "USDT", 1, NEXT),
        Release(ORDER, ALICE, "USDT", -1, NEXT),
    ) == [
        ("INVALID_AMOUNT", 0),
        ("OK", 200),
        ("IDEMPOTENCY_CONFLICT", 0),
        ("RESERVATION_NOT_FOUND", 0),
        ("RESERVATION_NOT_FOUND", 0),
        ("INVALID_AMOUNT", 0),
    ]
    assert [row[:4] for row in await reserved(wallet)] == [(ORDER, ALICE, "USDT", 400)]


async def test_a_trade_moves_both_sides_and_the_fees(wallet: MemoryWallet) -> None:
    await reserve(wallet, Reserve(ALICE, "USDT", 505, ORDER, ORDER), Reserve(BOB, "BTC", 20, OTHER, OTHER))
    [first] = await wallet.settle_many([BUY])
    assert (first.code, first.available, first.reserved) == ("OK", 10, 0)
    assert await wallet.balances(ALICE) == [Balance("BTC", 10, 0), Balance("USDT", 495, 0)]
    assert await wallet.balances(BOB) == [Balance("BTC", 0, 10), Balance("USDT", 497, 0)]
    assert await wallet.balances(FEE_ACCOUNTS[0]) == [Balance("USDT", 8, 0)]
    assert await wallet.balances(OUTSIDE_ACCOUNT) == [Balance("BTC", -20, 0), Balance("USDT", -1000, 0)]
    assert [row[:4] for row in await reserved(wallet)] == [(OTHER, BOB, "BTC", 10)]
    assert await wallet.settle_many([BUY]) == [first]
    assert [o.code for o in await wallet.settle_many([BUY._replace(buyer_fee=4)])] == ["IDEMPOTENCY_CONFLICT"]


async def test_a_trade_beyond_its_reservations_leaves_no_trace(wallet: MemoryWallet) -> None:
    await reserve(wallet, Reserve(ALICE, "USDT", 504, ORDER, ORDER), Reserve(BOB, "BTC", 20, OTHER, OTHER))
    entries = len(wallet.entries)
    items = [BUY, BUY._replace(buyer_order_id=OP), BUY._replace(seller_user_id=ALICE), BUY._replace(quantity=0)]
    assert [outcome.code for outcome in await wallet.settle_many(items)] == [
        "INSUFFICIENT_BALANCE", "RESERVATION_NOT_FOUND", "RESERVATION_NOT_FOUND", "INVALID_AMOUNT",
    ]  # fmt: skip
    assert len(wallet.entries) == entries


async def test_withdrawals_take_available_balance_only(wallet: MemoryWallet) -> None:
    await reserve(wallet, Reserve(ALICE, "USDT", 600, ORDER, ORDER))
    codes = [
        (await wallet.withdraw(user, "USDT", amount, OTHER)).code
        for user, amount in ((ALICE, 401), (BOB, 1), (TRADE, 1), (ALICE, 400), (ALICE, 400), (ALICE, 1))
    ]
    assert codes == [
        "INSUFFICIENT_BALANCE", "INSUFFICIENT_BALANCE", "USER_NOT_FOUND", "OK", "OK", "IDEMPOTENCY_CONFLICT",
    ]  # fmt: skip
    assert await wallet.balances(ALICE) == [Balance("USDT", 0, 600)]


@pytest.mark.parametrize(("buyer_asset", "seller_asset"), [("USDT", "USDT"), ("BTC", "USDT"), ("USDT", "BTC")])
def test_every_trade_sums_to_zero_per_asset(buyer_asset: str, seller_asset: str) -> None:
    lines = trade_lines(
        BUY._replace(buyer_fee_asset=buyer_asset, seller_fee_asset=seller_asset), FEE_ACCOUNTS[3]
    )  # fmt: skip
    for asset in ("BTC", "USDT"):
        assert sum(line.available_delta + line.reserved_delta for line in lines if line.asset == asset) == 0
    assert sum(line.type is EntryType.FEE for line in lines) == (3 if buyer_asset == seller_asset else 4)


@pytest.mark.parametrize(
    "change",
    [
        {"quantity": 0}, {"notional": -1}, {"buyer_fee": -1}, {"seller_fee": 501}, {"quote_asset": "BTC"},
        {"buyer_fee_asset": "ETH"}, {"buyer_fee_asset": "BTC", "buyer_fee": 11}, {"quantity": 2**63},
    ],
)  # fmt: skip
def test_amounts_that_no_trade_can_have(change: dict[str, Any]) -> None:
    assert trade_is_valid(BUY)
    assert not trade_is_valid(BUY._replace(**change))
