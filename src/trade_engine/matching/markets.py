"""The core over all markets: routes each command to its book and keeps the sum of their state hashes.

Pure, like the books: what it is told is all it knows.
"""

from collections.abc import Callable, Iterator

from trade_engine.domain.commands import Command, encode_command
from trade_engine.matching.protocol import Book

_MODULUS = 1 << 128


class UnknownMarket(ValueError):
    """A command names a market that has no book."""


class MarketBooks:
    """All books of the engine, by market number."""

    def __init__(self, new_book: Callable[[int], Book]) -> None:
        self._new_book = new_book
        self._books: dict[int, Book] = {}
        #: What each book contributes to the sum: its hash, less what it had when it was empty.
        self._hashes: dict[int, int] = {}
        self._empty: dict[int, int] = {}
        self._dirty: set[int] = set()
        self._sum = 0

    def add(self, market_id: int) -> Book:
        """Open an empty book; ValueError if the market has one."""
        if market_id in self._books:
            raise ValueError(f"market {market_id} has a book already")
        book = self._books[market_id] = self._new_book(market_id)
        self._empty[market_id] = book.state_hash()
        self._dirty.add(market_id)
        return book

    def renew(self, market_id: int) -> Book:
        """An empty book in place of the one that a market has."""
        book = self._books[market_id] = self._new_book(market_id)
        self._dirty.add(market_id)
        return book

    def book(self, market_id: int) -> Book:
        """The book of a market.

        Raises:
            UnknownMarket: it has none.
        """
        try:
            return self._books[market_id]
        except KeyError:
            raise UnknownMarket(f"no book for market {market_id}") from None

    def __iter__(self) -> Iterator[Book]:
        """All books, in the order they were added."""
        return iter(self._books.values())

    def __contains__(self, market_id: int) -> bool:
        """Whether the market has a book."""
        return market_id in self._books

    def apply(self, command: Command) -> tuple[bytes, bytes]:
        """Carry out one command; its record and its events' records.

        Raises:
            UnknownMarket: nothing was done.
        """
        record = encode_command(command)
        events = self.book(command.market_id).apply(record)
        self._dirty.add(command.market_id)
        return record, events

    def touch(self, market_id: int) -> None:
        """Say that a book changed by other means than ``apply`` (it was restored)."""
        self._dirty.add(market_id)

    def state_hash(self) -> bytes:
        """Sum of what the books contribute modulo 2^128, 16 bytes big-endian; costs what changed since the last call.

        An untouched book contributes nothing, so a market that is listed later changes no earlier sum.
        """
        for market_id in self._dirty:
            new = self._books[market_id].state_hash() - self._empty[market_id]
            self._sum = (self._sum + new - self._hashes.get(market_id, 0)) % _MODULUS
            self._hashes[market_id] = new
        self._dirty.clear()
        return self._sum.to_bytes(16, "big")
