"""What can be wrong with the database before the engine serves.

StorageError                 the message is for the operator: what is wrong, and what to do
+-- SchemaError              the schema is not the one that this program was written for
+-- DurabilityError          the server could lose what it has confirmed
+-- EmbeddedError            the private server cannot be started, found or stopped
+-- ArchiveError             partitions cannot be archived or restored; nothing was lost
+-- BackupError              a backup cannot be made, or restored; nothing was changed
+-- RecoveryError            what the database holds contradicts itself

``DATABASE_ERRORS`` are the driver's.
"""

from typing import Final

import asyncpg

#: Whatever the driver raises of a database that is away, goes away meanwhile, or refuses.  InternalClientError is no
#: defect of ours: a connection raises it that the server ended between two calls.
DATABASE_ERRORS: Final = (
    OSError,
    TimeoutError,
    asyncpg.PostgresError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
)


class StorageError(Exception):
    """Base; the message says what is wrong and what to do about it."""


class SchemaError(StorageError):
    """The schema is of another version, a migration was changed after it ran, or a migration file is malformed."""


class DurabilityError(StorageError):
    """The server is too old, or may lose committed work in a crash."""


class EmbeddedError(StorageError):
    """The private PostgreSQL cannot be started, found or stopped."""


class ArchiveError(StorageError):
    """Partitions cannot be archived, or restored, now; what was is still there."""


class BackupError(StorageError):
    """A backup cannot be made, is not whole, or cannot be restored there."""


class RecoveryError(StorageError):
    """What the database holds contradicts itself, or the configuration; the engine must not serve."""
