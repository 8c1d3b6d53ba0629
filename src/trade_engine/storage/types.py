"""Names for asyncpg's generic types, which can be subscripted in stubs only."""

from typing import TYPE_CHECKING, TypeAlias

import asyncpg
from asyncpg.pool import PoolConnectionProxy

if TYPE_CHECKING:
    Connection: TypeAlias = asyncpg.Connection[asyncpg.Record]
    Pool: TypeAlias = asyncpg.Pool[asyncpg.Record]
    #: A connection of one's own, or one lent by a pool.
    AnyConnection: TypeAlias = Connection | PoolConnectionProxy[asyncpg.Record]
else:
    Connection = asyncpg.Connection
    Pool = asyncpg.Pool
    AnyConnection = asyncpg.Connection

Record = asyncpg.Record
