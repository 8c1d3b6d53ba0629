"""Which book a market gets: the native one where it was built, else the reference book.

Both are one engine (same commands, same events, same state hash); only speed differs.
"""

from importlib.util import find_spec
from typing import Final, Literal

from trade_engine.matching.protocol import Book
from trade_engine.matching.reference import ReferenceBook

BookKind = Literal["auto", "native", "reference"]
NATIVE_MODULE: Final = "trade_engine.matching._native"


def native_available() -> bool:
    """Whether the C++ core was built into this installation."""
    return find_spec(NATIVE_MODULE) is not None


def default_kind() -> Literal["native", "reference"]:
    """What ``auto`` means here; worth a line in the log at start."""
    return "native" if native_available() else "reference"


def new_book(market_id: int, kind: BookKind = "auto") -> Book:
    """An empty book of market ``market_id``; its ``kind`` attribute says which of the two it is.

    Raises:
        RuntimeError: the native book was asked for and is not built.
    """
    if kind == "auto":
        kind = default_kind()
    if kind == "reference":
        return ReferenceBook(market_id)
    if not native_available():
        raise RuntimeError("the native book is not built: install a C++20 compiler and reinstall, or use 'reference'")
    from trade_engine.matching.native import NativeBook

    return NativeBook(market_id)
