"""Builds the OpenAPI 3.1 document from the route table and the Structs of bodies and answers."""

import inspect
import re
from functools import cache
from typing import Any, Final

import msgspec

from trade_engine import __version__
from trade_engine.edge.problems import CODES
from trade_engine.edge.rest.openapi.answers import HEADERS, LIMIT_HEADERS, Schema, closed, responses, variants
from trade_engine.edge.rest.openapi.examples import EXAMPLES
from trade_engine.edge.rest.parameters import IN_PATH, Parameter
from trade_engine.edge.rest.route import OPEN, OPTIONAL, Route
from trade_engine.edge.rest.routes import ROUTES
from trade_engine.edge.shapes import Time

_INTRODUCTION: Final = """\
Amounts are decimal strings, times are UTC with microseconds.  Every answer but health's has an envelope; branch on
`error.code`, never on `error.message`.  A path that there is not answers 404 `ROUTE_NOT_FOUND`, a method that a path
does not take 405 `METHOD_NOT_ALLOWED` with `Allow`."""

_TAGS: Final = {
    "orders": "Place, change, cancel and look up orders.",
    "account": "Balances.",
    "api-keys": "Make, list and revoke API keys.",
    "market": "Markets, books, tickers, candles and trades.",
    "system": "The service itself.",
    "admin": "For operators (role admin).",
    "webhooks": "Where events are sent; for operators.",
}

#: The headers of a request that is signed with an API key, all of them together, by the name of their scheme.
_KEY_HEADERS: Final = {
    "key": ("X-API-Key", "The API key's id."),
    "timestamp": (
        "X-API-Timestamp",
        "Milliseconds since 1970; no older than `X-API-Recv-Window`, another header (5000 if left out, at most 60000).",
    ),
    "nonce": ("X-API-Nonce", "1 to 64 visible characters, never the same twice."),
    "signature": (
        "X-API-Signature",
        "HMAC-SHA256 by the secret, as hex: of timestamp, nonce, method, path and query (a line feed after each), body",
    ),
}

#: Whose answer says an id that others take: where in the answer it is, the parameter, and the operations.
_LINKS: Final = {
    ("orders_place", "201"): (
        "/data/order/id", "order_id",
        ("orders_get", "orders_amend", "orders_cancel", "engine_admin_admin_order", "engine_admin_admin_cancel"),
    ),
    ("api_keys_create_key", "201"): (
        "/data/key/key_id", "key_id", ("api_keys_revoke_key", "api_keys_admin_revoke_key"),
    ),
    ("webhooks_add_webhook", "201"): (
        "/data/endpoint/endpoint_id", "endpoint_id",
        ("webhooks_pause_webhook", "webhooks_resume_webhook", "webhooks_rotate_webhook", "webhooks_remove_webhook"),
    ),
    ("admin_list_dead_letters", "200"): (
        "/data/0/id", "id",
        ("admin_show_dead_letter", "admin_retry_dead_letter", "admin_resolve_dead_letter"),
    ),
}  # fmt: skip


@cache
def document() -> Schema:
    """The description of the API; do not change it."""
    schemas, components = _schemas()
    paths: dict[str, Schema] = {}
    for route in ROUTES:
        paths.setdefault(path_of(route), {})[route.method.lower()] = _operation(route, schemas)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Trade Engine", "version": __version__, "description": _INTRODUCTION,
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/"}],
        "tags": [{"name": name, "description": text} for name, text in _TAGS.items()],
        "paths": paths,
        "components": {
            "schemas": components,
            "headers": {
                name: {"description": text, "schema": schema, "required": name not in LIMIT_HEADERS}
                for name, (text, schema) in HEADERS.items()
            },
            "securitySchemes": {
                "bearer": {
                    "type": "http", "scheme": "bearer", "bearerFormat": "JWT",
                    "description": "`Authorization: Bearer <JWT>`; its `roles` say what it may do.",
                },
                **{
                    scheme: {"type": "apiKey", "in": "header", "name": name, "description": text}
                    for scheme, (name, text) in _KEY_HEADERS.items()
                },
            },
        },
        "x-codes": {code: {"status": meaning.status, "meaning": meaning.text} for code, meaning in CODES.items()},
    }  # fmt: skip


def path_of(route: Route) -> str:
    """A route's path as OpenAPI writes it."""
    return re.sub(r"\{(\w+):path\}", r"{\1}", route.path)


def _operation(route: Route, schemas: dict[Any, Schema]) -> Schema:
    summary, text = _texts(route)
    operation: Schema = {
        "operationId": route.operation,
        "summary": summary,
        "description": text,
        "tags": [route.tag],
        "parameters": [
            *(_parameter(IN_PATH[part], "path") for part in re.findall(r"\{(\w+)", route.path)),
            *(_parameter(parameter, "query") for parameter in route.parameters),
        ],
        "responses": responses(route, schemas),
        "security": _security(route),
    }
    for (source, status), (place, parameter, targets) in _LINKS.items():
        if source == route.operation:
            operation["responses"][status]["links"] = {
                target: {"operationId": target, "parameters": {parameter: f"$response.body#{place}"}}
                for target in targets
            }
    if route.body is not None:
        examples = {title: {"value": value} for title, value in EXAMPLES[route.body.__name__].items()}
        operation["requestBody"] = {
            "required": True,
            "content": {"application/json": {"schema": schemas[route.body], "examples": examples}},
        }
    return operation


def _texts(route: Route) -> tuple[str, str]:
    """Summary and description: the first line of the handler's docstring, and what follows it."""
    summary, _, text = (inspect.getdoc(route.handler) or "").partition("\n\n")
    return summary.rstrip("."), text.replace("\n", " ").replace("``", "`") or summary


def _parameter(parameter: Parameter, place: str) -> Schema:
    return {
        "name": parameter.name, "in": place, "required": parameter.required, "description": parameter.description,
        "schema": parameter.schema,
    }  # fmt: skip


def _security(route: Route) -> list[Schema]:
    if route.access == OPEN:
        return []
    logins: list[Schema] = [{"bearer": []}]
    if route.scope is not None:
        logins.append({scheme: [] for scheme in _KEY_HEADERS})
    return [{}, *logins] if route.access == OPTIONAL else logins


def _schemas() -> tuple[dict[Any, Schema], Schema]:
    """The schema of each type of a body or an answer, and the components that they refer to."""
    kinds = [kind for route in ROUTES for kind in (*variants(route.answer), route.body) if kind is not None]
    distinct = list({repr(kind): kind for kind in kinds}.values())
    shown, components = msgspec.json.schema_components(distinct, ref_template="#/components/schemas/{name}")
    for schema in components.values():
        if "properties" in schema:
            schema["additionalProperties"] = False
    (moment,), _ = msgspec.json.schema_components([Time])
    meta = {"request_id": {"type": "string"}, "timestamp": moment}
    cursor = {"next_cursor": {"type": ["string", "null"], "description": "`cursor` of the next page; null: the last."}}
    own = {
        "Meta": closed(meta),
        "PagedMeta": closed(meta | cursor),
        "Details": {
            "type": "object",
            "description": "What is known of the refusal: `field`, `provided`, `limit`, `retry_after_ms`, `trace_id`.",
        },
    }
    return dict(zip(distinct, shown, strict=True)), dict(sorted((components | own).items()))
