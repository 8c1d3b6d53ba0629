"""Wiring of the lease: who this engine is, standing by, and what the loss of the lease means."""

import contextlib
import os
import platform
import uuid
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import structlog

from trade_engine.config import Config
from trade_engine.ops.metrics import Reading
from trade_engine.sequencer.fence import check_fence
from trade_engine.sequencer.lease import Holder, Identity, Lease, Observer, stand_by
from trade_engine.sequencer.store.commit import Writer
from trade_engine.storage.data_dir import place_of, take_lock
from trade_engine.wallet.port import Wallet

log = structlog.get_logger(__name__)

_ROLES = ("starting", "standby", "writer", "superseded")


class Tenure:
    """One engine's way from start to end: starting, standby, writer, superseded.

    Args:
        url: of the database, directly.
        data_dir: its lock is taken by the embedded database, or here.
    """

    def __init__(self, config: Config, url: str, data_dir: Path, stack: contextlib.AsyncExitStack) -> None:
        self.url = url
        self._lease_s = config.engine.lease_s
        is_ours = config.database.url is None
        if not is_ours:
            lock = take_lock(data_dir)
            is_ours = lock is not None
            if lock is not None:
                stack.callback(os.close, lock)
        self.identity = Identity(
            str(uuid.uuid4()),
            f"{platform.node() or 'unknown'} process {os.getpid()}",
            place_of(data_dir) if is_ours else None,
        )
        self._observer = Observer(url)
        stack.push_async_callback(self._observer.close)
        self.writer = Writer(url, self.identity, config.database.commit_timeout_s, self._lease_s)
        self.role = "starting"

    async def stand_by(self, wallet: Wallet, show: Callable[[str], Awaitable[None]], *, forced: bool) -> None:
        """Wait until this engine may write, and become the writer.

        Args:
            wallet: is asked whether it will take this engine, before it becomes the writer.
            show: told at each look what to tell those who ask meanwhile; never called if there is nothing to wait for.
            forced: do not wait.

        Raises:
            RecoveryError: the wallet would not take it; WalletUnavailable: nobody knows.
        """

        async def tell(holder: Holder) -> None:
            if self.role != "standby":
                log.warning("standing_by", holder=str(holder), lease_ms=holder.lease_ms)
            self.role = "standby"
            await show(f"standing by for {holder}")

        async def take_over(holder: Holder, forced: bool) -> None:
            await check_fence(wallet, holder.epoch)
            await self.writer.take_over(holder, forced=forced)

        await stand_by(self._observer, self.identity, take_over, tell, forced=forced)
        self.role = "writer"

    def lease(self, works: Callable[[], bool], on_lost: Callable[[str, bool], None]) -> Lease:
        """What keeps the lease while this engine writes."""

        def lost(why: str, superseded: bool) -> None:
            self.role = "superseded" if superseded else self.role
            on_lost(why, superseded)

        writer = self.writer
        return Lease(self._observer, self.identity, self._lease_s, lambda: writer.epoch, works, lost)

    def readings(self) -> Iterator[Reading]:
        """For the metrics: the epoch, and the role."""
        yield Reading("engine_epoch", "The epoch that this engine writes in; 0: it has not written.", self.writer.epoch)
        for role in _ROLES:
            yield Reading("engine_role", "1 for what this engine is.", float(role == self.role), ("role", role))
