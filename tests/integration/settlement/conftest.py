"""What the engine's commits leave behind, written straight into its tables, and a wallet beside it."""

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import pytest
import uuid_utils

from trade_engine.wallet.port import Reserve, SettleTrade
from trade_engine.wallet.service import PostgresWallet

UNIT = 10**8


def new_id() -> str:
    return str(uuid_utils.uuid7())


def now_us() -> int:
    return time.time_ns() // 1000


_ORDERS = """
    INSERT INTO orders (order_id, sequence, user_id, market_id, side, type, time_in_force, self_trade_prevention, flags,
        status, is_open, price, quantity, max_notional, filled_quantity, filled_notional, cancelled_quantity,
        priority_sequence, display_remaining, linked_sequence, maker_fee, taker_fee, fee_asset, maker_basis,
        taker_basis, fee_charged, reserved, hold, created_at, updated_at)
    SELECT i.order_id, 1, i.user_id, 1, i.side::side_enum, 'LIMIT', 'GTC', 'NONE', 0, i.status::order_status_enum,
        i.status = 'OPEN', 50000, 1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 'QUOTE', 0, 0, 0, i.hold * 0.00000001,
        i.hold * 0.00000001, now(), now()
    FROM unnest($1::UUID[], $2::UUID[], $3::TEXT[], $4::TEXT[], $5::BIGINT[])
        AS i(order_id, user_id, side, status, hold)
"""
_TRADES = """
    INSERT INTO trades (trade_id, sequence, market_id, price, quantity, notional, buyer_order_id, seller_order_id,
        buyer_user_id, seller_user_id, buyer_fee, seller_fee, buyer_fee_asset, seller_fee_asset, is_buyer_maker,
        executed_at)
    SELECT i.trade_id, 1, 1, i.price * 0.00000001, i.quantity * 0.00000001, i.notional * 0.00000001, i.buyer_order,
        i.seller_order, i.buyer, i.seller, i.buyer_fee * 0.00000001, i.seller_fee * 0.00000001, i.buyer_asset,
        i.seller_asset, TRUE, now()
    FROM unnest($1::UUID[], $2::UUID[], $3::UUID[], $4::BIGINT[], $5::BIGINT[], $6::BIGINT[], $7::BIGINT[],
        $8::BIGINT[], $9::TEXT[], $10::TEXT[], $11::UUID[], $12::UUID[])
        AS i(trade_id, buyer, seller, quantity, notional, price, buyer_fee, seller_fee, buyer_asset, seller_asset,
            buyer_order, seller_order)
"""
_INSTRUCTIONS = """
    INSERT INTO settlement_instructions (instruction_id, kind, trade_id, order_id, user_id, asset, amount, reason,
        created_at)
    SELECT i.number, i.kind::instruction_kind_enum, i.trade_id, i.order_id, i.user_id, i.asset,
        i.amount * 0.00000001, 'test', now()
    FROM unnest($1::BIGINT[], $2::TEXT[], $3::UUID[], $4::UUID[], $5::UUID[], $6::TEXT[], $7::BIGINT[])
        AS i(number, kind, trade_id, order_id, user_id, asset, amount)
"""


class Commits:
    """Writes orders, trades and instructions as the engine's commits do."""

    def __init__(self, pool: Any, wallet: PostgresWallet) -> None:
        self.pool = pool
        self.wallet = wallet
        self.instructions = 0

    async def fund(self, *assets: str, amount: int = 10**9 * UNIT) -> str:
        """A new user with ``amount`` of each asset."""
        user = new_id()
        for asset in assets:
            assert (await self.wallet.deposit(user, asset, amount, new_id())).ok
        return user

    async def order(self, user: str, side: str, amount: int, hold: int = 0) -> str:
        """An order of ``user`` with ``amount`` reserved; open if it still holds some of it."""
        order = new_id()
        asset = "USDT" if side == "BUY" else "BTC"
        [outcome] = await self.wallet.reserve_many([Reserve(user, asset, amount, order, order)], 1)
        assert outcome.ok
        await self.write_order(order, user, side, hold)
        return order

    async def write_order(self, order: str, user: str, side: str, hold: int) -> None:
        """The row of an order, open if it holds something."""
        await self.pool.execute(_ORDERS, [order], [user], [side], ["OPEN" if hold else "FILLED"], [hold])

    async def trade(self, trade: SettleTrade) -> str:
        """A trade and its instruction, in one transaction."""
        await self.trades([trade])
        return trade.trade_id

    async def trades(self, trades: list[SettleTrade]) -> None:
        by_field = dict(zip(SettleTrade._fields, map(list, zip(*trades, strict=True)), strict=True))
        del by_field["base_asset"], by_field["quote_asset"]
        numbers = list(range(self.instructions + 1, self.instructions + len(trades) + 1))
        self.instructions += len(trades)
        nothing = [None] * len(trades)
        async with self.pool.acquire() as connection, connection.transaction():
            await connection.execute(_TRADES, *by_field.values())
            await connection.execute(
                _INSTRUCTIONS,
                numbers,
                ["SETTLE"] * len(trades),
                by_field["trade_id"],
                nothing,
                nothing,
                nothing,
                nothing,
            )

    async def release(self, order: str, user: str, asset: str, amount: int | None) -> int:
        """A release instruction; its number."""
        self.instructions += 1
        await self.pool.execute(
            _INSTRUCTIONS, [self.instructions], ["RELEASE"], [None], [order], [user], [asset], [amount]
        )
        return self.instructions

    async def simple_trade(self, buyer: str, seller: str, quantity: int = UNIT, fee: int = 50 * UNIT) -> SettleTrade:
        """A trade of ``quantity`` at 50,000 between two new, filled orders that reserved exactly what it needs."""
        notional = 50_000 * quantity
        buys = await self.order(buyer, "BUY", notional + fee)
        sells = await self.order(seller, "SELL", quantity)
        trade = SettleTrade(
            new_id(), buyer, seller, "BTC", "USDT", quantity, notional, 50_000 * UNIT, fee, fee, "USDT", "USDT",
            buys, sells,
        )  # fmt: skip
        await self.trade(trade)
        return trade

    async def trade_row(self, trade_id: str) -> Any:
        return await self.pool.fetchrow("SELECT * FROM trades WHERE trade_id = $1", trade_id)


@pytest.fixture
async def pool(database_url: str) -> AsyncIterator[Any]:
    async with asyncpg.create_pool(database_url, min_size=1, max_size=4) as made:
        await made.execute(
            "INSERT INTO markets (market_id, symbol, base, quote, tick_size, lot_size, min_quantity, max_quantity,"
            " min_notional, maker_fee, taker_fee, fee_asset)"
            " VALUES (1, 'BTC/USDT', 'BTC', 'USDT', 0.01, 0.000001, 0.0001, 1000, 0, 0.0005, 0.001, 'QUOTE')"
        )
        yield made


@pytest.fixture
def wallet(pool: Any) -> PostgresWallet:
    return PostgresWallet(pool, reserve_timeout_s=5)


@pytest.fixture
def commits(pool: Any, wallet: PostgresWallet) -> Commits:
    return Commits(pool, wallet)


@pytest.fixture
async def running() -> AsyncIterator[Any]:
    """Starts workers, and stops them at the end."""
    started: list[tuple[Any, asyncio.Task[None]]] = []

    def start(worker: Any) -> Any:
        started.append((worker, asyncio.create_task(worker.run())))
        return worker

    yield start
    for worker, task in started:
        worker.stop()
        await asyncio.wait_for(task, 5)
