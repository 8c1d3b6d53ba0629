"""Routes that show the market: markets, book, ticker, candles, trades.  Open to all."""

from typing import Any

from trade_engine.api.call import Answer, Call, whole_number
from trade_engine.api.rest.orders import _cursor
from trade_engine.api.schemas import show_candle, show_own_trade, show_trade
from trade_engine.api.times import LATEST_US, read_time
from trade_engine.domain.errors import InvalidRequest
from trade_engine.domain.market import Market
from trade_engine.domain.rules import show_average
from trade_engine.domain.scale import format_price, format_units
from trade_engine.marketdata.candles import INTERVALS
from trade_engine.sequencer.requests import TickerView


def _show_market(market: Market) -> dict[str, Any]:
    return {
        "symbol": market.symbol,
        "base": market.base,
        "quote": market.quote,
        "state": market.state.name,
        "tick_size": format_units(market.tick_size),
        "lot_size": format_units(market.lot_size),
        "min_quantity": format_units(market.min_quantity),
        "max_quantity": format_units(market.max_quantity),
        "min_notional": format_units(market.min_notional),
        "price_band": format_units(market.price_band_ppm * 100),
        "max_slippage": format_units(market.max_slippage_ppm * 100),
        "max_open_orders": market.max_open_orders,
        "maker_fee": format_units(market.maker_fee),
        "taker_fee": format_units(market.taker_fee),
        "fee_asset": market.fee_asset.name,
    }


async def list_markets(call: Call) -> Answer:
    """GET /markets."""
    call.parameters()
    return Answer([_show_market(market) for market in call.services.engine.markets.values()])


async def get_market(call: Call) -> Answer:
    """GET /markets/{symbol}."""
    call.parameters()
    return Answer(_show_market(call.services.market(call.path("symbol"))))


async def ticker(call: Call) -> Answer:
    """GET /markets/{symbol}/ticker: the last 24 hours and the best prices now."""
    call.parameters()
    market = call.services.market(call.path("symbol"))
    return Answer(show_ticker(market, call.services.engine.ticker(market.symbol)))


def show_ticker(market: Market, view: TickerView) -> dict[str, Any]:
    """A ticker for JSON."""
    decimals = market.price_decimals

    def price(units: int) -> str | None:
        return format_price(units, decimals) if units else None

    change = view.last_price - view.open if view.open else 0
    percent = show_average(abs(change) * 100, view.open, 0) if view.open else "0"
    return {
        "symbol": market.symbol,
        "last_price": price(view.last_price),
        "24h_open": price(view.open),
        "24h_high": price(view.high),
        "24h_low": price(view.low),
        "24h_volume": format_units(view.volume),
        "24h_quote_volume": format_units(view.quote_volume),
        "24h_trades": view.trades,
        "change": ("-" if change < 0 else "") + format_price(abs(change), decimals),
        "change_percent": ("-" if change < 0 else "") + percent,
        "best_bid": price(view.best_bid),
        "best_ask": price(view.best_ask),
    }


async def order_book(call: Call) -> Answer:
    """GET /orderbook/{symbol}: the committed book, ``depth`` levels a side."""
    levels = whole_number(call.parameters("depth"), "depth", 50, 1, 1_000)
    market = call.services.market(call.path("symbol"))
    view = call.services.engine.depth(market.symbol, levels)
    decimals = market.price_decimals

    def show(rows: list[tuple[int, int, int]]) -> list[dict[str, Any]]:
        return [
            {"price": format_price(price, decimals), "quantity": format_units(quantity), "num_orders": orders}
            for price, quantity, orders in rows
        ]

    spread = format_price(view.asks[0][0] - view.bids[0][0], decimals) if view.asks and view.bids else None
    return Answer(
        {
            "symbol": market.symbol,
            "bids": show(view.bids),
            "asks": show(view.asks),
            "spread": spread,
            "sequence": view.sequence,
        }
    )


async def candles(call: Call) -> Answer:
    """GET /markets/{symbol}/candles: what traded in each interval, a page oldest first, the newest page first."""
    given = call.parameters("interval", "start_time", "end_time", "limit", "cursor")
    interval = given.get("interval", "1m").lower()
    if interval not in INTERVALS:
        message = f"interval must be one of {', '.join(INTERVALS)}"
        raise InvalidRequest("INVALID_INTERVAL", message, field="interval", provided=given["interval"][:100])
    limit = whole_number(given, "limit", 500, 1, 1_000)
    start_us = read_time(given["start_time"], "start_time") if "start_time" in given else 0
    end_us = read_time(given["end_time"], "end_time") if "end_time" in given else LATEST_US
    if "cursor" in given:
        end_us = min(end_us, read_time(given["cursor"], "cursor", "INVALID_CURSOR"))
    market = call.services.market(call.path("symbol"))
    view = await call.services.engine.candles(market.symbol, interval, start_us, end_us, limit + 1)
    page = [show_candle(candle, interval, market, view.committed_us) for candle in view.candles[-limit:]]
    return Answer(page, meta={"next_cursor": page[0].open_time if len(view.candles) > limit else None})


async def list_trades(call: Call) -> Answer:
    """GET /trades: a market's (``symbol`` given, or ``scope=market``), or the caller's own (``scope=own``)."""
    given = call.parameters("symbol", "scope", "start_time", "end_time", "limit", "cursor")
    services, principal = call.services, call.principal
    limit = whole_number(given, "limit", 100, 1, 500)
    symbol = given.get("symbol")
    scope = given.get("scope", "market" if symbol or principal is None else "own").lower()
    if scope not in ("own", "market"):
        raise InvalidRequest("INVALID_PARAMETER", "scope must be own or market", field="scope", provided=scope[:100])
    if scope == "market" and not symbol:
        raise InvalidRequest("INVALID_SYMBOL", "a market's trades need its symbol", field="symbol", provided="")
    if scope == "own" and principal is None:
        raise InvalidRequest("INVALID_PARAMETER", "own trades need a token", field="scope", provided=scope)
    market_id = services.market(symbol).market_id if symbol else None
    start, end = (read_time(given[name], name) if name in given else None for name in ("start_time", "end_time"))
    user_id = principal.user_id if principal and scope == "own" else None
    trades = await services.queries.trades(
        user_id=user_id,
        market_id=market_id,
        start_us=start,
        end_us=end,
        before=_cursor(given.get("cursor")),
        limit=limit + 1,
    )
    page = trades[:limit]
    cursor = page[-1].trade_id if len(trades) > limit else None
    if user_id is not None:
        own = [show_own_trade(trade, services.market_of(trade.market_id), user_id) for trade in page]
        return Answer(own, meta={"next_cursor": cursor})
    views = [show_trade(trade, services.market_of(trade.market_id)) for trade in page]
    return Answer(views, meta={"next_cursor": cursor})
