"""Orphaned reservations: funds reserved for orders that never came to be, because the engine died in between."""

from collections.abc import Sequence

from trade_engine.sequencer.bookkeeping import Instruction
from trade_engine.wallet.port import Release


def orphan_instructions(releases: Sequence[Release]) -> list[Instruction]:
    """Instructions for what writers of earlier epochs reserved and no stored order stands behind."""
    return [Instruction("RELEASE", None, r.order_id, r.user_id, r.asset, r.amount, "orphaned") for r in releases]
