"""The markets as their readers see them: folds of committed batches, and nothing of the writer's memory.

A market whose fold fails is not shown wrong: its book is taken anew from what is committed, its statistics from the
store, and until they are there whoever asks for them is told to come again.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Final

import structlog

from trade_engine.domain.enums import Side
from trade_engine.domain.errors import InvalidRequest, Unavailable
from trade_engine.domain.market import Market
from trade_engine.domain.orders import Trade
from trade_engine.marketdata.depth import Depth
from trade_engine.marketdata.intervals import WIDER, combine, covered
from trade_engine.matching.protocol import Level
from trade_engine.sequencer.ports import CandlesView, DepthView, TickerView
from trade_engine.sequencer.public_market import PublicMarket
from trade_engine.sequencer.publish import CommittedBatch, TouchedMarket
from trade_engine.sequencer.statistics import restore_statistics
from trade_engine.sequencer.store.port import Store, StoreError

log = structlog.get_logger(__name__)

#: Trades of a market kept while its statistics are made anew; after more of them that begins again.
_MISSED_MAX: Final = 100_000
_REPAIR_PAUSE_S: Final = 0.5

#: All levels of a market's book as it is committed, by side.
CommittedLevels = Callable[[int], dict[Side, list[Level]]]


class PublicMarkets:
    """Keeps ``ports.MarketReader``; a ``publish.Listener``.

    Args:
        configured: shown until memory is built for the first time.
        committed_us: every trade stamped before this time is told already, or never will be.
        levels: for repairs.
    """

    def __init__(
        self,
        configured: Sequence[Market],
        store: Store,
        now_us: Callable[[], int],
        committed_us: Callable[[], int],
        levels: CommittedLevels,
    ) -> None:
        self._store = store
        self._now_us = now_us
        self._committed_us = committed_us
        self._levels = levels
        self._by_symbol = {market.symbol: market for market in configured}
        self._broken: asyncio.Queue[int] = asyncio.Queue()
        self.views: dict[int, PublicMarket] = {}
        #: All markets by symbol.
        self.markets: Mapping[str, Market] = MappingProxyType(self._by_symbol)
        #: Books and statistics that had to be taken anew.
        self.repairs = 0

    # ---- what is folded

    def restart(self, views: dict[int, PublicMarket]) -> None:
        """Show these from now on: what recovery found."""
        self.views = views
        self._by_symbol.update((view.market.symbol, view.market) for view in views.values())

    def committed(self, batch: CommittedBatch) -> None:
        """Fold a batch."""
        views = self.views
        for touched in batch.markets:
            self._touch(touched)
        broken: set[int] = set()
        for event in batch.events:
            try:
                views[event.market_id].depth.fold(event)
            except Exception:
                if event.market_id not in broken:
                    log.exception("depth_fold_failed", market=event.market_id, sequence=batch.journal.last_sequence)
                broken.add(event.market_id)
        for touched in batch.markets:
            number = touched.market.market_id
            if number in broken or views[number].depth.sequence != touched.event_sequence:
                self._retake_depth(touched)
        for trade in batch.trades:
            self._add_trade(views[trade.market_id], trade)

    def rebuilt(self) -> None:
        """Nothing to do: recovery calls ``restart``."""

    def _touch(self, touched: TouchedMarket) -> None:
        market = touched.market
        view = self.views.get(market.market_id)
        if view is None:
            view = self.views[market.market_id] = PublicMarket(market)
        if view.market is not market:
            view.market = market
        self._by_symbol[market.symbol] = market

    def _retake_depth(self, touched: TouchedMarket) -> None:
        """Take a book as it is committed, in place of one that a fold has spoilt."""
        self.repairs += 1
        depth = Depth()
        for side, levels in self._levels(touched.market.market_id).items():
            for price, lots, orders in levels:
                depth.change(side, price, lots, orders)
        depth.start_at(touched.event_sequence)
        self.views[touched.market.market_id].depth = depth

    def _add_trade(self, view: PublicMarket, trade: Trade) -> None:
        if view.missed is None:
            try:
                view.add_trade(trade)
            except Exception:
                log.exception("statistics_fold_failed", market=view.market.symbol, trade_id=trade.trade_id)
                self.repairs += 1
                view.missed = [trade]
                self._broken.put_nowait(view.market.market_id)
        elif len(view.missed) < _MISSED_MAX:
            view.missed.append(trade)

    async def keep_repaired(self) -> None:
        """Make statistics anew that went wrong, until cancelled."""
        while True:
            number = await self._broken.get()
            view = self.views[number]
            try:
                await self._repair(view)
            except StoreError as error:
                log.warning("statistics_repair_failed", market=view.market.symbol, error=repr(error))
                await asyncio.sleep(_REPAIR_PAUSE_S)
            if view.missed is not None and self.views.get(number) is view:
                self._broken.put_nowait(number)

    async def _repair(self, view: PublicMarket) -> None:
        """Read what is stored, then add the trades committed meanwhile."""
        view.missed = []
        fresh = PublicMarket(view.market)
        fresh.ticker.last_price = view.ticker.last_price
        last = await restore_statistics(self._store, {view.market.market_id: fresh}, self._now_us())
        missed = view.missed
        if len(missed) >= _MISSED_MAX:
            return
        for trade in missed:
            if trade.sequence > last:
                fresh.add_trade(trade)
        view.candles, view.ticker, view.missed = fresh.candles, fresh.ticker, None
        log.info("statistics_repaired", market=view.market.symbol)

    # ---- what is read

    def market(self, market_id: int) -> Market:
        """The market of a number."""
        return self.views[market_id].market

    @property
    def committed_us(self) -> int:
        """Every trade stamped before this time is committed."""
        return self._committed_us()

    def view(self, symbol: str) -> PublicMarket:
        """What is committed of a market.

        Raises:
            InvalidRequest: INVALID_SYMBOL; Unavailable: memory was not built yet.
        """
        market = self._by_symbol.get(symbol)
        if market is None:
            raise InvalidRequest("INVALID_SYMBOL", "there is no such market", field="symbol", provided=symbol)
        view = self.views.get(market.market_id)
        if view is None:
            raise Unavailable("ENGINE_UNAVAILABLE", "the engine is not ready: starting")
        return view

    def depth(self, symbol: str, levels: int) -> DepthView:
        """The committed book of a market, units of 1e-8."""
        view = self.view(symbol)
        tick, lot = view.market.tick_size, view.market.lot_size
        bids, asks = (
            [(price * tick, lots * lot, orders) for price, lots, orders in view.depth.levels(side, levels)]
            for side in (Side.BUY, Side.SELL)
        )
        return DepthView(bids, asks, view.depth.sequence)

    def ticker(self, symbol: str) -> TickerView:
        """The committed ticker of a market."""
        view = self.view(symbol)
        view.require_statistics()
        day = view.ticker
        day.advance(self._now_us())
        tick = view.market.tick_size
        return TickerView(
            last_price=day.last_price,
            open=day.open,
            high=day.high,
            low=day.low,
            volume=day.volume,
            quote_volume=day.quote_volume,
            trades=day.trades,
            best_bid=view.depth.best(Side.BUY) * tick,
            best_ask=view.depth.best(Side.SELL) * tick,
            last_quantity=day.last_quantity,
        )

    async def candles(self, symbol: str, interval: str, start_us: int, end_us: int, limit: int) -> CandlesView:
        """Candles of a market, stored ones included.

        Raises:
            Unavailable: the store does not answer.
        """
        if interval in WIDER:
            wider, (first_us, last_us) = WIDER[interval], covered(interval, start_us, end_us)
            parts = await self.candles(symbol, wider.base, first_us, last_us, limit * wider.most)
            return CandlesView(combine(parts.candles, interval)[-limit:], parts.committed_us)
        view = self.view(symbol)
        committed_us = self.committed_us
        held = view.between(interval, start_us, end_us, limit)
        oldest_us = view.candles.oldest_us(interval)
        if oldest_us is not None:
            end_us = min(end_us, oldest_us)
        if len(held) < limit and start_us < end_us:
            market_id, left = view.market.market_id, limit - len(held)
            try:
                held = await self._store.candles_between(market_id, interval, start_us, end_us, left) + held
            except StoreError as error:
                raise Unavailable("DATABASE_UNAVAILABLE", "the database does not answer, try again") from error
        return CandlesView(held, committed_us)
