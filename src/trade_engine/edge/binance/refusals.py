"""Refusals as clients of Binance know them: a number, a text, and the HTTP status they come with.

The numbers are public (https://github.com/binance/binance-spot-api-docs, errors.md); which of ours means which of
them is decided here, and nowhere else.
"""

from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from trade_engine.domain.errors import EngineError, InvalidRequest, NotFound, Refused, Unavailable

#: Every number that an answer over REST may have, and what it means.
NUMBERS: Final = {
    -1000: "A fault of the server.",
    -1001: "Something that is needed does not answer; nothing was done.",
    -1003: "Too many requests, or too much weight.",
    -1007: "Nobody knows whether it was done.",
    -1008: "Overloaded; nothing was done.",
    -1013: "A filter of the market, which the text names.",
    -1014: "What was asked for does not go together.",
    -1015: "Too many orders.",
    -1020: "There is no such path or method.",
    -1021: "The timestamp is too old or ahead.",
    -1022: "The signature is wrong, or was used.",
    -1100: "Illegal characters in a parameter.",
    -1101: "Too many parameters, or one comes twice.",
    -1102: "A parameter is missing or malformed.",
    -1104: "A parameter is unknown.",
    -1105: "A parameter is empty.",
    -1106: "A parameter is not wanted here.",
    -1108: "A parameter is too large.",
    -1111: "Too many decimals.",
    -1115: "There is no such timeInForce.",
    -1116: "There is no such order type.",
    -1117: "There is no such side.",
    -1120: "There is no such interval.",
    -1121: "There is no such market.",
    -1125: "There is no such listen key.",
    -1127: "The time ends before it begins.",
    -1128: "These parameters exclude each other.",
    -1130: "A parameter has a value that it cannot have.",
    -1131: "The receive window is too long.",
    -1151: "A market is there twice.",
    -2010: "The order was refused; the text says why.",
    -2011: "There is no such order to cancel, or it may not be.",
    -2013: "There is no such order.",
    -2014: "The API key is none.",
    -2015: "There is no such API key, or it may not do this.",
    -2018: "There is no such order list.",
    -2021: "Cancel-replace: one was done, the other not.",
    -2022: "Cancel-replace: nothing was done.",
    -2038: "The order is not amended.",
}


class Shown(NamedTuple):
    """What a client sees of a refusal."""

    status: int
    number: int
    text: str
    #: What it tells beside that.
    more: Mapping[str, Any] | None = None


class Numbered(EngineError):
    """A refusal of this face's own, which has its number already."""

    def __init__(self, number: int, text: str, status: int = 400, more: Mapping[str, Any] | None = None) -> None:
        super().__init__(f"BINANCE_{-number}", text)
        self.shown = Shown(status, number, text, more)


_NO_KEY: Final = Shown(401, -2015, "Invalid API-key, IP, or permissions for action.")
_CLOSED: Final = Shown(400, -2010, "Market is closed.")
_DUPLICATE: Final = Shown(400, -2010, "Duplicate order sent.")
_COMBINATION: Final = Shown(400, -1014, "Unsupported order combination.")
_BUSY: Final = Shown(
    503, -1008, "Server is currently overloaded with other requests. Please try again in a few minutes."
)
_AWAY: Final = Shown(503, -1001, "Internal error; unable to process your request. Please try again.")
_FAULT: Final = Shown(500, -1000, "An unknown error occurred while processing the request.")
UNSUPPORTED: Final = "This operation is not supported."


def _filter(name: str) -> Shown:
    return Shown(400, -1013, f"Filter failure: {name}")


_BY_CODE: Final[dict[str, Shown]] = {
    "INVALID_SYMBOL": Shown(400, -1121, "Invalid symbol."),
    "INVALID_INTERVAL": Shown(400, -1120, "Invalid interval."),
    "INSUFFICIENT_BALANCE": Shown(400, -2010, "Account has insufficient balance for requested action."),
    "INVALID_QUANTITY": _filter("LOT_SIZE"),
    "INVALID_PRICE": _filter("PRICE_FILTER"),
    "INVALID_STOP_PRICE": _filter("PRICE_FILTER"),
    "INVALID_QUOTE_AMOUNT": _filter("NOTIONAL"),
    "NOTIONAL_OVERFLOW": _filter("NOTIONAL"),
    "MIN_NOTIONAL": _filter("NOTIONAL"),
    "INVALID_DISPLAY_QUANTITY": _filter("ICEBERG_PARTS"),
    "PRICE_BAND": _filter("PERCENT_PRICE_BY_SIDE"),
    "MAX_OPEN_ORDERS": _filter("MAX_NUM_ORDERS"),
    "POST_ONLY_WOULD_TAKE": Shown(400, -2010, "Order would immediately match and take."),
    "INVALID_FLAGS": _COMBINATION,
    "INVALID_COMMAND": _COMBINATION,
    "INVALID_EXPIRY": _COMBINATION,
    "INVALID_LINK": _COMBINATION,
    # What clients know of prices of a pair that do not fit.
    "INVALID_PAIR": Shown(400, -2010, "The relationship of the prices for the orders is not correct."),
    "STOP_PRICE_REACHED": Shown(400, -2010, "The relationship of the prices for the orders is not correct."),
    "MARKET_HALTED": _CLOSED,
    "MARKET_CANCEL_ONLY": _CLOSED,
    "MARKET_CLOSED": _CLOSED,
    "IDEMPOTENCY_CONFLICT": _DUPLICATE,
    "DUPLICATE_ORDER_ID": _DUPLICATE,
    "ORDER_NOT_FOUND": Shown(400, -2013, "Order does not exist."),
    "ORDER_NOT_CANCELLABLE": Shown(400, -2011, "Unknown order sent."),
    "UNAUTHORIZED": Shown(401, -2014, "API-key format invalid."),
    "INVALID_API_KEY": _NO_KEY,
    "IP_NOT_ALLOWED": _NO_KEY,
    "SCOPE_MISSING": _NO_KEY,
    "FORBIDDEN": _NO_KEY,
    "INVALID_SIGNATURE": Shown(400, -1022, "Signature for this request is not valid."),
    "NONCE_REUSED": Shown(400, -1022, "Signature for this request is not valid: it was used before."),
    "TIMESTAMP_OUT_OF_WINDOW": Shown(400, -1021, "Timestamp for this request is outside of the recvWindow."),
    "ROUTE_NOT_FOUND": Shown(404, -1020, UNSUPPORTED),
    "METHOD_NOT_ALLOWED": Shown(405, -1020, UNSUPPORTED),
    "BODY_TOO_LARGE": Shown(413, -1101, "Too many parameters sent for this endpoint."),
    "TOO_MANY_CONNECTIONS": Shown(429, -1003, "Too many connections."),
    "RATE_LIMITED": Shown(429, -1003, "Too many requests queued."),
    "TOO_MANY_QUERIES": Shown(429, -1003, "Too many requests queued."),
    "INTERNAL_ERROR": _FAULT,
    "OUTCOME_UNKNOWN": Shown(
        504,
        -1007,
        "Timeout waiting for response from backend server. Send status unknown; execution status unknown.",
    ),
    "ENGINE_OVERLOADED": _BUSY,
    "TRIGGERS_WAITING": _BUSY,
    "NONCE_MEMORY_FULL": _BUSY,
}
_AHEAD: Final = "Timestamp for this request was 1000ms ahead of the server's time."


def show(error: EngineError) -> Shown:
    """What a client sees of a refusal."""
    if isinstance(error, Numbered):
        return error.shown
    known = _BY_CODE.get(error.code)
    if error.code == "TIMESTAMP_OUT_OF_WINDOW" and error.message.endswith("future"):
        return Shown(400, -1021, _AHEAD)
    if known is not None:
        return known
    if isinstance(error, InvalidRequest):
        return Shown(400, -1130, error.message)
    if isinstance(error, Refused):
        return Shown(400, -2010, error.message)
    if isinstance(error, NotFound):
        return Shown(404, -1020, UNSUPPORTED)
    return _AWAY if isinstance(error, Unavailable) else _FAULT


def of_cancel(error: EngineError) -> EngineError:
    """A refusal of a cancel: what is no order of the caller's, or is over, is unknown."""
    if error.code in ("ORDER_NOT_FOUND", "ORDER_NOT_CANCELLABLE"):
        return unknown_order()
    if error.code in ("MARKET_HALTED", "MARKET_CANCEL_ONLY", "MARKET_CLOSED"):
        return Numbered(-2011, "Market is closed.")
    return error


def unknown_order() -> Numbered:
    """There is no such order to cancel."""
    return Numbered(-2011, "Unknown order sent.")


def missing(name: str) -> Numbered:
    """A parameter that must be there is not, or makes no sense."""
    return Numbered(-1102, f"Mandatory parameter '{name}' was not sent, was empty/null, or malformed.")


def unwanted(name: str) -> Numbered:
    """A parameter that does not go with the others."""
    return Numbered(-1106, f"Parameter '{name}' sent when not required.")


def illegal(name: str, legal: str) -> Numbered:
    """A parameter whose text is not of the form it must have."""
    return Numbered(-1100, f"Illegal characters found in parameter '{name}'; legal range is '{legal}'.")


def invalid(name: str) -> Numbered:
    """A parameter whose value is none that it may have."""
    return Numbered(-1130, f"Data sent for parameter '{name}' is not valid.")


def combination(*names: str) -> Numbered:
    """Parameters that exclude each other."""
    return Numbered(-1128, f"Combination of optional parameters invalid: {', '.join(names)}.")
