"""The ASGI application: takes a request through its steps, and turns whatever happens into one clean answer.

    request id -> route -> token -> rate limit -> body -> handler -> envelope

The steps are one function, so that the common case costs little; Starlette finds the route.
"""

import asyncio
import random
import time
from collections.abc import Callable, Sequence
from typing import Any, Final

import msgspec
import structlog
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import ClientDisconnect, Request
from starlette.routing import Match
from starlette.routing import Route as Path
from starlette.types import ASGIApp, Receive, Scope, Send

from trade_engine.api.addresses import network
from trade_engine.api.auth.authenticator import is_signed, require_scope, signature_fields
from trade_engine.api.auth.tokens import Principal
from trade_engine.api.call import Answer, Call, Services, read_query
from trade_engine.api.limits import Demand, Verdict
from trade_engine.api.openapi.pages import PAGES
from trade_engine.api.problems import (
    BodyTooLarge,
    Forbidden,
    MethodNotAllowed,
    RateLimited,
    Unauthorized,
    describe,
    status_of,
)
from trade_engine.api.routes import ECHO, OPEN, OPTIONAL, ROUTES, Route
from trade_engine.api.settings import ADDRESS, PUBLIC
from trade_engine.api.times import show_time
from trade_engine.domain.errors import EngineError, InvalidRequest, NotFound, OutcomeUnknown, Unavailable

log = structlog.get_logger(__name__)

_JSON: Final = (b"content-type", b"application/json")
_SAFE: Final = (
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
)
_UNCACHED: Final = (_JSON, (b"cache-control", b"no-store"))
#: Headers that browsers may send from other origins, and read.
_CORS_IN: Final = (
    "Authorization", "Content-Type", "X-Request-ID", "X-API-Key", "X-API-Timestamp", "X-API-Nonce", "X-API-Signature",
    "X-API-Recv-Window",
)  # fmt: skip
_CORS_OUT: Final = (
    "X-Request-ID", "Retry-After", "X-RateLimit-Limit", "X-RateLimit-Remaining", "X-RateLimit-Reset",
    "Idempotent-Replayed",
)  # fmt: skip
_WITH_BODY: Final = frozenset(("POST", "PATCH"))
_CHANGING: Final = frozenset(("POST", "PATCH", "DELETE"))
#: So many times the largest body is read and dropped, or its sender would see a broken connection and not the answer.
_DRAIN: Final = 16
#: Request ids need to differ, not to be secret; the system's randomness is a call into the kernel for each.
_RANDOM: Final = random.Random()  # noqa: S311
_encode: Callable[[Any], bytes] = msgspec.json.Encoder().encode
Headers = list[tuple[bytes, bytes]]


def create_app(services: Services) -> ASGIApp:
    """The REST API over an engine."""
    settings = services.settings
    routes = (*ROUTES, *PAGES, ECHO) if settings.echo_route else (*ROUTES, *PAGES)
    app: ASGIApp = Api(services, routes)
    if settings.cors_origins:
        app = CORSMiddleware(
            app,
            allow_origins=list(settings.cors_origins),
            allow_methods=["GET", "POST", "DELETE", "PATCH"],
            allow_headers=_CORS_IN,
            expose_headers=_CORS_OUT,
        )
    return app


class Api:
    """The application."""

    def __init__(self, services: Services, routes: Sequence[Route]) -> None:
        self._services = services
        self._settings = services.settings
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
        request_id = _request_id(headers)
        scope["request_id"] = request_id
        started = time.perf_counter()
        extra: Headers = [(b"x-request-id", request_id.encode())]
        kind: Sequence[tuple[bytes, bytes]] = _UNCACHED
        try:
            async with asyncio.timeout(self._settings.timeout_s):
                answer = await self._answer(scope, receive, headers, extra)
            status, content = answer.status, _content(answer, request_id)
            extra.extend(answer.headers)
            kind = () if answer.page else _UNCACHED
        except ClientDisconnect:
            return
        except EngineError as error:
            status, content = status_of(error), _failure(error, request_id)
            extra.extend(self._refusal_headers(error, status))
        except TimeoutError:
            late = _late(scope["method"])
            status, content = 503, _failure(late, request_id)
            extra.extend((*self._refusal_headers(late, status), (b"connection", b"close")))
        except Exception:
            log.exception("request failed", request_id=request_id, path=scope["path"])
            fault = EngineError("INTERNAL_ERROR", "a fault of the server", trace_id=request_id)
            status, content = 500, _failure(fault, request_id)
        length = () if status == 304 else ((b"content-length", str(len(content)).encode()),)
        head = [*kind, *_SAFE, *length, *extra]
        await send({"type": "http.response.start", "status": status, "headers": head})
        body = b"" if scope["method"] == "HEAD" else content
        await send({"type": "http.response.body", "body": body})
        took_s = time.perf_counter() - started
        self._services.meter.request(scope["method"], scope.get("route", "none"), status, took_s)
        if self._settings.access_log:
            took_ms = round(took_s * 1e3, 3)
            log.info(
                "request", method=scope["method"], path=scope["path"], status=status, ms=took_ms, request_id=request_id,
                address=_address(scope), user_id=scope.get("user_id"),
            )  # fmt: skip

    async def _answer(self, scope: Scope, receive: Receive, headers: Headers, extra: Headers) -> Answer:
        route = self._route(scope)
        scope["route"] = route.path
        body: bytes | None = None
        principal: Principal | None
        try:
            if route.access != OPEN and is_signed(headers):
                principal, body = await self._signed(route, scope, receive, headers)
            else:
                principal = self._authenticate(route, headers)
        except (Unauthorized, Forbidden, InvalidRequest, BodyTooLarge):
            await self._limit(route, None, scope, extra)
            raise
        if principal is not None:
            scope["user_id"] = principal.user_id
        if route.cost is not None:
            if body is None:
                body = await self._body(receive, headers)
            await self._limit(route, principal, scope, extra, route.cost(body))
        else:
            await self._limit(route, principal, scope, extra)
            if body is None:
                body = await self._body(receive, headers) if scope["method"] in _WITH_BODY else b""
        request = Request(scope)
        query = read_query(request, route.parameters) if scope["query_string"] else {}
        return await route.handler(Call(self._services, request, principal, body, query))

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
        for pattern, methods in self._patterns:
            match, child = pattern.matches(scope)
            if match is not Match.NONE:
                scope.update(child)
                return methods
        raise NotFound("ROUTE_NOT_FOUND", "there is no such path", provided=scope["path"][:200])

    def _authenticate(self, route: Route, headers: Headers) -> Principal | None:
        if route.access == OPEN:
            return None
        header = next((value for name, value in headers if name == b"authorization"), b"")
        if not header:
            if route.access == OPTIONAL:
                return None
            raise Unauthorized(
                "UNAUTHORIZED", "the Authorization header must be: Bearer <token>", field="authorization"
            )
        principal = self._services.verifier.verify(header)
        _permit(route, principal)
        return principal

    async def _signed(self, route: Route, scope: Scope, receive: Receive, headers: Headers) -> tuple[Principal, bytes]:
        """Who a request with an API key speaks for, and its body, which is signed too."""
        authenticator = self._services.authenticator
        fields = signature_fields(headers)
        authenticator.check_time(fields.get("x-api-timestamp", ""), fields.get("x-api-recv-window"))
        body = await self._body(receive, headers)
        target = scope.get("raw_path", b"") or scope["path"].encode()
        if scope["query_string"]:
            target += b"?" + scope["query_string"]
        client = scope.get("client")
        principal = await authenticator.authenticate(
            headers, scope["method"], target.decode("latin-1"), body, client[0] if client else "unknown"
        )
        if principal is None:
            raise Unauthorized("UNAUTHORIZED", "there is no login")
        _permit(route, principal)
        return principal, body

    async def _limit(
        self, route: Route, principal: Principal | None, scope: Scope, extra: Headers, cost: int = 1
    ) -> None:
        if route.limit is None:
            return
        address = _address(scope)
        if principal is None:
            demands = [Demand(PUBLIC, address)]
        else:
            demands = [Demand(route.limit, principal.user_id, cost), Demand(ADDRESS, address)]
        verdicts = await self._services.limits.take(demands)
        if not verdicts:
            return
        verdict = next((refusal for refusal in verdicts if not refusal.allowed), verdicts[0])
        extra.extend(_limit_headers(verdict))
        if not verdict.allowed:
            if cost > verdict.limit:
                message = f"the rate limit lets {verdict.limit} orders through at once"
                raise InvalidRequest("INVALID_BATCH", message, field="orders", provided=cost, limit=verdict.limit)
            raise RateLimited(verdict.retry_after_s)

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

    def _refusal_headers(self, error: EngineError, status: int) -> Headers:
        if isinstance(error, RateLimited):
            return [(b"retry-after", str(max(1, round(error.wait_s + 0.5))).encode())]
        if status == 503:
            return [(b"retry-after", str(self._settings.retry_after_s).encode())]
        if status == 401:
            return [(b"www-authenticate", b"Bearer")]
        if isinstance(error, MethodNotAllowed):
            return [(b"allow", ", ".join(error.details["allowed"]).encode())]
        if status == 413:
            return [(b"connection", b"close")]
        return []


def _permit(route: Route, principal: Principal) -> None:
    """Refuse a login whose roles or scopes do not reach this route."""
    if route.access != OPTIONAL and route.access not in principal.roles:
        raise Forbidden("FORBIDDEN", f"the login lacks the role {route.access}", field="roles")
    if principal.key_id is not None and route.scope is None:
        raise Forbidden("TOKEN_REQUIRED", "this is done with a bearer token, not with an API key")
    require_scope(principal, route.scope or ("read" if route.method == "GET" else "trade"))


def _late(method: str) -> Unavailable:
    """What a caller hears when time is up: only a request that changes nothing surely changed nothing."""
    if method in _CHANGING:
        return OutcomeUnknown(
            "OUTCOME_UNKNOWN", "the request took too long and may have been carried out: repeat it, with the same ids"
        )
    return Unavailable("REQUEST_TIMEOUT", "the request took too long")


async def _unused(_: Request) -> Any:
    """Paths only match; handlers are called by ``Api``."""


async def _lifespan(receive: Receive, send: Send) -> None:
    while True:
        message = await receive()
        await send({"type": f"{message['type']}.complete"})
        if message["type"] == "lifespan.shutdown":
            return


def _request_id(headers: Headers) -> str:
    given = next((value for name, value in headers if name == b"x-request-id"), b"")
    if 0 < len(given) <= 100 and given.isascii():
        text = given.decode()
        if text.isprintable() and '"' not in text and "\\" not in text:
            return text
    return f"{_RANDOM.getrandbits(128):032x}"


def _content(answer: Answer, request_id: str) -> bytes:
    if answer.page:
        return bytes(answer.data)
    if answer.plain:
        return _encode(answer.data)
    meta = _meta(request_id)
    if answer.meta:
        meta = meta[:-1] + b"," + _encode(answer.meta)[1:]
    return b'{"success":true,"data":' + _encode(answer.data) + b',"meta":' + meta + b"}"


def _failure(error: EngineError, request_id: str) -> bytes:
    return b'{"success":false,"error":' + _encode(describe(error)) + b',"meta":' + _meta(request_id) + b"}"


def _meta(request_id: str) -> bytes:
    return f'{{"request_id":"{request_id}","timestamp":"{show_time(time.time_ns() // 1000)}"}}'.encode()


def _limit_headers(verdict: Verdict) -> Headers:
    return [
        (b"x-ratelimit-limit", str(verdict.limit).encode()),
        (b"x-ratelimit-remaining", str(verdict.remaining).encode()),
        (b"x-ratelimit-reset", str(int(verdict.reset_s + 0.999)).encode()),
    ]


def _address(scope: Scope) -> str:
    client = scope.get("client")
    return network(client[0]) if client else "unknown"
