"""Verification: replay the journal with a fresh core and compare it with everything the database says (DESIGN 4).

Reads one consistent snapshot, so that it can run beside a working engine.  Changes nothing.
"""

from collections.abc import AsyncIterator, Callable
from typing import Any, Final, cast

import asyncpg
import msgspec

from trade_engine.domain.commands import Command, CommandKind, decode_commands
from trade_engine.domain.enums import OrderStatus, OrderType, Reason
from trade_engine.domain.events import decode_events
from trade_engine.domain.fees import initial_hold
from trade_engine.domain.market import Market
from trade_engine.domain.orders import Order, Trade
from trade_engine.matching.markets import MarketBooks
from trade_engine.matching.protocol import Book
from trade_engine.sequencer.bookkeeping import Bookkeeper, BrokenInvariant, Changes, LiveOrders
from trade_engine.sequencer.journal import chain
from trade_engine.settlement.reconcile import ledger_differences
from trade_engine.storage.markets import market_from_row
from trade_engine.storage.order_rows import ORDER_COLUMNS, TRADE_COLUMNS, order_from_row, trade_from_row
from trade_engine.storage.types import AnyConnection, Connection

_PAGE: Final = 2_000
_MOST_DIFFERENCES: Final = 100


class Report(msgspec.Struct, kw_only=True):
    """What verification found."""

    journal_batches: int = 0
    chain_ok: bool = True
    state_ok: bool = True
    orders_ok: bool = True
    trades_ok: bool = True
    ledger_ok: bool = True
    differences: list[str] = msgspec.field(default_factory=list)

    def differ(self, what: str, message: str) -> None:
        """Note a difference of ``what`` (chain, state, orders, trades, ledger)."""
        setattr(self, f"{what}_ok", False)
        if len(self.differences) < _MOST_DIFFERENCES:
            self.differences.append(f"{what}: {message}")

    @property
    def ok(self) -> bool:
        """Whether nothing was found."""
        return not self.differences


async def verify(
    connection: AnyConnection,
    new_book: Callable[[int], Book],
    progress: Callable[[int, int], None] | None = None,
    *,
    ledger: bool = True,
) -> Report:
    """Check chain, state, orders, trades and ledger.

    Args:
        connection: idle; used for one read-only transaction.
        new_book: makes the core's book of a market.
        progress: told (batches done, batches in all) now and then.
        ledger: whether the ledger is in this database; one that is not is for ``trade-engine reconcile``.
    """
    async with connection.transaction(isolation="repeatable_read", readonly=True):
        replay = Replay(connection, new_book, await _markets(connection))
        await replay.run(progress)
        for difference in await ledger_differences(cast("Connection", connection)) if ledger else []:
            replay.report.differ("ledger", difference)
        return replay.report


class Replay:
    """One pass over the journal, with the orders and trades of the database streamed beside it."""

    def __init__(self, connection: AnyConnection, new_book: Callable[[int], Book], markets: dict[int, Market]) -> None:
        self._connection = connection
        self._markets = markets
        self._books = MarketBooks(new_book)
        for market_id in markets:
            self._books.add(market_id)
        self._live = LiveOrders()
        self._bookkeeper = Bookkeeper(self._live, markets, 0)
        self._stored: dict[int, Order] = {}
        self._orders = _stream(connection, f"SELECT {ORDER_COLUMNS} FROM orders ORDER BY sequence")
        self._trades = _stream(connection, f"SELECT {TRADE_COLUMNS} FROM trades ORDER BY sequence")
        self._numbers: dict[str, int] = {}
        self.report = Report()

    async def run(self, progress: Callable[[int, int], None] | None) -> None:
        """Replay everything and compare."""
        total = await self._connection.fetchval("SELECT count(*) FROM journal")
        self._numbers = {
            row[0]: row[1] for row in await self._connection.fetch("SELECT user_id::TEXT, trader_number FROM traders")
        }
        previous_hash, next_sequence = b"", 1
        async for row in _stream(self._connection, "SELECT * FROM journal ORDER BY last_sequence"):
            self.report.journal_batches += 1
            self._check_chain(row, previous_hash, next_sequence)
            previous_hash, next_sequence = row["hash"], row["last_sequence"] + 1
            if not await self._batch(row):
                return
            if progress and self.report.journal_batches % 500 == 0:
                progress(self.report.journal_batches, total)
        state = await self._connection.fetchrow("SELECT * FROM engine_state")
        if state is None or state["journal_hash"] != previous_hash or state["sequence"] != next_sequence - 1:
            self.report.differ("chain", "engine_state does not stand at the journal's end")
        for sequence in list(self._live.by_sequence):
            self._compare_order(self._live.by_sequence[sequence])
        async for row in self._orders:
            self.report.differ("orders", f"order {row['order_id']} is in no batch of the journal")
        async for row in self._trades:
            self.report.differ("trades", f"trade {row['trade_id']} is in no batch of the journal")

    def _check_chain(self, row: asyncpg.Record, previous_hash: bytes, next_sequence: int) -> None:
        first, last = row["first_sequence"], row["last_sequence"]
        digest = chain(row["previous_hash"], first, last, row["state_hash"], row["commands"], row["events"])
        if row["previous_hash"] != previous_hash:
            self.report.differ("chain", f"batch {first}-{last} does not follow the one before it")
        if digest != row["hash"]:
            self.report.differ("chain", f"batch {first}-{last} does not have the hash of what it holds")
        if first != next_sequence:
            self.report.differ("chain", f"batch {first}-{last} should begin at {next_sequence}")

    async def _batch(self, row: asyncpg.Record) -> bool:
        """Replay one batch; False if going on makes no sense."""
        changes = Changes()
        events: list[bytes] = []
        for command in decode_commands(row["commands"]):
            placed = await self._placed(command) if command.kind == CommandKind.PLACE else None
            if command.kind == CommandKind.PLACE and placed is None:
                return False
            _, answer = self._books.apply(command)
            events.append(answer)
            try:
                self._bookkeeper.fold(command, list(decode_events(answer)), placed, changes)
            except BrokenInvariant as error:
                self.report.differ("orders", f"command {command.sequence}: {error}")
                return False
        if b"".join(events) != row["events"]:
            self.report.differ("state", f"batch {row['first_sequence']} gives other events when replayed")
            return False
        if self._books.state_hash() != row["state_hash"]:
            self.report.differ("state", f"batch {row['first_sequence']} leads to another state hash")
            return False
        for trade in changes.trades:
            await self._compare_trade(trade)
        for order in changes.orders.values():
            if not order.status.is_open:
                self._compare_order(order)
        return True

    async def _placed(self, command: Command) -> Order | None:
        """The order of a PLACE as it was before the core saw it: its lasting part from its row."""
        row = await anext(self._orders, None)
        if row is None or row["sequence"] != command.sequence:
            found = "none" if row is None else f"{row['order_id']} with sequence {row['sequence']}"
            self.report.differ("orders", f"order of command {command.sequence} is missing: found {found}")
            return None
        stored = order_from_row(row, self._numbers.get(row["user_id"], 0))
        self._stored[stored.sequence] = stored
        market = self._markets[command.market_id]
        return msgspec.structs.replace(
            stored,
            market_id=command.market_id,
            user=command.user,
            side=type(stored.side)(command.side),
            type=type(stored.type)(command.type),
            time_in_force=type(stored.time_in_force)(command.time_in_force),
            stp=type(stored.stp)(command.stp),
            flags=command.flags,
            price=command.price * market.tick_size,
            quantity=command.quantity * market.lot_size,
            stop_price=command.stop_price * market.tick_size,
            display=command.display * market.lot_size,
            max_notional=command.max_notional * market.notional_unit,
            expires_us=command.expires_us,
            linked_id=command.linked_id,
            created_us=command.time_us,
            updated_us=command.time_us,
            **_UNTOUCHED,
            **_first_hold(stored, command, market),
        )

    def _compare_order(self, order: Order) -> None:
        stored = self._stored.pop(order.sequence)
        if stored == order:
            return
        fields = [
            f"{name} is {getattr(stored, name)!r}, should be {getattr(order, name)!r}"
            for name in Order.__struct_fields__
            if getattr(stored, name) != getattr(order, name)
        ]
        self.report.differ("orders", f"order {order.order_id}: {'; '.join(fields)}")

    async def _compare_trade(self, trade: Trade) -> None:
        row = await anext(self._trades, None)
        stored = trade_from_row(row) if row else None
        if stored is not None:
            stored = msgspec.structs.replace(stored, settlement_status=trade.settlement_status)
        if stored != trade:
            self.report.differ("trades", f"trade {trade.trade_id} differs from {stored}")


def _first_hold(stored: Order, command: Command, market: Market) -> dict[str, int]:
    """What a PLACE had reserved: as stored, but for orders that an amendment may have topped up since."""
    reserved = stored.reserved
    if command.type != OrderType.MARKET:
        ticks = command.max_notional or command.price * command.quantity
        highest = max(stored.maker_fee, stored.taker_fee)
        quantity, notional = command.quantity * market.lot_size, ticks * market.notional_unit
        reserved = initial_hold(stored.side, quantity, notional, highest, stored.fee_asset)
    return {"reserved": reserved, "hold": reserved}


_UNTOUCHED: Final[dict[str, Any]] = {
    "status": OrderStatus.PENDING,
    "reason": Reason.NONE,
    "filled": 0,
    "filled_notional": 0,
    "cancelled": 0,
    "priority": 0,
    "display_remaining": 0,
    "maker_basis": 0,
    "taker_basis": 0,
    "fee_charged": 0,
    "filled_us": 0,
    "cancelled_us": 0,
}


async def _stream(connection: AnyConnection, query: str) -> AsyncIterator[asyncpg.Record]:
    async for row in connection.cursor(query, prefetch=_PAGE):
        yield row


async def _markets(connection: AnyConnection) -> dict[int, Market]:
    """The markets as the database knows them."""
    rows = await connection.fetch("SELECT * FROM markets")
    return {row["market_id"]: market_from_row(row) for row in rows}
