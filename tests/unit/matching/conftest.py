"""Every test that takes ``book`` runs twice: on the reference book and on the native one."""

import os
from pathlib import Path

import pytest

from tests.unit.matching.desk import MARKET, Desk
from trade_engine.matching.books import BookKind, native_available, new_book
from trade_engine.matching.protocol import Book


@pytest.fixture(params=["reference", "native"])
def kind(request: pytest.FixtureRequest) -> BookKind:
    """Which of the two books; the native one is skipped where it is not built, except in CI."""
    if request.param == "native" and not native_available() and os.environ.get("CI") != "true":
        pytest.skip("the native book is not built: run native/build.sh")
    return request.param  # type: ignore[no-any-return]


@pytest.fixture
def book(kind: BookKind) -> Book:
    """An empty book."""
    return new_book(MARKET, kind)


@pytest.fixture
def desk(book: Book) -> Desk:
    """An empty book with somebody to type commands."""
    return Desk(book)


@pytest.fixture(scope="session")
def scenarios() -> Path:
    """The folder of recorded scenarios; skipped where it is absent."""
    root = Path(__file__).resolve().parents[3]
    folder = Path(os.environ.get("TRADE_ENGINE_SHARED_DATA") or root.parent / "shared" / "data") / "scenarios"
    if not folder.is_dir():
        pytest.skip(f"no scenarios in {folder}: set TRADE_ENGINE_SHARED_DATA")
    return folder
