"""Methods of one connection's own: log on and off, and the streams of the users whose logins it brings."""

import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final, Protocol

import msgspec

from trade_engine.edge.auth.tokens import Principal
from trade_engine.edge.binance.given import whole
from trade_engine.edge.binance.refusals import Numbered
from trade_engine.edge.binance.ws.frames import answer_frame
from trade_engine.edge.binance.ws.methods import (
    LISTEN,
    LISTEN_SIGNED,
    LOGON,
    LOGOUT,
    SUBSCRIPTIONS,
    UNLISTEN,
)
from trade_engine.edge.binance.ws.users import UserStreams, UserSubscription
from trade_engine.edge.caller import permit
from trade_engine.edge.rest.route import READ
from trade_engine.edge.settings import StreamSettings
from trade_engine.edge.ws.hub import Reader
from trade_engine.edge.ws.messages import text_frame

#: UserSubscriptions that one connection may make in its life.
_MADE_MAX: Final = 65_535

Login = Callable[[], Awaitable[Principal]]


class MethodsServer(Protocol):
    """What these methods need of the server."""

    settings: StreamSettings

    def count_user(self, connection: Any, user_id: str) -> None:
        """Count a connection of a user; one too many is closed, and TooMany."""


class _Stream(msgspec.Struct, frozen=True):
    """A user's stream on this connection, and whether it ends with the login."""

    principal: Principal
    subscription: UserSubscription
    of_login: bool


class SessionMethods:
    """The login and the streams of one connection."""

    def __init__(self, server: MethodsServer, connection: Reader, users: UserStreams, *, shows_limits: bool) -> None:
        self._server = server
        self._connection = connection
        self._users = users
        self._shows_limits = shows_limits
        self._connected_ms = time.time_ns() // 1_000_000
        self._logged_on_ms: int | None = None
        self.logged_on: Principal | None = None
        self._named = False
        self._streams: dict[int, _Stream] = {}
        self._made = 0

    @property
    def principals(self) -> list[Principal]:
        """Whom the connection is logged in as, and whose streams it reads."""
        streams = [stream.principal for stream in self._streams.values()]
        return streams if self.logged_on is None else [self.logged_on, *streams]

    async def call(self, method: str, given: Mapping[str, str], login: Login) -> Any:
        """Carry a method out; ``login`` says who calls, and is asked by those that must know.

        Raises:
            EngineError: it is refused.
        """
        if method == LOGON:
            self._log_on(await self._reader(login))
        elif method == LOGOUT:
            self._log_out()
        elif method == SUBSCRIPTIONS:
            return [{"subscriptionId": number} for number in self._streams]
        elif method in (LISTEN, LISTEN_SIGNED):
            return self._listen(method, await self._reader(login))
        elif method == UNLISTEN:
            return self._unlisten(whole(given, "subscriptionId"))
        return self._status()

    @staticmethod
    async def _reader(login: Login) -> Principal:
        principal = await login()
        permit(principal, None, READ)
        return principal

    def end(self) -> None:
        """The connection is gone."""
        for stream in self._streams.values():
            self._users.unsubscribe(stream.subscription)
        self._streams.clear()

    # ---- login

    def _log_on(self, principal: Principal) -> None:
        self._count(principal)
        self.logged_on = principal
        self._logged_on_ms = time.time_ns() // 1_000_000

    def _log_out(self) -> None:
        self.logged_on = self._logged_on_ms = None
        for number in [number for number, stream in self._streams.items() if stream.of_login]:
            self._terminate(number)

    def _count(self, principal: Principal) -> None:
        """Count the connection as one of its first user's; its other users are bounded by what it may listen to."""
        if not self._named:
            self._server.count_user(self._connection, principal.user_id)
            self._named = True

    def _status(self) -> dict[str, Any]:
        return {
            "apiKey": None if self.logged_on is None else self.logged_on.key_id,
            "authorizedSince": self._logged_on_ms,
            "connectedSince": self._connected_ms,
            "returnRateLimits": self._shows_limits,
            "serverTime": time.time_ns() // 1_000_000,
            "userDataStream": bool(self._streams),
        }

    # ---- streams

    def _listen(self, method: str, principal: Principal) -> dict[str, Any]:
        of_login = method == LISTEN
        if of_login and self.logged_on is None:
            raise Numbered(-1002, "You are not authorized to execute this request.", 401)
        if any(stream.principal.user_id == principal.user_id for stream in self._streams.values()):
            raise Numbered(-1130, "The connection has a subscription of this account.")
        if len(self._streams) >= self._server.settings.max_subscriptions or self._made >= _MADE_MAX:
            raise Numbered(-1130, "The connection has too many subscriptions.")
        self._count(principal)
        number, self._made = self._made, self._made + 1
        subscription = self._users.subscribe(principal.user_id, lambda content: self._tell(number, content))
        self._streams[number] = _Stream(principal, subscription, of_login)
        return {"subscriptionId": number}

    def _unlisten(self, number: int | None) -> dict[str, Any]:
        if number is not None and number not in self._streams:
            raise Numbered(-1130, "Data sent for parameter 'subscriptionId' is not valid.")
        for each in list(self._streams) if number is None else [number]:
            self._terminate(each)
        return {}

    def _terminate(self, number: int) -> None:
        """End a stream, and say so."""
        stream = self._streams.pop(number, None)
        if stream is not None:
            self._users.unsubscribe(stream.subscription)
            event = {"e": "eventStreamTerminated", "E": time.time_ns() // 1_000_000}
            self._connection.send(answer_frame({"subscriptionId": number, "event": event}))

    def _tell(self, number: int, content: bytes | None) -> None:
        if content is None:
            self._terminate(number)
        else:
            self._connection.send(text_frame(b'{"subscriptionId":%d,"event":%b}' % (number, content)))
