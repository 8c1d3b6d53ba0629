"""All that the writer holds in memory: made from the database by recovery, and set back to it when a batch fails.

Nobody but the sequencer, admission and trading sees it; readers see folds of committed batches (``public_markets``).
"""

import msgspec

from trade_engine.domain.market import Market
from trade_engine.domain.orders import Order
from trade_engine.matching.markets import MarketBooks
from trade_engine.matching.protocol import Book, MarketMemory, Resting
from trade_engine.sequencer.bookkeeping import Bookkeeper, Changes, LiveOrders, require
from trade_engine.sequencer.resting import resting_of


class Memory(msgspec.Struct, kw_only=True):
    """The writer's memory: a batch ahead of the database at most."""

    #: By number; shared with the bookkeeper.
    markets: dict[int, Market]
    #: Their numbers by symbol.
    numbers: dict[str, int]
    books: MarketBooks
    live: LiveOrders
    bookkeeper: Bookkeeper
    #: What each book remembers beside its orders, as it is committed.
    remembered: dict[int, MarketMemory]
    #: The trader's number in the core, by user id.
    traders: dict[str, int]
    #: Of the last command committed.
    sequence: int
    #: Of the last wallet instruction written.
    instruction_id: int
    journal_hash: bytes
    state_hash: bytes
    #: Every batch from this sequence on has facts in the journal.
    facts_since: int = 1

    def market(self, symbol: str) -> Market | None:
        """The market of a symbol, if it is listed."""
        number = self.numbers.get(symbol)
        return None if number is None else self.markets[number]

    def set_market(self, market: Market) -> None:
        """Let a market have these terms from the next order on, in the state that it is in; open a new one."""
        number = market.market_id
        known = self.markets.get(number)
        if known is not None:
            market = msgspec.structs.replace(market, state=known.state)
        elif number not in self.books:
            self.remembered[number] = self.books.add(number).memory()
        self.markets[number] = market
        self.numbers[market.symbol] = number

    def set_back(self, changes: Changes) -> None:
        """Undo a batch that was not committed: its orders, its counters, and the books that it touched, no others.

        Raises:
            BrokenInvariant: the books are not those that were committed.
        """
        self.bookkeeper.undo(changes)
        for number in changes.markets:
            restore_book(
                self.books.renew(number), self.markets[number], self.remembered[number], self.live.of_market(number)
            )
            self.books.touch(number)
        require(self.books.state_hash() == self.state_hash, "books set back differ from what is committed")


def restore_book(book: Book, market: Market, remembered: MarketMemory, orders: list[Order]) -> None:
    """Fill an empty book with a market's open orders, in ascending priority."""
    legs = {order.sequence for order in orders if order.linked_number}
    resting: list[Resting] = [resting_of(order, market, legs) for order in orders]
    book.restore(remembered, resting)
