"""Bad input: each gets its documented code and status, and changes nothing."""

import base64
import json
import uuid
from typing import Any

from tests.e2e.venue import Venue
from trade_engine.domain.scale import UNIT

GOOD = {"side": "BUY", "type": "LIMIT", "quantity": "1", "price": "100.00"}

BODIES: list[tuple[str, dict[str, Any], int, str]] = [
    ("unknown market", {"symbol": "NOPE/USDT"}, 400, "INVALID_SYMBOL"),
    ("wrong tick", {"price": "100.001"}, 400, "INVALID_PRICE"),
    ("wrong lot", {"quantity": "1.0000001"}, 400, "INVALID_QUANTITY"),
    ("below the minimum", {"quantity": "0.00001"}, 400, "INVALID_QUANTITY"),
    ("zero quantity", {"quantity": "0"}, 400, "INVALID_QUANTITY"),
    ("zero price", {"price": "0"}, 400, "INVALID_PRICE"),
    ("negative quantity", {"quantity": "-1"}, 400, "INVALID_QUANTITY"),
    ("negative price", {"price": "-100.00"}, 400, "INVALID_PRICE"),
    ("huge quantity", {"quantity": "90000000001"}, 400, "INVALID_QUANTITY"),
    ("huge price", {"price": "9" * 30}, 400, "INVALID_PRICE"),
    ("huge notional", {"quantity": "900000", "price": "89999999999"}, 400, "NOTIONAL_OVERFLOW"),
    ("exponent", {"quantity": "1e3"}, 400, "INVALID_QUANTITY"),
    ("exponent price", {"price": "1E2"}, 400, "INVALID_PRICE"),
    ("a JSON number", {"quantity": 1}, 400, "INVALID_QUANTITY"),
    ("not a number", {"price": "NaN"}, 400, "INVALID_PRICE"),
    ("nine decimals", {"quantity": "1.000000001"}, 400, "INVALID_QUANTITY"),
    ("limit without a price", {"price": None}, 400, "INVALID_PRICE"),
    ("market with a price", {"type": "MARKET"}, 400, "INVALID_PRICE"),
    ("unknown side", {"side": "HOLD"}, 400, "INVALID_SIDE"),
    ("unknown type", {"type": "HUNCH"}, 400, "INVALID_ORDER_TYPE"),
    ("unknown field", {"pirce": "1"}, 400, "UNKNOWN_FIELD"),
    ("too long client order id", {"client_order_id": "x" * 101}, 400, "INVALID_CLIENT_ORDER_ID"),
]


async def test_a_bad_order_is_refused(venue: Venue) -> None:
    buyer = await venue.trader(USDT="1000")
    for name, change, status, code in BODIES:
        answer = await buyer.post(GOOD | {"symbol": "T60/USDT"} | change)
        error = answer.json()["error"]
        assert (answer.status_code, error["code"]) == (status, code), f"{name}: {answer.text}"
        assert error["message"], name
        assert error["details"].get("field"), name
    assert await buyer.balance("USDT") == (1000 * UNIT, 0, 0)
    assert await buyer.get("/orders") == []
    assert await venue.book("T60/USDT") == ([], [])


async def test_a_bad_body_is_refused(venue: Venue) -> None:
    buyer = await venue.trader(USDT="1000")
    bodies = {
        b'{"symbol": "T60/USDT"': "INVALID_JSON",
        b"": "INVALID_JSON",
        b"\xff\xfe": "INVALID_JSON",
        b"[]": "INVALID_BODY",
        b"{}": "MISSING_FIELD",
        b"[" * 20_000: "INVALID_BODY",
        b'{"symbol":' + b"[" * 20_000: "INVALID_SYMBOL",
    }
    for body, code in bodies.items():
        answer = await venue.http.post("/api/v1/orders", content=body, headers=buyer.headers)
        assert (answer.status_code, answer.json()["error"]["code"]) == (400, code), answer.text


def _unsigned(venue: Venue, user_id: str) -> str:
    _, payload, _ = venue.token(user_id).split(".")
    header = base64.urlsafe_b64encode(json.dumps({"alg": "none", "typ": "JWT"}).encode()).rstrip(b"=").decode()
    return f"{header}.{payload}."


async def test_a_bad_token_is_refused(venue: Venue) -> None:
    user_id = str(uuid.uuid4())
    good = venue.token(user_id)
    head, payload, signature = good.split(".")
    tokens = {
        "": "UNAUTHORIZED",
        "Bearer": "UNAUTHORIZED",
        "Bearer nonsense": "INVALID_TOKEN",
        f"Bearer {_unsigned(venue, user_id)}": "INVALID_TOKEN",
        f"Bearer {head}.{payload}.{signature[:-4]}AAAA": "INVALID_TOKEN",
        f"Bearer {venue.running.issue_token(user_id, ('trader',), ttl_s=-10)}": "TOKEN_EXPIRED",
        f"Basic {good}": "UNAUTHORIZED",
    }
    for header, code in tokens.items():
        answer = await venue.http.post(
            "/api/v1/orders", json=GOOD | {"symbol": "T60/USDT"}, headers={"Authorization": header} if header else {}
        )
        assert (answer.status_code, answer.json()["error"]["code"]) == (401, code), header


async def test_an_unknown_order_is_not_found(venue: Venue) -> None:
    trader = await venue.trader()
    answer = await trader.cancel(str(uuid.uuid4()))
    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "ORDER_NOT_FOUND")
    answer = await trader.cancel("nonsense")
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "INVALID_ORDER_ID")
