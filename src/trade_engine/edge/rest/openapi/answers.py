"""What a route can answer: its codes by status, envelopes and headers, as OpenAPI has them."""

import types
from http import HTTPStatus
from typing import Any, Final, Union, get_args, get_origin

from trade_engine.edge.bodies import FIELD_CODES
from trade_engine.edge.problems import CODES
from trade_engine.edge.rest.route import OPEN, OPTIONAL, Route

Schema = dict[str, Any]

_TOKEN: Final = ("INVALID_TOKEN", "TOKEN_EXPIRED", "TOKEN_NOT_YET_VALID")
_SIGNED: Final = (
    "INVALID_API_KEY", "INVALID_SIGNATURE", "TIMESTAMP_OUT_OF_WINDOW", "NONCE_REUSED", "IP_NOT_ALLOWED",
    "SCOPE_MISSING", "NONCE_MEMORY_FULL", "API_KEY_UNREADABLE", "DATABASE_UNAVAILABLE", "BODY_TOO_LARGE",
)  # fmt: skip
_BODY: Final = ("INVALID_JSON", "INVALID_BODY", "UNKNOWN_FIELD", "MISSING_FIELD", "BODY_TOO_LARGE")
_PATH: Final = {"symbol": "INVALID_SYMBOL", "order_id": "INVALID_ORDER_ID", "id": "INVALID_PARAMETER"}

#: Of rate limits; an operator may switch these off.
LIMIT_HEADERS: Final = ("X-RateLimit-Limit", "X-RateLimit-Remaining", "X-RateLimit-Reset")
#: Headers by name: what they say, and their schema.  But for those of limits, an answer that lists one has it.
HEADERS: Final[dict[str, tuple[str, Schema]]] = {
    "X-Request-ID": ("What logs and `meta` call this request.", {"type": "string"}),
    "X-RateLimit-Limit": ("Requests at once; left out where there is no limit.", {"type": "integer", "minimum": 1}),
    "X-RateLimit-Remaining": ("So many would pass now.", {"type": "integer", "minimum": 0}),
    "X-RateLimit-Reset": ("Seconds until all would.", {"type": "integer", "minimum": 0}),
    "Retry-After": ("Seconds to wait.", {"type": "integer", "minimum": 1}),
    "WWW-Authenticate": ("`Bearer`.", {"type": "string"}),
    "Idempotent-Replayed": ("`true`: the client_order_id was used before.", {"type": "string", "const": "true"}),
}


def codes_of(route: Route) -> set[str]:
    """Every code that a route can answer with: its own, and those that follow from its row."""
    codes = {"INVALID_PARAMETER", "INTERNAL_ERROR", *route.codes}
    codes.add("REQUEST_TIMEOUT" if route.method == "GET" else "OUTCOME_UNKNOWN")
    if route.access != OPEN:
        codes.update(_TOKEN)
        if route.access != OPTIONAL:
            codes.update(("UNAUTHORIZED", "FORBIDDEN"))
        # Who signs with an API key gets these; a token may lack the scope, too.
        codes.update(_SIGNED)
        if route.scope is None:
            codes.add("TOKEN_REQUIRED")
    if route.limit is not None:
        codes.add("RATE_LIMITED")
    if route.is_reading:
        codes.add("TOO_MANY_QUERIES")
    if route.body is not None:
        codes.update(_BODY)
        codes.update(FIELD_CODES[name] for name in route.body.__struct_fields__ if name in FIELD_CODES)
    if "{" in route.path:
        codes.add("ROUTE_NOT_FOUND")
        codes.update(code for name, code in _PATH.items() if f"{{{name}" in route.path)
    return codes


def variants(answer: Any) -> tuple[Any, ...]:
    """The types of an answer: more than one if it is one list or another."""
    if get_origin(answer) in (Union, types.UnionType) and type(None) not in get_args(answer):
        return get_args(answer)
    return (answer,)


def closed(properties: Schema, **more: Any) -> Schema:
    """An object with all of these properties and no others."""
    return {
        "type": "object", "properties": properties, "required": list(properties), "additionalProperties": False, **more
    }  # fmt: skip


def responses(route: Route, schemas: dict[Any, Schema]) -> Schema:
    """The responses of a route by status; ``schemas`` has the schema of each type of an answer."""
    refused: dict[int, list[str]] = {}
    for code in CODES:
        if code in codes_of(route):
            refused.setdefault(CODES[code].status, []).append(code)
    shapes = {status: [_success(route, schemas)] for status in (route.status, *route.also)}
    for status, codes in refused.items():
        shapes.setdefault(status, []).append(_refusal(codes))
    return {
        str(status): {
            "description": _description(status, refused.get(status, []), status in (route.status, *route.also)),
            "headers": _headers(route, status),
            "content": {"application/json": {"schema": found[0] if len(found) == 1 else {"anyOf": found}}},
        }
        for status, found in sorted(shapes.items())
    }


def _success(route: Route, schemas: dict[Any, Schema]) -> Schema:
    found = [schemas[kind] for kind in variants(route.answer)]
    answer = found[0] if len(found) == 1 else {"anyOf": found}
    if route.plain:
        return answer
    meta = "PagedMeta" if route.paged else "Meta"
    return closed({"success": {"const": True}, "data": answer, "meta": {"$ref": f"#/components/schemas/{meta}"}})


def _refusal(codes: list[str]) -> Schema:
    error = closed(
        {
            "code": {"type": "string", "enum": codes},
            "message": {"type": "string"},
            "details": {"$ref": "#/components/schemas/Details"},
        }
    )
    return closed({"success": {"const": False}, "error": error, "meta": {"$ref": "#/components/schemas/Meta"}})


def _description(status: int, codes: list[str], succeeds: bool) -> str:
    lines = [HTTPStatus(status).phrase] if succeeds or not codes else []
    lines += [f"- `{code}`: {CODES[code].text}" for code in codes]
    return "\n".join(lines)


def _headers(route: Route, status: int) -> Schema:
    names = ["X-Request-ID", *(LIMIT_HEADERS if route.limit is not None else ())]
    if status == 429 or (status == 503 and not route.plain):
        names.append("Retry-After")
    if status == 401:
        names.append("WWW-Authenticate")
    if status == 200 and 200 in route.also:
        names.append("Idempotent-Replayed")
    return {name: {"$ref": f"#/components/headers/{name}"} for name in names}
