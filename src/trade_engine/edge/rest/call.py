"""One request on its way through the API, and what a handler gives back."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple

from starlette.requests import Request

from trade_engine.domain.errors import InvalidRequest
from trade_engine.edge.auth.tokens import Principal
from trade_engine.edge.rest.parameters import Parameter
from trade_engine.edge.services import Services


class Call(NamedTuple):
    """One request: authenticated if its route demands it, limited, its body read."""

    services: Services
    request: Request
    principal: Principal | None
    body: bytes
    #: The query's parameters, all of them known to the route.
    query: Mapping[str, str] = MappingProxyType({})

    @property
    def caller(self) -> Principal:
        """Who asks; only on routes that demand a token."""
        if self.principal is None:
            raise RuntimeError("the route does not demand a token")
        return self.principal

    @property
    def user_id(self) -> str:
        """The caller's id; only on routes that demand a token."""
        return self.caller.user_id

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
    if not (text.isascii() and text.isdigit() and len(text) <= 19 and least <= int(text) <= most):
        message = f"{name} must be a whole number from {least} to {most}"
        raise InvalidRequest("INVALID_PARAMETER", message, field=name, provided=text[:100], limit=most)
    return int(text)
