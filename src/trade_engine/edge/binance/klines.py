"""Routes of candles: one for every interval since a market's first trade, also where nothing traded."""

import time
from typing import Any, Final

from trade_engine.domain.errors import InvalidRequest
from trade_engine.domain.market import Market
from trade_engine.edge.binance.given import limit_of, need, need_market, span
from trade_engine.edge.binance.numbers import fixed, ms
from trade_engine.edge.rest.call import Answer, Call
from trade_engine.edge.services import Services
from trade_engine.edge.times import LATEST_US
from trade_engine.marketdata.candles import DAY_US, Candle
from trade_engine.marketdata.intervals import INTERVALS, end_of, start_of

#: Days of candles looked through for a market's first trade.
_DAYS: Final = 5_000


async def klines(call: Call) -> Answer:
    """List the candles of a market."""
    given, services = call.query, call.services
    market = need_market(given, services.markets)
    interval = need(given, "interval")
    if interval not in INTERVALS:
        raise InvalidRequest("INVALID_INTERVAL", "there are no such candles")
    limit = limit_of(given, 500, 1_000)
    start_us, end_us = span(given)
    now_us = time.time_ns() // 1000
    last_us = start_of(interval, now_us if end_us is None else min(now_us, end_us))
    if start_us is None:
        first_us = last_us
        for _ in range(limit - 1):
            first_us = start_of(interval, max(0, first_us - 1))
    else:
        first_us = start_of(interval, start_us)
        first_us = first_us if first_us == start_us else end_of(interval, first_us)
    return Answer(await _rows(services, market, interval, (max(0, first_us), last_us), limit))


async def _rows(
    services: Services, market: Market, interval: str, times: tuple[int, int], limit: int
) -> list[list[Any]]:
    """The rows of the intervals from the first of two times to the last, ``limit`` of them at most."""
    first_us, last_us = times
    reader = services.reader
    earlier = (await reader.candles(market.symbol, interval, 0, first_us, 1)).candles
    close = earlier[-1].close if earlier else 0
    if not earlier:
        started_us = await _first_trade_us(services, market)
        if started_us is None:
            return []
        first_us = max(first_us, start_of(interval, started_us))
    starts: list[int] = []
    while first_us <= last_us and len(starts) < limit:
        starts.append(first_us)
        first_us = end_of(interval, first_us)
    if not starts:
        return []
    traded = (await reader.candles(market.symbol, interval, starts[0], first_us, len(starts))).candles
    by_start = {candle.start_us: candle for candle in traded}
    rows = []
    for start_us in starts:
        candle = by_start.get(start_us) or Candle(start_us, close, close, close, close, 0, 0, 0, 0)
        close = candle.close
        rows.append(_show(candle, end_of(interval, start_us)))
    return rows


async def _first_trade_us(services: Services, market: Market) -> int | None:
    """The minute of a market's first trade; None before there is one."""
    days = (await services.reader.candles(market.symbol, "1d", 0, LATEST_US, _DAYS)).candles
    if not days:
        return None
    day_us = days[0].start_us
    minutes = (await services.reader.candles(market.symbol, "1m", day_us, day_us + DAY_US, 1_440)).candles
    return minutes[0].start_us if minutes else day_us


def _show(candle: Candle, end_us: int) -> list[Any]:
    return [
        ms(candle.start_us),
        *(fixed(price) for price in (candle.open, candle.high, candle.low, candle.close, candle.volume)),
        ms(end_us) - 1,
        fixed(candle.quote_volume),
        candle.trades,
        # What takers bought is not counted.
        fixed(0),
        fixed(0),
        "0",
    ]
