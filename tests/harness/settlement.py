"""Waiting for settlement."""

import asyncio
from typing import Any

from trade_engine.settlement.worker import SettlementWorker

_PENDING = "SELECT count(*) FROM settlement_instructions WHERE status = 'PENDING'"


async def all_settled(worker: SettlementWorker, pool: Any, limit_s: float = 30) -> None:
    """Wait until all that is pending was carried out or refused, and callers were told."""
    async with asyncio.timeout(limit_s):
        while await pool.fetchval(_PENDING) or worker._in_hand:
            worker.rebuilt()
            await asyncio.sleep(0.01)
