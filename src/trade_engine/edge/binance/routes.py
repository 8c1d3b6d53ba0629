"""The route table of this face: every path, who may ask, what it weighs, and which parameters it takes."""

import re
from collections.abc import Callable
from typing import Final

from trade_engine.edge.auth.tokens import TRADER
from trade_engine.edge.binance import (
    account,
    general,
    klines,
    listen_keys,
    order_lists,
    orders,
    replacing,
    tickers,
    trades,
)
from trade_engine.edge.binance.forms import PLACE_PARAMETERS
from trade_engine.edge.binance.order_lists import OCO_PARAMETERS, OLD_OCO_PARAMETERS
from trade_engine.edge.binance.parameters import Schema, takes
from trade_engine.edge.binance.replacing import AMEND_PARAMETERS, REPLACE_PARAMETERS
from trade_engine.edge.rest.call import Handler
from trade_engine.edge.rest.route import OPEN, READ, TRADE, Route
from trade_engine.edge.settings import ORDERS, PUBLIC, QUERIES
from trade_engine.edge.shapes import words

_V3: Final = "/api/v3"
_LIMIT: Final = re.compile(rb"(?:^|&)limit=([0-9]{1,6})(?:&|$)")

Weight = Callable[[bytes], int]


def _weighs(weight: int) -> Weight:
    return lambda _: weight


def _by_count(one: int, few: int, many: int, every: int) -> Weight:
    """Weights of one market, of a list of up to 20, of up to 100, and of a longer one or all markets."""

    def weight(query: bytes) -> int:
        if b"symbol=" in query:
            return one
        names = (query.count(b"%22") + query.count(b'"')) // 2
        return few if 0 < names <= 20 else many if 0 < names <= 100 else every

    return weight


def _window(query: bytes) -> int:
    names = (query.count(b"%22") + query.count(b'"')) // 2
    return min(200, 4 * max(1, names))


def _depth(query: bytes) -> int:
    found = _LIMIT.search(query)
    levels = int(found[1]) if found else 100
    return 5 if levels <= 100 else 25 if levels <= 500 else 50 if levels <= 1_000 else 250


def _open(
    path: str, handler: Handler, names: str, weight: int | Weight, *, reads: bool = False, **special: Schema
) -> Route:
    """A route that is open to all."""
    name = path.strip("/").replace("/", "_")
    return Route(
        f"binance_get_{name}", "binance", "GET", path, handler, OPEN, PUBLIC,
        parameters=takes(names, **special), reads=reads, weight=_weighs(weight) if isinstance(weight, int) else weight,
    )  # fmt: skip


_TIMES: Final = "startTime endTime"
_SHOWN: Final = words(("FULL", "MINI"))

PUBLIC_ROUTES: Final = (
    _open(f"{_V3}/ping", general.ping, "", 1),
    _open(f"{_V3}/time", general.server_time, "", 1),
    _open(
        f"{_V3}/exchangeInfo", general.exchange_info, "symbol symbols permissions showPermissionSets symbolStatus", 20
    ),
    _open(f"{_V3}/depth", tickers.depth, "symbol! limit", _depth),
    _open(f"{_V3}/trades", trades.newest, "symbol! limit", 25, reads=True),
    _open(f"{_V3}/historicalTrades", trades.older, "symbol! limit fromId", 25, reads=True),
    _open(f"{_V3}/aggTrades", trades.aggregated, f"symbol! limit fromId {_TIMES}", 4, reads=True),
    _open(f"{_V3}/klines", klines.klines, f"symbol! interval! limit {_TIMES}", 2, reads=True),
    _open(f"{_V3}/uiKlines", klines.klines, f"symbol! interval! limit {_TIMES}", 2, reads=True),
    _open(f"{_V3}/avgPrice", tickers.average, "symbol!", 2),
    _open(f"{_V3}/ticker/24hr", tickers.day, "symbol symbols type", _by_count(2, 2, 40, 80), reads=True, type=_SHOWN),
    _open(f"{_V3}/ticker/price", tickers.price, "symbol symbols", _by_count(2, 4, 4, 4)),
    _open(f"{_V3}/ticker/bookTicker", tickers.best, "symbol symbols", _by_count(2, 4, 4, 4)),
    _open(f"{_V3}/ticker", tickers.window, "symbol symbols windowSize type", _window, reads=True, type=_SHOWN),
)

_KIND: Final = words(general.ORDER_TYPES)
#: What every signed request has beside its own parameters.
_LOGIN: Final = "timestamp! recvWindow signature!"
#: The same where it is not asked for.
_ANY_LOGIN: Final = _LOGIN.replace("!", "")


def _signed(
    method: str,
    path: str,
    handler: Handler,
    names: str,
    weight: int | Weight,
    *,
    limit: str = QUERIES,
    cost: int = 1,
    **special: Schema,
) -> Route:
    """A route that needs the signature of an API key: one that may read, or one that may trade."""
    name = path.strip("/").replace("/", "_")
    return Route(
        f"binance_{method.lower()}_{name}", "binance", method, path, handler, TRADER, limit,
        None if cost == 1 else lambda _: cost,
        parameters=takes(f"{names} {_LOGIN}", **special), scope=READ if method == "GET" else TRADE,
        weight=_weighs(weight) if isinstance(weight, int) else weight,
    )  # fmt: skip


_NAMES_ONE: Final = "symbol! orderId origClientOrderId"

SIGNED_ROUTES: Final = (
    _signed("POST", f"{_V3}/order", orders.place, PLACE_PARAMETERS, 1, limit=ORDERS, type=_KIND),
    _signed("POST", f"{_V3}/order/test", orders.try_order, f"{PLACE_PARAMETERS} computeCommissionRates", 1, type=_KIND),
    _signed("GET", f"{_V3}/order", orders.get, _NAMES_ONE, 4),
    _signed(
        "DELETE", f"{_V3}/order", orders.cancel, f"{_NAMES_ONE} newClientOrderId cancelRestrictions", 1, limit=ORDERS
    ),
    _signed(
        "POST", f"{_V3}/order/cancelReplace", replacing.cancel_replace, REPLACE_PARAMETERS, 1, limit=ORDERS, type=_KIND
    ),
    _signed("PUT", f"{_V3}/order/amend/keepPriority", replacing.amend, AMEND_PARAMETERS, 4, limit=ORDERS),
    _signed("GET", f"{_V3}/openOrders", orders.list_open, "symbol", _by_count(6, 80, 80, 80)),
    _signed("DELETE", f"{_V3}/openOrders", orders.cancel_all, "symbol!", 1, limit=ORDERS),
    _signed("GET", f"{_V3}/allOrders", orders.list_all, f"symbol! orderId limit {_TIMES}", 20),
    _signed("POST", f"{_V3}/orderList/oco", order_lists.place, OCO_PARAMETERS, 1, limit=ORDERS, cost=2),
    _signed("POST", f"{_V3}/order/oco", order_lists.place_old, OLD_OCO_PARAMETERS, 1, limit=ORDERS, cost=2),
    _signed("GET", f"{_V3}/orderList", order_lists.get, "orderListId origClientOrderId", 4),
    _signed(
        "DELETE",
        f"{_V3}/orderList",
        order_lists.cancel,
        "symbol! orderListId listClientOrderId newClientOrderId",
        1,
        limit=ORDERS,
    ),
    _signed("GET", f"{_V3}/allOrderList", order_lists.list_all, f"fromId limit {_TIMES}", 20),
    _signed("GET", f"{_V3}/openOrderList", order_lists.list_open, "", 6),
    _signed("GET", f"{_V3}/account", account.account, "omitZeroBalances", 20),
    _signed("GET", f"{_V3}/account/commission", account.commission, "symbol!", 20),
    _signed("GET", f"{_V3}/myTrades", account.own_trades, f"symbol! orderId fromId limit {_TIMES}", 20),
    _signed("GET", f"{_V3}/rateLimit/order", account.order_count, "", 40),
    _signed("GET", "/sapi/v1/capital/config/getall", account.coins, "", 10),
    _signed("GET", "/sapi/v1/asset/tradeFee", account.trade_fee, "symbol", 1),
)
#: What clients ask for when they start, with or without a login.
_START_ROUTES: Final = tuple(
    _open(f"/sapi/v1/margin/{name}", account.no_pairs, f"symbol {_ANY_LOGIN}", 1, symbol={"type": "string"})
    for name in ("allPairs", "isolated/allPairs")
)


def _by_key(method: str, handler: Handler, names: str) -> Route:
    """A route of listen keys, which needs an API key that may read and no signature."""
    return Route(
        f"binance_{method.lower()}_userDataStream", "binance", method, listen_keys.PATH, handler, TRADER, QUERIES,
        parameters=takes(f"{names} {_ANY_LOGIN}"), scope=READ, weight=_weighs(2),
    )  # fmt: skip


_LISTEN_KEY_ROUTES: Final = (
    _by_key("POST", listen_keys.make, ""),
    _by_key("PUT", listen_keys.extend, "listenKey!"),
    _by_key("DELETE", listen_keys.end, "listenKey!"),
)

BINANCE_ROUTES: Final = (*PUBLIC_ROUTES, *SIGNED_ROUTES, *_LISTEN_KEY_ROUTES, *_START_ROUTES)
