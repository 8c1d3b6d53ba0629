"""Builds the OpenAPI 3.1 document of this face from its route table, and serves it."""

import asyncio
import inspect
import json
from collections.abc import Sequence
from functools import cache
from typing import Final

from trade_engine import __version__
from trade_engine.edge.binance.openapi.answers import ANSWERS, Schema
from trade_engine.edge.binance.parameters import takes
from trade_engine.edge.binance.refusals import NUMBERS
from trade_engine.edge.rest.call import Answer, Call
from trade_engine.edge.rest.openapi.answers import closed
from trade_engine.edge.rest.parameters import Parameter
from trade_engine.edge.rest.route import OPEN, Route
from trade_engine.edge.rest.static import StaticFile, answer_with, static_file
from trade_engine.edge.settings import PUBLIC

#: Where it is served.
PATH: Final = "/api/v3/openapi.json"
_POLICY: Final = "default-src 'none'"
_INTRODUCTION: Final = """\
What clients of Binance's Spot API ask, answered by this engine; `docs/trader/binance.md` says what differs.

Parameters come in the query, in a body of the type `application/x-www-form-urlencoded`, or some here and some there.
Amounts are strings with eight decimals, times milliseconds.  A refusal is `{"code", "msg"}`; branch on `code`.  What is
signed is the query as sent, followed by the body as sent, without `signature`: HMAC-SHA256 as hex, or Ed25519 or RSA as
Base64.  A path that there is not answers 404, a method that a path does not take 405, both with -1020."""

_HEADERS: Final[dict[str, tuple[str, Schema]]] = {
    "X-MBX-USED-WEIGHT-1M": ("Weight that the address has used up.", {"type": "integer", "minimum": 0}),
    "X-MBX-ORDER-COUNT-10S": ("Orders that the account has used up.", {"type": "integer", "minimum": 0}),
    "Retry-After": ("Seconds to wait.", {"type": "integer", "minimum": 1}),
}
_REFUSED: Final = {
    400: "The request is wrong, or is refused.", 401: "There is no such API key, or it may not do this.",
    404: "There is no such path.", 413: "The request is too large.", 429: "Too much was asked; see `Retry-After`.",
    500: "A fault of the server.", 503: "Nothing was done; try again.",
}  # fmt: skip
_UNKNOWN: Final = "Nobody knows whether it was done: look."
_PARTLY: Final = "One was done and the other was not: `data` says which."
_REPLACE: Final = "/api/v3/order/cancelReplace"
_HALF: Final = {
    "type": "object",
    "properties": {
        name: {"enum": ["SUCCESS", "FAILURE", "NOT_ATTEMPTED"]} for name in ("cancelResult", "newOrderResult")
    },
    "required": ["cancelResult", "newOrderResult"],
}


def describe(routes: Sequence[Route]) -> Schema:
    """The description of some routes of this face."""
    paths: dict[str, Schema] = {}
    for route in routes:
        paths.setdefault(route.path, {})[route.method.lower()] = _operation(route)
    refusal = {"code": {"type": "integer", "enum": list(NUMBERS)}, "msg": {"type": "string"}}
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Trade Engine, as clients of Binance know it", "version": __version__,
            "description": _INTRODUCTION, "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/"}],
        "tags": [{"name": "binance", "description": "Market data, orders and the account."}],
        "paths": paths,
        "components": {
            "schemas": {"Refusal": closed(refusal), "HalfDone": closed(refusal | {"data": _HALF})},
            "headers": {
                name: {"description": described, "schema": schema, "required": name == "Retry-After"}
                for name, (described, schema) in _HEADERS.items()
            },
            "securitySchemes": {
                "key": {"type": "apiKey", "in": "header", "name": "X-MBX-APIKEY", "description": "The API key's id."},
            },
        },
        "x-codes": {str(number): meaning for number, meaning in NUMBERS.items()},
    }  # fmt: skip


def _operation(route: Route) -> Schema:
    summary, _, described = (inspect.getdoc(route.handler) or "").partition("\n\n")
    return {
        "operationId": route.operation,
        "summary": summary.rstrip(".").replace("``", "`"),
        "description": described.replace("\n", " ").replace("``", "`") or summary.replace("``", "`"),
        "tags": [route.tag],
        "parameters": [_parameter(parameter) for parameter in route.parameters],
        "responses": _responses(route),
        "security": [] if route.access == OPEN else [{"key": []}],
    }


def _parameter(parameter: Parameter) -> Schema:
    return {
        "name": parameter.name, "in": "query", "required": parameter.required, "description": parameter.description,
        "schema": parameter.schema,
    }  # fmt: skip


def _responses(route: Route) -> Schema:
    refused = dict(_REFUSED)
    if route.access == OPEN:
        del refused[401]
    if route.method != "GET":
        refused[504] = _UNKNOWN
    if route.path == _REPLACE:
        refused[409] = _PARTLY
    names = ["X-MBX-USED-WEIGHT-1M", *(["X-MBX-ORDER-COUNT-10S"] if route.limit == "orders" else [])]
    found = {"200": _response("Done.", ANSWERS[f"{route.method} {route.path}"], names)}
    for status, described in sorted(refused.items()):
        shapes = [{"$ref": "#/components/schemas/Refusal"}]
        if route.path == _REPLACE and status in (400, 409):
            shapes.append({"$ref": "#/components/schemas/HalfDone"})
        more = ["Retry-After"] if status in (429, 503) else []
        found[str(status)] = _response(described, shapes[0] if len(shapes) == 1 else {"anyOf": shapes}, names + more)
    return found


def _response(described: str, schema: Schema, headers: Sequence[str]) -> Schema:
    return {
        "description": described,
        "headers": {name: {"$ref": f"#/components/headers/{name}"} for name in headers},
        "content": {"application/json": {"schema": schema}},
    }


def described_at(routes: Sequence[Route]) -> Route:
    """The route that shows the description of others."""

    @cache
    def page() -> StaticFile:
        return static_file(json.dumps(describe(routes), separators=(",", ":")).encode(), "application/json", _POLICY)

    async def show(call: Call) -> Answer:
        """Show the description of these routes."""
        return answer_with(await asyncio.to_thread(page), call)

    return Route("binance_get_openapi", "", "GET", PATH, show, OPEN, PUBLIC, parameters=takes(""), weight=lambda _: 1)
