"""python-binance: its sockets, and its methods over the WebSocket API wherever it has one."""

import functools
from collections.abc import Callable
from typing import Any

from binance import BinanceSocketManager
from binance.async_client import AsyncClient
from binance.exceptions import BinanceAPIException
from binance.ws.depthcache import DepthCacheManager

from adapters.background import Feed, do, feed_of
from adapters.events import STREAMS, balances, execution, list_status, shown
from adapters.python_binance import NAMES, PATHS
from adapters.raw import RawAccount
from adapters.shared import levels

#: What goes over the WebSocket API; the rest has no method there.
METHODS = {
    "account": "ws_get_account", "new_order": "ws_create_order", "new_order_test": "ws_create_test_order",
    "get_order": "ws_get_order", "cancel_order": "ws_cancel_order", "cancel_open_orders": "ws_cancel_all_open_orders",
    "get_open_orders": "ws_get_open_orders", "get_orders": "ws_get_all_orders", "my_trades": "ws_get_my_trades",
    "depth": "ws_get_order_book", "trades": "ws_get_recent_trades", "klines": "ws_get_klines",
    "exchange_info": "ws_get_exchange_info", "time": "ws_get_time", "book_ticker": "ws_get_orderbook_ticker",
    "ticker_price": "ws_get_symbol_ticker", "ticker_24hr": "ws_get_ticker",
}  # fmt: skip


class Account(RawAccount):
    """One user."""

    refusals = (BinanceAPIException,)

    def open(self) -> None:
        do(self._open())

    async def _open(self) -> None:
        self.api = AsyncClient(*self.login)
        for name, path in PATHS.items():
            setattr(self.api, name, self.url + path)
        host = self.url.replace("http", "ws", 1)
        self.api.ws_api._url = f"{host}/ws-api/v3"
        self.sockets = BinanceSocketManager(self.api)
        self.sockets.STREAM_URL = f"{host}/"

    def call(self, name: str, **given: Any) -> Any:
        method = METHODS.get(name)
        if method is None or not hasattr(self.api, method):
            return do(getattr(self.api, NAMES[name])(**given))
        return do(getattr(self.api, method)(**given))

    def late(self) -> Any:
        self.api.timestamp_offset = -100_000
        return self.call("account")

    # ---- streams

    def _feed(self, make: Callable[[], Any], take: Callable[[Feed, Any], None]) -> Feed:
        """A feed of a socket, made in the loop that reads it, and open when this returns."""

        async def enter() -> tuple[Any, Any]:
            socket = make()
            return socket, await socket.__aenter__()

        socket, opened = do(enter())

        async def read(feed: Feed) -> None:
            while True:
                event = await opened.recv()
                if event is not None:
                    assert event.get("e") != "error", event
                    take(feed, event)

        feed = feed_of(read)
        stop = feed.close

        def close() -> None:
            stop()
            do(socket.__aexit__(None, None, None))

        feed.close = close
        return feed

    def watch(self, kind: str) -> Feed:
        sockets, symbol = self.sockets, self.symbol
        if kind == "levels":
            make = functools.partial(sockets.depth_socket, symbol, depth="5", interval=100)
        else:
            opens = {
                "trades": sockets.trade_socket, "aggregates": sockets.aggtrade_socket,
                "best": sockets.symbol_book_ticker_socket, "day": sockets.symbol_ticker_socket,
                "mini_day": sockets.symbol_miniticker_socket, "candles": sockets.kline_socket,
            }  # fmt: skip
            make = functools.partial(opens[kind], symbol)
        return self._feed(make, lambda feed, event: feed.events.append(shown(kind, event)))

    def watch_two(self) -> Feed:
        def take(feed: Feed, event: Any) -> None:
            kind = "trades" if event["stream"].endswith("@trade") else "best"
            feed.events.append((kind, shown(kind, event["data"])))

        names = [f"{self.symbol.lower()}@{STREAMS[kind]}" for kind in ("trades", "best")]
        return self._feed(lambda: self.sockets.multiplex_socket(names), take)

    def watch_book(self) -> Feed:
        async def read(feed: Feed) -> None:
            manager = DepthCacheManager(
                self.api, self.symbol, bm=self.sockets, ws_interval=100, limit=1000, conv_type=str
            )
            async with manager as stitched:
                while True:
                    cache = stitched._depth_cache
                    feed.events.append((levels(cache.get_bids()), levels(cache.get_asks())))
                    await stitched.recv()

        feed = feed_of(read)
        feed.until(lambda books: books)
        return feed

    def _user(self, kind: str, show: Callable[[Any], Any]) -> Feed:
        def take(feed: Feed, event: Any) -> None:
            if event["e"] == kind:
                feed.events.append(show(event))

        return self._feed(self.sockets.user_socket, take)

    def watch_executions(self) -> Feed:
        return self._user("executionReport", execution)

    def watch_balances(self) -> Feed:
        return self._user("outboundAccountPosition", balances)

    def watch_lists(self) -> Feed:
        return self._user("listStatus", list_status)
