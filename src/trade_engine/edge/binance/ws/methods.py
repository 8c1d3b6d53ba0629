"""The methods of the API over WebSocket: each is a route of the REST face, or something of the connection's own."""

from typing import Final

from trade_engine.edge.binance.routes import BINANCE_ROUTES
from trade_engine.edge.rest.route import Route

_V3: Final = "/api/v3"
#: Methods that answer what a route answers.
_SAME: Final = {
    "ping": ("GET", "ping"),
    "time": ("GET", "time"),
    "exchangeInfo": ("GET", "exchangeInfo"),
    "depth": ("GET", "depth"),
    "trades.recent": ("GET", "trades"),
    "trades.historical": ("GET", "historicalTrades"),
    "trades.aggregate": ("GET", "aggTrades"),
    "klines": ("GET", "klines"),
    "uiKlines": ("GET", "uiKlines"),
    "avgPrice": ("GET", "avgPrice"),
    "ticker.24hr": ("GET", "ticker/24hr"),
    "ticker": ("GET", "ticker"),
    "ticker.price": ("GET", "ticker/price"),
    "ticker.book": ("GET", "ticker/bookTicker"),
    "order.place": ("POST", "order"),
    "order.test": ("POST", "order/test"),
    "order.status": ("GET", "order"),
    "order.cancel": ("DELETE", "order"),
    "order.cancelReplace": ("POST", "order/cancelReplace"),
    "order.amend.keepPriority": ("PUT", "order/amend/keepPriority"),
    "orderList.place.oco": ("POST", "orderList/oco"),
    "orderList.status": ("GET", "orderList"),
    "orderList.cancel": ("DELETE", "orderList"),
    "openOrderLists.status": ("GET", "openOrderList"),
    "allOrderLists": ("GET", "allOrderList"),
    "openOrders.status": ("GET", "openOrders"),
    "openOrders.cancelAll": ("DELETE", "openOrders"),
    "allOrders": ("GET", "allOrders"),
    "account.status": ("GET", "account"),
    "account.commission": ("GET", "account/commission"),
    "account.rateLimits.orders": ("GET", "rateLimit/order"),
    "myTrades": ("GET", "myTrades"),
}
_BY_PATH: Final = {(route.method, route.path): route for route in BINANCE_ROUTES}
#: The routes by method; of those above, the ones that the face has.
ROUTES: Final[dict[str, Route]] = {
    name: _BY_PATH[method, f"{_V3}/{path}"]
    for name, (method, path) in _SAME.items()
    if (method, f"{_V3}/{path}") in _BY_PATH
}

LOGON: Final = "session.logon"
STATUS: Final = "session.status"
LOGOUT: Final = "session.logout"
SUBSCRIPTIONS: Final = "session.subscriptions"
LISTEN: Final = "userDataStream.subscribe"
LISTEN_SIGNED: Final = "userDataStream.subscribe.signature"
UNLISTEN: Final = "userDataStream.unsubscribe"
#: Methods of the connection's own.
OWN: Final = frozenset((LOGON, STATUS, LOGOUT, SUBSCRIPTIONS, LISTEN, LISTEN_SIGNED, UNLISTEN))
#: What each of them weighs.
OWN_WEIGHT: Final = 2
