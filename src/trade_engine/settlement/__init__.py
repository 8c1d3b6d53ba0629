"""Settlement: wallet instructions that commits left behind, carried out in batches, exactly once; and reconciliation.

It reads and writes the engine's tables of instructions and trades, and moves money only through the wallet's port.
"""
