"""Concurrency: many tasks move money between few wallets at once; every sum stays exact and no error comes out."""

import asyncio
import random
import time
import uuid

from tests.fault.drill import Case
from trade_engine.domain.scale import UNIT
from trade_engine.wallet.audit import PostgresLedger
from trade_engine.wallet.ledger import FEE_ACCOUNTS
from trade_engine.wallet.port import Reserve, SettleTrade


def _id() -> str:
    return str(uuid.uuid4())


async def hot_wallets(ledger: PostgresLedger, *, tasks: int, transfers: int, wallets: int, seed: int) -> Case:
    """``transfers`` trades between ``wallets`` users by ``tasks`` tasks, each reserved for and settled."""
    rng = random.Random(seed)
    users = [_id() for _ in range(wallets)]
    funds = 10**6 * UNIT
    for user in users:
        for asset in ("AAA", "BBB"):
            await ledger.deposit(user, asset, funds, _id())
    epoch = await ledger.current_epoch()
    errors: list[str] = []
    left = transfers
    done = 0

    async def work() -> None:
        nonlocal left, done
        while left > 0:
            count = min(rng.randint(1, 10), left)
            left -= count
            trades = [_trade(rng, users) for _ in range(count)]
            reserves = [
                reserve
                for t in trades
                for reserve in (
                    Reserve(t.buyer_user_id, "BBB", t.notional + t.buyer_fee, t.buyer_order_id, t.buyer_order_id),
                    Reserve(t.seller_user_id, "AAA", t.quantity, t.seller_order_id, t.seller_order_id),
                )
            ]
            try:
                outcomes = [*await ledger.reserve_many(reserves, epoch), *await ledger.settle_many(trades)]
            except Exception as error:  # noqa: BLE001 - what reaches a caller is the question
                errors.append(repr(error))
                continue
            errors.extend(outcome.code for outcome in outcomes if not outcome.ok)
            done += count

    started = time.monotonic()
    await asyncio.gather(*(work() for _ in range(tasks)))
    took = time.monotonic() - started
    wrong = [f"{len(errors)} errors reached a caller, the first: {errors[0]}"] if errors else []
    held = {"AAA": 0, "BBB": 0}
    for user in (*users, *FEE_ACCOUNTS):
        for balance in await ledger.balances(user):
            if balance.asset in held:
                held[balance.asset] += balance.available + balance.reserved
    wrong += [
        f"{asset}: {amount} units are held, {funds * wallets} were deposited"
        for asset, amount in held.items()
        if amount != funds * wallets
    ]
    wrong += [str(difference) for difference in await ledger.audit()]
    figures = {"tasks": tasks, "wallets": wallets, "transfers": done, "transfers_per_s": round(done / took)}
    return Case("hot wallets", figures, wrong)


def _trade(rng: random.Random, users: list[str]) -> SettleTrade:
    buyer, seller = rng.sample(users, 2)
    quantity, price = rng.randint(1, 1000) * UNIT // 1000, rng.randint(1, 50) * UNIT
    notional = quantity * price // UNIT
    return SettleTrade(
        _id(), buyer, seller, "AAA", "BBB", quantity, notional, price, notional // 1000, notional // 1000, "BBB", "BBB",
        _id(), _id(),
    )  # fmt: skip
