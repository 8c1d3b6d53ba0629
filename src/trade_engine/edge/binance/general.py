"""Routes that say what this is: whether it answers, what time it is, which markets there are and what they demand."""

import time
from typing import Any, Final

from trade_engine.domain.enums import MarketState, SelfTradePrevention
from trade_engine.domain.market import Market
from trade_engine.domain.scale import MAX_UNITS, UNIT
from trade_engine.edge.binance.envelope import ORDERS_S, order_limit
from trade_engine.edge.binance.given import choice, joined, market_of, markets_of
from trade_engine.edge.binance.numbers import fixed
from trade_engine.edge.binance.refusals import Numbered, combination
from trade_engine.edge.rest.call import Answer, Call
from trade_engine.edge.settings import LimitSettings

_STATUSES: Final = {
    MarketState.OPEN: "TRADING",
    MarketState.HALTED: "HALT",
    MarketState.CANCEL_ONLY: "BREAK",
    MarketState.CLOSED: "END_OF_DAY",
}
#: What this face calls what happens when an order meets another of the same user.
PREVENTIONS: Final = {
    "EXPIRE_TAKER": SelfTradePrevention.CANCEL_NEWEST,
    "EXPIRE_MAKER": SelfTradePrevention.CANCEL_OLDEST,
    "EXPIRE_BOTH": SelfTradePrevention.CANCEL_BOTH,
    "DECREMENT": SelfTradePrevention.DECREMENT,
    "NONE": SelfTradePrevention.NONE,
}
ORDER_TYPES: Final = (
    "LIMIT", "LIMIT_MAKER", "MARKET", "STOP_LOSS", "STOP_LOSS_LIMIT", "TAKE_PROFIT", "TAKE_PROFIT_LIMIT",
)  # fmt: skip
#: Parts of an iceberg where a market sets no bound of its own.
_PARTS_MAX: Final = 10_000
_PPM: Final = 1_000_000


async def ping(_: Call) -> Answer:
    """Test connectivity."""
    return Answer({})


async def server_time(_: Call) -> Answer:
    """Look up the server's clock."""
    return Answer({"serverTime": time.time_ns() // 1_000_000})


async def exchange_info(call: Call) -> Answer:
    """List the markets, their rules, and the limits."""
    given, markets = call.query, call.services.markets
    asked = markets_of(given, markets)
    if "symbol" in given:
        asked = [market_of(markets, given["symbol"])]
    if "permissions" in given and asked is not None:
        raise combination("symbol", "symbols", "permissions")
    if asked is None:
        asked = list(call.services.reader.markets.values()) if _has_spot(given.get("permissions")) else []
    choice(given, "showPermissionSets", ("true", "false"))
    if "symbolStatus" in given:
        state = choice(given, "symbolStatus", tuple(_STATUSES.values()))
        asked = [market for market in asked if _STATUSES[market.state] == state]
    return Answer(
        {
            "timezone": "UTC",
            "serverTime": time.time_ns() // 1_000_000,
            "rateLimits": rate_limits(call.services.settings.limits),
            "exchangeFilters": [],
            "symbols": [show_market(market) for market in asked],
        }
    )


def _has_spot(permissions: str | None) -> bool:
    """Whether the permissions asked for, one or a list, are those that all of our markets have."""
    if permissions is None:
        return True
    words = permissions.strip("[]").replace('"', "").split(",")
    if not all(word.isascii() and word.replace("_", "").isalnum() for word in words):
        raise Numbered(-1130, "Data sent for parameter 'permissions' is not valid.")
    return "SPOT" in words


def rate_limits(limits: LimitSettings) -> list[dict[str, Any]]:
    """Limits that nobody is refused under; those that are off are not there."""
    rows = []
    if limits.weight.rate_per_s:
        rows.append(("REQUEST_WEIGHT", "MINUTE", 1, limits.weight.burst))
    if limits.orders.rate_per_s:
        rows.append(("ORDERS", "SECOND", ORDERS_S, order_limit(limits)))
    names = ("rateLimitType", "interval", "intervalNum", "limit")
    return [dict(zip(names, row, strict=True)) for row in rows]


def show_market(market: Market) -> dict[str, Any]:
    """A market as this face describes it."""
    return {
        "symbol": joined(market),
        "status": _STATUSES[market.state],
        "baseAsset": market.base,
        "baseAssetPrecision": 8,
        "quoteAsset": market.quote,
        "quotePrecision": 8,
        "quoteAssetPrecision": 8,
        "baseCommissionPrecision": 8,
        "quoteCommissionPrecision": 8,
        "orderTypes": list(ORDER_TYPES),
        "icebergAllowed": True,
        "ocoAllowed": True,
        "otoAllowed": False,
        "opoAllowed": False,
        "quoteOrderQtyMarketAllowed": True,
        "allowTrailingStop": False,
        "cancelReplaceAllowed": True,
        "amendAllowed": True,
        "pegInstructionsAllowed": False,
        "isSpotTradingAllowed": True,
        "isMarginTradingAllowed": False,
        "filters": filters(market),
        "permissions": [],
        "permissionSets": [["SPOT"]],
        "defaultSelfTradePreventionMode": "EXPIRE_TAKER",
        "allowedSelfTradePreventionModes": list(PREVENTIONS),
    }


def filters(market: Market) -> list[dict[str, Any]]:
    """A market's rules; a rule that is off has no filter."""
    sizes = {
        "minQty": fixed(market.min_quantity),
        "maxQty": fixed(market.max_quantity),
        "stepSize": fixed(market.lot_size),
    }
    rows: list[dict[str, Any]] = [
        {
            "filterType": "PRICE_FILTER",
            "minPrice": fixed(market.tick_size),
            "maxPrice": fixed(MAX_UNITS - MAX_UNITS % market.tick_size),
            "tickSize": fixed(market.tick_size),
        },
        {"filterType": "LOT_SIZE", **sizes},
        {"filterType": "MARKET_LOT_SIZE", **sizes},
        {
            "filterType": "NOTIONAL",
            "minNotional": fixed(market.min_notional),
            "applyMinToMarket": False,
            "maxNotional": fixed(MAX_UNITS),
            "applyMaxToMarket": False,
            "avgPriceMins": 0,
        },
        {"filterType": "ICEBERG_PARTS", "limit": parts_max(market)},
    ]
    if market.price_band_ppm:
        up, down = (fixed(UNIT + sign * market.price_band_ppm * 100) for sign in (1, -1))
        rows.append(
            {
                "filterType": "PERCENT_PRICE_BY_SIDE",
                "bidMultiplierUp": up,
                "bidMultiplierDown": down,
                "askMultiplierUp": up,
                "askMultiplierDown": down,
                # Of the last price, not of an average.
                "avgPriceMins": 0,
            }
        )
    if market.max_open_orders:
        rows.append({"filterType": "MAX_NUM_ORDERS", "maxNumOrders": market.max_open_orders})
    return rows


def parts_max(market: Market) -> int:
    """In how many parts an iceberg may come."""
    return _PPM // market.min_display_ppm if market.min_display_ppm else _PARTS_MAX
