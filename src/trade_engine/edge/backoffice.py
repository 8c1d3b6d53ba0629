"""What the admin API works with beside the engine: dead letters, reconciliation, and the record of what was done."""

from typing import NamedTuple

from trade_engine.settlement.dead_letters import DeadLetters
from trade_engine.settlement.reconciler import Reconciler
from trade_engine.storage.types import Pool


class BackOffice(NamedTuple):
    """The tools of an operator."""

    pool: Pool
    dead_letters: DeadLetters
    reconciler: Reconciler
