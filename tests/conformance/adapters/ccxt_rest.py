"""ccxt: one API over all exchanges, blocking; nothing is set but base URLs, and that only spot markets are fetched."""

from collections.abc import Callable
from decimal import Decimal
from typing import Any

import ccxt

from adapters.shared import NUMBERS, Found, expect, levels, oco_terms

KINDS = {
    "would_take": ccxt.OrderImmediatelyFillable, "insufficient": ccxt.InsufficientFunds,
    "duplicate": ccxt.InvalidOrder, "no_order": ccxt.OrderNotFound, "unknown": ccxt.OrderNotFound,
    "bad_symbol": ccxt.BadSymbol, "filter": ccxt.InvalidOrder, "signature": ccxt.AuthenticationError,
    "key": ccxt.AuthenticationError, "timestamp": ccxt.InvalidNonce, "rate": ccxt.DDoSProtection,
    "notional": ccxt.BadRequest, "replace": ccxt.ExchangeError, "prices": ccxt.ExchangeError,
}  # fmt: skip


def settings(url: str, login: tuple[str, str]) -> dict[str, Any]:
    """What is set."""
    v3 = f"{url}/api/v3"
    urls = {"public": v3, "private": v3} | {f"sapi{n}": f"{url}/sapi/v{n or 1}" for n in ("", "V2", "V3", "V4")}
    urls["sapi"] = f"{url}/sapi/v1"
    return {
        "apiKey": login[0],
        "secret": login[1],
        "urls": {"api": urls},
        "options": {"fetchMarkets": ["spot"]},
    }


class Account:
    """One user."""

    kinds = KINDS

    def __init__(self, url: str, login: tuple[str, str], base: str, quote: str) -> None:
        self.url, self.login, self.base, self.quote = url, login, base, quote
        self.symbol = f"{base}/{quote}"
        self.api = self.made()
        self.ask("load_markets")

    def made(self) -> Any:
        """The client."""
        return ccxt.binance(settings(self.url, self.login))

    def ask(self, name: str, *given: Any) -> Any:
        """Call one of the client's methods."""
        return getattr(self.api, name)(*given)

    def with_secret(self, secret: str) -> "Account":
        self.api.secret = secret
        return self

    def with_key(self, key: str) -> "Account":
        self.api.apiKey = key
        return self

    def fails(self, how: str, call: Callable[[], Any]) -> None:
        expect((self.kinds[how],), NUMBERS[how], call)

    def account(self) -> Any:
        return self.ask("fetch_balance")

    def late(self) -> Any:
        self.api.options["timeDifference"] = 100_000
        return self.account()

    def steps(self) -> tuple[Decimal, Decimal]:
        precision = self.api.market(self.symbol)["precision"]
        return Decimal(str(precision["price"])), Decimal(f"{precision['amount']:.8f}").normalize()

    def time(self) -> int:
        return int(self.ask("fetch_time"))

    def balance(self, asset: str) -> tuple[Decimal, Decimal]:
        row = self.account()[asset]
        return Decimal(str(row["free"])), Decimal(str(row["used"]))

    def _order(self, kind: str, side: str, quantity: str | None, price: str | None = None, **more: Any) -> Found:
        amount = None if quantity is None else float(quantity)
        worth = None if price is None else float(price)
        return found(self.ask("create_order", self.symbol, kind, side.lower(), amount, worth, more))

    def limit(self, side: str, quantity: str, price: str, lasting: str = "GTC", client_id: str = "") -> Found:
        named = {"clientOrderId": client_id} if client_id else {}
        return self._order("limit", side, quantity, price, timeInForce=lasting, **named)

    def maker(self, side: str, quantity: str, price: str) -> Found:
        return self._order("limit", side, quantity, price, postOnly=True)

    def iceberg(self, side: str, quantity: str, price: str, shown: str) -> Found:
        return self._order("limit", side, quantity, price, icebergQty=shown)

    def market(self, side: str, quantity: str) -> Found:
        return self._order("market", side, quantity)

    def market_amount(self, amount: str) -> Found:
        return found(self.ask("create_market_buy_order_with_cost", self.symbol, float(amount)))

    def stop_limit(self, side: str, quantity: str, price: str, stop: str) -> Found:
        return self._order("limit", side, quantity, price, stopLossPrice=stop)

    def take_profit(self, side: str, quantity: str, price: str, stop: str) -> Found:
        return self._order("limit", side, quantity, price, takeProfitPrice=stop)

    def try_limit(self, side: str, quantity: str, price: str) -> None:
        self._order("limit", side, quantity, price, test=True)

    def oco(self, side: str, quantity: str, limit: str, stop: str, stop_limit: str) -> str:
        terms = oco_terms(side, quantity, limit, stop, stop_limit)
        told = self.ask("private_post_orderlist_oco", {"symbol": self.base + self.quote, **terms})
        return str(told["orderListId"])

    def list_status(self, number: str) -> str:
        return str(self.ask("private_get_orderlist", {"orderListId": number})["listOrderStatus"])

    def cancel_oco(self, number: str) -> None:
        self.ask("private_delete_orderlist", {"symbol": self.base + self.quote, "orderListId": number})

    def replace(self, order_id: str, side: str, quantity: str, price: str) -> Found:
        return found(
            self.ask("edit_order", order_id, self.symbol, "limit", side.lower(), float(quantity), float(price))
        )

    def find(self, order_id: str) -> Found:
        return found(self.ask("fetch_order", order_id, self.symbol))

    def find_own(self, client_id: str) -> Found:
        return found(self.ask("fetch_order", "", self.symbol, {"clientOrderId": client_id}))

    def cancel(self, order_id: str) -> None:
        self.ask("cancel_order", order_id, self.symbol)

    def cancel_own(self, client_id: str) -> None:
        self.ask("cancel_order", "", self.symbol, {"clientOrderId": client_id})

    def cancel_every(self) -> None:
        self.ask("cancel_all_orders", self.symbol)

    def open_orders(self) -> list[str]:
        return [order["id"] for order in self.ask("fetch_open_orders", self.symbol)]

    def all_orders(self) -> list[Found]:
        return [found(order) for order in self.ask("fetch_orders", self.symbol)]

    def own_trades(self) -> list[tuple[Any, ...]]:
        return [
            (
                trade["id"], trade["order"], Decimal(str(trade["price"])), Decimal(str(trade["amount"])),
                Decimal(str(trade["fee"]["cost"])), trade["fee"]["currency"], trade["takerOrMaker"] == "maker",
            )
            for trade in self.ask("fetch_my_trades", self.symbol)
        ]  # fmt: skip

    def candles(self) -> list[list[Decimal]]:
        return [[Decimal(str(value)) for value in row[1:]] for row in self.ask("fetch_ohlcv", self.symbol, "1m")]

    def book(self) -> tuple[Any, Any]:
        shown = self.ask("fetch_order_book", self.symbol)
        return levels(shown["bids"]), levels(shown["asks"])

    def best(self) -> tuple[Decimal, Decimal]:
        shown = self.ask("fetch_bids_asks", [self.symbol])[self.symbol]
        return Decimal(str(shown["bid"])), Decimal(str(shown["ask"]))

    def public_trades(self) -> list[tuple[Decimal, Decimal]]:
        trades = self.ask("fetch_trades", self.symbol)
        return [(Decimal(str(trade["price"])), Decimal(str(trade["amount"]))) for trade in trades]

    def ticker(self) -> tuple[Decimal, ...]:
        shown = self.ask("fetch_ticker", self.symbol)
        return tuple(Decimal(str(shown[name])) for name in ("last", "open", "high", "low", "baseVolume"))

    def last(self) -> Decimal:
        return Decimal(str(self.ask("fetch_last_prices", [self.symbol])[self.symbol]["price"]))

    def fees(self) -> tuple[Decimal, Decimal]:
        shown = self.ask("fetch_trading_fee", self.symbol)
        return Decimal(str(shown["maker"])), Decimal(str(shown["taker"]))

    def ask_for_no_market(self) -> None:
        # The client itself knows which markets there are: what it is told is asked for past that.
        self.ask("public_get_depth", {"symbol": "NOSUCH"})


def found(order: dict[str, Any]) -> Found:
    """An order as this client shows it; its status in the API's own words."""
    told = order["info"]
    filled = told.get("executedQty") or order["filled"] or "0"
    return Found(order["id"], order["clientOrderId"], told.get("status", "NEW"), Decimal(str(filled)))
