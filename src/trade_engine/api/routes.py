"""The route table: everything the REST API answers, who may ask, and which rate limit counts.

The table is the one source: the router is built from it, and so will be whatever describes the API.
"""

from collections.abc import Callable
from typing import Final, NamedTuple

from trade_engine.api.auth.tokens import ADMIN, TRADER
from trade_engine.api.call import Handler
from trade_engine.api.rest import account, admin, api_keys, batch, engine_admin, market, markets_admin, orders, system
from trade_engine.api.settings import ORDERS, PUBLIC, QUERIES

#: Who may ask: everybody; everybody, but a token counts if there is one; or a role.
OPEN: Final = "open"
OPTIONAL: Final = "optional"


class Route(NamedTuple):
    """One route."""

    method: str
    path: str
    handler: Handler
    access: str
    #: Its class of rate limit; None: not limited.
    limit: str | None
    #: For how many requests a body counts; None: for one, and the limit is asked before the body is read.
    cost: Callable[[bytes], int] | None = None


_V1: Final = "/api/v1"

ROUTES: Final = (
    Route("POST", f"{_V1}/orders", orders.place, TRADER, ORDERS),
    Route("POST", f"{_V1}/orders/batch", batch.place_batch, TRADER, ORDERS, cost=batch.count),
    Route("DELETE", f"{_V1}/orders/{{order_id}}", orders.cancel, TRADER, ORDERS),
    Route("PATCH", f"{_V1}/orders/{{order_id}}", orders.amend, TRADER, ORDERS),
    Route("DELETE", f"{_V1}/orders", orders.cancel_all, TRADER, ORDERS),
    Route("GET", f"{_V1}/orders", orders.list_orders, TRADER, QUERIES),
    Route("GET", f"{_V1}/orders/{{order_id}}", orders.get, TRADER, QUERIES),
    Route("GET", f"{_V1}/balances", account.balances, TRADER, QUERIES),
    Route("GET", f"{_V1}/trades", market.list_trades, OPTIONAL, PUBLIC),
    Route("GET", f"{_V1}/orderbook/{{symbol:path}}", market.order_book, OPEN, PUBLIC),
    Route("GET", f"{_V1}/markets", market.list_markets, OPEN, PUBLIC),
    Route("GET", f"{_V1}/markets/{{symbol:path}}/ticker", market.ticker, OPEN, PUBLIC),
    Route("GET", f"{_V1}/markets/{{symbol:path}}/candles", market.candles, OPEN, PUBLIC),
    Route("GET", f"{_V1}/markets/{{symbol:path}}", market.get_market, OPEN, PUBLIC),
    Route("POST", f"{_V1}/api-keys", api_keys.create_key, TRADER, QUERIES),
    Route("GET", f"{_V1}/api-keys", api_keys.list_keys, TRADER, QUERIES),
    Route("DELETE", f"{_V1}/api-keys/{{key_id}}", api_keys.revoke_key, TRADER, QUERIES),
    Route("GET", f"{_V1}/status", system.status, OPEN, PUBLIC),
    Route("GET", f"{_V1}/time", system.server_time, OPEN, PUBLIC),
    Route("GET", f"{_V1}/admin/dead-letters", admin.list_dead_letters, ADMIN, QUERIES),
    Route("GET", f"{_V1}/admin/dead-letters/{{id}}", admin.show_dead_letter, ADMIN, QUERIES),
    Route("POST", f"{_V1}/admin/dead-letters/{{id}}/retry", admin.retry_dead_letter, ADMIN, QUERIES),
    Route("POST", f"{_V1}/admin/dead-letters/{{id}}/resolve", admin.resolve_dead_letter, ADMIN, QUERIES),
    Route("GET", f"{_V1}/admin/reconciliation", admin.last_reconciliation, ADMIN, QUERIES),
    Route("POST", f"{_V1}/admin/reconciliation", admin.reconcile, ADMIN, QUERIES),
    Route("GET", f"{_V1}/admin/markets", markets_admin.admin_markets, ADMIN, QUERIES),
    Route("POST", f"{_V1}/admin/markets", markets_admin.list_market, ADMIN, QUERIES),
    Route("PATCH", f"{_V1}/admin/markets/{{symbol:path}}", markets_admin.change_market, ADMIN, QUERIES),
    Route("POST", f"{_V1}/admin/markets/{{symbol:path}}/halt", markets_admin.halt_market, ADMIN, QUERIES),
    Route("POST", f"{_V1}/admin/markets/{{symbol:path}}/resume", markets_admin.resume_market, ADMIN, QUERIES),
    Route("POST", f"{_V1}/admin/markets/{{symbol:path}}/state", markets_admin.set_market_state, ADMIN, QUERIES),
    Route("GET", f"{_V1}/admin/orders/{{order_id}}", engine_admin.admin_order, ADMIN, QUERIES),
    Route("DELETE", f"{_V1}/admin/orders/{{order_id}}", engine_admin.admin_cancel, ADMIN, QUERIES),
    Route("DELETE", f"{_V1}/admin/orders", engine_admin.admin_cancel_all, ADMIN, QUERIES),
    Route("GET", f"{_V1}/admin/engine", engine_admin.engine_status, ADMIN, QUERIES),
    Route("GET", f"{_V1}/admin/audit", engine_admin.list_audit, ADMIN, QUERIES),
    Route("GET", f"{_V1}/admin/api-keys", api_keys.admin_list_keys, ADMIN, QUERIES),
    Route("DELETE", f"{_V1}/admin/api-keys/{{key_id}}", api_keys.admin_revoke_key, ADMIN, QUERIES),
    Route("GET", "/health/live", system.live, OPEN, None),
    Route("GET", "/health/ready", system.ready, OPEN, None),
    Route("GET", "/health", system.live, OPEN, None),
    Route("GET", "/ready", system.ready, OPEN, None),
)

#: Only with ``ApiSettings.echo_route``.
ECHO: Final = Route("POST", f"{_V1}/echo", orders.echo, TRADER, ORDERS)
