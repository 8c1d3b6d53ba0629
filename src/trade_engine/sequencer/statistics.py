"""Market statistics from the database: candles and the rolling day, as folding every trade would have made them.

Stored candles hold every trade up to some sequence; the trades after it are folded in, in bounded chunks.  So it makes
no difference how far the stored ones had come when the engine died, nor whether there are any.
"""

from typing import Final

import structlog

from trade_engine.marketdata.candles import DAY_US, MINUTE_US
from trade_engine.sequencer.memory import CANDLES_KEPT, MarketView
from trade_engine.storage.candles import Row, candles_since, store_candles, traded_minutes
from trade_engine.storage.types import Connection

log = structlog.get_logger(__name__)

#: Trades read at once.
_CHUNK: Final = 50_000


async def restore_statistics(
    connection: Connection, views: dict[int, MarketView], now_us: int, chunk: int = _CHUNK
) -> None:
    """Fill candles and tickers of fresh ``views``; nothing else commits trades meanwhile.

    A long backfill stores what it has after each chunk, so that one that is cut short goes on from there.
    """
    start_us = stored = 0
    for market_id, interval, candle in await candles_since(connection, now_us - DAY_US - MINUTE_US):
        views[market_id].candles.load(interval, candle)
        if candle.last_sequence > stored and interval == "1m":
            start_us, stored = candle.start_us, candle.last_sequence
    while minutes := await traded_minutes(connection, start_us, stored, chunk):
        for market_id, _, part in minutes:
            views[market_id].candles.fold(part)
        before, stored = stored, max(part.last_sequence for _, _, part in minutes)
        start_us = minutes[-1][2].start_us
        if sum(part.trades for _, _, part in minutes) < chunk:
            break
        await store_candles(connection, changed_candles(views, before))
        for view in views.values():
            view.candles.trim(CANDLES_KEPT, stored)
        log.info("candles made from trades", trade_sequence=stored)
    for view in views.values():
        view.restore_ticker()


def changed_candles(views: dict[int, MarketView], sequence: int) -> list[Row]:
    """Every candle of every market with a trade after ``sequence``."""
    return [
        (market_id, interval, candle)
        for market_id, view in views.items()
        for interval, candle in view.candles.changed_since(sequence)
    ]
