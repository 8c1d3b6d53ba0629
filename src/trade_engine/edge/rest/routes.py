"""The route table: everything the REST API answers, who may ask, and which rate limit counts.

The table is the one source: the router is built from it, and so is the API's description (``rest.openapi``).  A row
says exactly what its handler takes and answers; what all routes share (tokens, limits, bodies) follows from the row.
"""

from typing import Final

from trade_engine.edge.auth.tokens import ADMIN, TRADER
from trade_engine.edge.bodies import AmendBody, PairBody, PlaceBody
from trade_engine.edge.rest import (
    account,
    admin,
    api_keys,
    batch,
    engine_admin,
    market,
    markets_admin,
    orders,
    system,
    users_admin,
    webhooks,
)
from trade_engine.edge.rest import parameters as given
from trade_engine.edge.rest.route import OPEN, OPTIONAL, READ, TRADE, Route
from trade_engine.edge.settings import ORDERS, PUBLIC, QUERIES
from trade_engine.edge.views import (
    BalanceView,
    BookView,
    CancelledView,
    CandleView,
    OrderView,
    OwnTradeView,
    PairView,
    PlacedView,
    TickerAnswer,
    TradeView,
)

_V1: Final = "/api/v1"

_STORED: Final = ("DATABASE_UNAVAILABLE",)
_ENGINE: Final = ("ENGINE_UNAVAILABLE", "ENGINE_OVERLOADED", "CLOCK_JUMPED", *_STORED)
_WRITER: Final = ("COMMAND_REFUSED", *_ENGINE)
_MARKET_SHUT: Final = ("MARKET_HALTED", "MARKET_CANCEL_ONLY", "MARKET_CLOSED")
_LIMITS: Final = (
    "INVALID_QUANTITY", "INVALID_PRICE", "INVALID_STOP_PRICE", "INVALID_DISPLAY_QUANTITY", "NOTIONAL_OVERFLOW",
    "INSUFFICIENT_BALANCE", "POST_ONLY_WOULD_TAKE", "PRICE_BAND", "MIN_NOTIONAL", "INVALID_FLAGS", "INVALID_COMMAND",
    "TRIGGERS_WAITING",
    *_MARKET_SHUT, "WALLET_UNAVAILABLE", *_WRITER,
)  # fmt: skip
_PLACE: Final = (
    "INVALID_SYMBOL", "INVALID_SIDE", "INVALID_ORDER_TYPE", "INVALID_TIME_IN_FORCE", "INVALID_SELF_TRADE_PREVENTION",
    "INVALID_CLIENT_ORDER_ID", "INVALID_QUOTE_AMOUNT", "INVALID_EXPIRY", "INVALID_AMOUNT", "INVALID_LINK",
    "MAX_OPEN_ORDERS", "IDEMPOTENCY_CONFLICT", "DUPLICATE_ORDER_ID", *_LIMITS,
)  # fmt: skip
_AMEND: Final = ("ORDER_NOT_FOUND", "NOT_AMENDABLE", "AMENDMENT_CONFLICT", "NO_CHANGE", "INVALID_AMOUNT", *_LIMITS)
_CANCEL: Final = ("ORDER_NOT_FOUND", "ORDER_NOT_CANCELLABLE", *_MARKET_SHUT, *_WRITER)
_LETTER: Final = ("DEAD_LETTER_NOT_FOUND", *_STORED)
_AUDITED: Final = ("INVALID_REASON", *_WRITER)
_WEBHOOK_CHANGED: Final = ("WEBHOOK_NOT_FOUND", "INVALID_REASON", *_STORED)
_LETTER_CHANGED: Final = ("INVALID_REASON", *_LETTER)
_FUND: Final = (
    "UNKNOWN_ASSET", "INVALID_AMOUNT", "INSUFFICIENT_BALANCE", "USER_NOT_FOUND", "IDEMPOTENCY_CONFLICT",
    "INVALID_REASON", "WALLET_UNAVAILABLE", *_STORED,
)  # fmt: skip
#: What an operator reads of a user.
_HIS: Final = (given.IN_MARKET, given.START, given.END, given.limit(500, 100), given.CURSOR)

_PLACE_ROUTE: Final = Route(
    "orders_place", "orders",
    "POST", f"{_V1}/orders", orders.place, TRADER, ORDERS,
    answer=PlacedView, body=PlaceBody, codes=_PLACE, status=201, also=(200,), scope=TRADE,
)  # fmt: skip

ROUTES: Final = (
    _PLACE_ROUTE,
    Route(
        "batch_place_batch", "orders",
        "POST", f"{_V1}/orders/batch", batch.place_batch, TRADER, ORDERS, batch.count,
        answer=list[batch.BatchResult], body=batch.BatchBody, codes=("INVALID_BATCH",), scope=TRADE,
    ),
    Route(
        "batch_cancel_batch", "orders",
        "POST", f"{_V1}/orders/cancel-batch", batch.cancel_batch, TRADER, ORDERS, batch.count_ids,
        answer=list[batch.BatchResult], body=batch.CancelBatchBody, codes=("INVALID_BATCH",), scope=TRADE,
    ),
    Route(
        "orders_cancel_after", "orders",
        "POST", f"{_V1}/orders/cancel-after", orders.cancel_after, TRADER, ORDERS,
        answer=orders.CancelAfterView, body=orders.CancelAfterBody,
        codes=("INVALID_TIMEOUT", "INVALID_SYMBOL", *_STORED), scope=TRADE,
    ),
    Route(
        "orders_place_pair", "orders",
        "POST", f"{_V1}/order-pairs", orders.place_pair, TRADER, ORDERS, lambda _: 2,
        answer=PairView, body=PairBody, codes=("INVALID_PAIR", "STOP_PRICE_REACHED", *_PLACE), status=201, also=(200,),
        scope=TRADE,
    ),
    Route(
        "orders_get_pair", "orders",
        "GET", f"{_V1}/order-pairs/{{order_id:path}}", orders.get_pair, TRADER, QUERIES,
        answer=PairView, codes=("ORDER_NOT_FOUND", *_ENGINE), scope=READ,
    ),
    Route(
        "orders_cancel", "orders",
        "DELETE", f"{_V1}/orders/{{order_id:path}}", orders.cancel, TRADER, ORDERS,
        answer=OrderView, codes=_CANCEL, scope=TRADE,
    ),
    Route(
        "orders_amend", "orders",
        "PATCH", f"{_V1}/orders/{{order_id:path}}", orders.amend, TRADER, ORDERS,
        answer=PlacedView, body=AmendBody, codes=_AMEND, scope=TRADE,
    ),
    Route(
        "orders_cancel_all", "orders",
        "DELETE", f"{_V1}/orders", orders.cancel_all, TRADER, ORDERS,
        answer=CancelledView, parameters=(given.IN_MARKET,), codes=("INVALID_SYMBOL", *_WRITER), scope=TRADE,
    ),
    Route(
        "orders_list_orders", "orders",
        "GET", f"{_V1}/orders", orders.list_orders, TRADER, QUERIES,
        answer=list[OrderView],
        parameters=(
            given.IN_MARKET, given.IN_STATUS, given.ON_SIDE, given.START, given.END, given.limit(500, 100),
            given.CURSOR,
        ),
        codes=("INVALID_SYMBOL", "INVALID_CURSOR", *_STORED), scope=READ, paged=True,
    ),
    Route(
        "orders_get", "orders",
        "GET", f"{_V1}/orders/{{order_id:path}}", orders.get, TRADER, QUERIES,
        answer=OrderView, codes=("ORDER_NOT_FOUND", *_ENGINE), scope=READ,
    ),
    Route(
        "account_balances", "account",
        "GET", f"{_V1}/balances", account.balances, TRADER, QUERIES,
        answer=list[BalanceView], codes=("WALLET_UNAVAILABLE", *_STORED), scope=READ,
    ),
    Route(
        "api_keys_create_key", "api-keys",
        "POST", f"{_V1}/api-keys", api_keys.create_key, TRADER, QUERIES,
        answer=api_keys.NewApiKeyView, body=api_keys.ApiKeyBody, status=201,
        codes=("INVALID_API_KEY_TERMS", "SCOPE_MISSING", "TOO_MANY_API_KEYS", *_STORED),
    ),
    Route(
        "api_keys_list_keys", "api-keys",
        "GET", f"{_V1}/api-keys", api_keys.list_keys, TRADER, QUERIES,
        answer=list[api_keys.ApiKeyView], codes=_STORED,
    ),
    Route(
        "api_keys_revoke_key", "api-keys",
        "DELETE", f"{_V1}/api-keys/{{key_id}}", api_keys.revoke_key, TRADER, QUERIES,
        answer=api_keys.ApiKeyView, codes=("API_KEY_NOT_FOUND", *_STORED),
    ),
    Route(
        "market_list_trades", "market",
        "GET", f"{_V1}/trades", market.list_trades, OPTIONAL, PUBLIC,
        answer=list[OwnTradeView] | list[TradeView],
        parameters=(
            given.IN_MARKET, given.TRADES_OF, given.START, given.END, given.limit(500, 100), given.CURSOR,
        ),
        codes=("INVALID_SYMBOL", "INVALID_CURSOR", *_STORED), scope=READ, paged=True, reads=True,
    ),
    Route(
        "market_order_book", "market",
        "GET", f"{_V1}/orderbook/{{symbol:path}}", market.order_book, OPEN, PUBLIC,
        answer=BookView, parameters=(given.DEPTH,), codes=("ENGINE_UNAVAILABLE",),
    ),
    Route(
        "market_list_markets", "market",
        "GET", f"{_V1}/markets", market.list_markets, OPEN, PUBLIC, answer=list[market.MarketView],
    ),
    Route(
        "market_ticker", "market",
        "GET", f"{_V1}/markets/{{symbol:path}}/ticker", market.ticker, OPEN, PUBLIC,
        answer=TickerAnswer, codes=("MARKET_DATA_UNAVAILABLE", "ENGINE_UNAVAILABLE"),
    ),
    Route(
        "market_list_tickers", "market",
        "GET", f"{_V1}/tickers", market.list_tickers, OPEN, PUBLIC,
        answer=list[TickerAnswer], codes=("MARKET_DATA_UNAVAILABLE", "ENGINE_UNAVAILABLE"),
    ),
    Route(
        "market_candles", "market",
        "GET", f"{_V1}/markets/{{symbol:path}}/candles", market.candles, OPEN, PUBLIC,
        answer=list[CandleView],
        parameters=(given.INTERVAL, given.START, given.END, given.limit(1_000, 500), given.TIME_CURSOR),
        codes=("INVALID_INTERVAL", "INVALID_CURSOR", "MARKET_DATA_UNAVAILABLE", "ENGINE_UNAVAILABLE", *_STORED),
        paged=True, reads=True,
    ),
    Route(
        "market_get_market", "market",
        "GET", f"{_V1}/markets/{{symbol:path}}", market.get_market, OPEN, PUBLIC, answer=market.MarketView,
    ),
    Route(
        "system_status", "system",
        "GET", f"{_V1}/status", system.status, OPEN, PUBLIC, answer=system.StatusView,
    ),
    Route(
        "system_server_time", "system",
        "GET", f"{_V1}/time", system.server_time, OPEN, PUBLIC, answer=system.TimeView,
    ),
    Route(
        "admin_list_dead_letters", "admin",
        "GET", f"{_V1}/admin/dead-letters", admin.list_dead_letters, ADMIN, QUERIES,
        answer=list[admin.DeadLetterView], parameters=(given.AFTER, given.limit(500, 100)), codes=_STORED,
    ),
    Route(
        "admin_show_dead_letter", "admin",
        "GET", f"{_V1}/admin/dead-letters/{{id}}", admin.show_dead_letter, ADMIN, QUERIES,
        answer=admin.DeadLetterView, codes=_LETTER,
    ),
    Route(
        "admin_retry_dead_letter", "admin",
        "POST", f"{_V1}/admin/dead-letters/{{id}}/retry", admin.retry_dead_letter, ADMIN, QUERIES,
        answer=admin.DeadLetterOutcome, body=admin.ReasonBody, codes=_LETTER_CHANGED,
    ),
    Route(
        "admin_resolve_dead_letter", "admin",
        "POST", f"{_V1}/admin/dead-letters/{{id}}/resolve", admin.resolve_dead_letter, ADMIN, QUERIES,
        answer=admin.DeadLetterOutcome, body=admin.ReasonBody,
        codes=("ALREADY_SETTLED", "WALLET_UNAVAILABLE", *_LETTER_CHANGED),
    ),
    Route(
        "admin_last_reconciliation", "admin",
        "GET", f"{_V1}/admin/reconciliation", admin.last_reconciliation, ADMIN, QUERIES,
        answer=admin.ReconciliationView | None,
    ),
    Route(
        "admin_reconcile", "admin",
        "POST", f"{_V1}/admin/reconciliation", admin.reconcile, ADMIN, QUERIES,
        answer=admin.ReconciliationView, body=admin.ReconcileBody,
        codes=("INVALID_REASON", "WALLET_UNAVAILABLE", *_STORED),
    ),
    Route(
        "admin_last_verification", "admin",
        "GET", f"{_V1}/admin/verification", admin.last_verification, ADMIN, QUERIES,
        answer=admin.VerificationView | None,
    ),
    Route(
        "admin_start_verification", "admin",
        "POST", f"{_V1}/admin/verification", admin.start_verification, ADMIN, QUERIES,
        answer=admin.VerificationView, body=admin.ReasonBody, codes=("INVALID_REASON", *_STORED),
    ),
    Route(
        "markets_admin_admin_markets", "admin",
        "GET", f"{_V1}/admin/markets", markets_admin.admin_markets, ADMIN, QUERIES,
        answer=list[markets_admin.AdminMarketView],
    ),
    Route(
        "markets_admin_list_market", "admin",
        "POST", f"{_V1}/admin/markets", markets_admin.list_market, ADMIN, QUERIES,
        answer=markets_admin.AdminMarketView, body=markets_admin.ListMarketBody, status=201,
        codes=("INVALID_SYMBOL", "INVALID_MARKET", "MARKET_EXISTS", *_AUDITED),
    ),
    Route(
        "markets_admin_change_market", "admin",
        "PATCH", f"{_V1}/admin/markets/{{symbol:path}}", markets_admin.change_market, ADMIN, QUERIES,
        answer=markets_admin.AdminMarketView, body=markets_admin.ChangeMarketBody,
        codes=("INVALID_MARKET", "MARKET_FIXED", *_AUDITED),
    ),
    Route(
        "markets_admin_halt_market", "admin",
        "POST", f"{_V1}/admin/markets/{{symbol:path}}/halt", markets_admin.halt_market, ADMIN, QUERIES,
        answer=markets_admin.AdminMarketView, body=markets_admin.MarketReason, codes=_AUDITED,
    ),
    Route(
        "markets_admin_resume_market", "admin",
        "POST", f"{_V1}/admin/markets/{{symbol:path}}/resume", markets_admin.resume_market, ADMIN, QUERIES,
        answer=markets_admin.AdminMarketView, body=markets_admin.MarketReason, codes=_AUDITED,
    ),
    Route(
        "markets_admin_set_market_state", "admin",
        "POST", f"{_V1}/admin/markets/{{symbol:path}}/state", markets_admin.set_market_state, ADMIN, QUERIES,
        answer=markets_admin.AdminMarketView, body=markets_admin.MarketStateBody,
        codes=("INVALID_STATE", *_AUDITED),
    ),
    Route(
        "engine_admin_admin_order", "admin",
        "GET", f"{_V1}/admin/orders/{{order_id}}", engine_admin.admin_order, ADMIN, QUERIES,
        answer=OrderView, codes=("ORDER_NOT_FOUND", *_ENGINE),
    ),
    Route(
        "engine_admin_admin_cancel", "admin",
        "DELETE", f"{_V1}/admin/orders/{{order_id}}", engine_admin.admin_cancel, ADMIN, QUERIES,
        answer=OrderView, parameters=(given.WHY,), codes=("INVALID_REASON", *_CANCEL),
    ),
    Route(
        "engine_admin_admin_cancel_all", "admin",
        "DELETE", f"{_V1}/admin/orders", engine_admin.admin_cancel_all, ADMIN, QUERIES,
        answer=CancelledView, parameters=(given.IN_MARKET, given.OF_USER, given.CONFIRM, given.WHY),
        codes=("INVALID_SYMBOL", "CONFIRMATION_NEEDED", *_AUDITED),
    ),
    Route(
        "users_admin_user_balances", "admin",
        "GET", f"{_V1}/admin/users/{{user_id}}/balances", users_admin.user_balances, ADMIN, QUERIES,
        answer=list[BalanceView], codes=("WALLET_UNAVAILABLE", *_STORED),
    ),
    Route(
        "users_admin_user_entries", "admin",
        "GET", f"{_V1}/admin/users/{{user_id}}/entries", users_admin.user_entries, ADMIN, QUERIES,
        answer=list[users_admin.EntryView], parameters=(given.limit(500, 100), given.ENTRY_CURSOR),
        codes=("INVALID_CURSOR", "WALLET_UNAVAILABLE"), paged=True,
    ),
    Route(
        "users_admin_user_orders", "admin",
        "GET", f"{_V1}/admin/users/{{user_id}}/orders", users_admin.user_orders, ADMIN, QUERIES,
        answer=list[OrderView], parameters=_HIS, codes=("INVALID_SYMBOL", "INVALID_CURSOR", *_STORED), paged=True,
    ),
    Route(
        "users_admin_user_trades", "admin",
        "GET", f"{_V1}/admin/users/{{user_id}}/trades", users_admin.user_trades, ADMIN, QUERIES,
        answer=list[OwnTradeView], parameters=_HIS, codes=("INVALID_SYMBOL", "INVALID_CURSOR", *_STORED), paged=True,
    ),
    Route(
        "users_admin_user_deposit", "admin",
        "POST", f"{_V1}/admin/users/{{user_id}}/deposits", users_admin.user_deposit, ADMIN, QUERIES,
        answer=users_admin.FundedView, body=users_admin.FundUserBody, codes=_FUND,
    ),
    Route(
        "users_admin_user_withdraw", "admin",
        "POST", f"{_V1}/admin/users/{{user_id}}/withdrawals", users_admin.user_withdraw, ADMIN, QUERIES,
        answer=users_admin.FundedView, body=users_admin.FundUserBody, codes=_FUND,
    ),
    Route(
        "users_admin_user_correct", "admin",
        "POST", f"{_V1}/admin/users/{{user_id}}/corrections", users_admin.user_correct, ADMIN, QUERIES,
        answer=users_admin.FundedView, body=users_admin.CorrectBody, codes=_FUND,
    ),
    Route(
        "engine_admin_engine_status", "admin",
        "GET", f"{_V1}/admin/engine", engine_admin.engine_status, ADMIN, QUERIES,
        answer=engine_admin.EngineView, codes=_STORED,
    ),
    Route(
        "engine_admin_reload_options", "admin",
        "POST", f"{_V1}/admin/reload", engine_admin.reload_options, ADMIN, QUERIES,
        answer=engine_admin.ReloadView, body=engine_admin.ReloadBody, codes=("CONFIG_INVALID", *_AUDITED),
    ),
    Route(
        "engine_admin_list_audit", "admin",
        "GET", f"{_V1}/admin/audit", engine_admin.list_audit, ADMIN, QUERIES,
        answer=list[engine_admin.AuditView], parameters=(given.limit(500, 100), given.NUMBER_CURSOR),
        codes=("INVALID_CURSOR", *_STORED), paged=True,
    ),
    Route(
        "api_keys_admin_list_keys", "api-keys",
        "GET", f"{_V1}/admin/api-keys", api_keys.admin_list_keys, ADMIN, QUERIES,
        answer=list[api_keys.ApiKeyView], parameters=(given.KEYS_OF,), codes=_STORED,
    ),
    Route(
        "api_keys_admin_revoke_key", "api-keys",
        "DELETE", f"{_V1}/admin/api-keys/{{key_id}}", api_keys.admin_revoke_key, ADMIN, QUERIES,
        answer=api_keys.ApiKeyView, parameters=(given.WHY,),
        codes=("API_KEY_NOT_FOUND", "INVALID_REASON", *_STORED),
    ),
    Route(
        "webhooks_list_webhooks", "webhooks",
        "GET", f"{_V1}/admin/webhooks", webhooks.list_webhooks, ADMIN, QUERIES,
        answer=list[webhooks.WebhookView], codes=_STORED,
    ),
    Route(
        "webhooks_add_webhook", "webhooks",
        "POST", f"{_V1}/admin/webhooks", webhooks.add_webhook, ADMIN, QUERIES,
        answer=webhooks.NewWebhookView, body=webhooks.WebhookBody, status=201,
        codes=("INVALID_WEBHOOK_TERMS", "TOO_MANY_WEBHOOKS", "INVALID_REASON", *_STORED),
    ),
    Route(
        "webhooks_pause_webhook", "webhooks",
        "POST", f"{_V1}/admin/webhooks/{{endpoint_id}}/pause", webhooks.pause_webhook, ADMIN, QUERIES,
        answer=webhooks.WebhookView, body=webhooks.WebhookReason, codes=_WEBHOOK_CHANGED,
    ),
    Route(
        "webhooks_resume_webhook", "webhooks",
        "POST", f"{_V1}/admin/webhooks/{{endpoint_id}}/resume", webhooks.resume_webhook, ADMIN, QUERIES,
        answer=webhooks.WebhookView, body=webhooks.WebhookReason, codes=_WEBHOOK_CHANGED,
    ),
    Route(
        "webhooks_rotate_webhook", "webhooks",
        "POST", f"{_V1}/admin/webhooks/{{endpoint_id}}/rotate", webhooks.rotate_webhook, ADMIN, QUERIES,
        answer=webhooks.NewWebhookView, body=webhooks.RotateBody,
        codes=("INVALID_WEBHOOK_TERMS", *_WEBHOOK_CHANGED),
    ),
    Route(
        "webhooks_remove_webhook", "webhooks",
        "DELETE", f"{_V1}/admin/webhooks/{{endpoint_id}}", webhooks.remove_webhook, ADMIN, QUERIES,
        answer=webhooks.WebhookView, parameters=(given.WHY,), codes=_WEBHOOK_CHANGED,
    ),
    Route(
        "webhooks_list_dead_webhooks", "webhooks",
        "GET", f"{_V1}/admin/webhooks/{{endpoint_id}}/dead", webhooks.list_dead_webhooks, ADMIN, QUERIES,
        answer=list[webhooks.DeadWebhookView], parameters=(given.AFTER, given.limit(500, 100)),
        codes=("WEBHOOK_NOT_FOUND", *_STORED),
    ),
    Route(
        "webhooks_replay_webhooks", "webhooks",
        "POST", f"{_V1}/admin/webhooks/{{endpoint_id}}/replay", webhooks.replay_webhooks, ADMIN, QUERIES,
        answer=webhooks.ReplayedView, body=webhooks.ReplayBody,
        codes=("DEAD_LETTER_NOT_FOUND", *_WEBHOOK_CHANGED),
    ),
    Route(
        "system_welcome", "system",
        "GET", "/", system.welcome, OPEN, PUBLIC, answer=system.WelcomeView, also=(303,), plain=True,
    ),
    Route(
        "system_live", "system",
        "GET", "/health/live", system.live, OPEN, None, answer=system.AliveView, plain=True,
    ),
    Route(
        "system_ready", "system",
        "GET", "/health/ready", system.ready, OPEN, None, answer=system.ReadyView, also=(503,), plain=True,
    ),
    Route(
        "system_live_at_health", "system",
        "GET", "/health", system.live, OPEN, None, answer=system.AliveView, plain=True,
    ),
    Route(
        "system_ready_at_ready", "system",
        "GET", "/ready", system.ready, OPEN, None, answer=system.ReadyView, also=(503,), plain=True,
    ),
)  # fmt: skip

#: Only with ``ApiSettings.echo_route``.
ECHO: Final = _PLACE_ROUTE._replace(path=f"{_V1}/echo", handler=orders.echo, status=200, also=())
