"""A pool on a migrated database of its own, and the wallet on it."""

from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import pytest

from trade_engine.wallet.service import PostgresWallet


@pytest.fixture
async def pool(database_url: str) -> AsyncIterator[Any]:
    async with asyncpg.create_pool(database_url, min_size=1, max_size=12) as made:
        yield made


@pytest.fixture
def wallet(pool: Any) -> PostgresWallet:
    return PostgresWallet(pool, reserve_timeout_s=60, timeout_s=60)
