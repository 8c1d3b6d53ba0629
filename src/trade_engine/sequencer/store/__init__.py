"""The engine's store: one port, in memory (here) and on PostgreSQL (``postgres``)."""

from trade_engine.sequencer.store.memory import MemoryStore
from trade_engine.sequencer.store.port import Store

__all__ = ["MemoryStore", "Store"]
