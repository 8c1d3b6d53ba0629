"""Holds answers against the API's description: nothing may be answered that it does not say."""

import re
from functools import cache
from typing import Any, Final

import httpx
import jsonschema_rs

from trade_engine.edge.rest.openapi.answers import LIMIT_HEADERS
from trade_engine.edge.rest.openapi.document import document
from trade_engine.edge.rest.openapi.pages import PAGES

#: The answers to a path or a method that there is not; they belong to no route.
NOWHERE: Final = ("ROUTE_NOT_FOUND", "METHOD_NOT_ALLOWED")
_PAGES: Final = frozenset(route.path for route in PAGES)


def validator(schema: Any) -> jsonschema_rs.Draft202012Validator:
    """What checks a value against a schema of the document."""
    whole = {"components": document()["components"], **schema}
    return jsonschema_rs.Draft202012Validator(whole, validate_formats=True)


async def check_answer(answer: httpx.Response) -> None:
    """Fail unless the description has this answer: its status, its headers, and every field of its body.

    An event hook for ``httpx``.
    """
    method, path = answer.request.method, answer.request.url.path
    if path in _PAGES:
        return
    await answer.aread()
    operations = document()["paths"].get(template(path), {})
    asked = f"{method} {path}: {answer.status_code} {answer.text}"
    operation = operations.get(method.lower())
    if operation is None:
        error = answer.json()["error"]
        assert error["code"] == NOWHERE[1 if operations else 0], asked
        assert ("allow" in answer.headers) == bool(operations), asked
        return
    described = operation["responses"].get(str(answer.status_code))
    assert described is not None, f"{asked}: the status is not described"
    # Those of limits are left out together, where there are no limits.
    limited = set(LIMIT_HEADERS) if not any(name in answer.headers for name in LIMIT_HEADERS) else set()
    missing = {name for name in described["headers"].keys() - limited if name not in answer.headers}
    assert not missing, f"{asked}: {missing}"
    (kind,) = described["content"]
    assert answer.headers["content-type"] == kind, asked
    found = list(_checker(template(path), method.lower(), answer.status_code).iter_errors(answer.json()))
    assert not found, f"{asked}: {found[0]}"


def template(path: str) -> str:
    """The path of the document that a path is of; the path itself if there is none."""
    return next((known for known, pattern in _patterns() if pattern.fullmatch(path)), path)


@cache
def _patterns() -> list[tuple[str, re.Pattern[str]]]:
    with_slashes = ("symbol", "order_id")
    exact_then_longest = sorted(document()["paths"], key=lambda path: ("{" in path, -len(path)))
    return [
        (path, re.compile(re.sub(r"\{(\w+)\}", lambda part: ".+" if part[1] in with_slashes else "[^/]+", path)))
        for path in exact_then_longest
    ]


@cache
def _checker(path: str, method: str, status: int) -> jsonschema_rs.Draft202012Validator:
    (content,) = document()["paths"][path][method]["responses"][str(status)]["content"].values()
    return validator(content["schema"])
