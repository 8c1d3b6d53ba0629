"""The two clients: the same calls, one that waits and one for asyncio.

Both only carry requests; what to send is in ``calls``, what an answer means and whether to try again in ``repeating``.
"""

from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from functools import partial
from typing import Any, Concatenate, Final, Generic, ParamSpec, Self, TypeVar

import httpx

from . import calls
from .address import server_address
from .calls import ApiCall, looks_like
from .credentials import Credentials, credentials
from .driving import drive, drive_async
from .models import Page
from .repeating import Answered, Lost, Reply, Retry, Try
from .stream import Stream

P = ParamSpec("P")
T = TypeVar("T")
H = TypeVar("H")

DEFAULT_URL: Final = "http://127.0.0.1:8080"
#: With these the request never left.
_NOT_SENT: Final = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout, httpx.UnsupportedProtocol)


def _sends(describe: Callable[P, ApiCall[T]]) -> Callable[Concatenate["Client", P], T]:
    def method(self: "Client", /, *args: P.args, **kwargs: P.kwargs) -> T:
        return self.carry_out(describe(*args, **kwargs))

    return looks_like(method, describe)


def _sends_async(describe: Callable[P, ApiCall[T]]) -> Callable[Concatenate["AsyncClient", P], Coroutine[Any, Any, T]]:
    def method(self: "AsyncClient", /, *args: P.args, **kwargs: P.kwargs) -> Coroutine[Any, Any, T]:
        return self.carry_out(describe(*args, **kwargs))

    return looks_like(method, describe)


def _pages(describe: Callable[P, ApiCall[Page[T]]]) -> Callable[Concatenate["Client", P], Iterator[T]]:
    def method(self: "Client", /, *args: P.args, **kwargs: P.kwargs) -> Iterator[T]:
        return self.pages(describe(*args, **kwargs))

    return looks_like(method, describe)


def _pages_async(describe: Callable[P, ApiCall[Page[T]]]) -> Callable[Concatenate["AsyncClient", P], AsyncIterator[T]]:
    def method(self: "AsyncClient", /, *args: P.args, **kwargs: P.kwargs) -> AsyncIterator[T]:
        return self.pages(describe(*args, **kwargs))

    return looks_like(method, describe)


class _Caller(ABC, Generic[H]):
    """What both clients know: where the server is, who asks, how patiently."""

    def __init__(
        self,
        url: str = DEFAULT_URL,
        *,
        token: str | Callable[[], str] | None = None,
        api_key: str | None = None,
        api_secret: str | None = None,
        retry: Retry | None = None,
    ) -> None:
        """Take the address and, for what is private, a token (or a function that gives one) or an API key.

        Raises:
            ValueError: the address cannot be one, both kinds of login, or half an API key.
        """
        self._url = server_address(url)
        self._credentials: Credentials | None = credentials(token, api_key, api_secret)
        self._retry = retry or Retry()
        self._http = self._open()

    @abstractmethod
    def _open(self) -> H:
        """Make the pool of connections."""

    def _request(self, call: ApiCall[Any], timeout_s: float) -> httpx.Request:
        """The request of one try, freshly signed."""
        content = call.content
        headers = {"Accept": "application/json"}
        if content:
            headers["Content-Type"] = "application/json"
        timeout = httpx.Timeout(timeout_s).as_dict()
        request = httpx.Request(
            call.method, self._url + call.target, headers=headers, content=content, extensions={"timeout": timeout}
        )
        if self._credentials is not None:
            request.headers.update(self._credentials.headers(call.method, request.url.raw_path, content))
        return request


def _reply(response: httpx.Response) -> Reply:
    return Reply(response.status_code, response.headers.get("retry-after"), response.content)


def _lost(url: str, error: httpx.HTTPError) -> Lost:
    return Lost(f"{url}: {type(error).__name__}: {error}", sent=not isinstance(error, _NOT_SENT))


class Client(_Caller[httpx.Client]):
    """Calls that wait for their answer.  Keeps its connections; close it, or use it in ``with``."""

    def _open(self) -> httpx.Client:
        return httpx.Client()

    def __enter__(self) -> Self:
        """The client itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close it."""
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    place = _sends(calls.place)
    place_many = _sends(calls.place_many)
    cancel = _sends(calls.cancel)
    cancel_all = _sends(calls.cancel_all)
    cancel_many = _sends(calls.cancel_many)
    cancel_after = _sends(calls.cancel_after)
    place_pair = _sends(calls.place_pair)
    pair = _sends(calls.pair)
    amend = _sends(calls.amend)
    order = _sends(calls.order)
    orders = _pages(calls.orders)
    orders_page = _sends(calls.orders)
    trades = _pages(calls.trades)
    trades_page = _sends(calls.trades)
    my_trades = _pages(calls.my_trades)
    my_trades_page = _sends(calls.my_trades)
    order_book = _sends(calls.order_book)
    ticker = _sends(calls.ticker)
    tickers = _sends(calls.tickers)
    candles = _sends(calls.candles)
    markets = _sends(calls.markets)
    market = _sends(calls.market)
    balances = _sends(calls.balances)
    time = _sends(calls.time)
    status = _sends(calls.status)

    def pages(self, call: ApiCall[Page[T]]) -> Iterator[T]:
        """The rows of a list, page by page as they are wanted."""
        while True:
            page = self.carry_out(call)
            yield from page.items
            if page.next_cursor is None:
                return
            call = call.after(page.next_cursor)

    def carry_out(self, call: ApiCall[T]) -> T:
        """Make a call as ``calls`` describes them.

        Raises:
            ClientError: as its module draws it.
        """
        return drive(call, self._retry, partial(self._try, call))

    def _try(self, call: ApiCall[Any], step: Try) -> Answered:
        try:
            return _reply(self._http.send(self._request(call, step.timeout_s)))
        except httpx.HTTPError as error:
            return _lost(self._url, error)


class AsyncClient(_Caller[httpx.AsyncClient]):
    """The same calls for asyncio, and streams.  Use it in ``async with``, or close it."""

    def _open(self) -> httpx.AsyncClient:
        return httpx.AsyncClient()

    async def __aenter__(self) -> Self:
        """The client itself."""
        return self

    async def __aexit__(self, *_: object) -> None:
        """Close it."""
        await self.close()

    async def close(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    place = _sends_async(calls.place)
    place_many = _sends_async(calls.place_many)
    cancel = _sends_async(calls.cancel)
    cancel_all = _sends_async(calls.cancel_all)
    cancel_many = _sends_async(calls.cancel_many)
    cancel_after = _sends_async(calls.cancel_after)
    place_pair = _sends_async(calls.place_pair)
    pair = _sends_async(calls.pair)
    amend = _sends_async(calls.amend)
    order = _sends_async(calls.order)
    orders = _pages_async(calls.orders)
    orders_page = _sends_async(calls.orders)
    trades = _pages_async(calls.trades)
    trades_page = _sends_async(calls.trades)
    my_trades = _pages_async(calls.my_trades)
    my_trades_page = _sends_async(calls.my_trades)
    order_book = _sends_async(calls.order_book)
    ticker = _sends_async(calls.ticker)
    tickers = _sends_async(calls.tickers)
    candles = _sends_async(calls.candles)
    markets = _sends_async(calls.markets)
    market = _sends_async(calls.market)
    balances = _sends_async(calls.balances)
    time = _sends_async(calls.time)
    status = _sends_async(calls.status)

    def stream(self) -> Stream:
        """A WebSocket, to be opened with ``async with``: market data, own orders, and orders placed over it."""
        return Stream(self._url, self._credentials, self._retry)

    async def pages(self, call: ApiCall[Page[T]]) -> AsyncIterator[T]:
        """The rows of a list, page by page as they are wanted."""
        while True:
            page = await self.carry_out(call)
            for row in page.items:
                yield row
            if page.next_cursor is None:
                return
            call = call.after(page.next_cursor)

    async def carry_out(self, call: ApiCall[T]) -> T:
        """Make a call as ``calls`` describes them.

        Raises:
            ClientError: as its module draws it.
        """
        return await drive_async(call, self._retry, partial(self._try, call))

    async def _try(self, call: ApiCall[Any], step: Try) -> Answered:
        try:
            return _reply(await self._http.send(self._request(call, step.timeout_s)))
        except httpx.HTTPError as error:
            return _lost(self._url, error)
