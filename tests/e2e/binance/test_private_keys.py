"""API keys whose owners keep the private key: registered, used, misused and revoked."""

import asyncio
import base64
from collections.abc import Callable
from typing import Any
from urllib.parse import quote

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from tests.e2e.binance.conftest import Face, Key, refusal
from tests.e2e.binance.test_orders import LIMIT

WRONG = (400, -1022, "Signature for this request is not valid.")


def pem(private: Any) -> str:
    """The public key of a private one."""
    text: bytes = private.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    return text.decode()


def signs(private: Any) -> Callable[[bytes], bytes]:
    """How a private key signs."""
    if isinstance(private, ed25519.Ed25519PrivateKey):
        return private.sign
    return lambda text: bytes(private.sign(text, padding.PKCS1v15(), SHA256()))


async def register(face: Face, public_key: str, **funds: str) -> tuple[Any, Key]:
    """Make a key of a new user with a public key: the answer, and the key as it signs."""
    owner = await face.trader(**funds)
    body = {"name": "bot", "scopes": ["read", "trade"], "public_key": public_key}
    answer = await owner.http.post("/api/v1/api-keys", json=body, headers=owner.headers)
    made = answer.json().get("data")
    key = Key(face.http, made["key"]["key_id"] if made else "", "none", owner.user_id)
    return answer, key


@pytest.mark.parametrize("kind", ["ED25519", "RSA"])
async def test_a_private_key_signs(face: Face, kind: str) -> None:
    private = ed25519.Ed25519PrivateKey.generate() if kind == "ED25519" else rsa.generate_private_key(65_537, 2_048)
    answer, key = await register(face, pem(private), USDT="1000")
    made = answer.json()["data"]
    assert (answer.status_code, made["secret"], made["key"]["algorithm"]) == (201, None, kind)
    key.private = signs(private)
    _, joined = face.market()
    order = await key.order("BUY", "LIMIT", symbol=joined, quantity="1", price="100", **LIMIT)
    assert order["status"] == "NEW"
    # What changes something passes once, however its signature is written.
    terms = f"symbol={joined}&orderId={order['orderId']}&timestamp={key.now_ms()}"
    text = key.digest(terms)
    target = f"/api/v3/order?{terms}&signature="
    assert (await face.http.delete(target + quote(text, safe=""), headers=key.headers)).status_code == 200
    for again in (text, text.rstrip("="), base64.urlsafe_b64encode(base64.b64decode(text)).decode(), text + "="):
        answer = await face.http.delete(target + quote(again, safe=""), headers=key.headers)
        assert refusal(answer)[1] == -1022, again
    # Another's key, and a digest by something else, are wrong.
    stranger = await face.key(USDT="1")
    other, key.private = key.private, None
    key.secret = stranger.secret
    assert await key.refused("GET", "/api/v3/account") == WRONG
    stranger.private = other
    assert await stranger.refused("GET", "/api/v3/account") == WRONG
    # Our own face takes no such key: nobody counts there before it is checked.
    headers = {"X-API-KEY": key.key_id, "X-API-TIMESTAMP": str(key.now_ms()), "X-API-NONCE": "n"}
    answer = await face.http.get("/api/v1/balances", headers=headers | {"X-API-SIGNATURE": "0" * 64})
    assert answer.json()["error"]["code"] == "INVALID_SIGNATURE"


async def test_weak_dear_and_broken_keys_are_refused(face: Face) -> None:
    good = pem(ed25519.Ed25519PrivateKey.generate())
    edges: list[Any] = [rsa.generate_private_key(65_537, bits) for bits in (1_024, 2_047)]
    edges += [rsa.generate_private_key(3, 2_048), ec.generate_private_key(ec.SECP256R1())]
    for text in (*map(pem, edges), "", "x", good.replace("PUBLIC", "PRIVATE"), good[:60], good + "x" * 2_000):
        answer, _ = await register(face, text)
        assert (answer.status_code, answer.json()["error"]["code"]) == (400, "INVALID_API_KEY_TERMS"), text
        assert answer.json()["error"]["details"]["field"] == "public_key"


async def test_of_one_signature_sent_at_once_one_passes(face: Face) -> None:
    private = ed25519.Ed25519PrivateKey.generate()
    _, key = await register(face, pem(private), USDT="1000")
    key.private = signs(private)
    _, joined = face.market()
    terms = f"symbol={joined}&side=BUY&type=LIMIT&quantity=1&price=10&timeInForce=GTC&timestamp={key.now_ms()}"
    target = f"/api/v3/order?{key.sign(terms)}"
    answers = await asyncio.gather(*(face.http.post(target, headers=key.headers) for _ in range(10)))
    assert sorted(answer.status_code for answer in answers) == [200] + [400] * 9
    assert len(await key.good("GET", "/api/v3/openOrders", symbol=joined)) == 1
