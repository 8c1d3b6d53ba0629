"""The face over an engine: its routes, logins, envelope and way to read parameters, given to the router."""

from typing import Final

from starlette.types import ASGIApp

from trade_engine.edge.binance.envelope import BinanceEnvelope
from trade_engine.edge.binance.given import read_parameters
from trade_engine.edge.binance.logins import SignedLogins
from trade_engine.edge.binance.openapi.document import described_at
from trade_engine.edge.binance.routes import BINANCE_ROUTES
from trade_engine.edge.rest.app import with_origins
from trade_engine.edge.rest.router import Router
from trade_engine.edge.services import Services

#: What begins so is this face's, also where there is no such path.
BINANCE_PATHS: Final = ("/api/v3/", "/sapi/")

_CORS_IN: Final = ("Content-Type", "X-MBX-APIKEY", "X-Request-ID")
_CORS_OUT: Final = ("X-Request-ID", "Retry-After", "X-MBX-USED-WEIGHT-1M", "X-MBX-ORDER-COUNT-10S")


def create_binance_app(services: Services) -> ASGIApp:
    """The face over an engine."""
    settings = services.settings
    envelope = BinanceEnvelope(settings.limits, settings.retry_after_s)
    routes = (*BINANCE_ROUTES, described_at(BINANCE_ROUTES))
    router = Router(services, routes, SignedLogins(services.callers), envelope, read_parameters)
    return with_origins(router, settings, _CORS_IN, _CORS_OUT)
