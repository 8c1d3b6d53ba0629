"""Requests of the API over WebSocket as they come in, and their answers: id, method and params; status and result."""

import json
from collections.abc import Mapping
from typing import Any, Final, NamedTuple
from urllib.parse import urlencode

from trade_engine.edge.auth.authenticator import Signature
from trade_engine.edge.binance.envelope import ORDERS_S, order_limit
from trade_engine.edge.binance.logins import read_signature
from trade_engine.edge.binance.refusals import Numbered
from trade_engine.edge.limits import Verdict
from trade_engine.edge.settings import ORDERS, WEIGHT, LimitSettings

_ID_MAX: Final = 100
_PARAMETERS_MAX: Final = 100
_FIELDS: Final = {"id", "method", "params"}
_NOT_TEXT: Final = "JSON sent for parameter 'params' is not valid."

RequestId = str | int | None


class ApiRequest(NamedTuple):
    """One request."""

    id: RequestId
    method: str
    #: Each parameter as text, as it was written.
    given: dict[str, str]

    @property
    def query(self) -> bytes:
        """The parameters as the same request over REST would have them."""
        return urlencode(self.given).encode()


class BadRequest(Numbered):
    """A request that cannot be read; its id as far as that can be told."""

    def __init__(self, number: int, text: str, request_id: RequestId = None) -> None:
        super().__init__(number, text)
        self.request_id = request_id


def read_call(message: bytes) -> ApiRequest:
    """The request of a message.

    Raises:
        BadRequest: -1135 it is none, -1104 it has fields that none has, -1102 it has no method, -1101, -1105.
    """
    try:
        # Numbers stay as they were written: that is what was signed.
        found = json.loads(message, parse_float=str, parse_int=_Digits, parse_constant=_refuse)
    except (ValueError, RecursionError) as error:
        raise BadRequest(-1135, "Invalid JSON Request.") from error
    if not isinstance(found, dict):
        raise BadRequest(-1135, "Invalid JSON Request.")
    request_id = _id(found.get("id"))
    if found.keys() - _FIELDS:
        raise BadRequest(-1104, "Not all sent parameters were read.", request_id)
    method, params = found.get("method"), found.get("params", {})
    if not isinstance(method, str) or isinstance(method, _Digits) or not method:
        raise BadRequest(-1102, "Mandatory parameter 'method' was not sent, was empty/null, or malformed.", request_id)
    if not isinstance(params, dict):
        raise BadRequest(-1135, _NOT_TEXT, request_id)
    if len(params) > _PARAMETERS_MAX:
        raise BadRequest(-1101, "Too many parameters sent for this endpoint.", request_id)
    given = {name: _text(value, request_id) for name, value in params.items()}
    if "" in given.values():
        empty = next(name for name, value in given.items() if not value)
        raise BadRequest(-1105, f"Parameter '{empty[:50]}' was empty.", request_id)
    return ApiRequest(request_id, method.removeprefix("v3/"), given)


class _Digits(str):
    """A whole number as it was written."""

    __slots__ = ()


def _refuse(word: str) -> Any:
    raise ValueError(f"{word} is no number")


def _id(given: Any) -> RequestId:
    if given is None:
        return None
    if isinstance(given, _Digits) and len(given) <= 20:
        return int(given)
    if isinstance(given, str) and not isinstance(given, _Digits) and len(given) <= _ID_MAX:
        return given
    raise BadRequest(-1135, "JSON sent for parameter 'id' is not valid.")


def _text(value: Any, request_id: RequestId) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list) and all(isinstance(word, str) for word in value):
        return json.dumps(value, separators=(",", ":"))
    if isinstance(value, str) and value.isprintable():
        return str(value)
    raise BadRequest(-1135, _NOT_TEXT, request_id)


def signature_of(given: Mapping[str, str], *, may_repeat: bool) -> tuple[Signature, bytes]:
    """What a signed request brings, and what is signed: its parameters by name, but for the signature itself.

    Raises:
        Numbered: -1102, -1100, -1022, -1131.
    """
    signed = "&".join(f"{name}={given[name]}" for name in sorted(given) if name != "signature")
    return read_signature(given["apiKey"], given, may_repeat=may_repeat), signed.encode()


def show_limit(name: str, verdict: Verdict, limits: LimitSettings) -> dict[str, Any] | None:
    """How much of a limit is used up; None for one that these clients are not told of."""
    used = verdict.limit - verdict.remaining
    if name == WEIGHT:
        kind = {"rateLimitType": "REQUEST_WEIGHT", "interval": "MINUTE", "intervalNum": 1}
        return kind | {"limit": verdict.limit, "count": used}
    if name == ORDERS:
        kind = {"rateLimitType": "ORDERS", "interval": "SECOND", "intervalNum": ORDERS_S}
        return kind | {"limit": order_limit(limits), "count": used}
    return None
