"""python-binance: the client that most bots began with, blocking."""

from typing import Any

from binance.client import Client
from binance.exceptions import BinanceAPIException

from adapters.raw import RawAccount

NAMES = {
    "exchange_info": "get_exchange_info", "time": "get_server_time", "account": "get_account",
    "new_order": "create_order", "new_order_test": "create_test_order", "get_order": "get_order",
    "cancel_order": "cancel_order", "cancel_open_orders": "cancel_all_open_orders",
    "get_open_orders": "get_open_orders", "get_orders": "get_all_orders", "my_trades": "get_my_trades",
    "klines": "get_klines", "depth": "get_order_book", "book_ticker": "get_orderbook_ticker",
    "trades": "get_recent_trades", "ticker_24hr": "get_ticker", "ticker_price": "get_symbol_ticker",
    "trade_fee": "get_trade_fee", "new_oco_order": "create_oco_order", "get_oco_order": "v3_get_order_list",
    "cancel_oco_order": "v3_delete_order_list", "cancel_and_replace": "cancel_replace_order",
}  # fmt: skip
#: Base URLs of the API and of what is beside it.
PATHS = {"API_URL": "/api", "MARGIN_API_URL": "/sapi"}


class Account(RawAccount):
    """One user."""

    refusals = (BinanceAPIException,)

    def open(self) -> None:
        self.api = Client(*self.login, ping=False)
        for name, path in PATHS.items():
            setattr(self.api, name, self.url + path)

    def call(self, name: str, **given: Any) -> Any:
        return getattr(self.api, NAMES[name])(**given)

    def late(self) -> Any:
        self.api.timestamp_offset = -100_000
        return self.call("account")
