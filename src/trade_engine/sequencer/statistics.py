"""Market statistics from the database: candles and the rolling day, as folding every trade would have made them.

Stored candles hold every trade up to some sequence; the trades after it are folded in, in bounded chunks.  So it makes
no difference how far the stored ones had come when the engine died, nor whether there are any.
"""

from typing import Final

import structlog

from trade_engine.marketdata.candles import DAY_US, MINUTE_US
from trade_engine.sequencer.public_market import CANDLES_KEPT, PublicMarket
from trade_engine.sequencer.store.port import CandleRow, Store

log = structlog.get_logger(__name__)

#: Trades read at once.
_CHUNK: Final = 50_000


async def restore_statistics(store: Store, views: dict[int, PublicMarket], now_us: int, chunk: int = _CHUNK) -> int:
    """Fill candles and tickers of fresh ``views``; the sequence of the last trade that they show.

    A long backfill stores what it has after each chunk, so that one that is cut short goes on from there; one of some
    of the markets alone stores nothing.
    """
    start_us = stored = 0
    whole = True
    for market_id, interval, candle in await store.candles_since(now_us - DAY_US - MINUTE_US):
        if market_id in views:
            views[market_id].candles.load(interval, candle)
        else:
            whole = False
        if candle.last_sequence > stored and interval == "1m":
            start_us, stored = candle.start_us, candle.last_sequence
    while minutes := await store.traded_minutes(start_us, stored, chunk):
        for market_id, _, part in minutes:
            if market_id in views:
                views[market_id].candles.fold(part)
            else:
                whole = False
        before, stored = stored, max(part.last_sequence for _, _, part in minutes)
        start_us = minutes[-1][2].start_us
        if sum(part.trades for _, _, part in minutes) < chunk:
            break
        if whole:
            await store.store_candles(changed_candles(views, before))
        for view in views.values():
            view.candles.trim(CANDLES_KEPT, stored)
        log.info("candles_made_from_trades", trade_sequence=stored)
    for view in views.values():
        view.restore_ticker()
    return stored


def changed_candles(views: dict[int, PublicMarket], sequence: int) -> list[CandleRow]:
    """Every candle of every market with a trade after ``sequence``."""
    return [
        (market_id, interval, candle)
        for market_id, view in views.items()
        for interval, candle in view.candles.changed_since(sequence)
    ]
