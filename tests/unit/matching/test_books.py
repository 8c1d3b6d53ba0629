"""Which book a market gets."""

import pytest

from trade_engine.matching import books
from trade_engine.matching.books import default_kind, native_available, new_book


def test_auto_takes_the_native_book_where_it_is_built() -> None:
    assert new_book(1).kind == default_kind() == ("native" if native_available() else "reference")


def test_the_reference_book_is_always_there() -> None:
    book = new_book(3, "reference")
    assert (book.kind, book.market_id, len(book)) == ("reference", 3, 0)


def test_without_the_extension_auto_falls_back_and_native_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(books, "NATIVE_MODULE", "trade_engine.matching._not_built")
    assert new_book(1).kind == "reference"
    with pytest.raises(RuntimeError, match="not built"):
        new_book(1, "native")
