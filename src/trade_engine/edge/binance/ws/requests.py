"""Requests of a client of streams: what may come in, and what is said of what may not."""

from typing import Any, Final, NamedTuple

import msgspec

from trade_engine.domain.errors import EngineError

SUBSCRIBE: Final = "SUBSCRIBE"
UNSUBSCRIBE: Final = "UNSUBSCRIBE"
LIST: Final = "LIST_SUBSCRIPTIONS"
SET: Final = "SET_PROPERTY"
GET: Final = "GET_PROPERTY"
METHODS: Final = (SUBSCRIBE, UNSUBSCRIBE, LIST, SET, GET)
_ID_MAX: Final = 36
_FIELDS: Final = {"method", "params", "id"}

RequestId = str | int | None


class StreamRequest(NamedTuple):
    """A request that can be carried out."""

    method: str
    params: list[Any]
    id: RequestId


class Unreadable(EngineError):
    """A request that cannot; ``number`` is 0 to 3, as there, and its id as far as that can be told."""

    def __init__(self, number: int, text: str, request_id: RequestId = None) -> None:
        super().__init__("INVALID_STREAM_REQUEST", text)
        self.number = number
        self.request_id = request_id


def read_request(message: bytes) -> StreamRequest:
    """The request of a message.

    Raises:
        Unreadable: it is none.
    """
    try:
        found = msgspec.json.decode(message)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        raise Unreadable(3, f"Invalid JSON: {str(error)[:200]}") from error
    if not isinstance(found, dict):
        raise Unreadable(2, "Invalid request: a request is an object")
    request_id, params, method = found.get("id"), found.get("params"), found.get("method")
    if not _is_id(request_id):
        raise Unreadable(2, "Invalid request: request ID must be an unsigned integer")
    if "method" not in found:
        raise Unreadable(2, "Invalid request: missing field `method`", request_id)
    if method not in METHODS:
        known = ", ".join(f"`{name}`" for name in METHODS)
        raise Unreadable(
            2, f"Invalid request: unknown variant `{str(method)[:50]}`, expected one of {known}", request_id
        )
    if found.keys() - _FIELDS or (params is not None and not isinstance(params, list)):
        raise Unreadable(2, "Invalid request: too many parameters", request_id)
    return StreamRequest(str(method), params or [], request_id)


def _is_id(given: Any) -> bool:
    if isinstance(given, str):
        return len(given) <= _ID_MAX and given.isprintable()
    return given is None or (type(given) is int and -(2**63) <= given < 2**63)


def failure(number: int, text: str, request_id: RequestId) -> dict[str, Any]:
    """The answer to a request that is refused: as their documentation has it, and where their clients look for it."""
    shown = {"code": number, "msg": text}
    return shown | {"id": request_id, "error": shown}
