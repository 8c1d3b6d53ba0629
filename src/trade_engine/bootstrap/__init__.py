"""What roles share: keys, the wallet, the lease, limits and servers, the database beside a running engine.

Nothing below this package knows the configuration; everything gets plain values from here and from the roles.
"""
