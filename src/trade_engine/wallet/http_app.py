"""The wallet as a service: SPEC 5's contract over HTTP, for service tokens only, with the batch forms beside it.

Whoever names an epoch speaks for the engine's writer, and needs the role ``engine``: an epoch fences others out.

    token -> body -> wallet -> flat answer, or {"success": false, "error": {...}}

One table lists the operations; routes and the API's description come from it.  It never answers before the
database has committed, and it tells a refusal (4xx) from trouble of its own (5xx), which a client may repeat.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from functools import lru_cache
from typing import Any, Final, NamedTuple

import msgspec
import structlog
from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route

from trade_engine.wallet import wire
from trade_engine.wallet.answers import WalletAnswers, WalletRefusal
from trade_engine.wallet.audit import PostgresLedger
from trade_engine.wallet.openapi import describe
from trade_engine.wallet.port import WalletUnavailable

log = structlog.get_logger(__name__)

BODY_BYTES_MAX: Final = 4 * 1024 * 1024
#: Roles of the token in an Authorization header; None if it is missing or not good.
Roles = Callable[[bytes], "frozenset[str] | None"]
_SERVICE: Final = "service"
_ENGINE: Final = "engine"
_encode = msgspec.json.Encoder().encode


class Operation(NamedTuple):
    """One thing that the service does."""

    method: str
    path: str
    name: str
    body: type[msgspec.Struct] | None
    answer: type[msgspec.Struct]
    #: Query parameters that it takes.
    parameters: tuple[str, ...] = ()


OPERATIONS: Final = (
    Operation("POST", "/reserve", "reserve", wire.ReserveBody, wire.ReserveAnswer),
    Operation("POST", "/reserve/batch", "reserve_batch", wire.ReserveBatch, wire.BatchAnswer),
    Operation("POST", "/fence", "fence", wire.FenceBody, wire.FenceAnswer),
    Operation("POST", "/release", "release", wire.ReleaseBody, wire.ReleaseAnswer),
    Operation("POST", "/release/batch", "release_batch", wire.ReleaseBatch, wire.BatchAnswer),
    Operation("POST", "/settle-trade", "settle_trade", wire.SettleBody, wire.SettleAnswer),
    Operation("POST", "/settle-trade/batch", "settle_batch", wire.SettleBatch, wire.BatchAnswer),
    Operation("POST", "/deposit", "deposit", wire.FundBody, wire.FundAnswer),
    Operation("POST", "/withdraw", "withdraw", wire.FundBody, wire.FundAnswer),
    Operation("POST", "/known", "known", wire.KnownBody, wire.KnownAnswer),
    Operation("GET", "/audit", "audit", None, wire.AuditAnswer),
    Operation("GET", "/reservations", "reservations", None, wire.ReservationsAnswer, ("after", "limit")),
    Operation("GET", "/settlements", "settlements", None, wire.SettlementsAnswer, ("after", "limit")),
    Operation("GET", "/{user_id}/balances", "balances", None, wire.BalancesAnswer),
    Operation("GET", "/{user_id}/ledger", "ledger", None, wire.LedgerAnswer, ("before", "limit")),
)


class _Metrics:
    """Counters of one service, in a registry of its own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        requests = Counter(
            "wallet_requests", "Requests by operation and code", ["operation", "code"], registry=self.registry
        )
        seconds = Histogram(
            "wallet_request_duration_seconds", "Seconds a request took", ["operation"], registry=self.registry,
            buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 5),
        )  # fmt: skip
        self._requests = requests
        self._seconds = {operation.name: seconds.labels(operation.name) for operation in OPERATIONS}

    def count(self, operation: str, code: str, took_s: float) -> None:
        """Note one request."""
        self._requests.labels(operation, code).inc()
        self._seconds[operation].observe(took_s)


def create_wallet_app(
    wallet: PostgresLedger,
    roles: Roles,
    version: str,
    database_condition: Callable[[], str],
    more_metrics: Callable[[], bytes] = bytes,
) -> Starlette:
    """The service over a wallet.

    ``roles`` says what a token may do; ``database_condition`` is ``ok`` or what is wrong with the database, as of late:
    anybody may ask for readiness, so it asks nobody.  ``more_metrics`` are those of what runs beside it.
    """
    metrics = _Metrics()
    answers = WalletAnswers(wallet)
    description = _encode(describe(OPERATIONS, version))

    async def live(_: Request) -> Response:
        return _json(200, {"status": "alive"})

    async def ready(_: Request) -> Response:
        database = database_condition()
        if database != "ok":
            return _json(503, {"status": "not ready", "database": database})
        return _json(200, {"status": "ready", "database": "ok"})

    async def show_metrics(_: Request) -> Response:
        told = generate_latest(metrics.registry) + more_metrics()
        return Response(told, media_type="text/plain; version=0.0.4; charset=utf-8")

    async def show_description(_: Request) -> Response:
        return Response(description, media_type="application/json")

    routes = [
        Route("/health/live", live),
        Route("/health/ready", ready),
        Route("/health", live),
        Route("/ready", ready),
        Route("/metrics", show_metrics),
        Route("/openapi.json", show_description),
        *(_route(operation, getattr(answers, operation.name), roles, metrics) for operation in OPERATIONS),
    ]
    return Starlette(routes=routes, exception_handlers={HTTPException: _not_routed})


def _route(
    operation: Operation, handler: Callable[..., Awaitable[msgspec.Struct]], roles: Roles, metrics: _Metrics
) -> Route:
    decode = None if operation.body is None else msgspec.json.Decoder(operation.body).decode

    async def answer(request: Request) -> Response:
        started = time.perf_counter()
        code = "OK"
        try:
            found = _authorise(request, roles)
            arguments: tuple[Any, ...] = ()
            if decode is not None:
                arguments = (_decoded(decode, await _body(request)),)
                if getattr(arguments[0], "epoch", None) is not None and _ENGINE not in found:
                    warn_of_service()
            response = _json(200, await handler(*arguments, **request.path_params, **_query(request, operation)))
        except WalletRefusal as refusal:
            code, response = refusal.code, _refused(refusal.code, str(refusal))
        except WalletUnavailable as trouble:
            code = "WALLET_UNAVAILABLE"
            log.warning("wallet_database_away", operation=operation.name, error=str(trouble))
            response = _refused(code, "the wallet's database does not answer")
        except ClientDisconnect:
            code, response = "DISCONNECTED", Response(status_code=400)
        except Exception:
            code = "INTERNAL_ERROR"
            log.exception("request_failed", operation=operation.name)
            response = _refused(code, "a fault of the server")
        metrics.count(operation.name, code, time.perf_counter() - started)
        return response

    return Route(wire.PREFIX + operation.path, answer, methods=[operation.method])


def _authorise(request: Request, roles: Roles) -> frozenset[str]:
    header = request.headers.get("authorization", "").encode()
    found = roles(header) if header else None
    if found is None:
        raise WalletRefusal("UNAUTHORIZED", "the Authorization header must be: Bearer <a good token>")
    if not found & {_SERVICE, _ENGINE}:
        raise WalletRefusal("FORBIDDEN", "the token lacks the role service")
    return found


@lru_cache(maxsize=1)
def warn_of_service() -> None:
    """Say once that a token without the role engine named an epoch: the next version refuses that."""
    log.warning(
        "service_token_named_epoch",
        means="it fences other engines out: the next version takes that from the role engine only",
        remedy="leave wallet.token out, or issue it with --role engine",
    )


async def _body(request: Request) -> bytes:
    parts = bytearray()
    async for chunk in request.stream():
        parts += chunk
        if len(parts) > BODY_BYTES_MAX:
            raise WalletRefusal("BODY_TOO_LARGE", f"a body has at most {BODY_BYTES_MAX} bytes")
    return bytes(parts)


def _decoded(decode: Callable[[bytes], Any], content: bytes) -> Any:
    try:
        return decode(content)
    except (msgspec.DecodeError, RecursionError) as error:
        code = "INVALID_AMOUNT" if str(error).endswith((".amount`", ".quantity`", ".price`")) else "INVALID_REQUEST"
        raise WalletRefusal(code, str(error)) from error


def _query(request: Request, operation: Operation) -> dict[str, str]:
    found: dict[str, str] = {}
    for name, value in request.query_params.multi_items():
        if name not in operation.parameters or name in found:
            raise WalletRefusal("INVALID_REQUEST", f"parameter {name[:50]} is unknown or comes twice")
        found[name] = value
    return found


async def _not_routed(_: Request, error: Exception) -> Response:
    status = getattr(error, "status_code", 404)
    code = "METHOD_NOT_ALLOWED" if status == 405 else "ROUTE_NOT_FOUND"
    return _refused(code, "the path does not take this method" if status == 405 else "there is no such path")


def _refused(code: str, message: str) -> Response:
    return _json(wire.STATUS.get(code, 400), wire.Failure(False, wire.Problem(code, message, {})))


def _json(status: int, content: Any) -> Response:
    return Response(_encode(content), status, media_type="application/json")
