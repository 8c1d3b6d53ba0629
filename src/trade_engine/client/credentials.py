"""Who the caller is: a bearer token, or an API key that signs each request.  Neither is ever shown or logged."""

import hashlib
import hmac
import time
import uuid
from collections.abc import Callable
from typing import Protocol


class Credentials(Protocol):
    """Something that proves who is asking."""

    def headers(self, method: str, target: bytes, body: bytes) -> dict[str, str]:
        """The headers of one try of one request; ``target`` is path and query as they are sent."""

    def login(self) -> dict[str, str | int]:
        """The fields of the WebSocket's ``auth``."""


class Token:
    """A bearer token, or a function that gives one which is still good."""

    def __init__(self, token: str | Callable[[], str]) -> None:
        self._token = token

    def __repr__(self) -> str:
        return "Token(...)"

    def _text(self) -> str:
        return self._token if isinstance(self._token, str) else self._token()

    def headers(self, method: str, target: bytes, body: bytes) -> dict[str, str]:  # noqa: ARG002 - a token signs nothing
        """``Authorization``."""
        return {"Authorization": f"Bearer {self._text()}"}

    def login(self) -> dict[str, str | int]:
        """The token."""
        return {"token": self._text()}


class KeyCredentials:
    """An API key: the secret signs and is never sent."""

    def __init__(self, key: str, secret: str) -> None:
        self._key = key
        self._secret = secret.encode()

    def __repr__(self) -> str:
        return f"KeyCredentials({self._key!r}, ...)"

    def _proof(self, method: str, target: bytes, body: bytes) -> tuple[str, str, str]:
        """Time, nonce and signature: another nonce each time, so that a try is never taken for a replay."""
        timestamp, nonce = str(time.time_ns() // 1_000_000), uuid.uuid4().hex
        signed = f"{timestamp}\n{nonce}\n{method}\n".encode() + target + b"\n" + body
        return timestamp, nonce, hmac.new(self._secret, signed, hashlib.sha256).hexdigest()

    def headers(self, method: str, target: bytes, body: bytes) -> dict[str, str]:
        """Key, time, nonce and signature."""
        timestamp, nonce, signature = self._proof(method, target, body)
        return {
            "X-API-Key": self._key,
            "X-API-Timestamp": timestamp,
            "X-API-Nonce": nonce,
            "X-API-Signature": signature,
        }

    def login(self) -> dict[str, str | int]:
        """The same for the WebSocket: as a GET of its path, without a body."""
        timestamp, nonce, signature = self._proof("GET", b"/ws", b"")
        return {"api_key": self._key, "timestamp": int(timestamp), "nonce": nonce, "signature": signature}


def credentials(
    token: str | Callable[[], str] | None, api_key: str | None, api_secret: str | None
) -> Credentials | None:
    """What was given, None for nothing.

    Raises:
        ValueError: both kinds, or half an API key.
    """
    if (api_key is None) != (api_secret is None):
        raise ValueError("an API key needs its secret, and a secret its key")
    if api_key is not None and api_secret is not None:
        if token is not None:
            raise ValueError("give a token or an API key, not both")
        return KeyCredentials(api_key, api_secret)
    return None if token is None else Token(token)
