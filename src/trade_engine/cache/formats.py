"""What the engine keeps of each market in Redis: names of keys, and what stands in them (docs/developer/cache.md).

Three keys a market, JSON each, written together: ``book``, ``ticker`` and ``trades``.  Each begins with the same
fields, so that a reader sees whether what it has read belongs together.
"""

from typing import Final

import msgspec

from trade_engine.edge.shapes import Symbol, Time
from trade_engine.edge.views import BookView, TickerAnswer

SCHEMA_VERSION: Final = 1
KINDS: Final = ("book", "ticker", "trades")


class Head(msgspec.Struct, kw_only=True):
    """How each of them begins."""

    schema_version: int = SCHEMA_VERSION
    #: A restored backup gets a new one; sequences of two streams are not to be compared.
    stream_id: str
    #: Of the engine that wrote it: grows with each one that takes over.
    epoch: int
    symbol: Symbol
    #: The market's last event that it shows, as over the WebSocket and in ``GET /orderbook``.
    sequence: int
    written_at: Time


class CachedBook(Head, kw_only=True):
    """The best levels of a book."""

    book: BookView


class CachedTicker(Head, kw_only=True):
    """The last 24 hours, and the best prices."""

    ticker: TickerAnswer


class CachedTrades(Head, kw_only=True):
    """The latest trades, newest first, as ``GET /trades`` shows them."""

    trades: list[msgspec.Raw]


class Keys:
    """Names of keys; all begin with a prefix, so that several engines may share a Redis."""

    def __init__(self, prefix: str) -> None:
        #: Which engine writes: stream id and epoch.
        self.writer = f"{prefix}writer"
        #: A channel that tells of each write: ``BTC-USDT 1234``, symbol and sequence.
        self.channel = f"{prefix}changed"
        self._prefix = prefix

    def of(self, symbol: str) -> tuple[str, str, str]:
        """Of a market: book, ticker, trades."""
        spelt = spell(symbol)
        book, ticker, trades = (f"{self._prefix}{kind}:{spelt}" for kind in KINDS)
        return book, ticker, trades


def spell(symbol: str) -> str:
    """A symbol as keys and messages have it: BTC-USDT."""
    return symbol.replace("/", "-")
