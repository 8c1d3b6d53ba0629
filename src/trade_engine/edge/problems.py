"""Refusals as HTTP: which status each code has, and the refusals that only the API itself can give.

    EngineError
    +-- Unauthorized              401
    +-- Forbidden                 403
    +-- MethodNotAllowed          405
    +-- BodyTooLarge              413
    +-- TooMany                   429
    +-- RateLimited               429

One code always has one status; ``CODES`` is the list that the trader's guide and the API description show.
"""

from typing import Any, Final, NamedTuple

from trade_engine.domain.errors import EngineError, InvalidRequest, NotFound, OutcomeUnknown, Refused, Unavailable


class Unauthorized(EngineError):
    """The caller did not say who it is, or could not prove it."""


class Forbidden(EngineError):
    """The caller is known, and may not do this."""


class MethodNotAllowed(EngineError):
    """The path exists, the method does not."""


class BodyTooLarge(EngineError):
    """The body is larger than this server reads."""


class TooMany(EngineError):
    """A limit of a connection or a caller is reached; ``details`` name it."""


class RateLimited(EngineError):
    """Too many requests; ``wait_s`` says when the next one will pass, ``limit`` which limit it was, if known."""

    def __init__(self, wait_s: float, limit: str = "") -> None:
        super().__init__("RATE_LIMITED", "too many requests", retry_after_ms=round(wait_s * 1000))
        self.wait_s = wait_s
        self.limit = limit


class Meaning(NamedTuple):
    """What a code says, and the status it comes with."""

    status: int
    text: str


CODES: Final[dict[str, Meaning]] = {
    "INVALID_JSON": Meaning(400, "the body is not JSON"),
    "INVALID_BODY": Meaning(400, "the body is not a JSON object, or a field has the wrong type"),
    "UNKNOWN_FIELD": Meaning(400, "the body has a field that this route does not know"),
    "MISSING_FIELD": Meaning(400, "the body lacks a field"),
    "INVALID_PARAMETER": Meaning(400, "a query parameter is unknown, repeated or out of range"),
    "UNKNOWN_COMMAND": Meaning(400, "WebSocket: op is not a known one"),
    "UNKNOWN_CHANNEL": Meaning(400, "WebSocket: the channel is not a known one"),
    "INVALID_LEVELS": Meaning(400, "WebSocket: levels is not 5, 10, 20, 50 or 0"),
    "INVALID_PAUSE": Meaning(400, "WebSocket: pause_ms is not 100, 1000 or 0, or the channel has none"),
    "INVALID_CURSOR": Meaning(400, "the cursor is not one that this API gave out"),
    "INVALID_ORDER_ID": Meaning(400, "the order id is not a UUID"),
    "INVALID_SYMBOL": Meaning(400, "there is no such market"),
    "INVALID_INTERVAL": Meaning(400, "the interval is not one of those that candles have"),
    "INVALID_SIDE": Meaning(400, "the side is not BUY or SELL"),
    "INVALID_ORDER_TYPE": Meaning(400, "the type is not LIMIT, MARKET, STOP or STOP_LIMIT"),
    "INVALID_TIME_IN_FORCE": Meaning(400, "the time in force is not GTC, IOC, FOK, DAY or GTD"),
    "INVALID_SELF_TRADE_PREVENTION": Meaning(400, "the self-trade prevention is not a known one"),
    "INVALID_QUANTITY": Meaning(400, "the quantity is not a number, not whole lots, or out of the market's range"),
    "INVALID_PRICE": Meaning(400, "the price is not a number, not whole ticks, missing, or not wanted"),
    "INVALID_STOP_PRICE": Meaning(400, "the stop price is not a number, not whole ticks, missing, or not wanted"),
    "INVALID_QUOTE_AMOUNT": Meaning(400, "the quote amount is not a number, or not wanted"),
    "INVALID_DISPLAY_QUANTITY": Meaning(400, "the display quantity does not fit the order"),
    "INVALID_EXPIRY": Meaning(400, "expires_at is missing, not wanted, or not a future time"),
    "INVALID_FLAGS": Meaning(400, "the order's options contradict each other"),
    "CONFIRMATION_NEEDED": Meaning(400, "this ends every order of the venue; confirm=ALL says that it is meant"),
    "UNKNOWN_ASSET": Meaning(400, "no market has the asset; nothing was moved"),
    "CONFIG_INVALID": Meaning(400, "the configuration is wrong; nothing was changed"),
    "INVALID_REASON": Meaning(400, "the reason is missing or too long"),
    "INVALID_CLIENT_ORDER_ID": Meaning(400, "the client order id is not 1 to 100 printable characters"),
    "INVALID_TIMEOUT": Meaning(400, "timeout_s is not 0 to 86400 seconds"),
    "INVALID_PAIR": Meaning(400, "the two orders make no pair of which one cancels the other"),
    "INVALID_BATCH": Meaning(400, "the batch has no orders, or more than pass at once"),
    "INVALID_MARKET": Meaning(400, "a term of the market is wrong, or contradicts another"),
    "INVALID_STATE": Meaning(400, "the state is not OPEN, HALTED, CANCEL_ONLY or CLOSED"),
    "INVALID_WEBHOOK_TERMS": Meaning(400, "the URL, the name or a filter of a webhook endpoint is wrong"),
    "INVALID_API_KEY_TERMS": Meaning(400, "the name, a scope, an address or the expiry of an API key is wrong"),
    "INVALID_AMOUNT": Meaning(400, "the wallet does not take the amount"),
    "INVALID_COMMAND": Meaning(400, "the order makes no sense to the market"),
    "INVALID_LINK": Meaning(400, "the linked order does not fit"),
    "NOTIONAL_OVERFLOW": Meaning(400, "price x quantity is above the largest notional"),
    "INSUFFICIENT_BALANCE": Meaning(400, "the available balance does not cover the order and its fee"),
    "UNAUTHORIZED": Meaning(401, "there is no bearer token"),
    "INVALID_TOKEN": Meaning(401, "the token is malformed, not signed with a known key, or its claims are wrong"),
    "TOKEN_EXPIRED": Meaning(401, "the token has expired"),
    "TOKEN_NOT_YET_VALID": Meaning(401, "the token is not valid yet"),
    "INVALID_API_KEY": Meaning(401, "the API key is malformed, unknown, revoked or expired"),
    "INVALID_SIGNATURE": Meaning(401, "the signature is not the one of this request and this API key"),
    "TIMESTAMP_OUT_OF_WINDOW": Meaning(401, "the signed request is too old, or from the future"),
    "NONCE_REUSED": Meaning(401, "the nonce was used before with this API key"),
    "FORBIDDEN": Meaning(403, "the token lacks the role"),
    "IP_NOT_ALLOWED": Meaning(403, "the API key may not be used from this address"),
    "SCOPE_MISSING": Meaning(403, "the API key or the token lacks the scope"),
    "TOKEN_REQUIRED": Meaning(403, "API keys are managed with a bearer token, not with an API key"),
    "ROUTE_NOT_FOUND": Meaning(404, "there is no such path"),
    "ORDER_NOT_FOUND": Meaning(404, "there is no such order of yours"),
    "WEBHOOK_NOT_FOUND": Meaning(404, "there is no such webhook endpoint"),
    "API_KEY_NOT_FOUND": Meaning(404, "there is no such API key of yours"),
    "DEAD_LETTER_NOT_FOUND": Meaning(404, "there is no such dead letter"),
    "USER_NOT_FOUND": Meaning(404, "the user has no wallet"),
    "METHOD_NOT_ALLOWED": Meaning(405, "the path does not take this method; Allow names those it takes"),
    "ORDER_NOT_CANCELLABLE": Meaning(409, "the order is filled, rejected or expired"),
    "IDEMPOTENCY_CONFLICT": Meaning(409, "the operation was done before with other terms"),
    "DUPLICATE_ORDER_ID": Meaning(409, "the order's id was used before"),
    "NOT_AMENDABLE": Meaning(409, "the order's state does not allow the change"),
    "AMENDMENT_CONFLICT": Meaning(409, "the order kept changing while it was amended; nothing was changed"),
    "MARKET_EXISTS": Meaning(409, "the market is listed already"),
    "MARKET_FIXED": Meaning(409, "the field of a market cannot be changed once it is listed"),
    "TOO_MANY_WEBHOOKS": Meaning(409, "there are as many webhook endpoints as there may be"),
    "TOO_MANY_API_KEYS": Meaning(409, "the user has as many API keys as a user may have"),
    "ALREADY_SETTLED": Meaning(409, "the ledger has settled the trade; retry the dead letter instead"),
    "BODY_TOO_LARGE": Meaning(413, "the body is larger than the server reads"),
    "MARKET_HALTED": Meaning(422, "the market is halted"),
    "MARKET_CANCEL_ONLY": Meaning(422, "the market takes cancels only"),
    "MARKET_CLOSED": Meaning(422, "the market is closed"),
    "STOP_PRICE_REACHED": Meaning(422, "the last price has reached the stop price of a leg; nothing was placed"),
    "POST_ONLY_WOULD_TAKE": Meaning(422, "the post-only order would take"),
    "PRICE_BAND": Meaning(422, "the price is too far from the last trade"),
    "MIN_NOTIONAL": Meaning(422, "price x quantity is below the market's minimum"),
    "MAX_OPEN_ORDERS": Meaning(422, "the user has too many open orders in this market"),
    "TRIGGERS_WAITING": Meaning(422, "stops that were reached enter first; try again shortly"),
    "NO_CHANGE": Meaning(422, "the amendment changes nothing"),
    "COMMAND_REFUSED": Meaning(422, "the engine could not carry the request out; nothing was changed"),
    "RATE_LIMITED": Meaning(429, "too many requests; Retry-After says when to try again"),
    "TOO_MANY_QUERIES": Meaning(429, "as many of your queries are under way as may be; wait for one of them"),
    "TOO_MANY_CONNECTIONS": Meaning(429, "WebSocket: the user, the address or the server has too many connections"),
    "TOO_MANY_SUBSCRIPTIONS": Meaning(429, "WebSocket: the connection has too many subscriptions"),
    "TOO_MANY_COMMANDS": Meaning(429, "WebSocket: too many commands are under way on the connection"),
    "INTERNAL_ERROR": Meaning(500, "a fault of the server; details.trace_id finds it in the log"),
    "WALLET_UNAVAILABLE": Meaning(503, "the wallet is away; nothing was done"),
    "DATABASE_UNAVAILABLE": Meaning(503, "the database is away; nothing was done"),
    "ENGINE_UNAVAILABLE": Meaning(503, "the engine is starting, stopping or standing by; nothing was done"),
    "CLOCK_JUMPED": Meaning(503, "the machine's clock cannot be trusted; nothing was done"),
    "ENGINE_OVERLOADED": Meaning(503, "the engine's queue is full; nothing was done"),
    "MARKET_DATA_UNAVAILABLE": Meaning(503, "the statistics of the market are being made anew"),
    "NONCE_MEMORY_FULL": Meaning(503, "too many signed requests within a minute; nothing was done"),
    "API_KEY_UNREADABLE": Meaning(503, "the key's secret cannot be decrypted: the operator must look"),
    "OUTCOME_UNKNOWN": Meaning(503, "the order may have been placed: repeat with the same client_order_id"),
    "REQUEST_TIMEOUT": Meaning(503, "the request took too long; nothing was changed"),
}

#: What a code that the list does not name answers with, by its kind; the first that fits.
_BY_KIND: Final[tuple[tuple[type[EngineError], int], ...]] = (
    (InvalidRequest, 400),
    (NotFound, 404),
    (OutcomeUnknown, 503),
    (Unavailable, 503),
    (Refused, 409),
    (Unauthorized, 401),
    (Forbidden, 403),
    (MethodNotAllowed, 405),
    (BodyTooLarge, 413),
    (TooMany, 429),
    (RateLimited, 429),
)


def status_of(error: EngineError) -> int:
    """The HTTP status of a refusal: its code's, else its kind's, else 500."""
    meaning = CODES.get(error.code)
    if meaning is not None:
        return meaning.status
    return next((status for kind, status in _BY_KIND if isinstance(error, kind)), 500)


def describe(error: EngineError) -> dict[str, Any]:
    """A refusal as answers show it."""
    details = {name: value for name, value in error.details.items() if value is not None}
    return {"code": error.code, "message": error.message, "details": details}
