"""What has to be given back to users and is not committed yet: kept until it is, whatever happens in between.

Bounded: beyond ``limit`` releases are counted and left to the sweep, which finds every reservation that no order needs.
"""

from collections.abc import Iterable, Sequence
from itertools import islice
from typing import Final

import structlog

from trade_engine.sequencer.bookkeeping import WalletInstruction
from trade_engine.wallet.port import Release

log = structlog.get_logger(__name__)

#: Releases that wait at most, and that one batch writes.
PENDING_MAX: Final = 100_000
BATCH_MAX: Final = 500


class PendingReleases:
    """Releases that wait for a commit, first come first served."""

    def __init__(self, limit: int = PENDING_MAX) -> None:
        self._limit = limit
        self._waiting: dict[int, WalletInstruction] = {}
        self._count = 0
        #: Left to the sweep because too many waited, or because the store would not have them.
        self.dropped = 0

    def add(self, releases: Iterable[WalletInstruction]) -> None:
        """Keep releases until they are committed."""
        for release in releases:
            if len(self._waiting) >= self._limit:
                self.dropped += 1
                log.warning("release_left_to_sweep", order_id=release.order_id, amount=release.amount)
                continue
            self._count += 1
            self._waiting[self._count] = release

    def next(self) -> list[tuple[int, WalletInstruction]]:
        """What the next batch should write; it stays until it is ``committed`` or ``refused``."""
        return list(islice(self._waiting.items(), BATCH_MAX))

    def committed(self, written: Iterable[tuple[int, WalletInstruction]]) -> None:
        """Forget what is in the database."""
        for number, _ in written:
            self._waiting.pop(number, None)

    def refused(self, release: tuple[int, WalletInstruction]) -> None:
        """Drop one that the store will never take."""
        self.dropped += 1
        self._waiting.pop(release[0], None)
        log.error("release_refused", order_id=release[1].order_id, amount=release[1].amount)

    def order_ids(self) -> set[str]:
        """The orders of whose reservations something waits to be given back."""
        return {release.order_id for release in self._waiting.values() if release.order_id is not None}

    def __len__(self) -> int:
        """How many wait."""
        return len(self._waiting)


def orphan_releases(releases: Sequence[Release]) -> list[WalletInstruction]:
    """Instructions for what is reserved and no stored order stands behind."""
    return [WalletInstruction("RELEASE", None, r.order_id, r.user_id, r.asset, r.amount, "orphaned") for r in releases]
