"""Text that no database can hold, in every place where text comes in: refused, by a code that names the field."""

import base64
import hashlib
import hmac
import json
import re
import time
import urllib.parse
import uuid
from typing import Any, Final

from tests.e2e.venue import Venue
from trade_engine.edge.rest.openapi.answers import codes_of
from trade_engine.edge.rest.route import Route
from trade_engine.edge.rest.routes import ROUTES

#: As JSON writes them; the first three can be in no PostgreSQL text.
TEXTS: Final = (
    r'"\u0000"', r'"a\u0000b"', r'"\ud800"', r'"x\udfffy"', r'"\ud83d"', r'"\n"', r'"\u202e"', r'"\ufeff"', r'"\u2028"',
    '"' + "x" * 5_000 + '"', '""', "1e400", "-1", "1" * 400, "null", "true", "[]", "{}", r'["\u0000"]', r'[["\ud800"]]',
    r'{"\u0000": "\ud800"}',
)  # fmt: skip
GOOD: Final = {"symbol": "T60/USDT", "side": "BUY", "type": "LIMIT", "quantity": "1", "price": "100.00"}


def path_of(route: Route, part: str) -> str:
    """A route's path with its parameters filled in."""
    return re.sub(r"\{[^}]+\}", urllib.parse.quote(part, safe=""), route.path)


async def answered(venue: Venue, route: Route, path: str, headers: dict[str, str], content: bytes | None) -> Any:
    """A request that must be answered by the book: the venue's client holds every answer against the description."""
    answer = await venue.http.request(route.method, path, headers=headers, content=content)
    assert answer.status_code < 500, f"{route.method} {path} {content!r}: {answer.text}"
    if answer.status_code >= 400:
        code = answer.json()["error"]["code"]
        assert code in codes_of(route) | {"ROUTE_NOT_FOUND", "METHOD_NOT_ALLOWED"}, answer.text
    return answer


def everybody(venue: Venue) -> dict[str, str]:
    """A login that opens every route."""
    return {"Authorization": f"Bearer {venue.token(str(uuid.uuid4()), ('trader', 'admin'))}"}


def body_with(route: Route, field: str, text: str) -> bytes:
    """A body of a route with ``text``, as JSON, in one field and something good in what it needs beside it."""
    assert route.body is not None
    known = route.body.__struct_fields__
    usual = {"reason": "drill"} | (GOOD if route.path.endswith("/orders") else {})
    rest = [f"{json.dumps(k)}: {json.dumps(v)}" for k, v in usual.items() if k in known and k != field]
    return f"{{{', '.join([f'{json.dumps(field)}: {text}', *rest])}}}".encode()


async def test_no_text_of_a_body_breaks_anything(venue: Venue) -> None:
    headers = everybody(venue)
    for route in ROUTES:
        path = path_of(route, "T60-USDT" if "symbol" in route.path else str(uuid.uuid4()))
        for field in route.body.__struct_fields__ if route.body else ():
            for text in TEXTS:
                await answered(venue, route, path, headers, body_with(route, field, text))


async def test_no_text_of_a_path_or_a_query_breaks_anything(venue: Venue) -> None:
    headers = everybody(venue)
    for route in ROUTES:
        content = b"{}" if route.body else None
        for raw in ("%00", "a%00b", "%ff%fe", "%ed%a0%80", "%0a", "x" * 3_000, "%25", "..%2f..", "%E2%80%AE"):
            if "{" in route.path:
                await answered(venue, route, re.sub(r"\{[^}]+\}", raw, route.path), headers, content)
            for parameter in route.parameters:
                path = path_of(route, "T60-USDT" if "symbol" in route.path else str(uuid.uuid4()))
                await answered(venue, route, f"{path}?{parameter.name}={raw}", headers, content)


async def test_a_refused_text_is_named(venue: Venue) -> None:
    trader = await venue.trader(USDT="1000")
    codes = {"client_order_id": "INVALID_CLIENT_ORDER_ID", "symbol": "INVALID_SYMBOL", "side": "INVALID_SIDE"}
    for field, code in codes.items():
        for text in (r"\u0000", r"a\u0000", r"\ud800", r"a\udc00b"):
            body = json.dumps(GOOD | {field: "@"}).replace("@", text)
            answer = await venue.http.post("/api/v1/orders", content=body.encode(), headers=trader.headers)
            assert (answer.status_code, answer.json()["error"]["code"]) == (400, code), (field, text)
            assert answer.json()["error"]["details"]["field"] == field
    assert await trader.get("/orders") == []


def forged(venue: Venue, **claims: Any) -> str:
    """A rightly signed token with these claims, as JSON spells them if they are bytes."""
    now = int(time.time())
    usual: dict[str, Any] = {"sub": str(uuid.uuid4()), "exp": now + 600, "roles": ["trader"]} | claims
    shown = ", ".join(
        f"{json.dumps(k)}: {v.decode() if isinstance(v, bytes) else json.dumps(v)}" for k, v in usual.items()
    )
    parts = [json.dumps({"alg": "HS256", "typ": "JWT"}).encode(), f"{{{shown}}}".encode()]
    text = ".".join(base64.urlsafe_b64encode(part).rstrip(b"=").decode() for part in parts)
    signature = hmac.new(venue.running.secret.encode(), text.encode(), hashlib.sha256).digest()
    return f"{text}.{base64.urlsafe_b64encode(signature).rstrip(b'=').decode()}"


async def test_no_claim_of_a_signed_token_reaches_the_database_unread(venue: Venue) -> None:
    for claim in ("sub", "institution_id", "roles", "scope", "scopes", "exp", "nbf", "iat", "iss", "aud", "jti"):
        for text in TEXTS:
            token = forged(venue, **{claim: text.encode()})
            headers = {"Authorization": f"Bearer {token}"}
            for method, path, body in (("GET", "/api/v1/balances", None), ("POST", "/api/v1/orders", GOOD)):
                answer = await venue.http.request(method, path, headers=headers, json=body)
                assert answer.status_code in (200, 400, 401, 403), f"{claim} {text[:30]}: {answer.text}"
                if claim in ("sub", "institution_id") and text not in ("null", "true"):
                    assert (answer.status_code, answer.json()["error"]["code"]) == (401, "INVALID_TOKEN"), (claim, text)


async def test_an_institution_that_is_no_word_is_refused(venue: Venue) -> None:
    for text in (rb'"a\u0000b"', rb'"\ud800"', rb'"\n"', b'""', b"1", b"[]", b'"' + b"x" * 101 + b'"'):
        headers = {"Authorization": f"Bearer {forged(venue, institution_id=text)}"}
        answer = await venue.http.post("/api/v1/orders", json=GOOD, headers=headers)
        assert (answer.status_code, answer.json()["error"]["code"]) == (401, "INVALID_TOKEN"), text
        assert answer.json()["error"]["details"]["claim"] == "institution_id"
    assert await venue.running.pool.fetchval("SELECT count(*) FROM orders") == 0
