"""Clients that give the API's own answers: the stories' words over one ``call`` that each of them has."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from decimal import Decimal
from typing import Any

from adapters.shared import NUMBERS, Found, expect, found_of, levels, oco_terms


class RawAccount(ABC):
    """One user; calls are named as the connector does."""

    #: What a refusal raises.
    refusals: tuple[type[Exception], ...] = ()

    def __init__(self, url: str, login: tuple[str, str], base: str, quote: str) -> None:
        self.url, self.login, self.base, self.quote = url, login, base, quote
        self.symbol = base + quote
        self.open()

    @abstractmethod
    def open(self) -> None:
        """Make the client."""

    @abstractmethod
    def call(self, name: str, **given: Any) -> Any:
        """Ask."""

    @abstractmethod
    def late(self) -> Any:
        """Ask with a clock that is wrong."""

    def with_secret(self, secret: str) -> "RawAccount":
        return type(self)(self.url, (self.login[0], secret), self.base, self.quote)

    def with_key(self, key: str) -> "RawAccount":
        return type(self)(self.url, (key, self.login[1]), self.base, self.quote)

    def fails(self, how: str, call: Callable[[], Any]) -> None:
        expect(self.refusals, NUMBERS[how], call)

    def account(self) -> Any:
        return self.call("account")

    def steps(self) -> tuple[Decimal, Decimal]:
        [market] = [row for row in self.call("exchange_info")["symbols"] if row["symbol"] == self.symbol]
        filters = {row["filterType"]: row for row in market["filters"]}
        return Decimal(filters["PRICE_FILTER"]["tickSize"]), Decimal(filters["LOT_SIZE"]["stepSize"])

    def time(self) -> int:
        return int(self.call("time")["serverTime"])

    def balance(self, asset: str) -> tuple[Decimal, Decimal]:
        [row] = [row for row in self.call("account")["balances"] if row["asset"] == asset]
        return Decimal(row["free"]), Decimal(row["locked"])

    def _order(self, side: str, kind: str, **given: Any) -> Found:
        return found_of(self.call("new_order", symbol=self.symbol, side=side, type=kind, **given))

    def limit(self, side: str, quantity: str, price: str, lasting: str = "GTC", client_id: str = "") -> Found:
        named = {"newClientOrderId": client_id} if client_id else {}
        return self._order(side, "LIMIT", timeInForce=lasting, quantity=quantity, price=price, **named)

    def maker(self, side: str, quantity: str, price: str) -> Found:
        return self._order(side, "LIMIT_MAKER", quantity=quantity, price=price)

    def iceberg(self, side: str, quantity: str, price: str, shown: str) -> Found:
        return self._order(side, "LIMIT", timeInForce="GTC", quantity=quantity, price=price, icebergQty=shown)

    def market(self, side: str, quantity: str) -> Found:
        return self._order(side, "MARKET", quantity=quantity)

    def market_amount(self, amount: str) -> Found:
        return self._order("BUY", "MARKET", quoteOrderQty=amount)

    def stop_limit(self, side: str, quantity: str, price: str, stop: str) -> Found:
        return self._order(side, "STOP_LOSS_LIMIT", timeInForce="GTC", quantity=quantity, price=price, stopPrice=stop)

    def take_profit(self, side: str, quantity: str, price: str, stop: str) -> Found:
        return self._order(side, "TAKE_PROFIT_LIMIT", timeInForce="GTC", quantity=quantity, price=price, stopPrice=stop)

    def try_limit(self, side: str, quantity: str, price: str) -> None:
        given = {"timeInForce": "GTC", "quantity": quantity, "price": price}
        assert self.call("new_order_test", symbol=self.symbol, side=side, type="LIMIT", **given) == {}

    def oco(self, side: str, quantity: str, limit: str, stop: str, stop_limit: str) -> str:
        terms = oco_terms(side, quantity, limit, stop, stop_limit)
        return str(self.call("new_oco_order", symbol=self.symbol, **terms)["orderListId"])

    def list_status(self, number: str) -> str:
        return str(self.call("get_oco_order", orderListId=number)["listOrderStatus"])

    def cancel_oco(self, number: str) -> None:
        self.call("cancel_oco_order", symbol=self.symbol, orderListId=number)

    def replace(self, order_id: str, side: str, quantity: str, price: str) -> Found:
        given = {"symbol": self.symbol, "side": side, "type": "LIMIT", "timeInForce": "GTC", "quantity": quantity}
        told = self.call(
            "cancel_and_replace", **given, price=price, cancelReplaceMode="STOP_ON_FAILURE", cancelOrderId=order_id
        )
        return found_of(told["newOrderResponse"])

    def find(self, order_id: str) -> Found:
        return found_of(self.call("get_order", symbol=self.symbol, orderId=order_id))

    def find_own(self, client_id: str) -> Found:
        return found_of(self.call("get_order", symbol=self.symbol, origClientOrderId=client_id))

    def cancel(self, order_id: str) -> None:
        self.call("cancel_order", symbol=self.symbol, orderId=order_id)

    def cancel_own(self, client_id: str) -> None:
        self.call("cancel_order", symbol=self.symbol, origClientOrderId=client_id)

    def cancel_every(self) -> None:
        self.call("cancel_open_orders", symbol=self.symbol)

    def open_orders(self) -> list[str]:
        return [str(row["orderId"]) for row in self.call("get_open_orders", symbol=self.symbol)]

    def all_orders(self) -> list[Found]:
        return [found_of(row) for row in self.call("get_orders", symbol=self.symbol)]

    def own_trades(self) -> list[tuple[Any, ...]]:
        return [
            (
                str(row["id"]), str(row["orderId"]), Decimal(row["price"]), Decimal(row["qty"]),
                Decimal(row["commission"]), row["commissionAsset"], row["isMaker"],
            )
            for row in self.call("my_trades", symbol=self.symbol)
        ]  # fmt: skip

    def candles(self) -> list[list[Decimal]]:
        return [
            [Decimal(value) for value in row[1:6]] for row in self.call("klines", symbol=self.symbol, interval="1m")
        ]

    def book(self) -> tuple[Any, Any]:
        found = self.call("depth", symbol=self.symbol)
        return levels(found["bids"]), levels(found["asks"])

    def best(self) -> tuple[Decimal, Decimal]:
        found = self.call("book_ticker", symbol=self.symbol)
        return Decimal(found["bidPrice"]), Decimal(found["askPrice"])

    def public_trades(self) -> list[tuple[Decimal, Decimal]]:
        return [(Decimal(row["price"]), Decimal(row["qty"])) for row in self.call("trades", symbol=self.symbol)]

    def ticker(self) -> tuple[Decimal, ...]:
        found = self.call("ticker_24hr", symbol=self.symbol)
        return tuple(Decimal(found[name]) for name in ("lastPrice", "openPrice", "highPrice", "lowPrice", "volume"))

    def last(self) -> Decimal:
        return Decimal(self.call("ticker_price", symbol=self.symbol)["price"])

    def fees(self) -> tuple[Decimal, Decimal]:
        [row] = self.call("trade_fee", symbol=self.symbol)
        return Decimal(row["makerCommission"]), Decimal(row["takerCommission"])

    def ask_for_no_market(self) -> None:
        self.call("depth", symbol="NOSUCH")
