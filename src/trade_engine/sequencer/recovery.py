"""Recovery: memory from the database, checked against itself before the engine serves (SPEC 4.3, DESIGN 4)."""

from collections.abc import Callable, Sequence
from typing import Any, Final

import structlog

from trade_engine.domain.commands import Command, CommandKind, OrderFlag
from trade_engine.domain.enums import MarketState, OrderStatus, OrderType
from trade_engine.domain.market import Market
from trade_engine.domain.orders import Order
from trade_engine.matching.markets import MarketBooks
from trade_engine.matching.protocol import Book, MarketMemory, Resting
from trade_engine.sequencer.bookkeeping import Bookkeeper, LiveOrders, MarketCounters
from trade_engine.sequencer.clock import Clock
from trade_engine.sequencer.commit import Writer
from trade_engine.sequencer.memory import MarketView, Memory
from trade_engine.sequencer.statistics import restore_statistics
from trade_engine.storage.errors import RecoveryError
from trade_engine.storage.markets import sync_markets
from trade_engine.storage.order_rows import ORDER_COLUMNS, order_from_row
from trade_engine.storage.types import Connection, Record

log = structlog.get_logger(__name__)

_PAGE: Final = 10_000


async def recover(
    writer: Writer, configured: Sequence[Market], new_book: Callable[[int], Book], clock: Clock
) -> Memory:
    """Take over as the writer and build memory.

    Raises:
        RecoveryError: a check failed; the message says which.
        OSError, asyncpg.PostgresError: the database is not to be reached.
    """
    state = await writer.take_over()
    connection = writer.connection
    clock.set_floor(state["clock_us"])
    rows = await sync_markets(connection, configured)
    markets = {market.market_id: market for market, _ in rows}
    books = MarketBooks(new_book)
    live = LiveOrders()
    bookkeeper = Bookkeeper(live, markets, state["trade_sequence"])
    traders = {row[0]: row[1] for row in await connection.fetch("SELECT user_id::TEXT, trader_number FROM traders")}
    views = {}
    for market, row in rows:
        view = views[market.market_id] = MarketView(market)
        bookkeeper.counters[market.market_id] = MarketCounters(event_sequence=row["event_sequence"])
        orders = await _open_orders(connection, market, traders)
        book = books.add(market.market_id)
        book.restore(_market_memory(market, row), [resting_of(order, market) for order in orders])
        _check_book(book, market)
        for order in orders:
            live.add(order)
        for order in orders:
            if order.status is not OrderStatus.PENDING:
                price, lots = order.price // market.tick_size, order.display_remaining // market.lot_size
                view.depth.change(order.side, price, lots, 1)
        view.depth.start_at(row["event_sequence"])
        view.ticker.last_price = _units(row["last_price"])
    await restore_statistics(connection, views, clock.now_us())
    if books.state_hash() != state["state_hash"] and state["sequence"]:
        raise RecoveryError("the state hash of the rebuilt books differs from the journal's: run `trade-engine verify`")
    log.info("recovered", orders=len(live), sequence=state["sequence"], epoch=writer.epoch)
    return Memory(
        markets=markets,
        by_symbol={market.symbol: market for market in markets.values()},
        books=books,
        live=live,
        bookkeeper=bookkeeper,
        views=views,
        traders=traders,
        sequence=state["sequence"],
        instruction_id=state["instruction_id"],
        journal_hash=state["journal_hash"],
        state_hash=state["state_hash"],
    )


def configure_commands(memory: Memory) -> list[Command]:
    """What must be sequenced so that each book knows its market's configured rules."""
    wanted = [configure_command(market) for market in memory.markets.values()]
    return [command for command in wanted if _rules_known(memory, command.market_id) != _rules_in(command)]


def configure_command(market: Market) -> Command:
    """The command that tells a book its market's rules."""
    return Command(
        CommandKind.CONFIGURE,
        0,
        0,
        market.market_id,
        price=market.price_band_ppm,
        stop_price=market.max_slippage_ppm,
        quantity=market.min_notional_ticks,
        display=market.max_open_orders,
        max_notional=market.max_fills,
    )


def _rules_in(command: Command) -> tuple[int, ...]:
    return command.price, command.stop_price, command.quantity, command.display, command.max_notional


def _rules_known(memory: Memory, market_id: int) -> tuple[int, ...]:
    known = memory.books.book(market_id).memory()
    return (
        known.price_band_ppm, known.max_slippage_ppm, known.min_notional, known.max_open_orders, known.max_fills,
    )  # fmt: skip


def resting_of(order: Order, market: Market) -> Resting:
    """An open order as the core knows it, in ticks and lots."""
    lot, tick = market.lot_size, market.tick_size
    limited = order.flags & OrderFlag.LIMITED_NOTIONAL
    return Resting(
        order_id=order.sequence,
        user=order.user,
        side=order.side,
        type=order.type,
        time_in_force=order.time_in_force,
        stp=order.stp,
        flags=order.flags,
        waiting=int(order.status is OrderStatus.PENDING and order.type >= OrderType.STOP),
        price=order.price // tick,
        quantity=(order.quantity - order.cancelled) // lot,
        leaves=order.leaves // lot,
        stop_price=order.stop_price // tick,
        display=order.display // lot,
        display_remaining=order.display_remaining // lot,
        max_notional=order.max_notional // market.notional_unit,
        spent_notional=order.filled_notional // market.notional_unit if limited else 0,
        expires_us=order.expires_us,
        linked_id=order.linked_id,
        priority=order.priority,
    )


def _market_memory(market: Market, row: Record) -> MarketMemory:
    return MarketMemory(
        last_price=_units(row["last_price"]) // market.tick_size,
        state=MarketState[row["state"]],
        priority=row["priority_sequence"],
        price_band_ppm=row["price_band_ppm"],
        max_slippage_ppm=row["max_slippage_ppm"],
        min_notional=row["min_notional_ticks"],
        max_open_orders=row["max_open_orders"],
        max_fills=row["max_fills"],
    )


async def _open_orders(connection: Connection, market: Market, traders: dict[str, int]) -> list[Order]:
    orders: list[Order] = []
    async with connection.transaction(readonly=True):
        cursor = connection.cursor(
            f"SELECT {ORDER_COLUMNS} FROM orders WHERE market_id = $1 AND is_open ORDER BY priority_sequence",
            market.market_id,
            prefetch=_PAGE,
        )
        async for row in cursor:
            order = order_from_row(row, traders[row["user_id"]])
            if order.leaves != order.quantity - order.filled - order.cancelled or order.leaves <= 0:
                raise RecoveryError(f"order {order.order_id}: quantities do not add up")
            orders.append(order)
    return orders


def _check_book(book: Book, market: Market) -> None:
    bid, ask = book.best_bid(), book.best_ask()
    if bid and ask and bid >= ask:
        raise RecoveryError(f"{market.symbol}: the book is crossed, bid {bid} against ask {ask} (ticks)")


def _units(value: Any) -> int:
    """A NUMERIC as units of 1e-8."""
    return int(value.scaleb(8))
