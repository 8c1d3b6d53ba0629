"""Routes that show the market: markets, book, ticker, candles, trades.  Open to all."""

from weakref import WeakKeyDictionary

import msgspec

from trade_engine.domain.errors import InvalidRequest
from trade_engine.domain.market import Market
from trade_engine.domain.scale import format_units
from trade_engine.edge.rest.call import Answer, Call, whole_number
from trade_engine.edge.rest.orders import order_cursor
from trade_engine.edge.rest.tickers import Tickers
from trade_engine.edge.shapes import Amount, Asset, FeeAssetWord, StateWord, Symbol
from trade_engine.edge.times import LATEST_US, read_range, read_time
from trade_engine.edge.views import show_book, show_candle, show_own_trade, show_ticker, show_trade
from trade_engine.marketdata.intervals import INTERVALS, named
from trade_engine.sequencer.ports import MarketReader

#: One of each engine in this process.
_tickers: WeakKeyDictionary[MarketReader, Tickers] = WeakKeyDictionary()


class MarketView(msgspec.Struct):
    """A market and its rules; fees, band, slippage and display share are fractions (0.001 is 0.1 %)."""

    symbol: Symbol
    base: Asset
    quote: Asset
    state: StateWord
    tick_size: Amount
    lot_size: Amount
    min_quantity: Amount
    max_quantity: Amount
    min_notional: Amount
    price_band: Amount
    max_slippage: Amount
    max_open_orders: int
    min_display_share: Amount
    maker_fee: Amount
    taker_fee: Amount
    fee_asset: FeeAssetWord


def show_market(market: Market) -> MarketView:
    """A market as everybody sees it."""
    return MarketView(
        symbol=market.symbol,
        base=market.base,
        quote=market.quote,
        state=market.state.name,
        tick_size=format_units(market.tick_size),
        lot_size=format_units(market.lot_size),
        min_quantity=format_units(market.min_quantity),
        max_quantity=format_units(market.max_quantity),
        min_notional=format_units(market.min_notional),
        price_band=format_units(market.price_band_ppm * 100),
        max_slippage=format_units(market.max_slippage_ppm * 100),
        max_open_orders=market.max_open_orders,
        min_display_share=format_units(market.min_display_ppm * 100),
        maker_fee=format_units(market.maker_fee),
        taker_fee=format_units(market.taker_fee),
        fee_asset=market.fee_asset.name,
    )


async def list_markets(call: Call) -> Answer:
    """List the markets.

    Each with its rules.
    """
    return Answer([show_market(market) for market in call.services.reader.markets.values()])


async def get_market(call: Call) -> Answer:
    """Look up a market.

    Its rules: ticks, lots, limits and fees.
    """
    return Answer(show_market(call.services.markets.named(call.path("symbol"))))


async def ticker(call: Call) -> Answer:
    """Look up the ticker of a market.

    The last 24 hours, and the best prices now.
    """
    market = call.services.markets.named(call.path("symbol"))
    return Answer(show_ticker(market, call.services.reader.ticker(market.symbol)))


async def list_tickers(call: Call) -> Answer:
    """List the tickers of all markets.

    The last 24 hours of each, and its best prices, a tenth of a second old at most.
    """
    reader = call.services.reader
    return Answer(_tickers.setdefault(reader, Tickers(reader)).all())


async def order_book(call: Call) -> Answer:
    """Look up the order book of a market.

    As it is committed; ``depth`` levels a side.
    """
    levels = whole_number(call.query, "depth", 50, 1, 1_000)
    market = call.services.markets.named(call.path("symbol"))
    return Answer(show_book(market, call.services.reader.depth(market.symbol, levels)))


async def candles(call: Call) -> Answer:
    """List the candles of a market.

    What traded in each interval: within a page oldest first, the newest page first.
    """
    given = call.query
    interval = named(given.get("interval", "1m"))
    if interval is None:
        message = f"interval must be one of {', '.join(INTERVALS)}"
        raise InvalidRequest("INVALID_INTERVAL", message, field="interval", provided=given["interval"][:100])
    limit = whole_number(given, "limit", 500, 1, 1_000)
    start_us, end_us = read_range(given)
    start_us, end_us = start_us or 0, end_us or LATEST_US
    if "cursor" in given:
        end_us = min(end_us, read_time(given["cursor"], "cursor", "INVALID_CURSOR"))
    market = call.services.markets.named(call.path("symbol"))
    view = await call.services.reader.candles(market.symbol, interval, start_us, end_us, limit + 1)
    page = [show_candle(candle, market, interval, view.committed_us) for candle in view.candles[-limit:]]
    return Answer(page, meta={"next_cursor": page[0].open_time if len(view.candles) > limit else None})


async def list_trades(call: Call) -> Answer:
    """List trades.

    A market's (``symbol`` given, or ``scope=market``), or your own (``scope=own``); newest first.  A page of your own
    in one market may be short, or empty, and still have a next one: ask on until ``next_cursor`` is null.
    """
    given = call.query
    services, principal = call.services, call.principal
    limit = whole_number(given, "limit", 100, 1, 500)
    symbol = given.get("symbol")
    scope = given.get("scope", "market" if symbol is not None or principal is None else "own").lower()
    if scope not in ("own", "market"):
        raise InvalidRequest("INVALID_PARAMETER", "scope must be own or market", field="scope", provided=scope[:100])
    if scope == "market" and symbol is None:
        raise InvalidRequest("INVALID_SYMBOL", "a market's trades need its symbol", field="symbol", provided="")
    if scope == "own" and principal is None:
        raise InvalidRequest("INVALID_PARAMETER", "own trades need a token", field="scope", provided=scope)
    market_id = services.markets.named(symbol).market_id if symbol is not None else None
    start, end = read_range(given)
    user_id = principal.user_id if principal and scope == "own" else None
    page = await services.queries.trades(
        user_id=user_id,
        market_id=market_id,
        start_us=start,
        end_us=end,
        before=order_cursor(given.get("cursor")),
        limit=limit,
    )
    cursor = page.next_before
    if user_id is not None:
        own = [show_own_trade(trade, services.markets.numbered(trade.market_id), user_id) for trade in page.rows]
        return Answer(own, meta={"next_cursor": cursor})
    views = [show_trade(trade, services.markets.numbered(trade.market_id)) for trade in page.rows]
    return Answer(views, meta={"next_cursor": cursor})
