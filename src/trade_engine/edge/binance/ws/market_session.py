"""A client of ``/ws`` and ``/stream``: which streams it has, and its requests for more and fewer."""

import asyncio
import time
from collections import deque
from collections.abc import Sequence
from typing import Any, Final, Protocol

import msgspec
import structlog
from websockets.frames import CloseCode

from trade_engine.domain.errors import EngineError
from trade_engine.edge.auth.tokens import Principal
from trade_engine.edge.binance.listen_keys import no_listen_key
from trade_engine.edge.binance.refusals import Numbered, show
from trade_engine.edge.binance.ws.frames import answer_frame, event_frame
from trade_engine.edge.binance.ws.names import NAME_MAX, Named, read_name
from trade_engine.edge.binance.ws.requests import (
    GET,
    LIST,
    SET,
    SUBSCRIBE,
    StreamRequest,
    Unreadable,
    failure,
    read_request,
)
from trade_engine.edge.binance.ws.streams import topic_of
from trade_engine.edge.binance.ws.users import UserStreams, UserSubscription
from trade_engine.edge.limits import Demand, LocalLimits
from trade_engine.edge.problems import TooMany
from trade_engine.edge.services import Services
from trade_engine.edge.settings import ORDERS, LimitSettings, RateLimit, StreamSettings
from trade_engine.edge.ws.hub import Hub, Reader

log = structlog.get_logger(__name__)

_UNREADABLE_MAX: Final = 10
#: So many streams of a request count as one more request of the connection; one counts for so much of its address.
_STREAMS_A_REQUEST: Final = 10
_STREAM_COST: Final = 0.2
#: UserSubscriptions made before the loop's other work has its turn.
_SLICE: Final = 32
#: What is shorter, and no market stream, is no listen key: clients number their connections so.
_LISTEN_KEY_MIN: Final = 16
#: Bytes of requests that wait while one is carried out.
_WAITING_MAX: Final = 256 * 1024


class StreamsServer(Protocol):
    """What a session needs of the server that it is at."""

    services: Services
    settings: StreamSettings
    hub: Hub

    def count_user(self, connection: Any, user_id: str) -> None:
        """Count a connection that reads a user's stream; one too many is closed, and TooMany."""


class StreamsConnection(Reader, Protocol):
    """What it needs of its connection."""

    @property
    def is_closing(self) -> bool:
        """Whether nobody will read what is sent."""

    def charge(self, cost: float) -> None:
        """Count what a message turned out to cost its address."""

    def close(self, code: int, reason: str) -> None:
        """Say goodbye."""


class MarketSession:
    """Keeps ``ws.connection.ClientSession``.

    Args:
        names: the streams that the path asks for; they can be had, or nobody comes in.
        combined: events come with the names of their streams.
    """

    def __init__(
        self,
        server: StreamsServer,
        connection: StreamsConnection,
        users: UserStreams,
        names: Sequence[str] = (),
        *,
        combined: bool = False,
    ) -> None:
        self._server = server
        self._connection = connection
        self._combined = combined
        self._at_first = list(names)
        #: The market streams by their names.
        self._streams: dict[str, Named] = {}
        self._users = users
        #: The streams of users by their listen keys.
        self._listened: dict[str, UserSubscription] = {}
        settings = server.settings
        rate = RateLimit(settings.commands_per_s, settings.commands_burst)
        self._limits = LocalLimits(LimitSettings(orders=rate, max_callers=1))
        self._waiting: deque[tuple[StreamRequest, int]] = deque()
        self._waiting_bytes = 0
        self._work: asyncio.Task[None] | None = None
        self._unreadable = 0

    @property
    def principals(self) -> list[Principal]:
        """The owners of its listen keys."""
        found = map(self._server.services.listen_keys.owner_of, self._listened)
        return [principal for principal in found if principal is not None]

    @property
    def under_way(self) -> int:
        """Nothing that the engine is waited for."""
        return 0

    def opened(self) -> None:
        """Begin with the streams of the path."""
        if self._at_first:
            self._begin()

    def expired(self) -> bool:
        """Whether it had a listen key that has ended."""
        ended = [key for key in self._listened if self._server.services.listen_keys.owner_of(key) is None]
        for key in ended:
            event = {"e": "listenKeyExpired", "E": time.time_ns() // 1_000_000, "listenKey": key}
            self._connection.send(event_frame(key, event, combined=self._combined))
        return bool(ended)

    def receive(self, message: bytes) -> None:
        """Carry a message out, or say why not."""
        try:
            request = read_request(message)
        except Unreadable as error:
            self._connection.send(answer_frame(failure(error.number, error.message, error.request_id)))
            self._unreadable = self._unreadable + 1 if error.number == 3 else 0
            if self._unreadable >= _UNREADABLE_MAX:
                self._connection.close(CloseCode.POLICY_VIOLATION, "messages are JSON objects")
            return
        self._unreadable = 0
        count = len(self._streams) if request.method in (SET, LIST) else len(request.params)
        cost = min(1 + count // _STREAMS_A_REQUEST, self._server.settings.commands_burst)
        self._connection.charge(count * _STREAM_COST)
        self._waiting_bytes += len(message)
        fits = all(verdict.allowed for verdict in self._limits.take_now([Demand(ORDERS, "", cost)]))
        if not fits or self._waiting_bytes > _WAITING_MAX:
            self._connection.close(CloseCode.POLICY_VIOLATION, "Too many requests")
            return
        self._waiting.append((request, len(message)))
        self._begin()

    def end(self) -> None:
        """The connection is gone."""
        if self._work is not None:
            self._work.cancel()
        self._waiting.clear()
        topics = [topic_of(named, combined=self._combined) for named in self._streams.values()]
        self._streams.clear()
        for subscription in self._listened.values():
            self._users.unsubscribe(subscription)
        self._server.hub.leave(topics, self._connection)

    # ---- requests, one after the other

    def _begin(self) -> None:
        if self._work is None:
            self._work = asyncio.create_task(self._carry_out())

    async def _carry_out(self) -> None:
        try:
            at_first, self._at_first = self._at_first, []
            await self._subscribe(at_first)
            while self._waiting:
                request, size = self._waiting.popleft()
                self._waiting_bytes -= size
                await self._answer(request)
        except Exception:
            log.exception("stream_request_failed")
            self._connection.close(CloseCode.INTERNAL_ERROR, "a fault of the server")
        finally:
            self._work = None

    async def _answer(self, request: StreamRequest) -> None:
        try:
            if request.method == SUBSCRIBE:
                names = self._names(request)
                self._require_known(names)
                # The answer comes before the first event.
                self._tell(request, None)
                await self._subscribe(names)
                return
            self._tell(request, await self._result(request))
        except Unreadable as error:
            self._connection.send(answer_frame(failure(error.number, error.message, request.id)))
        except EngineError as error:
            self._connection.send(answer_frame(failure(2, f"Invalid request: {show(error).text}", request.id)))

    def _tell(self, request: StreamRequest, result: Any) -> None:
        self._connection.send(answer_frame({"result": result, "id": request.id}))

    async def _result(self, request: StreamRequest) -> Any:
        if request.method == LIST:
            return [*self._streams, *self._listened]
        if request.method in (SET, GET):
            return await self._property(request)
        await self._unsubscribe(self._names(request))
        return None

    def _names(self, request: StreamRequest) -> list[str]:
        if not request.params:
            raise Unreadable(2, "Invalid request: missing field `params`")
        if not all(isinstance(name, str) and 0 < len(name) <= NAME_MAX for name in request.params):
            raise Unreadable(2, "Invalid request: stream names are strings")
        return request.params

    async def _property(self, request: StreamRequest) -> Any:
        name, *values = request.params or [None]
        if not isinstance(name, str):
            raise Unreadable(2, "Invalid request: property name must be a string")
        if name != "combined":
            raise Unreadable(0, "Unknown property")
        if len(values) > (request.method == SET):
            raise Unreadable(2, "Invalid request: too many parameters")
        if request.method == GET:
            return self._combined
        if not values or not isinstance(values[0], bool):
            raise Unreadable(1, "Invalid value type: expected Boolean")
        await self._render(combined=values[0])
        return None

    # ---- streams

    def _require_known(self, names: Sequence[str]) -> None:
        """Refuse a request with a stream that is none, or with too many.

        Raises:
            Unreadable, Numbered: there is such a one.
        """
        most = self._server.settings.max_streams
        if len(self._streams.keys() | self._listened.keys() | set(names)) > most:
            raise Unreadable(2, f"Invalid request: a connection has at most {most} streams")
        require_known(names, self._server.services)

    async def _subscribe(self, names: Sequence[str]) -> None:
        for count, name in enumerate(names, 1):
            named = read_name(name, self._server.services.markets)
            if self._connection.is_closing:
                return
            if named is None:
                self._listen(name)
            elif name not in self._streams:
                self._server.hub.subscribe(topic_of(named, combined=self._combined), self._connection)
                self._streams[name] = named
            await self._rest(count)

    async def _unsubscribe(self, names: Sequence[str]) -> None:
        for count, name in enumerate(names, 1):
            named, subscription = self._streams.pop(name, None), self._listened.pop(name, None)
            if subscription is not None:
                self._users.unsubscribe(subscription)
            if named is not None:
                self._server.hub.unsubscribe(topic_of(named, combined=self._combined), self._connection)
            await self._rest(count)

    def _listen(self, listen_key: str) -> None:
        """Have the stream of the user whose listen key this is, if it is one."""
        owner = self._server.services.listen_keys.owner_of(listen_key)
        if owner is None or listen_key in self._listened:
            return
        if not self._listened:
            try:
                self._server.count_user(self._connection, owner.user_id)
            except TooMany:
                return
        self._listened[listen_key] = self._users.subscribe(
            owner.user_id, lambda content: self._tell_user(listen_key, content)
        )

    def _tell_user(self, listen_key: str, content: bytes | None) -> None:
        if content is None:
            self._connection.close(CloseCode.SERVICE_RESTART, "events may be missing: look, and listen again")
        else:
            self._connection.send(event_frame(listen_key, msgspec.Raw(content), combined=self._combined))

    async def _render(self, *, combined: bool) -> None:
        """Have the events of all streams with their names, or without."""
        if combined is self._combined:
            return
        # In one go: while some are moved and others not, nobody could tell which are.
        for named in self._streams.values():
            old, new = (topic_of(named, combined=how) for how in (self._combined, combined))
            self._server.hub.move(old, new, self._connection)
        self._combined = combined

    @staticmethod
    async def _rest(count: int) -> None:
        if count % _SLICE == 0:
            await asyncio.sleep(0)


def require_known(names: Sequence[str], services: Services) -> None:
    """Refuse streams that are none.

    Raises:
        Numbered: -1121, -1120 and -1130 of a market stream; -1125 there is no such listen key.
    """
    for name in names:
        if len(name) > NAME_MAX:
            raise Numbered(-1130, "Data sent for parameter 'streams' is not valid.")
        is_listen_key = read_name(name, services.markets) is None and len(name) >= _LISTEN_KEY_MIN
        if is_listen_key and services.listen_keys.owner_of(name) is None:
            raise no_listen_key()
