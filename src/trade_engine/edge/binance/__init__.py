"""The face that clients of Binance's Spot API know: its paths, parameters, signatures, numbers and errors.

It is a route table, logins and an envelope for the router that our own REST face has, over the same calls; it decides
nothing about orders or money.  What differs from what those clients know is in ``docs/trader/binance.md``.
"""
