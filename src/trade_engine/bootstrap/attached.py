"""Wiring of commands that work beside a running engine: its database and its wallet."""

import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

from trade_engine.bootstrap.wallet import make_wallet
from trade_engine.config import Config, markets_of
from trade_engine.edge.assets import require_listed
from trade_engine.storage.embedded import EmbeddedSettings, use_embedded
from trade_engine.storage.markets import market_from_row
from trade_engine.storage.pool import PoolSettings, close_pool, open_pool
from trade_engine.storage.reach import connect, reaching
from trade_engine.wallet.audit import PostgresLedger
from trade_engine.wallet.port import AuditedWallet


def embedded_settings(config: Config) -> EmbeddedSettings:
    """How the configuration wants the embedded database."""
    folder = config.database.postgres_bin
    return EmbeddedSettings(postgres_bin=Path(folder) if folder else None)


@contextlib.asynccontextmanager
async def attached_url(config: Config, data_dir: Path) -> AsyncIterator[str]:
    """For commands beside a server: the URL of the engine's database, embedded or not.

    Raises:
        EmbeddedError: there is no database in ``data_dir``.
    """
    url = config.database.direct_url or config.database.url
    if url is not None:
        yield url
        return
    async with use_embedded(data_dir, embedded_settings(config)) as embedded:
        yield embedded


async def require_asset(url: str, config: Config, asset: str) -> None:
    """Make sure that a market has an asset that is to be deposited; before the first start, one of the configuration.

    Raises:
        InvalidRequest: UNKNOWN_ASSET.
    """
    if config.wallet.any_asset:
        return
    connection = await connect(url)
    try:
        rows = await connection.fetch("SELECT * FROM markets")
    finally:
        await connection.close()
    require_listed(asset, [market_from_row(row) for row in rows] or markets_of(config))


@contextlib.asynccontextmanager
async def attached_wallet(url: str, config: Config | None = None, secret: str = "") -> AsyncIterator[AuditedWallet]:
    """For commands beside a server: the wallet; on a pool of its own, or the service that the configuration names."""
    if config is not None and config.wallet.mode == "http":
        async with contextlib.aclosing(make_wallet(config, None, secret)) as remote:
            yield remote
        return
    with reaching(url, "database.url"):
        pool = await open_pool(url, PoolSettings(max_open=2))
    try:
        yield PostgresLedger(pool, reserve_timeout_s=30, timeout_s=30)
    finally:
        await close_pool(pool)
