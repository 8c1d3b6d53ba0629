"""Commits that the store undid for reasons of its own are tried again, for a while, before anybody hears of it."""

import asyncio
from typing import Final

import structlog

from trade_engine.sequencer.publish import CommittedBatch
from trade_engine.sequencer.store.port import CommitUndone, Store

log = structlog.get_logger(__name__)

#: Waits between the tries: less than a second in all, as everybody waits.
_PAUSES_S: Final = (0.0, 0.02, 0.1, 0.5)


async def commit_patiently(store: Store, batch: CommittedBatch) -> None:
    """Write one batch; the same again if the store undid it.

    Raises:
        CommitUndone: it did so each time, nothing was written.
        StoreError: as ``Store.commit``.
    """
    for pause_s in _PAUSES_S:
        try:
            await store.commit(batch)
        except CommitUndone as error:
            log.warning("commit_undone", error=str(error), orders=len(batch.orders), again_in_s=pause_s)
            await asyncio.sleep(pause_s)
        else:
            return
    await store.commit(batch)
