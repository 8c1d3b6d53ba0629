"""Recovery: memory from the database, checked against itself before the engine serves (SPEC 4.3, DESIGN 4)."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import structlog

from trade_engine.domain.commands import RuleFlag
from trade_engine.domain.enums import OrderStatus
from trade_engine.domain.market import Market
from trade_engine.domain.orders import Order
from trade_engine.matching.markets import MarketBooks
from trade_engine.matching.protocol import Book
from trade_engine.sequencer.bookkeeping import Bookkeeper, LiveOrders
from trade_engine.sequencer.clock import Clock
from trade_engine.sequencer.engine_request import RulesRequest
from trade_engine.sequencer.memory import Memory, restore_book
from trade_engine.sequencer.public_market import PublicMarket
from trade_engine.sequencer.statistics import restore_statistics
from trade_engine.sequencer.store.port import Store, StoredMarket
from trade_engine.storage.errors import RecoveryError

log = structlog.get_logger(__name__)


class Recovered(NamedTuple):
    """The writer's memory, and the markets as readers see them."""

    memory: Memory
    views: dict[int, PublicMarket]


async def recover(
    store: Store, configured: Sequence[Market], new_book: Callable[[int], Book], clock: Clock
) -> Recovered:
    """Take over from ourselves (the first take-over is ``lease.stand_by``'s) and build memory.

    Raises:
        Fenced: another engine writes.
        RecoveryError: a check failed; the message says which.
        StoreUnavailable: the store is not to be reached.
    """
    state = await store.take_over()
    clock.set_floor(state.clock_us)
    stored = await store.markets(configured)
    markets = {row.market.market_id: row.market for row in stored}
    books = MarketBooks(new_book)
    live = LiveOrders()
    bookkeeper = Bookkeeper(live, markets, state.trade_sequence)
    traders = await store.traders()
    views = {}
    for row in stored:
        market = row.market
        bookkeeper.event_sequences[market.market_id] = row.event_sequence
        orders = await store.open_orders(market.market_id, traders)
        _check_orders(orders)
        book = books.add(market.market_id)
        try:
            restore_book(book, market, row.remembered, orders)
        except ValueError as error:
            raise RecoveryError(f"{market.symbol}: the open orders make no book: {error}") from error
        _check_book(book, market)
        for order in orders:
            live.add(order)
        views[market.market_id] = _view(row, orders)
    await restore_statistics(store, views, clock.now_us())
    if books.state_hash() != state.state_hash and state.sequence:
        raise RecoveryError("the state hash of the rebuilt books differs from the journal's: run `trade-engine verify`")
    log.info("recovered", orders=len(live), sequence=state.sequence, epoch=store.epoch)
    memory = Memory(
        markets=markets,
        numbers={market.symbol: number for number, market in markets.items()},
        books=books,
        live=live,
        bookkeeper=bookkeeper,
        remembered={row.market.market_id: row.remembered for row in stored},
        traders=traders,
        sequence=state.sequence,
        instruction_id=state.instruction_id,
        journal_hash=state.journal_hash,
        state_hash=state.state_hash if state.sequence else books.state_hash(),
        facts_since=state.facts_since,
    )
    return Recovered(memory, views)


def rules_requests(memory: Memory) -> list[RulesRequest]:
    """What must be sequenced so that each book knows its market's configured rules."""
    return [RulesRequest(market) for market in memory.markets.values() if not _knows_rules(memory, market)]


def _knows_rules(memory: Memory, market: Market) -> bool:
    known = memory.remembered[market.market_id]
    return (
        known.price_band_ppm, known.max_slippage_ppm, known.min_notional, known.max_open_orders, known.max_fills,
        known.rules,
    ) == (
        market.price_band_ppm, market.max_slippage_ppm, market.min_notional_ticks, market.max_open_orders,
        market.max_fills, RuleFlag.CASCADE_BUDGET,
    )  # fmt: skip


def _view(row: StoredMarket, orders: list[Order]) -> PublicMarket:
    """A market as readers see it, but for candles and ticker."""
    market = row.market
    view = PublicMarket(market)
    for order in orders:
        if order.status is not OrderStatus.PENDING:
            price, lots = order.price // market.tick_size, order.display_remaining // market.lot_size
            view.depth.change(order.side, price, lots, 1)
    view.depth.start_at(row.event_sequence)
    view.ticker.last_price = row.remembered.last_price * market.tick_size
    return view


def _check_orders(orders: list[Order]) -> None:
    for order in orders:
        if order.leaves <= 0:
            raise RecoveryError(f"order {order.order_id}: quantities do not add up")


def _check_book(book: Book, market: Market) -> None:
    bid, ask = book.best_bid(), book.best_ask()
    if bid and ask and bid >= ask:
        raise RecoveryError(f"{market.symbol}: the book is crossed, bid {bid} against ask {ask} (ticks)")
