"""Reconciliation as operators see it: compare, compare again, and release orphaned reservations if told to (SPEC 6.3).

A difference counts when it is seen twice in the same way, seconds apart: what is in flight is not one.  Repair only
releases what no order stands behind any more; it never touches a balance, a trade or an order.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Final

import asyncpg
import msgspec
import structlog

from trade_engine.settlement.comparison import Excess, compare, compare_reservations
from trade_engine.settlement.instructions import release_operation
from trade_engine.wallet.outage import TRANSPORT_ERRORS
from trade_engine.wallet.port import AuditedWallet, Difference, Release, WalletUnavailable

log = structlog.get_logger(__name__)

_EPOCH: Final = "SELECT epoch FROM engine_state"
#: Chained before the wallet is asked: what stands behind these releases, as nothing in the journal does.
_NOTE: Final = """
    SELECT note_fact('repairs', ARRAY[r.order_id, r.user_id, r.asset, r.amount::TEXT, r.operation_id])
    FROM unnest($1::TEXT[], $2::TEXT[], $3::TEXT[], $4::BIGINT[], $5::TEXT[])
        AS r (order_id, user_id, asset, amount, operation_id)"""
#: An order is committed, or will never be, this long after its id was made.
_PLACED_WITHIN_US: Final = 120_000_000
#: Releases of repairs count from here, far above any instruction's number.
_REPAIR_NUMBERS: Final = 0xFFFF_0000_0000


class Reconciliation(msgspec.Struct, kw_only=True):
    """The outcome of one reconciliation; times in microseconds since 1970."""

    started_us: int
    took_us: int
    differences: list[Difference]
    #: Orders whose orphaned reservations were released.
    released: list[str]

    @property
    def ok(self) -> bool:
        """Whether everything agrees."""
        return not self.differences


class Reconciler:
    """Compares on demand and on schedule; ``last`` is the latest outcome."""

    def __init__(
        self,
        pool: asyncpg.Pool[Any],
        wallet: AuditedWallet,
        clock_us: Callable[[], int],
        *,
        again_after_s: float = 2.0,
    ) -> None:
        self._pool = pool
        self._wallet = wallet
        self._clock_us = clock_us
        self._again_after_s = again_after_s
        self._one_at_a_time = asyncio.Lock()
        self.last: Reconciliation | None = None

    async def run(self, *, repair: bool = False) -> Reconciliation:
        """Reconcile now; with ``repair``, release orphaned reservations and reconcile again.

        Raises:
            WalletUnavailable: the wallet did not answer.
            OSError, asyncpg.PostgresError: the database did not.
        """
        async with self._one_at_a_time:
            started_us = self._clock_us()
            differences, excess = await self._seen_twice()
            released = await self._release(excess) if repair and excess else []
            if released:
                differences, _ = await self._seen_twice()
            took_us = self._clock_us() - started_us
            self.last = Reconciliation(
                started_us=started_us, took_us=took_us, differences=differences, released=released
            )
            return self.last

    async def keep_running(self, every_s: float) -> None:
        """Reconcile at once, then every so often (0: only once); tell every difference in the log."""
        while True:
            try:
                outcome = await self.run()
            except (WalletUnavailable, *TRANSPORT_ERRORS) as trouble:
                log.warning("reconciliation_not_done", error=str(trouble))
            else:
                for difference in outcome.differences:
                    log.error("reconciliation_difference", one_of_a_kind=True, **difference._asdict())
                log.info("reconciled", differences=len(outcome.differences), took_us=outcome.took_us)
            if not every_s:
                return
            await asyncio.sleep(every_s)

    async def _seen_twice(self) -> tuple[list[Difference], list[Excess]]:
        first = await compare(self._pool, self._wallet)
        if not first.differences:
            return [], []
        await asyncio.sleep(self._again_after_s)
        second = await compare(self._pool, self._wallet)
        before, excess_before = set(first.differences), set(first.excess)
        return (
            [difference for difference in second.differences if difference in before],
            [excess for excess in second.excess if excess in excess_before],
        )

    async def _release(self, excess: list[Excess]) -> list[str]:
        epoch = await self._pool.fetchval(_EPOCH)
        now_us = self._clock_us()
        orphans = [
            item
            for item in excess
            if item.reservation.epoch < epoch or (not item.placed and _made_us(item) < now_us - _PLACED_WITHIN_US)
        ]
        releases = [release_of(item, epoch) for item in orphans]
        if releases:
            await self._pool.execute(_NOTE, *map(list, zip(*(release[:5] for release in releases), strict=True)))
        outcomes = await self._wallet.release_many(releases) if releases else []
        for release, outcome in zip(releases, outcomes, strict=True):
            log.warning(
                "orphaned_reservation_released", one_of_a_kind=True, order_id=release.order_id, code=outcome.code
            )
        return [release.order_id for release, outcome in zip(releases, outcomes, strict=True) if outcome.ok]


async def earlier_excess(pool: asyncpg.Pool[Any], wallet: AuditedWallet, epoch: int) -> list[Release]:
    """What reservations made before ``epoch`` hold beyond the engine's needs: releases for recovery to carry out.

    To be called by the writer of ``epoch`` after the wallet's fence was raised to it and before it takes new orders.

    Raises:
        WalletUnavailable: the wallet did not answer.
    """
    found = await compare_reservations(pool, wallet)
    return [release_of(item, epoch) for item in found.excess if item.reservation.epoch < epoch]


def release_of(item: Excess, epoch: int) -> Release:
    """The release of an excess: all of it for an order that never came to be (which refuses a late reserve)."""
    held = item.reservation
    amount = held.remaining - item.needed if item.placed or item.needed else None
    operation = release_operation(held.order_id, _REPAIR_NUMBERS + epoch)
    return Release(held.order_id, held.user_id, held.asset, amount, operation, "orphaned")


def _made_us(item: Excess) -> int:
    """When the order's id was made: the time in a UUIDv7."""
    return int(item.reservation.order_id.replace("-", "")[:12], 16) * 1000
