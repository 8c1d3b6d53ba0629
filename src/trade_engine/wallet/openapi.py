"""The wallet service's OpenAPI 3.1 document, generated from its table of operations and their structs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, Protocol

import msgspec

from trade_engine.domain.patterns import whole
from trade_engine.wallet import wire

_REFERENCE: Final = "#/components/schemas/{name}"
_PARAMETERS: Final[dict[str, dict[str, Any]]] = {
    "after": {"type": "string", "format": "uuid"},
    "before": {"type": "string", "pattern": whole("[0-9]+")},
    "limit": {"type": "integer", "minimum": 1},
    "user_id": {"type": "string", "format": "uuid"},
}


class Described(Protocol):
    """What is known of an operation."""

    @property
    def method(self) -> str:
        """GET or POST."""

    @property
    def path(self) -> str:
        """Below the prefix."""

    @property
    def name(self) -> str:
        """Unique."""

    @property
    def body(self) -> type[msgspec.Struct] | None:
        """Of a POST."""

    @property
    def answer(self) -> type[msgspec.Struct]:
        """Of a 200."""

    @property
    def parameters(self) -> tuple[str, ...]:
        """Of the query."""


def describe(operations: Sequence[Described], version: str) -> dict[str, Any]:
    """The document."""
    kinds = [kind for operation in operations for kind in (operation.body, operation.answer) if kind is not None]
    _, schemas = msgspec.json.schema_components([*kinds, wire.Failure], ref_template=_REFERENCE)
    paths: dict[str, dict[str, Any]] = {}
    for operation in operations:
        paths.setdefault(wire.PREFIX + operation.path, {})[operation.method.lower()] = _operation(operation)
    return {
        "openapi": "3.1.0",
        "info": {"title": "Trade Engine wallet", "version": version},
        "security": [{"service_token": []}],
        "paths": paths,
        "components": {
            "schemas": schemas,
            "securitySchemes": {
                "service_token": {
                    "type": "http",
                    "scheme": "bearer",
                    "bearerFormat": "JWT with the role service, or engine",
                }
            },
        },
    }


def _operation(operation: Described) -> dict[str, Any]:
    described: dict[str, Any] = {
        "operationId": operation.name,
        "summary": ((operation.body or operation.answer).__doc__ or "").strip(),
        "parameters": [
            {"name": name, "in": "query", "required": False, "schema": _PARAMETERS[name]}
            for name in operation.parameters
        ],
        "responses": {"200": _content("done", operation.answer)}
        | {str(status): _content(_codes(status), wire.Failure) for status in sorted(set(wire.STATUS.values()))},
    }
    if "{user_id}" in operation.path:
        described["parameters"].append(
            {"name": "user_id", "in": "path", "required": True, "schema": _PARAMETERS["user_id"]}
        )
    if operation.body is not None:
        described["requestBody"] = {"required": True, **_content(None, operation.body)}
    return described


def _content(description: str | None, kind: type[msgspec.Struct]) -> dict[str, Any]:
    content = {"application/json": {"schema": {"$ref": _REFERENCE.format(name=kind.__name__)}}}
    return {"content": content} if description is None else {"description": description, "content": content}


def _codes(status: int) -> str:
    return ", ".join(code for code, known in wire.STATUS.items() if known == status)
