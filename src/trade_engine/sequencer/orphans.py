"""Orphaned reservations: funds reserved for orders that never came to be, because the engine died in between."""

from typing import cast

from trade_engine.sequencer.bookkeeping import Instruction
from trade_engine.settlement.reconcile import excess_reservations
from trade_engine.storage.types import Connection, Pool


async def orphan_releases(pool: Pool, epoch: int) -> list[Instruction]:
    """Releases for what writers before ``epoch`` reserved and no stored order stands behind.

    Only to be asked by a writer that has taken over and raised the wallet's fence: then no earlier one can still
    reserve, or commit such an order.
    """
    async with pool.acquire() as connection:
        releases = await excess_reservations(cast("Connection", connection), epoch)
    return [Instruction("RELEASE", None, r.order_id, r.user_id, r.asset, r.amount, "orphaned") for r in releases]
