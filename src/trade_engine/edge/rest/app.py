"""Our REST API over an engine: its routes, logins and envelope, given to the router."""

from collections.abc import Sequence
from typing import Final

from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp

from trade_engine.edge.rest.envelope import EngineEnvelope
from trade_engine.edge.rest.logins import HeaderLogins
from trade_engine.edge.rest.openapi.pages import PAGES
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


def create_app(services: Services) -> ASGIApp:
    """The REST API over an engine."""
    settings = services.settings
    routes = (*ROUTES, *PAGES, ECHO) if settings.echo_route else (*ROUTES, *PAGES)
    router = Router(services, routes, HeaderLogins(services.callers), EngineEnvelope(settings.retry_after_s))
    return with_origins(router, settings, _CORS_IN, _CORS_OUT)


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
