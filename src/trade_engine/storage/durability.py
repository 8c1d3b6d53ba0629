"""What the engine demands of a PostgreSQL server before it trusts it with an acknowledgement.

An order is acknowledged once its commit returns; that means nothing on a server that commits to memory.
"""

from typing import Final

import asyncpg

from trade_engine.storage.errors import DurabilityError

SERVER_VERSION_MIN: Final = 15


async def require_durable(connection: asyncpg.Connection) -> None:
    """Check version, ``fsync`` and this connection's ``synchronous_commit``.

    Raises:
        DurabilityError: naming the setting, its value and what it must be.
    """
    version = int(await connection.fetchval("SELECT current_setting('server_version_num')")) // 10_000
    if version < SERVER_VERSION_MIN:
        raise DurabilityError(f"PostgreSQL {version} is too old: {SERVER_VERSION_MIN} or newer is needed")
    for setting in ("fsync", "synchronous_commit"):
        value = await connection.fetchval("SELECT current_setting($1)", setting)
        if value == "off":
            raise DurabilityError(f"{setting} is off: acknowledged orders could be lost, set it to on")
