"""The PostgreSQL wallet and the one in memory, driven by the same random batches, are one wallet.

Few users, orders, operations and small amounts, so that refusals, repeats, changed repeats, tombstones and several
items of one user in a batch happen all the time.  The seed is printed; ``TEST_SEED`` sets it.
"""

import os
import random
from typing import Any

import asyncpg
import pytest

from tests.harness.reservations import reserved
from tests.harness.seeds import seed
from trade_engine.wallet.audit import PostgresLedger
from trade_engine.wallet.ledger import FEE_ACCOUNTS, OUTSIDE_ACCOUNT
from trade_engine.wallet.memory import MemoryWallet
from trade_engine.wallet.port import Release, Reserve, SettleTrade

ASSETS = ("BTC", "USDT", "ETH")
AMOUNTS = ("quantity", "notional", "buyer_fee", "seller_fee")
BATCHES = int(os.environ.get("WALLET_BATCHES", "600"))


def uuid_of(kind: int, number: int) -> str:
    return f"00000000-0000-7000-9{kind:03x}-{number:012x}"


class Scenario:
    """Random items over a small world."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.fresh = 1000
        self.past: list[Any] = []

    def with_repeats(self, items: list[Any]) -> list[Any]:
        """Some of the items replaced by ones before them, as they were or with another amount."""
        kind = type(items[0])
        earlier = [item for item in self.past if type(item) is kind]
        for n in range(len(items)):
            if self.random.random() < 0.2 and (earlier or n):
                items[n] = self.random.choice(items[:n] if n and (not earlier or n % 2) else earlier)
                if self.random.random() < 0.3:
                    field = self.random.choice(AMOUNTS) if kind is SettleTrade else "amount"
                    items[n] = items[n]._replace(**{field: 1})
        self.past = (self.past + items)[-200:]
        return items

    def user(self) -> str:
        return uuid_of(1, self.random.randrange(5))

    def asset(self) -> str:
        return self.random.choice(ASSETS)

    def operation(self, kind: int) -> str:
        """Usually a new one, sometimes one that may have been used."""
        if self.random.random() < 0.15:
            return uuid_of(kind, self.random.randrange(max(1, self.fresh - 60), self.fresh))
        self.fresh += 1
        return uuid_of(kind, self.fresh)

    def order(self) -> str:
        """Usually a new one, sometimes one that has something reserved or was closed."""
        if self.random.random() < 0.2:
            return uuid_of(2, self.random.randrange(self.fresh - 40, self.fresh))
        self.fresh += 1
        return uuid_of(2, self.fresh)

    def amount(self) -> int:
        return self.random.choice((0, -1, 1, 2, 5, 10, 50, 10**12, 2**63))

    def small(self) -> int:
        return self.random.choice((1, 2, 3, 5, 8, 20, 60))

    def reserve(self) -> Reserve:
        amount = self.amount() if self.random.random() < 0.2 else 4 * self.small()
        return Reserve(self.user(), self.asset(), amount, self.order(), self.operation(3))

    def release(self, held: list[tuple[str, str, str]]) -> Release:
        order, user, asset = (
            self.random.choice(held)
            if held and self.random.random() < 0.7
            else (self.order(), self.user(), self.asset())
        )
        amount = None if self.random.random() < 0.25 else self.small()
        return Release(order, user, asset, amount, self.operation(3))

    def trade(self, held: list[tuple[str, str, str]]) -> SettleTrade:
        base, quote = self.random.sample(ASSETS, 2)
        buys = [h for h in held if h[2] == quote] or [(self.order(), self.user(), quote)]
        sells = [h for h in held if h[2] == base] or [(self.order(), self.user(), base)]
        buyer_order, buyer, _ = self.random.choice(buys)
        seller_order, seller, _ = self.random.choice(sells)
        if self.random.random() < 0.05:
            buyer = self.user()
        return SettleTrade(
            self.operation(4), buyer, seller, base, quote, self.small(), self.small(), 5 * 10**7,
            self.random.choice((0, 0, 1, 2)), self.random.choice((0, 0, 1, 2)),
            self.random.choice((base, quote, quote)), self.random.choice((base, quote, quote, "XXX")),
            buyer_order, seller_order,
        )  # fmt: skip


async def same_state(connection: Any, postgres: PostgresLedger, memory: MemoryWallet) -> None:
    rows = await connection.fetch(
        "SELECT user_id::TEXT, asset, (available * 1e8)::BIGINT, (reserved * 1e8)::BIGINT FROM wallet.balances"
    )
    expected = {
        (user, balance.asset, balance.available, balance.reserved)
        for user in [uuid_of(1, n) for n in range(5)] + [OUTSIDE_ACCOUNT, FEE_ACCOUNTS[0]]
        for balance in await memory.balances(user)
    }
    assert {tuple(row) for row in rows} == expected
    assert await reserved(postgres) == await reserved(memory)


@pytest.mark.timeout(120)
@pytest.mark.parametrize("default", [1, 897524359])
async def test_postgres_and_memory_answer_alike(database_url: str, default: int) -> None:
    scenario = Scenario(seed(default))
    memory = MemoryWallet()
    codes: dict[str, int] = {}
    async with asyncpg.create_pool(database_url, min_size=1, max_size=2) as pool:
        postgres = PostgresLedger(pool, reserve_timeout_s=10)
        for _ in range(BATCHES):
            size = scenario.random.randrange(1, 12)
            held = [(r.order_id, r.user_id, r.asset) for r in await reserved(memory)]
            match scenario.random.randrange(6):
                case 0:
                    amount = scenario.random.choice((0, 5, 1000, 2000))
                    user, asset, op = scenario.user(), scenario.asset(), scenario.operation(5)
                    if scenario.random.random() < 0.7:
                        got = [await postgres.deposit(user, asset, amount, op)]
                        expected = [await memory.deposit(user, asset, amount, op)]
                    else:
                        got = [await postgres.withdraw(user, asset, amount, op)]
                        expected = [await memory.withdraw(user, asset, amount, op)]
                    items: list[Any] = [("fund", user, asset, amount, op)]
                case 1 | 2:
                    items = scenario.with_repeats([scenario.reserve() for _ in range(size)])
                    epoch = memory.epoch + scenario.random.choice((0, 0, 0, 0, 1, -1))
                    got, expected = await postgres.reserve_many(items, epoch), await memory.reserve_many(items, epoch)
                case 3:
                    items = scenario.with_repeats([scenario.release(held) for _ in range(size)])
                    got, expected = await postgres.release_many(items), await memory.release_many(items)
                case _:
                    items = scenario.with_repeats([scenario.trade(held) for _ in range(size)])
                    got, expected = await postgres.settle_many(items), await memory.settle_many(items)
            assert got == expected, items
            for outcome in got:
                key = f"{type(items[0]).__name__}.{outcome.code}"
                codes[key] = codes.get(key, 0) + 1
        async with pool.acquire() as connection:
            await same_state(connection, postgres, memory)
            rows = await connection.fetch(
                """SELECT operation_id::TEXT, line, type::TEXT, user_id::TEXT, asset, (available_delta * 1e8)::BIGINT,
                (reserved_delta * 1e8)::BIGINT, (available_after * 1e8)::BIGINT, (reserved_after * 1e8)::BIGINT,
                reference_id::TEXT, description FROM wallet.ledger_entries ORDER BY entry_id"""
            )
            wanted = [
                (e.operation_id, *e.line[:1], e.line.type.value, *e.line[2:], e.available_after, e.reserved_after,
                 e.reference_id, e.description)
                for e in memory.entries
            ]  # fmt: skip
            assert [tuple(row) for row in rows] == wanted
    print(sorted(codes.items()))
    assert codes["SettleTrade.OK"] > BATCHES // 20
