"""The replay: the journal through a fresh core, with the orders and trades of the database streamed beside it."""

from collections.abc import AsyncIterator, Callable
from typing import Final

import asyncpg
import msgspec

from trade_engine.domain.commands import Command, CommandKind, decode_commands
from trade_engine.domain.events import decode_events
from trade_engine.domain.market import Market
from trade_engine.domain.orders import Order, Trade, pair_of
from trade_engine.matching.markets import MarketBooks, UnknownMarket
from trade_engine.matching.protocol import Book
from trade_engine.sequencer.bookkeeping import Bookkeeper, BrokenInvariant, Changes, LiveOrders
from trade_engine.sequencer.facts import BatchFacts, PlacedFact, uuid_text
from trade_engine.sequencer.memory import restore_book
from trade_engine.sequencer.verify.anchor import Anchor
from trade_engine.sequencer.verify.batches import Chain, microseconds_of
from trade_engine.sequencer.verify.pairs import compare_pairs
from trade_engine.sequencer.verify.placed import order_as_placed
from trade_engine.sequencer.verify.report import Report, fields_of
from trade_engine.sequencer.verify.told import ToldMoves
from trade_engine.storage.order_rows import ORDER_COLUMNS, TRADE_COLUMNS, order_from_row, trade_from_row
from trade_engine.storage.types import AnyConnection

_PAGE: Final = 2_000


class Rows:
    """Rows in order of ``sequence``, one ahead, so that a missing one is told from a strange one."""

    def __init__(self, rows: AsyncIterator[asyncpg.Record]) -> None:
        self._rows = rows
        self._next: asyncpg.Record | None = None

    async def take(self, sequence: int) -> tuple[asyncpg.Record | None, list[asyncpg.Record]]:
        """The row of a sequence, if it is there, and those before it, which nobody asked for."""
        strange: list[asyncpg.Record] = []
        while True:
            if self._next is None:
                self._next = await anext(self._rows, None)
            row = self._next
            if row is None or row["sequence"] > sequence:
                return None, strange
            self._next = None
            if row["sequence"] == sequence:
                return row, strange
            strange.append(row)

    async def rest(self) -> AsyncIterator[asyncpg.Record]:
        """All rows that are left."""
        if self._next is not None:
            yield self._next
        async for row in self._rows:
            yield row


class Replay:
    """One pass over the journal; afterwards, what the core and the counters came to.

    Args:
        connection: in a transaction that sees one snapshot.
        new_book: makes the core's book of a market.
        markets: by number.
        told: takes what the journal tells of money.
        report: takes the differences.
        anchor: where to start; None: at the beginning.
        wanted: an anchor to be filled in before the first batch that is stamped at its edge or later.
    """

    def __init__(
        self,
        connection: AnyConnection,
        new_book: Callable[[int], Book],
        markets: dict[int, Market],
        told: ToldMoves,
        report: Report,
        anchor: Anchor | None = None,
        wanted: Anchor | None = None,
    ) -> None:
        self._anchor = anchor
        self._wanted = wanted
        self._connection = connection
        self.markets = markets
        self.books = MarketBooks(new_book)
        for market_id in markets:
            self.books.add(market_id)
        self._live = LiveOrders()
        self.bookkeeper = Bookkeeper(self._live, markets, 0)
        self._stored: dict[int, Order] = {}
        at, traded = (anchor.sequence, anchor.trade_sequence) if anchor else (0, 0)
        orders = f"SELECT {ORDER_COLUMNS} FROM orders WHERE sequence > {at:d} ORDER BY sequence"
        trades = f"SELECT {TRADE_COLUMNS} FROM trades WHERE sequence > {traded:d} ORDER BY sequence"
        self._orders, self._trades = Rows(stream(connection, orders)), Rows(stream(connection, trades))
        self._numbers: dict[str, int] = {}
        self._users: dict[int, str] = {}
        self._told = told
        self.report = report
        self.chain = Chain(report)
        #: Whether the replay came to the journal's end, so that what it says of money is all there is to say.
        self.complete = False

    async def run(self, progress: Callable[[int, int], None] | None) -> None:
        """Replay everything and compare."""
        at = self._anchor.sequence if self._anchor else 0
        total = await self._connection.fetchval("SELECT count(*) FROM journal WHERE last_sequence > $1", at)
        rows = await self._connection.fetch("SELECT user_id::TEXT, trader_number FROM traders")
        self._numbers = {row[0]: row[1] for row in rows}
        self._users = {row[1]: row[0] for row in rows}
        state = await self._connection.fetchrow("SELECT * FROM engine_state")
        self.chain.begin(state, self._anchor)
        if self._anchor is not None:
            await self._start_at(self._anchor)
        query = f"SELECT * FROM journal WHERE last_sequence > {at:d} ORDER BY last_sequence"
        async for row in stream(self._connection, query):
            self._fill_wanted(microseconds_of(row["stamped_at"]))
            self.report.journal_batches += 1
            facts = self.chain.follow(row)
            if not await self._batch(row, facts):
                return
            await self._told.write()
            if progress and self.report.journal_batches % 500 == 0:
                progress(self.report.journal_batches, total)
        await self._told.write(last=True)
        self._fill_wanted(None)
        self.complete = True
        self.chain.end(self.bookkeeper.trade_sequence)
        for sequence in list(self._live.by_sequence):
            self._compare_order(self._live.by_sequence[sequence])
        async for row in self._orders.rest():
            self.report.differ("orders", f"order {row['order_id']} is in no batch of the journal")
        async for row in self._trades.rest():
            self.report.differ("trades", f"trade {row['trade_id']} is in no batch of the journal")

    async def _start_at(self, anchor: Anchor) -> None:
        """Have books, open orders and counters as they were there, and what was told of them."""
        self.bookkeeper.trade_sequence = anchor.trade_sequence
        self.bookkeeper.event_sequences.update(anchor.event_sequences)
        for order in anchor.orders:
            self._live.add(order)
        for market_id, memory in anchor.markets.items():
            market = self.markets.get(market_id)
            if market is None:
                self.report.differ("markets", f"market {market_id} is missing, the anchor has it")
                continue
            restore_book(self.books.book(market_id), market, memory, self._live.of_market(market_id))
            self.books.touch(market_id)
        if anchor.state_hash not in (None, self.books.state_hash()):
            self.report.differ("state", f"anchor {anchor.sequence} makes books of another state hash")
        self._told.recall(anchor.told)
        query = f"SELECT {ORDER_COLUMNS} FROM orders WHERE order_id = ANY ($1::UUID[])"
        for row in await self._connection.fetch(query, list(self._live.by_id)):
            self._stored[row["sequence"]] = order_from_row(row, self._numbers.get(row["user_id"], 0))
        for order in anchor.orders:
            if order.sequence not in self._stored:
                self.report.differ("orders", f"order {order.order_id} is missing, it was open at the anchor")

    def _fill_wanted(self, stamped_us: int | None) -> None:
        """Fill in the anchor that is wanted if the next batch (None: there is none) is past its edge."""
        anchor = self._wanted
        if anchor is None or (stamped_us is not None and stamped_us < anchor.edge_us):
            return
        self._wanted = None
        self.chain.place(anchor)
        anchor.trade_sequence = self.bookkeeper.trade_sequence
        anchor.event_sequences = dict(self.bookkeeper.event_sequences)
        anchor.markets = {market_id: self.books.book(market_id).memory() for market_id in self.markets}
        anchor.orders = [msgspec.structs.replace(order) for order in self._live.by_sequence.values()]

    async def _batch(self, row: asyncpg.Record, facts: BatchFacts | None) -> bool:
        """Replay one batch; False if going on makes no sense."""
        first, changes = row["first_sequence"], Changes()
        events: list[bytes] = []
        placed_facts = iter(facts.placed) if facts else iter(())
        if facts and facts.trade_sequence != self.bookkeeper.trade_sequence:
            counted = self.bookkeeper.trade_sequence
            self.report.differ("facts", f"batch {first}: trade_sequence is {facts.trade_sequence}, should be {counted}")
        for command in decode_commands(row["commands"]):
            placed = None
            if command.kind == CommandKind.PLACE:
                placed = await self._placed(command, next(placed_facts, None), facts)
                if placed is None:
                    return False
            answer = self._carry_out(command, placed, changes)
            if answer is None:
                return False
            events.append(answer)
        if next(placed_facts, None) is not None:
            self.report.differ("facts", f"batch {first}: more orders than its commands place")
        if b"".join(events) != row["events"]:
            self.report.differ("state", f"batch {first} gives other events when replayed")
            return False
        if self.books.state_hash() != row["state_hash"]:
            self.report.differ("state", f"batch {first} leads to another state hash")
            return False
        self.chain.tell(changes, facts, self._told)
        await self._compare_pairs(changes.pairs, facts, first)
        for trade in changes.trades:
            await self._compare_trade(trade)
        for order in changes.orders.values():
            if not order.status.is_open:
                self._compare_order(order)
        return True

    async def _compare_pairs(self, second_legs: list[Order], facts: BatchFacts | None, batch: int) -> None:
        """Pairs that a batch placed, with what its facts say that they are called."""
        told = {fact.second_number: fact.client_pair_id for fact in facts.pairs} if facts else {}
        if list(told) != [order.sequence for order in second_legs]:
            self.report.differ("facts", f"batch {batch}: its pairs are not those of its commands")
        for order in second_legs:
            order.client_pair_id = told.get(order.sequence)
        if second_legs:
            await compare_pairs(self._connection, [pair_of(order) for order in second_legs], self.report)

    def _carry_out(self, command: Command, placed: Order | None, changes: Changes) -> bytes | None:
        """Let core and bookkeeper carry out a command; its events, or None if that cannot be."""
        try:
            market = self.markets[command.market_id]
            self._told.amended(command, self._live.by_sequence.get(command.order_number), market)
            _, answer = self.books.apply(command)
            self.bookkeeper.fold(command, list(decode_events(answer)), placed, changes)
        except (KeyError, UnknownMarket):
            number = command.sequence
            self.report.differ("markets", f"market {command.market_id} is missing, command {number} is for it")
            return None
        except (BrokenInvariant, ValueError) as error:
            self.report.differ("orders", f"command {command.sequence}: {error}")
            return None
        return answer

    async def _placed(self, command: Command, fact: PlacedFact | None, facts: BatchFacts | None) -> Order | None:
        """The order of a PLACE as it was before the core saw it; None if nobody knows."""
        row, strange = await self._orders.take(command.sequence)
        for other in strange:
            self.report.differ("orders", f"order {other['order_id']} is in no batch of the journal")
        market = self.markets.get(command.market_id)
        if market is None:
            self.report.differ("markets", f"market {command.market_id} is missing, order {command.sequence} is for it")
            return None
        if facts is not None and fact is None:
            self.report.differ("facts", f"order of command {command.sequence} is not in its batch's facts")
        if row is None:
            known = "" if fact is None else f" ({uuid_text(fact.order_id)})"
            self.report.differ("orders", f"order of command {command.sequence}{known} is missing")
            if fact is None:
                return None
        stored = None
        if row is not None:
            stored = self._stored[command.sequence] = order_from_row(row, self._numbers.get(row["user_id"], 0))
        if fact is None:
            self.report.unproven += 1
        order = order_as_placed(command, market, fact, stored)
        self._check_trader(order)
        self._told.placed(order, market, command.time_us)
        return order

    def _check_trader(self, order: Order) -> None:
        found = self._users.get(order.user)
        if found != order.user_id:
            self.report.differ("traders", f"trader {order.user}: user_id is {found}, should be {order.user_id}")
            self._users[order.user] = order.user_id

    def _compare_order(self, order: Order) -> None:
        stored = self._stored.pop(order.sequence, None)
        if stored is not None:
            # They are in a table of their own.
            stored.funded_by, stored.client_pair_id = order.funded_by, order.client_pair_id
        if stored is not None and stored != order:
            self.report.differ("orders", f"order {order.order_id}: {fields_of(stored, order)}")

    async def _compare_trade(self, trade: Trade) -> None:
        row, strange = await self._trades.take(trade.sequence)
        for other in strange:
            self.report.differ("trades", f"trade {other['trade_id']} is in no batch of the journal")
        if row is None:
            self.report.differ("trades", f"trade {trade.trade_id} is missing")
            return
        stored = trade_from_row(row)
        wrong = fields_of(stored, trade).replace(_status_of(stored, trade), "").strip("; ")
        if wrong:
            self.report.differ("trades", f"trade {trade.trade_id}: {wrong}")


def _status_of(stored: Trade, trade: Trade) -> str:
    """The difference that is none here: how far settlement is, which other checks look at."""
    return f"settlement_status is {stored.settlement_status.name}, should be {trade.settlement_status.name}"


async def stream(connection: AnyConnection, query: str) -> AsyncIterator[asyncpg.Record]:
    """The rows of a query, a page at a time."""
    async for row in connection.cursor(query, prefetch=_PAGE):
        yield row
