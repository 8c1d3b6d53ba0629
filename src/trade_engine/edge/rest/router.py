"""The ASGI application: takes a request through its steps, and turns whatever happens into one clean answer.

    request id -> route -> login -> rate limit -> body -> handler -> envelope

The steps are one function, so that the common case costs little; Starlette finds the route.  Which routes there are,
where logins are read, and how answers look, it is given: another REST face gives others.
"""

import asyncio
import random
import re
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Final, Protocol

import structlog
from starlette.requests import ClientDisconnect, Request
from starlette.routing import Match
from starlette.routing import Route as Path
from starlette.types import Receive, Scope, Send

from trade_engine.domain.errors import EngineError, InvalidRequest, NotFound, OutcomeUnknown, Unavailable
from trade_engine.edge.auth.tokens import Principal
from trade_engine.edge.caller import permit, refusal_of
from trade_engine.edge.limits import Verdict
from trade_engine.edge.problems import BodyTooLarge, Forbidden, MethodNotAllowed, Unauthorized
from trade_engine.edge.rest.call import Answer, Call, read_query
from trade_engine.edge.rest.envelope import Envelope, Headers
from trade_engine.edge.rest.route import OPEN, OPTIONAL, Route
from trade_engine.edge.services import Services
from trade_engine.edge.settings import LOGINS, PUBLIC, WEIGHT
from trade_engine.http.addresses import network
from trade_engine.wallet.outage import TRANSPORT_ERRORS

log = structlog.get_logger(__name__)

_JSON: Final = (b"content-type", b"application/json")
_SAFE: Final = (
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
)
_UNCACHED: Final = (_JSON, (b"cache-control", b"no-store"))
_WITH_BODY: Final = frozenset(("POST", "PATCH"))
_CHANGING: Final = frozenset(("POST", "PUT", "PATCH", "DELETE"))
#: So many times the largest body is read and dropped, or its sender would see a broken connection and not the answer.
_DRAIN: Final = 16
#: So long is no word and no id.
_SECRET: Final = re.compile(r"[A-Za-z0-9_-]{64,}")
#: Request ids need to differ, not to be secret; the system's randomness is a call into the kernel for each.
_RANDOM: Final = random.Random()  # noqa: S311


class Logins(Protocol):
    """Where a REST face's requests bring their login."""

    def is_strange(self, headers: Headers) -> bool:
        """Whether a request brings a login that is not known to be good."""

    async def read(
        self, headers: Headers, method: str, target: bytes, address: str, body: Callable[[], Awaitable[bytes]]
    ) -> tuple[Principal | None, bytes | None]:
        """Who a request speaks for, None if it does not say; and its body, if that had to be read for it."""


#: How a face reads a request's parameters: those that the route knows, of the query and perhaps of the body.
ReadParameters = Callable[[Request, Route, bytes], Mapping[str, str]]


class Router:
    """The application."""

    def __init__(
        self,
        services: Services,
        routes: Sequence[Route],
        logins: Logins,
        envelope: Envelope,
        parameters: ReadParameters | None = None,
    ) -> None:
        self._services = services
        self._settings = services.settings
        self._callers = services.callers
        self._logins = logins
        self._envelope = envelope
        self._parameters = parameters
        by_path: dict[str, dict[str, Route]] = {}
        for route in routes:
            by_path.setdefault(route.path, {})[route.method] = route
        self._exact = {path: methods for path, methods in by_path.items() if "{" not in path}
        # The longest first: /markets/{symbol}/ticker is that, and not the market of a symbol with a slash.
        patterns = sorted(by_path.keys() - self._exact.keys(), key=len, reverse=True)
        self._patterns = [(Path(path, _unused), by_path[path]) for path in patterns]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request (ASGI)."""
        if scope["type"] == "lifespan":
            await _lifespan(receive, send)
            return
        if scope["type"] != "http":
            await send({"type": "websocket.close", "code": 1008})
            return
        headers = scope["headers"]
        request_id = request_id_of(headers)
        scope["request_id"] = request_id
        started = time.perf_counter()
        extra: Headers = [(b"x-request-id", request_id.encode())]
        kind: Sequence[tuple[bytes, bytes]] = _UNCACHED
        try:
            async with asyncio.timeout(self._settings.timeout_s):
                answer = await self._answer(scope, receive, headers, extra)
            status = answer.status
            content = bytes(answer.data) if answer.page else self._envelope.success(answer, request_id)
            extra.extend(answer.headers)
            kind = () if answer.page else _UNCACHED
        except ClientDisconnect:
            return
        except EngineError as error:
            status, content, more = self._envelope.failure(error, request_id)
            extra.extend(more)
        except TimeoutError:
            status, content, more = self._envelope.failure(late(scope["method"]), request_id)
            extra.extend((*more, (b"connection", b"close")))
        except TRANSPORT_ERRORS as error:
            log.warning("database_away", error=repr(error), request_id=request_id, path=_shown_path(scope))
            status, content, more = self._envelope.failure(away(scope["method"]), request_id)
            extra.extend(more)
        except Exception:
            log.exception("request_failed", request_id=request_id, path=_shown_path(scope))
            fault = EngineError("INTERNAL_ERROR", "a fault of the server", trace_id=request_id)
            status, content, _ = self._envelope.failure(fault, request_id)
        length = () if status == 304 else ((b"content-length", str(len(content)).encode()),)
        head = [*kind, *_SAFE, *length, *extra]
        await send({"type": "http.response.start", "status": status, "headers": head})
        body = b"" if scope["method"] == "HEAD" else content
        await send({"type": "http.response.body", "body": body})
        took_s = time.perf_counter() - started
        self._services.meter.request(scope["method"], scope.get("route", "none"), status, took_s)
        if self._services.access is not None:
            line = {
                "method": scope["method"], "path": _shown_path(scope), "route": scope.get("route", "none"),
                "status": status, "ms": round(took_s * 1e3, 3),
                "request_id": request_id, "address": _address(scope), "user_id": scope.get("user_id"),
            }  # fmt: skip
            if "concerns" in scope:
                line |= scope["concerns"]
            self._services.access.tell(line)

    async def _answer(self, scope: Scope, receive: Receive, headers: Headers, extra: Headers) -> Answer:
        address = _address(scope)
        try:
            route = self._route(scope)
        except (NotFound, MethodNotAllowed):
            self._tell(PUBLIC, await self._callers.count(PUBLIC, address), extra)
            raise
        scope["route"] = route.path
        if route.weight is not None:
            weight = route.weight(scope["query_string"])
            self._tell(WEIGHT, await self._callers.count(WEIGHT, address, cost=weight), extra)
        body: bytes | None = None
        principal: Principal | None = None
        if route.access != OPEN:
            principal, body = await self._login(route, scope, receive, headers, address, extra)
        if route.cost is not None and body is None:
            body = await self._body(receive, headers)
        if route.limit is not None:
            limit, user_id = (PUBLIC, None) if principal is None else (route.limit, principal.user_id)
            cost = 1 if route.cost is None or body is None else route.cost(body)
            self._tell(limit, await self._callers.count(limit, address, user_id, cost), extra, cost)
        if body is None:
            body = await self._body(receive, headers) if scope["method"] in _WITH_BODY else b""
        request = Request(scope)
        query: Mapping[str, str] = {}
        if self._parameters is not None:
            query = self._parameters(request, route, body)
        elif scope["query_string"]:
            query = read_query(request, route.parameters)
        call = Call(self._services, request, principal, body, query)
        if not route.is_reading:
            return await route.handler(call)
        with self._callers.reading(None if principal is None else principal.user_id, address):
            return await route.handler(call)

    async def _login(
        self, route: Route, scope: Scope, receive: Receive, headers: Headers, address: str, extra: Headers
    ) -> tuple[Principal | None, bytes | None]:
        """Who asks, and whether he may; and the body, if the login signs it."""
        strange, seen = self._logins.is_strange(headers), None
        if strange:
            # To look at a login that was never good costs more than to refuse one; so it is counted before.
            seen = await self._callers.count(LOGINS, address)
            if seen is not None and not seen.allowed:
                self._tell(LOGINS, seen, extra)
        try:
            client = scope.get("client")
            principal, body = await self._logins.read(
                headers, scope["method"], _target(scope), client[0] if client else "unknown",
                lambda: self._body(receive, headers),
            )  # fmt: skip
            if principal is not None:
                role = None if route.access == OPTIONAL else route.access
                scope_needed = route.scope or ("read" if route.method == "GET" else "trade")
                permit(principal, role, scope_needed, keys=route.scope is not None)
                scope["user_id"] = principal.user_id
            elif route.access != OPTIONAL:
                raise Unauthorized(
                    "UNAUTHORIZED", "the Authorization header must be: Bearer <token>", field="authorization"
                )
        except (Unauthorized, Forbidden, InvalidRequest, BodyTooLarge):
            name = LOGINS if strange else PUBLIC
            self._tell(name, seen if strange else await self._callers.count(PUBLIC, address), extra)
            raise
        return principal, body

    def _tell(self, limit: str, verdict: Verdict | None, extra: Headers, cost: int = 1) -> None:
        """Have the answer say how much of a limit is left.

        Raises:
            RateLimited, InvalidRequest: nothing is, or not so much.
        """
        if verdict is not None:
            extra.extend(self._envelope.limits(limit, verdict))
            if not verdict.allowed:
                raise refusal_of(verdict, cost, limit)

    def _route(self, scope: Scope) -> Route:
        method = "GET" if scope["method"] == "HEAD" else scope["method"]
        methods = self._exact.get(scope["path"]) or self._matching(scope)
        route = methods.get(method)
        if route is None:
            allowed = list(methods)
            raise MethodNotAllowed(
                "METHOD_NOT_ALLOWED", f"the path takes {', '.join(allowed)}", provided=method, allowed=allowed
            )
        return route

    def _matching(self, scope: Scope) -> dict[str, Route]:
        # The patterns end with ``$``, which lets a line feed follow.
        for pattern, methods in () if "\n" in scope["path"] else self._patterns:
            match, child = pattern.matches(scope)
            if match is not Match.NONE:
                scope.update(child)
                return methods
        raise NotFound("ROUTE_NOT_FOUND", "there is no such path", provided=scope["path"][:200])

    async def _body(self, receive: Receive, headers: Headers) -> bytes:
        limit = self._settings.max_body_bytes
        announced = next((value for name, value in headers if name == b"content-length"), b"0")
        if announced.isdigit() and int(announced) > limit * _DRAIN:
            raise BodyTooLarge("BODY_TOO_LARGE", "the body is too large", field="body", limit=limit)
        body, size, more = b"", 0, True
        while more and size <= limit * _DRAIN:
            message = await receive()
            if message["type"] == "http.disconnect":
                raise ClientDisconnect
            part: bytes = message.get("body", b"")
            size += len(part)
            if size <= limit:
                body += part
            more = message.get("more_body", False)
        if size > limit:
            raise BodyTooLarge("BODY_TOO_LARGE", "the body is too large", field="body", limit=limit)
        return body


def late(method: str) -> Unavailable:
    """What a caller hears when time is up: only a request that changes nothing surely changed nothing."""
    if method in _CHANGING:
        return OutcomeUnknown(
            "OUTCOME_UNKNOWN", "the request took too long and may have been carried out: repeat it, with the same ids"
        )
    return Unavailable("REQUEST_TIMEOUT", "the request took too long")


def away(method: str) -> Unavailable:
    """What a caller hears when the database was lost under a request that reads or writes its tables itself."""
    if method in _CHANGING:
        return OutcomeUnknown("OUTCOME_UNKNOWN", "the database was lost meanwhile: look, or repeat")
    return Unavailable("DATABASE_UNAVAILABLE", "the database does not answer, try again")


async def _unused(_: Request) -> Any:
    """Paths only match; handlers are called by ``Api``."""


async def _lifespan(receive: Receive, send: Send) -> None:
    while True:
        message = await receive()
        await send({"type": f"{message['type']}.complete"})
        if message["type"] == "lifespan.shutdown":
            return


def request_id_of(headers: Headers) -> str:
    """What a request is called: as its sender says, else made now."""
    given = next((value for name, value in headers if name == b"x-request-id"), b"")
    if 0 < len(given) <= 100 and given.isascii():
        text = given.decode()
        if text.isprintable() and '"' not in text and "\\" not in text:
            return text
    return f"{_RANDOM.getrandbits(128):032x}"


def _shown_path(scope: Scope) -> str:
    """The path for a log: without what would let its reader in, should somebody have put it there (a listen key)."""
    return _SECRET.sub("...", scope["path"])


def _target(scope: Scope) -> bytes:
    """Path and query as they were sent."""
    target: bytes = scope.get("raw_path", b"") or scope["path"].encode()
    return target + b"?" + scope["query_string"] if scope["query_string"] else target


def _address(scope: Scope) -> str:
    client = scope.get("client")
    return network(client[0]) if client else "unknown"
