"""Which errors of the PostgreSQL driver mean that the database is away, rather than that it refused something."""

from typing import Final

import asyncpg

#: Connection lost, refused or too slow; server stopping, starting, full or a standby: the same call may work later.
TRANSPORT_ERRORS: Final = (
    OSError,
    TimeoutError,
    asyncpg.InterfaceError,
    asyncpg.PostgresConnectionError,
    asyncpg.OperatorInterventionError,
    asyncpg.InsufficientResourcesError,
    asyncpg.LockNotAvailableError,
    asyncpg.ReadOnlySQLTransactionError,
)
