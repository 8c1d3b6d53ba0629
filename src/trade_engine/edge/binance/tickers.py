"""Routes of prices now and over a window: the book, the best prices, the ticker of a day or of any window."""

import re
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final

from trade_engine.domain.market import Market
from trade_engine.domain.scale import UNIT
from trade_engine.edge.binance.given import choice, joined, limit_of, market_of, markets_of, need_market
from trade_engine.edge.binance.numbers import fixed, ms
from trade_engine.edge.binance.refusals import Numbered, missing
from trade_engine.edge.rest.call import Answer, Call
from trade_engine.edge.services import Services
from trade_engine.marketdata.candles import DAY_US, MINUTE_US, Candle

_WINDOW: Final = re.compile(r"([1-9][0-9]?)([mhd])")
#: The largest number, and how many minutes, by unit.
_UNITS: Final = {"m": (59, 1), "h": (23, 60), "d": (7, 1_440)}
_HOUR_US: Final = 60 * MINUTE_US
_AVERAGE_MINUTES: Final = 5

Show = Callable[[Services, Market], Awaitable[dict[str, Any]]]


async def depth(call: Call) -> Answer:
    """Look up the book of a market."""
    market = need_market(call.query, call.services.markets)
    view = call.services.reader.depth(market.symbol, limit_of(call.query, 100, 5_000))
    bids, asks = ([(fixed(price), fixed(quantity)) for price, quantity, _ in side] for side in view[:2])
    return Answer({"lastUpdateId": view.sequence, "bids": bids, "asks": asks})


async def _of_markets(call: Call, show: Show) -> Answer:
    """One market's, those of a list, or all."""
    services, given = call.services, call.query
    markets = markets_of(given, services.markets)
    if "symbol" in given:
        return Answer(await show(services, market_of(services.markets, given["symbol"])))
    if markets is None:
        markets = list(services.reader.markets.values())
    return Answer([await show(services, market) for market in markets])


async def price(call: Call) -> Answer:
    """Look up last prices."""
    return await _of_markets(call, _price)


async def _price(services: Services, market: Market) -> dict[str, Any]:
    last = services.reader.ticker(market.symbol).last_price
    return {"symbol": joined(market), "price": fixed(last)}


async def best(call: Call) -> Answer:
    """Look up the best prices, and what is offered at them."""
    return await _of_markets(call, _best)


async def _best(services: Services, market: Market) -> dict[str, Any]:
    view = services.reader.depth(market.symbol, 1)
    shown: dict[str, Any] = {"symbol": joined(market)}
    for name, side in (("bid", view.bids), ("ask", view.asks)):
        level = side[0] if side else (0, 0, 0)
        shown[f"{name}Price"], shown[f"{name}Qty"] = fixed(level[0]), fixed(level[1])
    return shown


async def average(call: Call) -> Answer:
    """Look up the average price of the last five minutes, weighted by quantity; the last price if nothing traded."""
    market = need_market(call.query, call.services.markets)
    view = call.services.reader.view(market.symbol)
    now_us = time.time_ns() // 1000
    start_us = now_us - now_us % MINUTE_US - (_AVERAGE_MINUTES - 1) * MINUTE_US
    candles = view.between("1m", start_us, now_us + DAY_US, _AVERAGE_MINUTES + 1)
    volume = sum(candle.volume for candle in candles)
    last = call.services.reader.ticker(market.symbol).last_price
    shown = sum(candle.quote_volume for candle in candles) * UNIT // volume if volume else last
    newest = view.running("1m")
    close_us = newest.start_us if newest is not None else 0
    return Answer({"mins": _AVERAGE_MINUTES, "price": fixed(shown), "closeTime": ms(close_us)})


async def day(call: Call) -> Answer:
    """Look up the statistics of the last 24 hours."""
    kind = choice(call.query, "type", ("FULL", "MINI"))
    return await _of_markets(call, _mini_day if kind == "MINI" else _day)


async def _day(services: Services, market: Market) -> dict[str, Any]:
    shown = await _mini_day(services, market)
    view = services.reader.ticker(market.symbol)
    newest = services.reader.view(market.symbol)
    earlier = newest.between("1m", 0, day_start_us(), 1)
    before = earlier[-1].close if earlier else view.open
    quantity = view.last_quantity or await _last_quantity(services, market, view.last_price)
    return (
        shown
        | changes(view.open, view.last_price, view.volume, view.quote_volume)
        | {"prevClosePrice": fixed(before), "lastQty": fixed(quantity)}
        | await _best(services, market)
    )


async def _mini_day(services: Services, market: Market) -> dict[str, Any]:
    view, start_us = services.reader.ticker(market.symbol), day_start_us()
    committed = services.reader.view(market.symbol)
    newest, earlier = committed.running("1m"), committed.between("1m", 0, start_us, 1)
    span = (earlier[-1].last_sequence + 1 if earlier else 1, newest.last_sequence) if view.trades and newest else None
    prices = (view.open, view.high, view.low, view.last_price)
    return _show_mini(market, prices, (view.volume, view.quote_volume, view.trades), start_us, span)


def day_start_us() -> int:
    """Where the 24 hours begin: with a whole minute."""
    now_us = time.time_ns() // 1000
    return now_us - now_us % MINUTE_US - DAY_US + MINUTE_US


async def _last_quantity(services: Services, market: Market, last_price: int) -> int:
    """The quantity of the newest trade, which the fold does not know right after a start; 0 if there is none."""
    if not last_price:
        return 0
    page = await services.queries.trades(market_id=market.market_id, limit=1)
    return page.rows[0].quantity if page.rows else 0


async def window(call: Call) -> Answer:
    """Look up the statistics of a window of minutes, hours or days."""
    given = call.query
    if "symbol" not in given and "symbols" not in given:
        raise missing("symbol")
    minutes = _window_minutes(given.get("windowSize", "1d"))
    mini = choice(given, "type", ("FULL", "MINI")) == "MINI"

    async def show(services: Services, market: Market) -> dict[str, Any]:
        now_us = time.time_ns() // 1000
        start_us = now_us - now_us % MINUTE_US - minutes * MINUTE_US
        candles, before = await _candles_since(services, market, start_us)
        return _show_window(market, candles, before, start_us, mini=mini)

    return await _of_markets(call, show)


def _window_minutes(text: str) -> int:
    found = _WINDOW.fullmatch(text)
    if found is None or int(found[1]) > _UNITS[found[2]][0]:
        raise Numbered(-1130, "Data sent for parameter 'windowSize' is not valid.")
    return int(found[1]) * _UNITS[found[2]][1]


async def _candles_since(services: Services, market: Market, start_us: int) -> tuple[list[Candle], list[Candle]]:
    """Candles that together are all from a minute on: minutes up to a full hour, then hours; and the minute before."""
    reader, symbol = services.reader, market.symbol
    hour_us = start_us + -start_us % _HOUR_US
    minutes = await reader.candles(symbol, "1m", start_us, hour_us, 60)
    hours = await reader.candles(symbol, "1h", hour_us, hour_us + 8 * DAY_US, 8 * 24)
    before = await reader.candles(symbol, "1m", 0, start_us, 1)
    return minutes.candles + hours.candles, before.candles


def _show_window(
    market: Market, candles: Sequence[Candle], before: Sequence[Candle], start_us: int, *, mini: bool
) -> dict[str, Any]:
    prices, span, volume, quote_volume = (0, 0, 0, 0), None, 0, 0
    if candles:
        high, low = max(candle.high for candle in candles), min(candle.low for candle in candles)
        prices = (candles[0].open, high, low, candles[-1].close)
        volume, quote_volume = (sum(getattr(c, name) for c in candles) for name in ("volume", "quote_volume"))
        span = (before[-1].last_sequence + 1 if before else 1, candles[-1].last_sequence)
    count = sum(candle.trades for candle in candles)
    shown = _show_mini(market, prices, (volume, quote_volume, count), start_us, span)
    return shown if mini else shown | changes(prices[0], prices[3], volume, quote_volume)


def _show_mini(
    market: Market,
    prices: tuple[int, int, int, int],
    amounts: tuple[int, int, int],
    start_us: int,
    span: tuple[int, int] | None,
) -> dict[str, Any]:
    first, last = span or (-1, -1)
    return {
        "symbol": joined(market),
        "openPrice": fixed(prices[0]),
        "highPrice": fixed(prices[1]),
        "lowPrice": fixed(prices[2]),
        "lastPrice": fixed(prices[3]),
        "volume": fixed(amounts[0]),
        "quoteVolume": fixed(amounts[1]),
        "openTime": ms(start_us),
        "closeTime": time.time_ns() // 1_000_000,
        "firstId": first,
        "lastId": last,
        "count": amounts[2],
    }


def changes(opened: int, last: int, volume: int, quote_volume: int) -> dict[str, str]:
    """How the price changed, and what was paid on average."""
    change = last - opened if opened else 0
    thousandths = abs(change) * 100_000 // opened if opened else 0
    sign = "-" if change < 0 and thousandths else ""
    return {
        "priceChange": fixed(change),
        "priceChangePercent": f"{sign}{thousandths // 1000}.{thousandths % 1000:03d}",
        "weightedAvgPrice": fixed(quote_volume * UNIT // volume if volume else 0),
    }
