"""The wallet's fence by hand: for an operator who knows which engine is to write (``trade-engine wallet fence``).

It is how a fence that nobody's epoch fits any more, after a restore or a mistake, is set right.  Every change is
written to ``admin_audit`` in the same transaction.
"""

from __future__ import annotations

from typing import Any, Final

import asyncpg

_LOCK: Final = "SELECT pg_advisory_xact_lock(7020260001)"
_READ: Final = "SELECT epoch FROM wallet.fence"
_SET: Final = "UPDATE wallet.fence SET epoch = $1"
_AUDIT: Final = """
    INSERT INTO admin_audit (actor, action, subject, reason, outcome) VALUES ($1, 'wallet.fence', $2, $3, 'done')"""


class FenceRefused(Exception):
    """The fence would go down, and nobody insisted."""


async def read_fence(connection: asyncpg.Connection[Any]) -> int:
    """The highest epoch that the wallet has seen."""
    return int(await connection.fetchval(_READ))


async def set_fence(
    connection: asyncpg.Connection[Any], epoch: int, actor: str, reason: str, *, downward: bool = False
) -> int:
    """Set the fence, after every reserve under way; where it was.

    Raises:
        FenceRefused: it is above ``epoch``, and ``downward`` was not said.
    """
    async with connection.transaction():
        await connection.execute(_LOCK)
        before = await read_fence(connection)
        if epoch < before and not downward:
            raise FenceRefused(
                f"the fence is at epoch {before}: going down to {epoch} lets engines write again that were fenced out;"
                " be sure that none of them runs, and say --force"
            )
        await connection.execute(_SET, epoch)
        await connection.execute(_AUDIT, actor, f"fence from {before} to {epoch}", reason)
    return before
