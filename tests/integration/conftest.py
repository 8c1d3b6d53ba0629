"""With ``TEST_PGBOUNCER=1`` every pool of these tests passes a PgBouncer in transaction mode: ``make pooled``.

The writer, the lease, the relay and whatever else connects by itself goes directly, as ``database.direct_url`` has it.
Without it ``test_pooler.py`` alone does so.
"""

import os
from typing import Any

import asyncpg
import msgspec
import pytest

from tests.fixtures import flow
from tests.harness import wallet_service
from tests.harness.pgbouncer import TestPgBouncer
from trade_engine.config import Config, load_config

POOLED = os.environ.get("TEST_PGBOUNCER") == "1"


@pytest.fixture(autouse=True)
def _through_a_pooler(request: pytest.FixtureRequest) -> None:
    if POOLED:
        if request.node.get_closest_marker("direct"):
            pytest.skip("about a connection of its own")
        request.getfixturevalue("_pooled")


@pytest.fixture
def _pooled(pgbouncer: TestPgBouncer, monkeypatch: pytest.MonkeyPatch) -> None:
    real = asyncpg.create_pool

    def create_pool(url: str, **options: Any) -> Any:
        if not pgbouncer.is_before(url) or (options.get("server_settings") or {}).get("role"):
            return real(url, **options)
        return real(pgbouncer.url(url), **options | {"statement_cache_size": 0, "server_settings": None})

    def load(path: Any, flags: Any, environment: Any) -> Config:
        config = load_config(path, flags, environment)
        if not pgbouncer.is_before(config.database.url or config.wallet.database_url or ""):
            return config
        database, wallet = config.database, config.wallet
        if database.url:
            pooled = pgbouncer.url(database.url)
            database = msgspec.structs.replace(database, url=pooled, direct_url=database.direct_url or database.url)
        if wallet.database_url:
            wallet = msgspec.structs.replace(wallet, database_url=pgbouncer.url(wallet.database_url))
        database = msgspec.structs.replace(database, behind_pooler=True)
        return msgspec.structs.replace(config, database=database, wallet=wallet)

    monkeypatch.setattr(asyncpg, "create_pool", create_pool)
    monkeypatch.setattr(flow, "load_config", load)
    monkeypatch.setattr(wallet_service, "load_config", load)
