"""The fixtures of pytest that give a test an exchange of its own; the guide is docs/trader/exchange-in-a-box.md.

pytest imports this module whenever it starts where the engine is installed: so it imports nothing until a test asks.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from trade_engine.box.database import BoxDatabase
    from trade_engine.box.exchange import Exchange


@pytest.fixture(scope="session")
def trade_engine_database() -> "Iterator[BoxDatabase]":
    """A private PostgreSQL for all exchanges of the session; each has a database of its own in it."""
    from trade_engine.box.database import BoxDatabase

    with BoxDatabase() as database:
        yield database


@pytest.fixture
def trade_engine_options() -> dict[str, Any]:
    """What ``trade_engine`` is made with, beside the usual: ``seed``, ``funds``, ``config``; override it."""
    return {}


@pytest.fixture
def trade_engine(trade_engine_database: "BoxDatabase", trade_engine_options: dict[str, Any]) -> "Iterator[Exchange]":
    """A fresh exchange with the funded users alice and bob, whose market and time the test controls."""
    from trade_engine.box.exchange import Exchange

    with Exchange(trade_engine_database, **trade_engine_options) as exchange:
        yield exchange
