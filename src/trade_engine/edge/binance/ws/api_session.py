"""A client of ``/ws-api/v3``: its login, its requests, each carried out by the route that does the same over REST.

Every request gets exactly one answer; those that wait for the engine run side by side, so many at a time.  Limits,
scopes and refusals are those of REST, and so is what is counted before it is looked at.
"""

import asyncio
import time
from typing import Any, Final, Protocol

import msgspec
import structlog
from starlette.requests import Request
from websockets.frames import CloseCode

from trade_engine.domain.errors import EngineError, Unavailable
from trade_engine.edge.auth.authenticator import KEY_ID
from trade_engine.edge.auth.tokens import Principal
from trade_engine.edge.binance.envelope import BinanceEnvelope
from trade_engine.edge.binance.given import need
from trade_engine.edge.binance.logins import read_time
from trade_engine.edge.binance.refusals import Numbered
from trade_engine.edge.binance.ws.calls import (
    ApiRequest,
    BadRequest,
    RequestId,
    read_call,
    show_limit,
    signature_of,
)
from trade_engine.edge.binance.ws.frames import answer_frame
from trade_engine.edge.binance.ws.methods import OWN, OWN_WEIGHT, ROUTES
from trade_engine.edge.binance.ws.session_methods import SessionMethods
from trade_engine.edge.binance.ws.users import UserStreams
from trade_engine.edge.caller import permit, refusal_of
from trade_engine.edge.limits import Demand, LocalLimits
from trade_engine.edge.problems import RateLimited, TooMany
from trade_engine.edge.rest.call import Call
from trade_engine.edge.rest.route import OPEN, Route
from trade_engine.edge.rest.router import away, late
from trade_engine.edge.services import Services
from trade_engine.edge.settings import LOGINS, ORDERS, PUBLIC, WEIGHT, LimitSettings, RateLimit, StreamSettings
from trade_engine.edge.ws.hub import Reader
from trade_engine.edge.ws.session import STOPPING
from trade_engine.wallet.outage import TRANSPORT_ERRORS

log = structlog.get_logger(__name__)

_UNREADABLE_MAX: Final = 10


class RequestServer(Protocol):
    """What a session needs of the server that it is at."""

    services: Services
    settings: StreamSettings
    #: Set: the engine stops, and takes no more requests.
    stopping: bool

    def count_user(self, connection: Any, user_id: str) -> None:
        """Count a connection of a user; one too many is closed, and TooMany."""


class RequestConnection(Reader, Protocol):
    """What it needs of its connection."""

    client: str
    address: str

    def close(self, code: int, reason: str) -> None:
        """Say goodbye."""


class ApiSession:
    """Keeps ``ws.connection.ClientSession``.

    Args:
        shows_limits: answers say how much of the limits is used up, unless a request says otherwise.
    """

    def __init__(
        self, server: RequestServer, connection: RequestConnection, users: UserStreams, *, shows_limits: bool
    ) -> None:
        self._server = server
        self._services = server.services
        self._callers = server.services.callers
        self._settings = server.services.settings
        self._at_once = server.settings.commands_at_once
        self._connection = connection
        self._shows_limits = shows_limits
        self._envelope = BinanceEnvelope(self._settings.limits, self._settings.retry_after_s)
        self._own = SessionMethods(server, connection, users, shows_limits=shows_limits)
        rate = RateLimit(server.settings.commands_per_s, server.settings.commands_burst)
        self._limits = LocalLimits(LimitSettings(orders=rate, max_callers=1))
        self._running: set[asyncio.Task[None]] = set()
        self._unreadable = 0

    @property
    def principals(self) -> list[Principal]:
        """Whom it is logged in as, and whose streams it reads."""
        return self._own.principals

    @property
    def under_way(self) -> int:
        """How many requests are being carried out."""
        return len(self._running)

    def opened(self) -> None:
        """Nothing: a client speaks first."""

    def expired(self) -> bool:
        """Whether it had a login that has ended."""
        return any(principal.expires_s <= time.time() for principal in self._own.principals)

    def end(self) -> None:
        """The connection is gone; orders that are on their way are carried out."""
        self._own.end()

    # ---- requests

    def receive(self, message: bytes) -> None:
        """Carry a message out, or say why not."""
        try:
            request = read_call(message)
        except BadRequest as error:
            self._refuse(error.request_id, error, [], shows_limits=False)
            self._unreadable += 1
            if self._unreadable >= _UNREADABLE_MAX:
                self._connection.close(CloseCode.POLICY_VIOLATION, "requests are JSON objects")
            return
        self._unreadable = 0
        for verdict in self._limits.take_now([Demand(ORDERS, "")]):
            if not verdict.allowed:
                self._refuse(request.id, RateLimited(verdict.retry_after_s), [], shows_limits=False)
                return
        if self._server.stopping:
            self._refuse(request.id, Unavailable("ENGINE_UNAVAILABLE", STOPPING), [], shows_limits=False)
            return
        if len(self._running) >= self._at_once:
            busy = TooMany("TOO_MANY_QUERIES", "too many requests are under way", limit=self._at_once)
            self._refuse(request.id, busy, [], shows_limits=False)
            return
        task = asyncio.create_task(self._carry_out(request))
        self._running.add(task)
        task.add_done_callback(self._running.discard)

    async def _carry_out(self, request: ApiRequest) -> None:
        used: list[dict[str, Any]] = []
        shown = request.given.get("returnRateLimits")
        shows_limits = self._shows_limits if shown is None else shown == "true"
        route = ROUTES.get(request.method)
        changes = "GET" if route is None else route.method
        try:
            async with asyncio.timeout(self._settings.timeout_s):
                result = await self._result(request, route, used)
        except EngineError as error:
            self._refuse(request.id, error, used, shows_limits=shows_limits)
        except TimeoutError:
            self._refuse(request.id, late(changes), used, shows_limits=shows_limits)
        except TRANSPORT_ERRORS as error:
            log.warning("database_away", error=repr(error), method=request.method)
            self._refuse(request.id, away(changes), used, shows_limits=shows_limits)
        except Exception:
            log.exception("request_failed", method=request.method)
            fault = EngineError("INTERNAL_ERROR", "a fault of the server")
            self._refuse(request.id, fault, used, shows_limits=shows_limits)
        else:
            answer = {"id": request.id, "status": 200, "result": result}
            self._connection.send(answer_frame(answer | ({"rateLimits": used} if shows_limits else {})))

    def _refuse(
        self, request_id: RequestId, error: EngineError, used: list[dict[str, Any]], *, shows_limits: bool
    ) -> None:
        status, content, _ = self._envelope.failure(error, "")
        shown = msgspec.json.decode(content)
        if isinstance(error, RateLimited):
            now_ms = time.time_ns() // 1_000_000
            shown["data"] = {"serverTime": now_ms, "retryAfter": now_ms + int(error.wait_s * 1000) + 1}
        answer = {"id": request_id, "status": status, "error": shown}
        self._connection.send(answer_frame(answer | ({"rateLimits": used} if shows_limits else {})))

    # ---- one request: weighed, its login checked, counted, carried out

    async def _result(self, request: ApiRequest, route: Route | None, used: list[dict[str, Any]]) -> Any:
        if route is None and request.method not in OWN:
            raise Numbered(-1020, "This operation is not supported.")
        weight = OWN_WEIGHT if route is None or route.weight is None else route.weight(request.query)
        await self._count(WEIGHT, used, cost=weight)
        if route is None:
            return await self._own.call(request.method, request.given, lambda: self._login(request, "GET", used))
        principal = None
        if route.access == OPEN:
            await self._count(PUBLIC, used)
        else:
            principal = await self._login(request, route.method, used)
            permit(principal, route.access, str(route.scope))
            if route.limit is not None:
                await self._count(route.limit, used, principal, 1 if route.cost is None else route.cost(b""))
        # Clients also send what is theirs alone; it is signed, and not read.
        given = {name: request.given[name] for name in _known(route) if name in request.given}
        call = Call(self._services, _request(request.method), principal, b"", given)
        if not route.is_reading:
            return (await route.handler(call)).data
        reader = None if principal is None else principal.user_id
        with self._callers.reading(reader, self._connection.address):
            return (await route.handler(call)).data

    async def _count(
        self, limit: str, used: list[dict[str, Any]], principal: Principal | None = None, cost: int = 1
    ) -> None:
        """Count a request, and have its answer say how much of the limit is left.

        Raises:
            RateLimited: nothing is.
        """
        user_id = None if principal is None else principal.user_id
        verdict = await self._callers.count(limit, self._connection.address, user_id, cost)
        if verdict is None:
            return
        shown = show_limit(limit, verdict, self._settings.limits)
        used.extend(() if shown is None else (shown,))
        if not verdict.allowed:
            raise refusal_of(verdict, 1, limit)

    async def _login(self, request: ApiRequest, method: str, used: list[dict[str, Any]]) -> Principal:
        """Who a request speaks for: whose API key it brings, else who has logged on.

        Raises:
            Numbered, Unauthorized, Forbidden, Unavailable, RateLimited: the login is not good, or cannot be checked.
        """
        given, logged_on = request.given, self._own.logged_on
        if "apiKey" not in given and logged_on is not None:
            timestamp, window_ms = read_time(given)
            self._callers.check_time(str(timestamp), window_ms)
            await self._callers.require_live(logged_on)
            return logged_on
        key_id = need(given, "apiKey")
        strange = not self._callers.knows_key(key_id)
        if strange:
            # To look at a login that was never good costs more than to refuse one; so it is counted before.
            await self._count(LOGINS, used)
        if not KEY_ID.fullmatch(key_id):
            raise Numbered(-2014, "API-key format invalid.", 401)
        try:
            signature, signed = signature_of(given, may_repeat=method == "GET")
            return await self._callers.by_signature(signature, signed, self._connection.client)
        except Unavailable:
            raise
        except EngineError:
            if not strange:
                await self._count(PUBLIC, used)
            raise


def _known(route: Route) -> list[str]:
    return [parameter.name for parameter in route.parameters]


def _request(method: str) -> Request:
    """What handlers may know of a request that came over no HTTP."""
    return Request({"type": "http", "method": "GET", "path": method, "headers": [], "query_string": b""})
