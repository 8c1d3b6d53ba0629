"""What the engine needs of its store, whichever it is: PostgreSQL (``postgres``) or memory (``memory``).

No driver's error passes: whatever goes wrong is one of

StoreError
+-- CommitRefused       nothing of the batch was written; trying the same again would not help
+-- CommitUndone        nothing of the batch was written, for a reason that passes: a deadlock, a conflict
+-- CommitUnknown       the batch may or may not have been written
+-- Fenced              another writer has taken over; this one must stop
+-- StoreUnavailable    the store does not answer, or not in time; nothing was changed
+-- Unstorable          one item can never be stored or looked for: it holds what no text may
+-- SymbolTaken         a market of that symbol is listed already
"""

from collections.abc import Iterable, Sequence
from typing import NamedTuple, Protocol

from trade_engine.domain.market import Market
from trade_engine.domain.orders import Order, OrderPair, Trade
from trade_engine.marketdata.candles import Candle
from trade_engine.matching.protocol import MarketMemory
from trade_engine.sequencer.publish import CommittedBatch

#: Market number, interval and candle.
CandleRow = tuple[int, str, Candle]


class StoreError(Exception):
    """Base; see the module."""


class CommitRefused(StoreError):
    """The store refused the batch; nothing of it was written."""


class CommitUndone(StoreError):
    """Nothing of the batch was written, and the batch is not to blame: it may be tried again as it is."""


class CommitUnknown(StoreError):
    """The connection was lost, or time ran out: the batch may or may not have been written."""


class Fenced(StoreError):
    """Another writer has taken over; this one must stop."""


class StoreUnavailable(StoreError):
    """The store does not answer."""


class Unstorable(StoreError):
    """One item can never be stored, nor looked for."""


class SymbolTaken(StoreError):
    """A market of that symbol is listed already."""


class EngineState(NamedTuple):
    """Where the last writer stopped."""

    epoch: int
    sequence: int
    trade_sequence: int
    instruction_id: int
    clock_us: int
    journal_hash: bytes
    state_hash: bytes
    #: Every batch from this sequence on has facts in the journal.
    facts_since: int


class StoredMarket(NamedTuple):
    """A market with what its book remembers beside its orders."""

    market: Market
    #: Its events so far.
    event_sequence: int
    remembered: MarketMemory


class Store(Protocol):
    """The engine's store.  Any call may raise StoreUnavailable."""

    @property
    def epoch(self) -> int:
        """Of this writer; 0 before it has taken over."""

    @property
    def connected(self) -> bool:
        """Whether the writer has a connection, as far as is known."""

    # ---- the writer's, one call at a time

    async def take_over(self) -> EngineState:
        """Become the writer anew: wait for any commit under way; the state found.

        Raises:
            Fenced: another engine writes; DurabilityError: the store could lose what it confirms.
        """

    async def markets(self, configured: Sequence[Market]) -> list[StoredMarket]:
        """All markets; those of the configuration are listed, or have the terms that it says.

        Raises:
            RecoveryError: the configuration changes a market's tick or lot.
        """

    async def traders(self) -> dict[str, int]:
        """The numbers of all traders, by user id."""

    async def open_orders(self, market_id: int, traders: dict[str, int]) -> list[Order]:
        """The open orders of a market, in ascending priority."""

    async def commit(self, batch: CommittedBatch) -> None:
        """Write one batch, all of it or nothing.

        Raises:
            CommitRefused, CommitUndone, CommitUnknown, Fenced: see the module; StoreUnavailable: nothing was sent.
        """

    async def close(self) -> None:
        """Let the writer's connection go; a second call does nothing."""

    # ---- anybody's, at any time

    async def find_client_orders(self, keys: Sequence[tuple[str, str]]) -> dict[tuple[str, str], str]:
        """Which of the (user id, client order id) pairs are taken, and by which order.

        Raises:
            Unstorable: one of them is no text that could be stored.
        """

    async def number_traders(self, user_ids: Sequence[str]) -> dict[str, int]:
        """The traders' numbers in the core; who has none gets one."""

    async def find_order(self, order_id: str) -> Order | None:
        """One committed order by its id."""

    async def find_pair(self, order_id: str) -> OrderPair | None:
        """The pair that a committed order is a leg of."""

    async def trades_of_taker(self, order: Order) -> list[Trade]:
        """The trades an order made when it came in, first to last."""

    async def insert_market(self, market: Market, *, managed: bool = True) -> Market:
        """List a market while running; with its number.  ``managed``: the store speaks for it from now on.

        Raises:
            SymbolTaken: there is one of that symbol.
        """

    async def update_market(self, market: Market, *, managed: bool = True) -> None:
        """Let a market have other terms; ``managed``: from now on the store speaks for it, not the configuration."""

    async def managed_markets(self) -> set[str]:
        """The symbols of the markets that the store speaks for."""

    async def placed_of(self, order_ids: Sequence[str]) -> set[str]:
        """Which of these orders are stored."""

    # ---- candles

    async def candles_since(self, start_us: int) -> list[CandleRow]:
        """For each market and interval all stored candles from a time on, and at least the newest; oldest first."""

    async def traded_minutes(self, start_us: int, after: int, limit: int) -> list[CandleRow]:
        """What the next ``limit`` trades after sequence ``after`` add to each minute of each market, by time."""

    async def store_candles(self, rows: Iterable[CandleRow]) -> None:
        """Write whole candles; an older version never replaces a newer one."""

    async def candles_between(
        self, market_id: int, interval: str, start_us: int, end_us: int, limit: int
    ) -> list[Candle]:
        """The newest ``limit`` stored candles that begin in ``[start_us, end_us)``, oldest first."""
