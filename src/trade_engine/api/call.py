"""One request on its way through the API, and what a handler gives back."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple

from starlette.requests import Request

from trade_engine.api.auth.authenticator import Authenticator
from trade_engine.api.auth.tokens import Principal, TokenVerifier
from trade_engine.api.backoffice import BackOffice
from trade_engine.api.limits import Limits
from trade_engine.api.meter import Meter, NoMeter
from trade_engine.api.parameters import Parameter
from trade_engine.api.settings import ApiSettings
from trade_engine.domain.errors import InvalidRequest
from trade_engine.domain.market import Market, symbol_keys
from trade_engine.sequencer.requests import Engine
from trade_engine.storage.queries import Queries
from trade_engine.wallet.port import Wallet

#: What a user's unsettled trades will bring him: units of 1e-8 by asset.
Pending = Callable[[str], Awaitable[dict[str, int]]]


class Services:
    """What handlers may use."""

    def __init__(
        self,
        engine: Engine,
        wallet: Wallet,
        queries: Queries,
        verifier: TokenVerifier,
        limits: Limits,
        settings: ApiSettings,
        pending: Pending,
        backoffice: BackOffice,
        meter: Meter | None = None,
        authenticator: Authenticator | None = None,
    ) -> None:
        self.authenticator = authenticator or Authenticator(verifier)
        self.meter = meter or NoMeter()
        self.pending = pending
        self.backoffice = backoffice
        self.engine = engine
        self.wallet = wallet
        self.queries = queries
        self.verifier = verifier
        self.limits = limits
        self.settings = settings
        self._spellings: dict[str, str] = {}

    def market(self, symbol: str, field: str = "symbol") -> Market:
        """The market of a symbol in any of its spellings.

        Raises:
            InvalidRequest: INVALID_SYMBOL.
        """
        markets = self.engine.markets
        market = markets.get(symbol) or markets.get(self._canonical(symbol))
        if market is None:
            raise InvalidRequest("INVALID_SYMBOL", "there is no such market", field=field, provided=symbol[:100])
        return market

    def market_of(self, market_id: int) -> Market:
        """The market of a number, as the database has it."""
        return self.engine.market(market_id)

    def _canonical(self, symbol: str) -> str:
        """``BTC/USDT`` for any way of spelling it; the same text if there is no such market."""
        markets = self.engine.markets
        if len(self._spellings) != 4 * len(markets):
            self._spellings = {key: known for known in markets for key in symbol_keys(known)}
        return self._spellings.get(symbol) or self._spellings.get(symbol.upper(), symbol)


class Call(NamedTuple):
    """One request: authenticated if its route demands it, limited, its body read."""

    services: Services
    request: Request
    principal: Principal | None
    body: bytes
    #: The query's parameters, all of them known to the route.
    query: Mapping[str, str] = MappingProxyType({})

    @property
    def user_id(self) -> str:
        """The caller; only on routes that demand a token."""
        if self.principal is None:
            raise RuntimeError("the route does not demand a token")
        return self.principal.user_id

    @property
    def request_id(self) -> str:
        """What answers and logs call this request."""
        return str(self.request.scope["request_id"])

    def path(self, name: str) -> str:
        """A part of the path."""
        value: str = self.request.path_params[name]
        return value


def read_query(request: Request, known: Sequence[Parameter]) -> dict[str, str]:
    """The query's parameters, of those that the route knows.

    Raises:
        InvalidRequest: INVALID_PARAMETER for one that is unknown or comes twice.
    """
    names = [parameter.name for parameter in known]
    found: dict[str, str] = {}
    for name, value in request.query_params.multi_items():
        if name not in names or name in found:
            why = "comes twice" if name in found else f"is unknown; known are {', '.join(names) or 'none'}"
            raise InvalidRequest(
                "INVALID_PARAMETER", f"parameter {name[:50]} {why}", field=name[:50], provided=value[:100]
            )
        found[name] = value
    return found


class Answer(NamedTuple):
    """What a handler gives back: data for the envelope, or a whole body if ``plain``."""

    data: Any
    status: int = 200
    headers: tuple[tuple[bytes, bytes], ...] = ()
    plain: bool = False
    #: What the envelope's meta says beside request id and time: cursors.
    meta: dict[str, Any] | None = None
    #: ``data`` are the bytes of a page, and ``headers`` say what and how fresh they are.
    page: bool = False


Handler = Callable[[Call], Awaitable[Answer]]


def whole_number(parameters: Mapping[str, str], name: str, default: int, least: int, most: int) -> int:
    """A whole number out of the query.

    Raises:
        InvalidRequest: INVALID_PARAMETER.
    """
    text = parameters.get(name)
    if text is None:
        return default
    if not (text.isascii() and text.isdigit() and len(text) <= 9 and least <= int(text) <= most):
        message = f"{name} must be a whole number from {least} to {most}"
        raise InvalidRequest("INVALID_PARAMETER", message, field=name, provided=text[:100], limit=most)
    return int(text)
