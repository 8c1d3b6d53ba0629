"""A WebSocket that stays up: it logs in, subscribes, and after a cut does both again by itself.

    async with client.stream() as stream:
        await stream.subscribe("depth", "BTC/USDT")
        async for message in stream:
            print(stream.book("BTC/USDT").best_bid)

After a reconnection each channel begins with a snapshot again.  A book that is out of step is subscribed again, and
nothing of it is handed out until it is right.  What is not read is kept up to a limit, then the connection is not
read either, and the server thins out: so read while you wait for the answers of commands.
"""

import asyncio
import contextlib
import itertools
import random
from collections.abc import Callable, Coroutine, Mapping
from datetime import datetime
from functools import partial
from typing import Any, Concatenate, Final, ParamSpec, Self, TypeVar

import msgspec
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import InvalidStatus, WebSocketException

from . import calls
from .calls import ApiCall, Effect, looks_like
from .credentials import Credentials
from .driving import drive_async
from .errors import ClientError, ProtocolError, RateLimited, TransportError, Unavailable, api_error
from .local_book import LocalBook, OutOfStep
from .messages import Channel, ChannelMessage, CommandAnswer, DepthMessage, decoder
from .models import Interval, Order, Placed, ServerTime
from .repeating import Answered, Lost, Reply, Retry, Try
from .values import Amount

P = ParamSpec("P")
T = TypeVar("T")

_QUEUE: Final = 10_000
_MESSAGE_BYTES_MOST: Final = 64 * 1024 * 1024
_PASSING_STATUS: Final = frozenset((408, 429, 500, 502, 503, 504))
_Subscription = tuple[Channel, str | None, Interval | None, int | None]


def _places(describe: Callable[P, ApiCall[Placed]]) -> Callable[Concatenate["Stream", P], Coroutine[Any, Any, Placed]]:
    async def place(self: "Stream", /, *args: P.args, **kwargs: P.kwargs) -> Placed:
        call = describe(*args, **kwargs)
        return await self._send("place", {"order": call.body}, call)

    return looks_like(place, describe)


class Stream:
    """One connection at a time, and what is subscribed on it.  Made by ``AsyncClient.stream``."""

    def __init__(self, url: str, credentials: Credentials | None, retry: Retry) -> None:
        """``url`` is that of the REST API."""
        self._url = f"ws{url.removeprefix('http')}/ws"
        self._credentials = credentials
        self._retry = retry
        self._connection: ClientConnection | None = None
        self._ready = asyncio.Event()
        self._ids = itertools.count(1)
        self._waiting: dict[int, asyncio.Future[Answered]] = {}
        self._messages: asyncio.Queue[ChannelMessage | None] = asyncio.Queue(_QUEUE)
        self._subscriptions: dict[_Subscription, None] = {}
        self._cancel_on_disconnect = False
        self._books: dict[str, LocalBook] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._closed = False
        self._ended: ClientError | None = None
        #: Why the last connection ended, if it did.
        self.last_trouble: Exception | None = None
        #: How often it has connected.
        self.connections = 0

    async def __aenter__(self) -> Self:
        """Connect and log in.

        Raises:
            TransportError: nobody answers within the deadline.
            ApiError: the login is refused.
        """
        self._start(self._run())
        try:
            async with asyncio.timeout(max(self._retry.deadline_s, self._retry.timeout_s)):
                await self._ready.wait()
        except TimeoutError:
            await self.__aexit__()
            raise TransportError(f"no WebSocket at {self._url}: {self.last_trouble!r}") from None
        if self._ended is not None:
            await self.__aexit__()
            raise self._ended
        return self

    async def __aexit__(self, *_: object) -> None:
        """Close it."""
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def __aiter__(self) -> Self:
        """Messages as they come."""
        return self

    async def __anext__(self) -> ChannelMessage:
        """The next message.

        Raises:
            ClientError: the stream has ended and will not come back: the login was refused, say.
        """
        if self._closed and self._messages.empty():
            raise self._ended or StopAsyncIteration
        message = await self._messages.get()
        if message is None:
            raise self._ended or StopAsyncIteration
        return message

    @property
    def connected(self) -> bool:
        """Whether it is connected, logged in and subscribed."""
        return self._connection is not None

    def book(self, symbol: str) -> LocalBook:
        """The book of a market whose ``depth`` is subscribed; ``synced`` says whether it is right.

        Raises:
            KeyError: there has been no snapshot.
        """
        return self._books[_plain(symbol)]

    async def subscribe(
        self,
        channel: Channel,
        symbol: str | None = None,
        *,
        interval: Interval | None = None,
        levels: int | None = None,
    ) -> None:
        """Subscribe, now and after each reconnection.

        Raises:
            ClientError: refused, or no answer.
        """
        key: _Subscription = (channel, symbol, interval, levels)
        await self._carry_out("subscribe", _fields(key), _nothing)
        self._subscriptions[key] = None

    async def unsubscribe(
        self,
        channel: Channel,
        symbol: str | None = None,
        *,
        interval: Interval | None = None,
        levels: int | None = None,
    ) -> None:
        """End a subscription.

        Raises:
            ClientError: refused, or no answer.
        """
        key: _Subscription = (channel, symbol, interval, levels)
        self._subscriptions.pop(key, None)
        await self._carry_out("unsubscribe", _fields(key), _nothing)
        if channel == "depth" and not levels:
            self._books.pop(_plain(symbol or ""), None)

    async def ping(self) -> datetime:
        """The server's clock, over the stream."""
        return (await self._carry_out("ping", {}, msgspec.json.Decoder(ServerTime).decode)).time

    async def cancel_on_disconnect(self, *, enabled: bool = True) -> None:
        """End the orders placed over this connection when it closes; said again after each reconnection."""
        await self._carry_out("cancel_on_disconnect", {"enabled": enabled}, _nothing)
        self._cancel_on_disconnect = enabled

    place = _places(calls.place)

    async def cancel(self, order_id: str) -> Order:
        """Cancel an order; as ``AsyncClient.cancel``."""
        return await self._send("cancel", {"order_id": order_id}, calls.cancel(order_id))

    async def cancel_all(self, symbol: str | None = None) -> int:
        """Cancel all orders; as ``AsyncClient.cancel_all``."""
        call = calls.cancel_all(symbol)
        return await self._send("cancel_all", call.params, call)

    async def amend(
        self,
        order_id: str,
        *,
        quantity: Amount | None = None,
        price: Amount | None = None,
        stop_price: Amount | None = None,
    ) -> Placed:
        """Change an order; as ``AsyncClient.amend``, and as there never repeated once it may have been carried out."""
        call = calls.amend(order_id, quantity=quantity, price=price, stop_price=stop_price)
        return await self._send("amend", {"order_id": order_id, "change": call.body}, call)

    async def _carry_out(self, op: str, fields: Mapping[str, Any], read: Callable[[msgspec.Raw], T]) -> T:
        call = ApiCall("WebSocket", op, lambda content, _: read(content), Effect.REPEATABLE)
        return await self._send(op, fields, call)

    async def _send(self, op: str, fields: Mapping[str, Any], call: ApiCall[T]) -> T:
        return await drive_async(call, self._retry, partial(self._try, op, fields))

    async def _try(self, op: str, fields: Mapping[str, Any], step: Try) -> Answered:
        number, sent = next(self._ids), False
        try:
            async with asyncio.timeout(step.timeout_s):
                await self._ready.wait()
                if self._connection is None:
                    raise self._ended or TransportError("the stream is closed")
                answer: asyncio.Future[Answered] = asyncio.get_running_loop().create_future()
                self._waiting[number] = answer
                sent = True
                await self._connection.send(_command(op, number, fields))
                return await answer
        except (TimeoutError, WebSocketException) as error:
            return Lost(f"{op}: {type(error).__name__}: {error}", sent)
        finally:
            self._waiting.pop(number, None)

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _run(self) -> None:
        pause_s = self._retry.first_pause_s
        try:
            while True:
                heard = await self._live()
                pause_s = self._retry.first_pause_s if heard else min(2 * pause_s, self._retry.longest_pause_s)
                await asyncio.sleep(pause_s * (1 - random.random() / 2))  # noqa: S311 - spreads reconnections
        except ClientError as error:
            self._ended = error
        finally:
            self._closed = True
            self._ready.set()
            with contextlib.suppress(asyncio.QueueFull):
                self._messages.put_nowait(None)

    async def _live(self) -> bool:
        """One connection from its beginning to its end; whether anything was heard on it.

        Raises:
            ClientError: coming back would not help.
        """
        heard = False
        try:
            async with connect(
                self._url, open_timeout=self._retry.timeout_s, max_size=_MESSAGE_BYTES_MOST
            ) as connection:
                async with asyncio.timeout(self._retry.timeout_s):
                    await self._enter(connection)
                async for frame in connection:
                    heard = True
                    await self._take(frame)
        except InvalidStatus as refused:
            status = refused.response.status_code
            if status not in _PASSING_STATUS:
                raise ProtocolError(f"{self._url} answers HTTP {status}") from refused
        except (RateLimited, Unavailable, OSError, TimeoutError, WebSocketException) as error:
            self.last_trouble = error
        finally:
            self._drop()
        return heard

    async def _enter(self, connection: ClientConnection) -> None:
        """Log in and subscribe to what was subscribed."""
        if self._credentials is not None:
            await self._exchange(connection, "auth", self._credentials.login())
        if self._cancel_on_disconnect:
            await self._exchange(connection, "cancel_on_disconnect", {"enabled": True})
        for key in self._subscriptions:
            await self._exchange(connection, "subscribe", _fields(key))
        self._connection = connection
        self.connections += 1
        self._ready.set()

    async def _exchange(self, connection: ClientConnection, op: str, fields: Mapping[str, Any]) -> None:
        """Send a command before anybody else can, and wait for its answer; what comes in between is taken."""
        number = next(self._ids)
        await connection.send(_command(op, number, fields))
        while True:
            answer = await self._take(await connection.recv())
            if answer is not None and answer.id == number:
                if answer.error is not None:
                    raise api_error(answer.error, 0, None, None)
                return

    async def _take(self, frame: str | bytes) -> CommandAnswer | None:
        try:
            message = decoder.decode(frame)
        except msgspec.DecodeError as error:
            raise ProtocolError(f"a message that is none of this protocol: {error}") from error
        if isinstance(message, CommandAnswer):
            waiting = self._waiting.get(message.id or 0)
            if waiting is not None and not waiting.done():
                waiting.set_result(Reply(0, None, frame if isinstance(frame, bytes) else frame.encode()))
            return message
        if not isinstance(message, DepthMessage) or message.levels or self._follows(message):
            await self._messages.put(message)
        return None

    def _follows(self, message: DepthMessage) -> bool:
        """Whether a message of a book fits; if not, the book is asked for again."""
        book = self._books.setdefault(_plain(message.symbol), LocalBook(message.symbol))
        if not book.synced and not message.snapshot:
            return False
        try:
            book.apply(message)
        except OutOfStep:
            self._start(self._subscribe_again(message.symbol))
            return False
        return True

    async def _subscribe_again(self, symbol: str) -> None:
        fields = {"channel": "depth", "symbol": symbol}
        connection = self._connection
        try:
            await self._carry_out("unsubscribe", fields, _nothing)
            await self._carry_out("subscribe", fields, _nothing)
        except ClientError:
            if connection is not None:
                await connection.close()

    def _drop(self) -> None:
        """Forget the connection; who waits for an answer hears that there will be none."""
        self._connection = None
        if not self._closed:
            self._ready.clear()
        for waiting in self._waiting.values():
            if not waiting.done():
                waiting.set_result(Lost("the connection was closed", sent=True))
        for book in self._books.values():
            book.synced = False


def _command(op: str, number: int, fields: Mapping[str, Any]) -> str:
    return msgspec.json.encode({"op": op, "id": number, **fields}).decode()


def _fields(key: _Subscription) -> dict[str, Any]:
    named = zip(("channel", "symbol", "interval", "levels"), key, strict=True)
    return {name: value for name, value in named if value is not None}


def _plain(symbol: str) -> str:
    """One key for every spelling of a symbol."""
    return symbol.upper().replace("/", "").replace("-", "")


def _nothing(_: msgspec.Raw) -> None:
    """The answer says no more than yes."""
