"""What can go wrong with a call.

    ClientError
    +-- ApiError           the server refused: code, message, details, status, request_id
    |   +-- RateLimited    429: retry_after says when the next request will pass
    |   +-- Unavailable    503: something the server needs is away; nothing was done
    +-- OutcomeUnknown     it may have been carried out or not, and trying has come to an end
    +-- TransportError     no connection, or no answer to a request that changes nothing
    +-- ProtocolError      what came back is no answer of this API

Wrong arguments raise TypeError or ValueError before anything is sent.
"""

from typing import Any

import msgspec


class ClientError(Exception):
    """Any failure of a call."""


class Problem(msgspec.Struct, frozen=True):
    """A refusal as the server words it; branch on ``code``, never on ``message``."""

    code: str
    message: str
    details: dict[str, Any] = {}


class ApiError(ClientError):
    """The server refused; nothing was changed."""

    def __init__(self, problem: Problem, status: int, request_id: str | None, retry_after: float | None) -> None:
        super().__init__(f"{problem.code}: {problem.message}")
        self.code = problem.code
        self.message = problem.message
        self.details = problem.details
        #: The HTTP status; 0 over a WebSocket.
        self.status = status
        self.request_id = request_id
        #: Seconds after which the server wants to be asked again, if it said so.
        self.retry_after = retry_after


class RateLimited(ApiError):
    """Too many requests."""


class Unavailable(ApiError):
    """Something the server needs is away, and this request did nothing."""


class OutcomeUnknown(ClientError):
    """The request may have been carried out.  ``__cause__`` is the last thing that happened.

    A placing is settled by placing once more with the same ``client_order_id``; a change by looking at the order.
    """

    def __init__(self, message: str, client_order_ids: tuple[str, ...] = ()) -> None:
        super().__init__(message)
        self.client_order_ids = client_order_ids

    @property
    def client_order_id(self) -> str | None:
        """The id of the one order that was placed, if it was one."""
        return self.client_order_ids[0] if len(self.client_order_ids) == 1 else None


class TransportError(ClientError):
    """The server could not be reached, or did not answer a request that changes nothing."""


class ProtocolError(ClientError):
    """What came back is no answer of this API."""


def api_error(problem: Problem, status: int, request_id: str | None, retry_after: float | None) -> ApiError:
    """The error of a refusal; its code decides where there is no status, as over a WebSocket."""
    kind = ApiError
    if status == 429 or problem.code in _TOO_FAST:
        kind = RateLimited
    elif status == 503 or problem.code in _AWAY:
        kind = Unavailable
    return kind(problem, status, request_id, retry_after)


_TOO_FAST = frozenset(("RATE_LIMITED", "TOO_MANY_COMMANDS", "TOO_MANY_CONNECTIONS"))
_AWAY = frozenset(
    (
        "WALLET_UNAVAILABLE",
        "DATABASE_UNAVAILABLE",
        "ENGINE_UNAVAILABLE",
        "ENGINE_OVERLOADED",
        "CLOCK_JUMPED",
        "OUTCOME_UNKNOWN",
        "REQUEST_TIMEOUT",
    )
)
