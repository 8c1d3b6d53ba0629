"""ccxt.pro: streams, and orders over the WebSocket API; nothing is set but base URLs and which markets are fetched."""

from collections.abc import Callable
from decimal import Decimal
from typing import Any

import ccxt.pro

from adapters import ccxt_rest
from adapters.background import Feed, do, feed_of
from adapters.events import execution
from adapters.shared import levels

#: What goes over the WebSocket API.
METHODS = frozenset(
    (
        "create_order", "cancel_order", "cancel_all_orders", "fetch_order", "fetch_open_orders", "fetch_orders",
        "fetch_my_trades", "fetch_trades", "fetch_ohlcv",
    )
)  # fmt: skip


def _numbers(row: dict[str, Any], *names: str) -> tuple[Decimal, ...]:
    return tuple(Decimal(str(row[name])) for name in names)


_DAY = ("last", "open", "high", "low", "baseVolume")


class _Overheard(ccxt.pro.binance):
    """The client, whose reports are listened to on their way through it."""

    heard: Callable[[dict[str, Any]], None] = staticmethod(lambda _: None)

    def handle_order_update(self, client: Any, message: dict[str, Any]) -> None:
        self.heard(message)
        super().handle_order_update(client, message)


class Account(ccxt_rest.Account):
    """One user."""

    #: Over the WebSocket API the client has other classes for these.
    kinds = ccxt_rest.KINDS | {"filter": ccxt.pro.BadRequest, "rate": ccxt.pro.RateLimitExceeded}

    def made(self) -> Any:
        host = self.url.replace("http", "ws", 1)
        settings = ccxt_rest.settings(self.url, self.login)
        settings["urls"]["api"]["ws"] = {"spot": f"{host}/ws", "ws-api": {"spot": f"{host}/ws-api/v3"}}
        return _Overheard(settings)

    def ask(self, name: str, *given: Any) -> Any:
        return do(getattr(self.api, f"{name}_ws" if name in METHODS else name)(*given))

    # ---- streams

    def _feed(self, wait: Callable[[], Any], take: Callable[[Any], list[Any]]) -> Feed:
        """A feed of what a watching method answers, again and again."""

        async def read(feed: Feed) -> None:
            while True:
                feed.events.extend(take(await wait()))

        return feed_of(read)

    def watch(self, kind: str) -> Feed:
        api, symbol = self.api, self.symbol
        if kind in ("trades", "aggregates"):
            name = "trade" if kind == "trades" else "aggTrade"
            return self._feed(
                lambda: api.watch_trades(symbol, params={"name": name}),
                lambda trades: [_numbers(trade, "price", "amount") for trade in trades],
            )
        if kind == "best":
            return self._feed(
                lambda: api.watch_bids_asks([symbol]), lambda shown: [_numbers(shown[symbol], "bid", "ask")]
            )
        if kind == "levels":
            return self._feed(
                lambda: api.watch_order_book(symbol, 5), lambda book: [(levels(book["bids"]), levels(book["asks"]))]
            )
        if kind in ("day", "mini_day"):
            name = "ticker" if kind == "day" else "miniTicker"
            return self._feed(
                lambda: api.watch_ticker(symbol, {"name": name}), lambda ticker: [_numbers(ticker, *_DAY)]
            )
        return self._feed(
            lambda: api.watch_ohlcv(symbol, "1m"),
            lambda rows: [tuple(Decimal(str(value)) for value in row[1:]) for row in rows],
        )

    def watch_two(self) -> Feed:
        async def read(feed: Feed, kind: str) -> None:
            while True:
                if kind == "trades":
                    trades = await self.api.watch_trades(self.symbol)
                    feed.events.extend((kind, _numbers(trade, "price", "amount")) for trade in trades)
                else:
                    shown = await self.api.watch_bids_asks([self.symbol])
                    feed.events.append((kind, _numbers(shown[self.symbol], "bid", "ask")))

        first = feed_of(lambda feed: read(feed, "trades"))
        second = feed_of(lambda _: read(first, "best"))
        stop = first.close
        first.close = lambda: (stop(), second.close())[0]
        return first

    def watch_book(self) -> Feed:
        def both(book: Any) -> list[Any]:
            return [(levels(book["bids"]), levels(book["asks"]))]

        return self._feed(lambda: self.api.watch_order_book(self.symbol), both)

    def watch_executions(self) -> Feed:
        # Whoever waits is told the newest of each order; what the client heard before that is listened to as well.
        async def read(feed: Feed) -> None:
            self.api.heard = lambda report: feed.events.append(execution(report))
            while True:
                await self.api.watch_orders(self.symbol)

        return self._ready(feed_of(read))

    def watch_balances(self) -> Feed:
        def take(shown: dict[str, Any]) -> list[Any]:
            return [
                {
                    asset: (Decimal(str(row["free"])), Decimal(str(row["used"])))
                    for asset, row in shown.items()
                    if asset in (self.base, self.quote)
                }
            ]

        return self._ready(self._feed(self.api.watch_balance, take))

    def _ready(self, feed: Feed) -> Feed:
        """Wait until the user's stream is subscribed to, which this client does when it first watches."""
        url = self.api.urls["api"]["ws"]["ws-api"]["spot"]

        def is_there(_: Any) -> bool:
            client = self.api.clients.get(url)
            return bool(
                client and "spot" in client.subscriptions and "authenticate:signature:spot" not in client.futures
            )

        feed.until(is_there)
        return feed
