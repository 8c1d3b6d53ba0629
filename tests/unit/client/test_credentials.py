"""What proves who asks: checked against the words of the API, by a plain computation."""

import hashlib
import hmac
import time

import pytest

from trade_engine.client import Client
from trade_engine.client.credentials import KeyCredentials, Token, credentials

KEY = KeyCredentials("id", "secret")


def expected(timestamp: str, nonce: str, line: str, body: str = "") -> str:
    return hmac.new(b"secret", f"{timestamp}\n{nonce}\n{line}\n{body}".encode(), hashlib.sha256).hexdigest()


def test_a_request_is_signed_as_it_is_sent() -> None:
    headers = KEY.headers("POST", b"/api/v1/orders?a=%2F", b'{"x":1}')
    timestamp, nonce = headers["X-API-Timestamp"], headers["X-API-Nonce"]
    assert abs(int(timestamp) / 1000 - time.time()) < 5
    assert headers["X-API-Key"] == "id"
    assert headers["X-API-Signature"] == expected(timestamp, nonce, "POST\n/api/v1/orders?a=%2F", '{"x":1}')
    assert KEY.headers("POST", b"/", b"")["X-API-Nonce"] != nonce


def test_a_stream_is_signed_as_a_get_of_its_path() -> None:
    login = KEY.login()
    assert isinstance(login["timestamp"], int)
    assert login["signature"] == expected(str(login["timestamp"]), str(login["nonce"]), "GET\n/ws")
    assert login["api_key"] == "id"


def test_a_token() -> None:
    assert Token("abc").headers("GET", b"/", b"") == {"Authorization": "Bearer abc"}
    assert Token(lambda: "new").login() == {"token": "new"}


def test_secrets_are_not_shown() -> None:
    assert "secret" not in repr(KEY)
    assert "abc" not in repr(Token("abc"))


def test_one_kind_of_login() -> None:
    assert credentials(None, None, None) is None
    assert isinstance(credentials(None, "k", "s"), KeyCredentials)
    for token, key, secret in ((None, "k", None), (None, None, "s"), ("t", "k", "s")):
        with pytest.raises(ValueError, match="key"):
            Client(token=token, api_key=key, api_secret=secret)
