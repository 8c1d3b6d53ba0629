r"""Who a request speaks for: a bearer token, or the signature of an API key over bytes that its face says.

Our own faces sign ``timestamp \\n nonce \\n METHOD \\n path with query as sent \\n body``.  A signature is compared in
constant time, for an unknown key too.  An API key never has another role than trader.
"""

import hashlib
import hmac
import re
import secrets
import time
from collections.abc import Callable
from typing import Final, NamedTuple

from trade_engine.domain.errors import InvalidRequest
from trade_engine.edge.auth.key_ring import KeyRing
from trade_engine.edge.auth.nonces import Nonces
from trade_engine.edge.auth.public_keys import is_signed
from trade_engine.edge.auth.tokens import TRADER, Principal, TokenVerifier
from trade_engine.edge.problems import Forbidden, Unauthorized
from trade_engine.http.addresses import read_address
from trade_engine.storage.api_keys import HMAC, ApiKey

RECV_WINDOW_MS: Final = 5_000
RECV_WINDOW_MS_MAX: Final = 60_000
_AHEAD_MS: Final = 1_000
KEY_ID: Final = re.compile(r"tek_[0-9a-f]{32}")
_SIGNATURE: Final = re.compile(r"[0-9a-fA-F]{64}")
_TIMESTAMP: Final = re.compile(r"[1-9][0-9]{0,15}")
_NONCE: Final = re.compile(r"[\x21-\x7e]{1,64}")
_WINDOW: Final = re.compile(r"[1-9][0-9]{0,4}")
_FOREVER_S: Final = float(2**40)


class Signature(NamedTuple):
    """What a signed request brings beside what is signed."""

    api_key: str
    #: Milliseconds since 1970.
    timestamp: str | int
    nonce: str
    #: HMAC-SHA256 by the secret, as hex; empty if it is none.
    digest: str
    #: How old it may be, in milliseconds.
    recv_window: str | int | None
    #: What is signed only reads, and passes more than once.
    may_repeat: bool = False
    #: By a private key, if it is no digest.  Only where requests are counted by address first: checking it is dear.
    by_private_key: bytes = b""


def signed_text(timestamp: str, nonce: str, method: str, target: str, body: bytes) -> bytes:
    """What a client signs."""
    return f"{timestamp}\n{nonce}\n{method}\n{target}\n".encode("latin-1", "replace") + body


def sign(secret: str | bytes, timestamp: str, nonce: str, method: str, target: str, body: bytes = b"") -> str:
    """The signature of a request, as hex."""
    key = secret.encode() if isinstance(secret, str) else secret
    return _digest(key, signed_text(timestamp, nonce, method, target, body))


def _digest(secret: bytes, signed: bytes) -> str:
    return hmac.new(secret, signed, hashlib.sha256).hexdigest()


class Authenticator:
    """Tells who a request speaks for.

    Args:
        tokens: verifies bearer tokens.
        keys: finds API keys; None: there are none.
        clock: seconds since 1970.
    """

    def __init__(
        self, tokens: TokenVerifier, keys: KeyRing | None = None, clock: Callable[[], float] = time.time
    ) -> None:
        self.tokens = tokens
        self.keys = keys
        self._clock = clock
        self._nonces = Nonces()
        self._dummy = secrets.token_bytes(32)
        #: What was signed before may have been used with the process that ran before.
        self._started_ms = int(clock() * 1000)

    def check_time(self, timestamp: str, recv_window: str | int | None) -> None:
        """Refuse a signed request that is too old, or from the future.

        Raises:
            Unauthorized: TIMESTAMP_OUT_OF_WINDOW.
            InvalidRequest: INVALID_PARAMETER.
        """
        window = str(RECV_WINDOW_MS if recv_window is None else recv_window)
        if not _WINDOW.fullmatch(window) or int(window) > RECV_WINDOW_MS_MAX:
            message = f"the receive window must be 1 to {RECV_WINDOW_MS_MAX} milliseconds"
            raise InvalidRequest(
                "INVALID_PARAMETER", message, field="x-api-recv-window", provided=window[:100], limit=RECV_WINDOW_MS_MAX
            )
        if not _TIMESTAMP.fullmatch(timestamp):
            raise _out_of_window("the timestamp must be milliseconds since 1970", timestamp)
        now_ms, then_ms = int(self._clock() * 1000), int(timestamp)
        if then_ms < max(now_ms - int(window), self._started_ms):
            raise _out_of_window("the signed request is too old", timestamp)
        if then_ms > now_ms + _AHEAD_MS:
            raise _out_of_window("the signed request is from the future", timestamp)

    async def authenticate_signature(self, given: Signature, signed: bytes, address: str) -> Principal:
        """Who the signature of these bytes speaks for.

        Raises:
            Unauthorized, Forbidden, InvalidRequest, Unavailable, RateLimited: as the documentation's codes say.
        """
        api_key, nonce, timestamp, recv_window = given.api_key, given.nonce, str(given.timestamp), given.recv_window
        if not KEY_ID.fullmatch(api_key) or self.keys is None:
            raise Unauthorized("INVALID_API_KEY", "there is no such API key", field="x-api-key")
        if not given.by_private_key and not _SIGNATURE.fullmatch(given.digest):
            raise Unauthorized("INVALID_SIGNATURE", "a signature has 64 hex digits", field="x-api-signature")
        if not _NONCE.fullmatch(nonce):
            message = "a nonce has 1 to 64 printable characters"
            raise Unauthorized("INVALID_SIGNATURE", message, field="x-api-nonce", limit=64)
        self.check_time(timestamp, recv_window)
        found = await self.keys.find(api_key)
        matches = self._matches(found, given, signed)
        if found is None:
            raise Unauthorized("INVALID_API_KEY", "there is no such API key", field="x-api-key")
        if not matches:
            raise Unauthorized("INVALID_SIGNATURE", "the signature is wrong", field="x-api-signature")
        key, now_us = found[0], int(self._clock() * 1_000_000)
        _require_good(key, now_us, address)
        # Reading the key took time, in which the window may have ended; the nonce is kept from now on.
        self.check_time(timestamp, recv_window)
        if not given.may_repeat:
            self._nonces.take(key.key_id, nonce, now_us // 1000)
        self.keys.used(key.key_id, now_us)
        return _principal_of(key, key.scopes)

    async def authenticate_key(self, api_key: str, address: str) -> Principal:
        """Who an API key is of that comes without a signature: it may read at most.

        Raises:
            Unauthorized, Forbidden, Unavailable: as the documentation's codes say.
        """
        if not KEY_ID.fullmatch(api_key) or self.keys is None:
            raise Unauthorized("INVALID_API_KEY", "there is no such API key", field="x-api-key")
        found = await self.keys.find(api_key)
        if found is None:
            raise Unauthorized("INVALID_API_KEY", "there is no such API key", field="x-api-key")
        _require_good(found[0], int(self._clock() * 1_000_000), address)
        return _principal_of(found[0], found[0].scopes & {"read"})

    def _matches(self, found: tuple[ApiKey, bytes] | None, given: Signature, signed: bytes) -> bool:
        if found is not None and found[0].algorithm != HMAC:
            return bool(given.by_private_key) and is_signed(found[1], given.by_private_key, signed)
        right = _digest(self._dummy if found is None else found[1], signed)
        return hmac.compare_digest(right.encode(), given.digest.lower().encode())


def _require_good(key: ApiKey, now_us: int, address: str) -> None:
    """Refuse an API key that is over, or not for this address.

    Raises:
        Unauthorized, Forbidden: INVALID_API_KEY, IP_NOT_ALLOWED.
    """
    if key.revoked_us or 0 < key.expires_us <= now_us:
        raise Unauthorized("INVALID_API_KEY", "the API key is revoked or expired", field="x-api-key")
    if key.networks and not _within(key, address):
        raise Forbidden("IP_NOT_ALLOWED", "the API key may not be used from this address", provided=address)


def _principal_of(key: ApiKey, scopes: frozenset[str]) -> Principal:
    return Principal(
        user_id=key.user_id,
        roles=frozenset((TRADER,)),
        expires_s=key.expires_us / 1e6 if key.expires_us else _FOREVER_S,
        institution_id=key.institution_id,
        scopes=scopes,
        key_id=key.key_id,
    )


def require_scope(principal: Principal, scope: str) -> None:
    """Refuse a login that may not be used for this.

    Raises:
        Forbidden: SCOPE_MISSING.
    """
    if scope not in principal.scopes:
        raise Forbidden("SCOPE_MISSING", f"the login lacks the scope {scope}", field="scopes", needed=scope)


def _within(key: ApiKey, address: str) -> bool:
    parsed = read_address(address)
    return parsed is not None and any(parsed in network for network in key.networks)


def _out_of_window(message: str, timestamp: str) -> Unauthorized:
    return Unauthorized("TIMESTAMP_OUT_OF_WINDOW", message, field="x-api-timestamp", provided=timestamp[:100])
