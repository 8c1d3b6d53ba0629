"""Which errors of the PostgreSQL driver mean that the database is away, rather than that it refused something."""

from typing import Final

import asyncpg

#: Connection lost, refused or too slow; server stopping, starting, full or a standby: the same call may work later.
#: The driver's InternalClientError is what a connection raises that the server ended between two calls.
TRANSPORT_ERRORS: Final = (
    OSError,
    TimeoutError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
    asyncpg.PostgresConnectionError,
    asyncpg.OperatorInterventionError,
    asyncpg.InsufficientResourcesError,
    asyncpg.LockNotAvailableError,
    asyncpg.ReadOnlySQLTransactionError,
)
