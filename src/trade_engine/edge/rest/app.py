"""Our REST API over an engine: its routes, logins and envelope, given to the router."""

from collections.abc import Sequence
from typing import Final

from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp

from trade_engine.edge.rest.envelope import EngineEnvelope
from trade_engine.edge.rest.logins import HeaderLogins
from trade_engine.edge.rest.openapi.pages import PAGES
from trade_engine.edge.rest.route import Route
from trade_engine.edge.rest.router import Router
from trade_engine.edge.rest.routes import ECHO, ROUTES
from trade_engine.edge.services import Services
from trade_engine.edge.settings import ApiSettings

#: Headers that browsers may send from other origins, and read.
_CORS_IN: Final = (
    "Authorization", "Content-Type", "X-Request-ID", "X-API-Key", "X-API-Timestamp", "X-API-Nonce", "X-API-Signature",
    "X-API-Recv-Window",
)  # fmt: skip
_CORS_OUT: Final = (
    "X-Request-ID", "Retry-After", "X-RateLimit-Limit", "X-RateLimit-Remaining", "X-RateLimit-Reset",
    "Idempotent-Replayed",
)  # fmt: skip


#: What is for operators alone, and where else they need to look.
_OPERATORS: Final = "/api/v1/admin/"
_BESIDE: Final = ("/health", "/ready", "/api/v1/status", "/api/v1/time", "/api/v1/tickers", "/api/v1/markets")


def create_app(services: Services, pages: Sequence[Route] = (), *, operators: bool = True) -> ASGIApp:
    """The REST API over an engine.

    Args:
        services: what it stands on.
        pages: routes beside its own.
        operators: with the routes for operators; without them they answer at a port of their own.
    """
    settings = services.settings
    routes = [*ROUTES, *PAGES, *pages, *([ECHO] if settings.echo_route else [])]
    wanted = routes if operators else [route for route in routes if not route.path.startswith(_OPERATORS)]
    return with_origins(_router(services, wanted), settings, _CORS_IN, _CORS_OUT)


def create_operators_app(services: Services, pages: Sequence[Route]) -> ASGIApp:
    """The routes for operators alone, for a port that strangers do not reach; for browsers of no other origin."""
    return _router(services, [*(r for r in ROUTES if r.path.startswith((_OPERATORS, *_BESIDE))), *pages])


def _router(services: Services, routes: Sequence[Route]) -> Router:
    logins, envelope = HeaderLogins(services.callers), EngineEnvelope(services.settings.retry_after_s)
    return Router(services, routes, logins, envelope)


def with_origins(app: ASGIApp, settings: ApiSettings, sent: Sequence[str], shown: Sequence[str]) -> ASGIApp:
    """The same, for browsers of other origins as well, if any may call: which headers they may send and see."""
    if not settings.cors_origins:
        return app
    return CORSMiddleware(
        app,
        allow_origins=list(settings.cors_origins),
        allow_methods=["GET", "POST", "PUT", "DELETE", "PATCH"],
        allow_headers=sent,
        expose_headers=shown,
    )
