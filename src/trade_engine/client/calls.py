"""Every call of the API, described once for both clients: what is sent, what comes back, what a repeat would do.

Nothing here sends anything.  ``Client`` and ``AsyncClient`` take their methods, signatures and docstrings from here.
"""

import enum
import inspect
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, field, replace
from datetime import datetime
from functools import partial
from typing import Any, Final, Generic, ParamSpec, TypeVar
from urllib.parse import quote, urlencode

import msgspec

from .models import (
    Balance,
    CancelAfter,
    Cancelled,
    Candle,
    Interval,
    Market,
    MarketTrade,
    Order,
    OrderBook,
    OrderStatus,
    OrderType,
    Page,
    Pair,
    Placed,
    PlaceResult,
    SelfTradePrevention,
    ServerTime,
    Side,
    Status,
    Ticker,
    TimeInForce,
    Trade,
)
from .values import Amount, write_amount, write_time

P = ParamSpec("P")
T = TypeVar("T")
M = TypeVar("M", bound=Callable[..., Any])

_ROOT: Final = "/api/v1"


class Effect(enum.Enum):
    """What a second request does if the first was carried out after all."""

    #: Changes nothing at all.
    READS = "reads"
    #: Leaves things as one request does: an order with its client_order_id, a cancel.
    REPEATABLE = "repeatable"
    #: Might change what happened in between: never sent again unless the first surely did nothing.
    ONCE = "once"


@dataclass(frozen=True)
class ApiCall(Generic[T]):
    """One call; ``read`` makes the result of the answer's data and its next_cursor."""

    method: str
    path: str
    read: Callable[[msgspec.Raw, str | None], T]
    effect: Effect = Effect.READS
    params: Mapping[str, str] = field(default_factory=dict)
    body: Mapping[str, Any] | None = None
    client_order_ids: tuple[str, ...] = ()
    #: Whether the result itself asks for a repeat, as a batch does whose orders have an unknown outcome.
    unsettled: Callable[[T], bool] | None = None

    @property
    def target(self) -> str:
        """Path and query."""
        return f"{_ROOT}{self.path}?{urlencode(self.params)}" if self.params else _ROOT + self.path

    @property
    def content(self) -> bytes:
        """The body."""
        return b"" if self.body is None else msgspec.json.encode(self.body)

    def after(self, cursor: str) -> "ApiCall[T]":
        """The same list from a cursor on."""
        return replace(self, params={**self.params, "cursor": cursor})


def looks_like(method: M, describe: Callable[..., Any]) -> M:
    """Give a client's method the name, words and parameters of the call it makes."""
    method.__name__ = describe.__name__
    method.__doc__ = describe.__doc__
    signature = inspect.signature(describe)
    first = inspect.Parameter("self", inspect.Parameter.POSITIONAL_ONLY)
    method.__signature__ = signature.replace(  # type: ignore[attr-defined]
        parameters=[first, *signature.parameters.values()], return_annotation=inspect.Signature.empty
    )
    return method


def _one(kind: type[T]) -> Callable[[msgspec.Raw, str | None], T]:
    decoder = msgspec.json.Decoder(kind)
    return lambda content, _: decoder.decode(content)


def _page(kind: type[T]) -> Callable[[msgspec.Raw, str | None], Page[T]]:
    decoder = msgspec.json.Decoder(list[kind])  # type: ignore[valid-type]
    return lambda content, cursor: Page(decoder.decode(content), cursor)


_order: Final = _one(Order)
_placed: Final = _one(Placed)
_results: Final = _one(list[PlaceResult])
_cancelled: Final = _one(Cancelled)
_cancel_after: Final = _one(CancelAfter)
_pair: Final = _one(Pair)
_orders: Final = _page(Order)
_own_trades: Final = _page(Trade)
_market_trades: Final = _page(MarketTrade)
_book: Final = _one(OrderBook)
_ticker: Final = _one(Ticker)
_tickers: Final = _one(list[Ticker])
_candles: Final = _page(Candle)
_markets: Final = _one(list[Market])
_market: Final = _one(Market)
_balances: Final = _one(list[Balance])
_time: Final = _one(ServerTime)
_status: Final = _one(Status)


@dataclass(frozen=True)
class NewOrder:
    """An order to be placed.  Its ``client_order_id`` is made here if none is given, so that it can be repeated.

    ``quantity`` is left out with ``quote_amount`` (a market BUY by what to spend); ``price`` belongs to LIMIT and
    STOP_LIMIT, ``stop_price`` to STOP and STOP_LIMIT, ``expires_at`` to GTD.
    """

    symbol: str
    side: Side
    quantity: Amount | None = None
    price: Amount | None = None
    _: KW_ONLY
    type: OrderType = "LIMIT"
    stop_price: Amount | None = None
    time_in_force: TimeInForce = "GTC"
    client_order_id: str = field(default_factory=lambda: uuid.uuid4().hex)
    self_trade_prevention: SelfTradePrevention = "CANCEL_NEWEST"
    post_only: bool = False
    #: Of STOP and STOP_LIMIT: reached when the price is better than now, not worse.
    take_profit: bool = False
    display_quantity: Amount | None = None
    quote_amount: Amount | None = None
    expires_at: datetime | None = None

    def body(self) -> dict[str, Any]:
        """The fields of ``POST /orders``.

        Raises:
            TypeError: an amount is a float.
            ValueError: an amount is no number, or a time has no zone.
        """
        body: dict[str, Any] = {
            "symbol": self.symbol,
            "side": self.side,
            "type": self.type,
            "time_in_force": self.time_in_force,
            "client_order_id": self.client_order_id,
            "self_trade_prevention": self.self_trade_prevention,
            "post_only": self.post_only,
        }
        if self.take_profit:
            body["take_profit"] = True
        for name in ("quantity", "price", "stop_price", "display_quantity", "quote_amount"):
            if getattr(self, name) is not None:
                body[name] = write_amount(name, getattr(self, name))
        if self.expires_at is not None:
            body["expires_at"] = write_time("expires_at", self.expires_at)
        return body


def _of_an_order(make: Callable[P, NewOrder]) -> Callable[P, ApiCall[Placed]]:
    """``place`` takes what ``NewOrder`` takes."""

    def place(*args: P.args, **kwargs: P.kwargs) -> ApiCall[Placed]:
        """Place an order.  Repeated with its client_order_id until the outcome is known or the time is up.

        Takes what ``NewOrder`` takes: symbol, side, quantity, price, and by name the rest.
        """
        order = make(*args, **kwargs)
        ids = (order.client_order_id,)
        return ApiCall("POST", "/orders", _placed, Effect.REPEATABLE, body=order.body(), client_order_ids=ids)

    place.__signature__ = inspect.signature(NewOrder)  # type: ignore[attr-defined]
    return place


place = _of_an_order(NewOrder)


def place_many(orders: Iterable[NewOrder]) -> ApiCall[list[PlaceResult]]:
    """Place several orders in one request; each has its own result, in the order given.  Repeated like ``place``."""
    listed = list(orders)
    return ApiCall(
        "POST",
        "/orders/batch",
        _results,
        Effect.REPEATABLE,
        body={"orders": [order.body() for order in listed]},
        client_order_ids=tuple(order.client_order_id for order in listed),
        unsettled=lambda results: any(r.error is not None and r.error.code == "OUTCOME_UNKNOWN" for r in results),
    )


def cancel(order_id: str) -> ApiCall[Order]:
    """Cancel an order: the order as it ended.  Cancelling again answers the same, so it is repeated."""
    return ApiCall("DELETE", f"/orders/{_part(order_id)}", _order, Effect.REPEATABLE)


def cancel_all(symbol: str | None = None) -> ApiCall[int]:
    """Cancel all orders, or those of a market: how many (by the last try, if it was repeated)."""
    params = _given(symbol=symbol)
    return ApiCall("DELETE", "/orders", lambda *answer: _cancelled(*answer).cancelled, Effect.REPEATABLE, params=params)


def cancel_many(order_ids: Iterable[str]) -> ApiCall[list[PlaceResult]]:
    """Cancel several orders in one request; each has its own result, in the order given.  Repeated like ``cancel``."""
    body = {"order_ids": list(order_ids)}
    return ApiCall("POST", "/orders/cancel-batch", _results, Effect.REPEATABLE, body=body)


def cancel_after(timeout_s: int, symbol: str | None = None) -> ApiCall[CancelAfter]:
    """Cancel all orders, or those of a market, after a time, unless you ask again before it is over; 0 calls it off."""
    body: dict[str, Any] = {"timeout_s": timeout_s, **_given(symbol=symbol)}
    return ApiCall("POST", "/orders/cancel-after", _cancel_after, Effect.REPEATABLE, body=body)


def place_pair(one: NewOrder, other: NewOrder, client_pair_id: str | None = None) -> ApiCall[Pair]:
    """Place two orders of which one cancels the other: of one symbol, side and quantity.

    A LIMIT is post-only; the other one is a STOP or STOP_LIMIT.  Repeated with their client_order_ids like ``place``.
    """
    bodies = (one.body(), other.body())
    names = ("type", "price", "stop_price", "take_profit", "display_quantity", "client_order_id")
    body: dict[str, Any] = {name: bodies[0][name] for name in ("symbol", "side", "quantity", "self_trade_prevention")}
    body["legs"] = [{name: leg[name] for name in names if name in leg} for leg in bodies]
    body |= _given(client_pair_id=client_pair_id)
    ids = (one.client_order_id, other.client_order_id)
    return ApiCall("POST", "/order-pairs", _pair, Effect.REPEATABLE, body=body, client_order_ids=ids)


def pair(order_id: str) -> ApiCall[Pair]:
    """A pair of yours, by the id of one of its orders."""
    return ApiCall("GET", f"/order-pairs/{_part(order_id)}", _pair)


def amend(
    order_id: str,
    *,
    quantity: Amount | None = None,
    price: Amount | None = None,
    stop_price: Amount | None = None,
) -> ApiCall[Placed]:
    """Change an order; ``quantity`` is its new total.  Less quantity keeps the place in the queue.

    Never repeated once it may have been carried out: a repeat could undo what somebody changed in between.
    ``OutcomeUnknown`` then; look at the order.
    """
    change = {"quantity": quantity, "price": price, "stop_price": stop_price}
    body = {name: write_amount(name, value) for name, value in change.items() if value is not None}
    return ApiCall("PATCH", f"/orders/{_part(order_id)}", _placed, Effect.ONCE, body=body)


def order(order_id: str) -> ApiCall[Order]:
    """One order of yours."""
    return ApiCall("GET", f"/orders/{_part(order_id)}", _order)


def orders(
    symbol: str | None = None,
    *,
    status: OrderStatus | str | Sequence[OrderStatus] | None = None,
    side: Side | None = None,
    start_time: datetime | None = None,
    end_time: datetime | None = None,
    limit: int = 100,
    cursor: str | None = None,
) -> ApiCall[Page[Order]]:
    """Your orders, newest first; ``status`` may be ``open`` for all that live.  ``limit`` is the size of a page."""
    words = status if status is None or isinstance(status, str) else ",".join(status)
    given = _given(symbol=symbol, status=words, side=side, limit=str(limit), cursor=cursor)
    return ApiCall("GET", "/orders", _orders, params=given | _span(start_time, end_time))


def trades(
    symbol: str,
    *,
    start_time: datetime | None = None,
    end_time: datetime | None = None,
    limit: int = 100,
    cursor: str | None = None,
) -> ApiCall[Page[MarketTrade]]:
    """A market's trades, newest first; no login needed."""
    given = _given(symbol=symbol, scope="market", limit=str(limit), cursor=cursor)
    return ApiCall("GET", "/trades", _market_trades, params=given | _span(start_time, end_time))


def my_trades(
    symbol: str | None = None,
    *,
    start_time: datetime | None = None,
    end_time: datetime | None = None,
    limit: int = 100,
    cursor: str | None = None,
) -> ApiCall[Page[Trade]]:
    """Your own trades, newest first."""
    given = _given(symbol=symbol, scope="own", limit=str(limit), cursor=cursor)
    return ApiCall("GET", "/trades", _own_trades, params=given | _span(start_time, end_time))


def order_book(symbol: str, depth: int = 50) -> ApiCall[OrderBook]:
    """A market's book, so many levels a side."""
    return ApiCall("GET", f"/orderbook/{_market_part(symbol)}", _book, params={"depth": str(depth)})


def ticker(symbol: str) -> ApiCall[Ticker]:
    """A market's last 24 hours and best prices."""
    return ApiCall("GET", f"/markets/{_market_part(symbol)}/ticker", _ticker)


def tickers() -> ApiCall[list[Ticker]]:
    """Every market's last 24 hours and best prices."""
    return ApiCall("GET", "/tickers", _tickers)


def candles(
    symbol: str,
    interval: Interval = "1m",
    *,
    start_time: datetime | None = None,
    end_time: datetime | None = None,
    limit: int = 500,
    cursor: str | None = None,
) -> ApiCall[Page[Candle]]:
    """A page of a market's candles, oldest first; the first page has the newest, a cursor leads back in time."""
    given = _given(interval=interval, limit=str(limit), cursor=cursor) | _span(start_time, end_time)
    return ApiCall("GET", f"/markets/{_market_part(symbol)}/candles", _candles, params=given)


def markets() -> ApiCall[list[Market]]:
    """All markets and their rules."""
    return ApiCall("GET", "/markets", _markets)


def market(symbol: str) -> ApiCall[Market]:
    """One market and its rules."""
    return ApiCall("GET", f"/markets/{_market_part(symbol)}", _market)


def balances() -> ApiCall[list[Balance]]:
    """What you have, by asset."""
    return ApiCall("GET", "/balances", _balances)


def time() -> ApiCall[datetime]:
    """The server's clock."""
    return ApiCall("GET", "/time", lambda *answer: _time(*answer).time)


def status() -> ApiCall[Status]:
    """What answers, and whether all of it works."""
    return ApiCall("GET", "/status", _status)


_part = partial(quote, safe="")


def _market_part(symbol: str) -> str:
    return _part(symbol.replace("/", "-"))


def _given(**params: str | None) -> dict[str, str]:
    return {name: value for name, value in params.items() if value is not None}


def _span(start: datetime | None, end: datetime | None) -> dict[str, str]:
    times = {"start_time": start, "end_time": end}
    return {name: write_time(name, moment) for name, moment in times.items() if moment is not None}
