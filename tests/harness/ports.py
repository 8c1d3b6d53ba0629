"""Ports of servers that are killed and started again: nobody else may be given them meanwhile."""

import random
import socket

#: Below those that systems give to whoever connects (Linux: from 32768), so that no connection takes one.
_LOW, _HIGH = 15_000, 30_000


def steady_port() -> int:
    """A TCP port that is free on loopback, and stays so while its server is away."""
    while True:
        port = random.SystemRandom().randrange(_LOW, _HIGH)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
