"""A wallet service in this process, on a database and a port of its own."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

from trade_engine.config import Config, load_config
from trade_engine.roles.wallet import WalletService
from trade_engine.storage.embedded import EmbeddedSettings

SECRET: Final = "a secret that only tests know, of 32 bytes or more"


def wallet_config(database_url: str, **flags: Any) -> Config:
    """Options of a service on ``database_url``."""
    options = {"auth.jwt_secret": SECRET, "wallet.database_url": database_url, "wallet.port": 0}
    return load_config(None, options | {key.replace("__", "."): value for key, value in flags.items()}, {})


@asynccontextmanager
async def wallet_service(database_url: str, **flags: Any) -> AsyncIterator[int]:
    """A running service: its port."""
    service = WalletService(wallet_config(database_url, **flags), Path(), EmbeddedSettings(), SECRET)
    port = await service.start()
    try:
        yield port
    finally:
        await service.stop()
