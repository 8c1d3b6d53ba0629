"""The vocabulary of the engine: numbers, markets, orders, commands and events.

Pure: no I/O, no clock, no randomness, no driver, no asyncio.  Everything else may import it; it imports nothing.
"""
