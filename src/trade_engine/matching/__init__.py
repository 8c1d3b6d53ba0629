"""The matching core: one market's book, twice.

``reference`` is the readable Python book, ``native`` the C++ one; both keep ``protocol`` and give the same events,
byte for byte.  Pure: no I/O, no clock, no randomness, no fees, no wallets.
"""
