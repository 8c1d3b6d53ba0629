"""A market's book kept from the ``depth`` channel: a snapshot, and what changed since.

It takes no message that does not follow the one before, and checks the checksum after each: a book that is wrong is
worse than none.  It has no connection of its own; ``Stream`` feeds it and subscribes again when it says so.
"""

import zlib
from bisect import bisect_left, insort
from decimal import Decimal
from itertools import zip_longest
from typing import Final

from .messages import DepthMessage, PriceLevel

_CHECKED_LEVELS: Final = 10


class OutOfStep(Exception):
    """The book is no longer the market's: subscribe again."""


class _Levels:
    """One side: quantities by price, and prices best first; ``sign`` is -1 where the highest is best."""

    def __init__(self, sign: int) -> None:
        self._sign = sign
        self._quantities: dict[Decimal, PriceLevel] = {}
        self._keys: list[Decimal] = []

    def clear(self) -> None:
        self._quantities.clear()
        self._keys.clear()

    def put(self, level: PriceLevel) -> None:
        key = self._sign * level.price
        if level.quantity:
            if key not in self._quantities:
                insort(self._keys, key)
            self._quantities[key] = level
        elif self._quantities.pop(key, None) is not None:
            del self._keys[bisect_left(self._keys, key)]

    def top(self, count: int | None) -> list[PriceLevel]:
        return [self._quantities[key] for key in self._keys[:count]]


class LocalBook:
    """One market's book; wrong messages leave it ``synced = False`` until the next snapshot."""

    def __init__(self, symbol: str) -> None:
        self.symbol = symbol
        self.sequence = 0
        self.synced = False
        #: How often it fell out of step.
        self.resyncs = 0
        self._bids = _Levels(-1)
        self._asks = _Levels(1)

    def bids(self, count: int | None = None) -> list[PriceLevel]:
        """The best bids, highest first; all without a ``count``."""
        return self._bids.top(count)

    def asks(self, count: int | None = None) -> list[PriceLevel]:
        """The best asks, lowest first; all without a ``count``."""
        return self._asks.top(count)

    @property
    def best_bid(self) -> PriceLevel | None:
        """The highest bid."""
        return next(iter(self._bids.top(1)), None)

    @property
    def best_ask(self) -> PriceLevel | None:
        """The lowest ask."""
        return next(iter(self._asks.top(1)), None)

    def apply(self, message: DepthMessage) -> None:
        """Take the next message of the channel.

        Raises:
            OutOfStep: it does not follow, or the checksum differs; nothing but a snapshot helps.
        """
        if message.snapshot:
            self._bids.clear()
            self._asks.clear()
        elif not self.synced:
            raise OutOfStep(f"{self.symbol}: a change before the snapshot")
        elif message.first_sequence != self.sequence + 1:
            raise self._lost(f"{message.first_sequence} does not follow {self.sequence}")
        for level in message.data.bids:
            self._bids.put(level)
        for level in message.data.asks:
            self._asks.put(level)
        self.sequence = message.sequence
        self.synced = True
        if message.checksum is not None and message.checksum != self.checksum():
            raise self._lost(f"checksum {self.checksum()} at {self.sequence} is not {message.checksum}")

    def _lost(self, why: str) -> OutOfStep:
        self.synced = False
        self.resyncs += 1
        return OutOfStep(f"{self.symbol}: {why}")

    def checksum(self) -> int:
        """CRC32 of the top ten levels, bid and ask in turn, as the channel defines it."""
        pairs = zip_longest(self._bids.top(_CHECKED_LEVELS), self._asks.top(_CHECKED_LEVELS))
        texts = (f"{level.price:f}:{level.quantity:f}" for pair in pairs for level in pair if level is not None)
        return zlib.crc32(":".join(texts).encode())
