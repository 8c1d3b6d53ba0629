"""The wallet, a bounded context of its own: a port for the engine, a ledger on PostgreSQL, a fake in memory.

The engine may import ``port`` only (and the composition root an implementation).  Nothing here knows an engine table.
"""
