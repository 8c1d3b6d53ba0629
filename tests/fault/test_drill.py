"""The fault drill, small: a few hundred orders, a second of outage; `make fault` runs the whole one."""

from pathlib import Path

import asyncpg
import pytest

from tests.fault.drill import Case, drill_world, faults, outage, permanent_refusal
from tests.fault.hot_wallets import hot_wallets
from tests.harness.postgres import TestServer
from trade_engine.wallet.audit import PostgresLedger


def good(case: Case) -> None:
    print(case.line)
    assert case.wrong == []


@pytest.mark.filterwarnings("ignore::ResourceWarning")
async def test_money_survives_a_misbehaving_wallet(postgres: TestServer, database_url: str, tmp_path: Path) -> None:
    wallet_url = postgres.migrated()
    try:
        world = drill_world(database_url, wallet_url, tmp_path, seed=20_260_101, users=10, breaker_open_s=0.5)
        async with world as running:
            good(await faults(running, 300, 16, 0.2))
            good(await permanent_refusal(running))
            good(await outage(running, 3.0, 8))
    finally:
        postgres.drop(wallet_url)


async def test_hot_wallets(database_url: str) -> None:
    async with asyncpg.create_pool(database_url, min_size=1, max_size=16) as pool:
        ledger = PostgresLedger(pool, reserve_timeout_s=60, timeout_s=60)
        good(await hot_wallets(ledger, tasks=50, transfers=1_000, wallets=20, seed=7))
