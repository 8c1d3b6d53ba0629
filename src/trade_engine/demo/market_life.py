"""All markets of a demo, one after the other, at a pace and with an end: bounded in rate, and in what it writes.

It trades through the engine's own port, as users who are its own, and listens to commits for what others do.
"""

import asyncio
import contextlib
import time
from collections.abc import Callable, Sequence
from random import Random
from typing import Final

import structlog

from trade_engine.demo.one_market import DemoMarket, DemoTerms
from trade_engine.demo.paths import Path, RandomWalk, RecordedPath
from trade_engine.demo.users import MAKER, TAKERS
from trade_engine.domain.errors import EngineError
from trade_engine.domain.market import Market
from trade_engine.domain.scale import UNIT, parse_units
from trade_engine.sequencer.ports import MarketReader, Operations, Trading
from trade_engine.sequencer.publish import CommittedBatch

log = structlog.get_logger(__name__)

#: What assets are worth in the beginning; of others a market begins at ten thousand ticks.
_WORTH: Final = {
    "BTC": "50000", "ETH": "2500", "BNB": "600", "XRP": "0.5", "SOL": "150", "ADA": "0.45", "DOGE": "0.12",
    "TRX": "0.12", "LTC": "80", "AVAX": "30",
}  # fmt: skip
_USUAL_TICKS: Final = 10_000
_LEVEL_VALUE: Final = 5_000 * UNIT
#: Between two steps, of any market: at first, and once it has gone on for a while.
_PAUSE_S: Final = 0.2
_SLOW_PAUSE_S: Final = 1.0
_SLOW_AFTER_S: Final = 600.0
_TROUBLE_PAUSE_S: Final = 1.0
#: The engine's commands after which the demo rests: about a gigabyte.
COMMANDS_MAX: Final = 1_000_000
_STOP_S: Final = 5.0
_OWN: Final = frozenset((MAKER, *TAKERS))
#: A walk in a market where some prices are left free stays near them.
_STEP_PPM: Final = 120
_WIDTH_PPM: Final = 15_000
_NARROW_PPM: Final = 400
#: The guide's first order trades at 50000, with nobody else near.
_LEFT_FREE: Final = {"BTC/USDT": (parse_units("49990"), parse_units("50010"))}


class MarketLife:
    """What makes the markets of a demo move: ``run`` it, and ``stop`` it before the engine stops.

    Args:
        markets: those that are to live.
        trading: where orders go; reader: what is committed; operations: how far the engine is.
        seed: the same one gives the same walks.
        recorded: prices of trades that the markets follow, units of 1e-8; empty: random walks.
        now_s: a clock that nobody sets, seconds.
    """

    def __init__(
        self,
        markets: Sequence[Market],
        trading: Trading,
        reader: MarketReader,
        operations: Operations,
        *,
        seed: int = 1,
        recorded: Sequence[int] = (),
        now_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._trading = trading
        self._operations = operations
        self._now_s = now_s
        self._markets: dict[int, DemoMarket] = {}
        for place, market in enumerate(markets):
            random = Random(f"{seed} {market.symbol}")  # noqa: S311 - a game, and to be the same again
            free = None if recorded else _LEFT_FREE.get(market.symbol)
            path: Path = (
                RecordedPath(recorded, place * len(recorded) // len(markets))
                if recorded
                else RandomWalk(random, _STEP_PPM, _NARROW_PPM if free else _WIDTH_PPM)
            )
            worth = _WORTH.get(market.base) if market.quote == "USDT" else None
            price = parse_units(worth) if worth else market.tick_size * _USUAL_TICKS
            terms = DemoTerms(price, level_value=_LEVEL_VALUE, free=free)
            reached = reader.markets.get(market.symbol, market)
            self._markets[reached.market_id] = DemoMarket(reached, terms, trading, reader, path, random, now_s)

    async def run(self) -> None:
        """Let the markets live until cancelled, or until the engine's journal is as long as a demo's may be."""
        began_s = self._now_s()
        await self._end_orders()
        for market in self._markets.values():
            await self._step(market, take=True)
        while self._operations.status().sequence < COMMANDS_MAX:
            for market in self._markets.values():
                slow = self._now_s() - began_s >= _SLOW_AFTER_S
                await asyncio.sleep(_SLOW_PAUSE_S if slow else _PAUSE_S)
                await self._step(market)
        log.warning("demo_rests", commands=COMMANDS_MAX, means="a new --data-dir begins a new one")
        await self._end_orders()
        await asyncio.Event().wait()

    async def stop(self) -> None:
        """Take the quotes out of the books; to be called when ``run`` has ended, and never waits for long."""
        with contextlib.suppress(EngineError, TimeoutError):
            async with asyncio.timeout(_STOP_S):
                await self._end_orders()

    def committed(self, batch: CommittedBatch) -> None:
        """See what others do, and what the market maker holds."""
        for order in batch.orders:
            if order.sequence in batch.new and order.user_id not in _OWN and order.market_id in self._markets:
                self._markets[order.market_id].others_came()
        for trade in batch.trades:
            market = self._markets.get(trade.market_id)
            if market is not None:
                lots = trade.quantity // market.market.lot_size
                market.inventory += lots * ((trade.buyer_user_id == MAKER) - (trade.seller_user_id == MAKER))

    def rebuilt(self) -> None:
        """What was missed does not matter: the ladder is as wide as before."""

    async def _step(self, market: DemoMarket, *, take: bool | None = None) -> None:
        try:
            await market.step(take=take)
        except EngineError as error:
            log.warning("demo_order_refused", market=market.market.symbol, code=error.code)
            await asyncio.sleep(_TROUBLE_PAUSE_S)

    async def _end_orders(self) -> None:
        for user in (MAKER, *TAKERS):
            await self._trading.cancel_all(user, None)
