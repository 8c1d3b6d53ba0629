"""Where requests of this face bring their login: ``X-MBX-APIKEY``, and a signature among the parameters.

What is signed is the query as it was sent, followed by the body as it was sent, without the signature itself.  Method
and path are not signed, which is how these clients have it.  So that nobody sends a request again, a signature passes
once where it changes something; where it only reads it may be sent again as long as it is not too old.
"""

import binascii
import hashlib
import re
from collections.abc import Awaitable, Callable, Mapping
from typing import Final

from trade_engine.edge.auth.authenticator import KEY_ID, RECV_WINDOW_MS_MAX, Signature
from trade_engine.edge.auth.public_keys import SIGNATURE_BYTES
from trade_engine.edge.auth.tokens import Principal
from trade_engine.edge.binance.given import need, pairs
from trade_engine.edge.binance.listen_keys import PATH as LISTEN_KEYS
from trade_engine.edge.binance.numbers import us_of
from trade_engine.edge.binance.refusals import Numbered, illegal
from trade_engine.edge.caller import Callers
from trade_engine.edge.rest.envelope import Headers

#: Here the key alone is asked for.
_BY_KEY: Final = LISTEN_KEYS.encode()
_KEY_HEADER: Final = b"x-mbx-apikey"
_DIGEST: Final = re.compile(r"[0-9a-fA-F]{64}")
_TIME: Final = re.compile(r"[0-9]{1,16}")
_WINDOW: Final = re.compile(r"([0-9]{1,9})(\.[0-9]{1,3})?")


class SignedLogins:
    """Keeps ``rest.router.Logins``."""

    def __init__(self, callers: Callers) -> None:
        self._callers = callers

    def is_strange(self, headers: Headers) -> bool:
        """Whether the key is not known to be good."""
        return not self._callers.knows_key(_key(headers))

    async def read(
        self, headers: Headers, method: str, target: bytes, address: str, body: Callable[[], Awaitable[bytes]]
    ) -> tuple[Principal | None, bytes | None]:
        """Who a request speaks for, and its body.

        Raises:
            Numbered, Unauthorized, Forbidden, Unavailable: the login is not good, or cannot be checked.
        """
        key_id = _key(headers)
        if not KEY_ID.fullmatch(key_id):
            raise Numbered(-2014, "API-key format invalid.", 401)
        content = await body()
        path, _, query = target.partition(b"?")
        if path == _BY_KEY:
            return await self._callers.by_key(key_id, address), content
        given, signed = _split(query, content)
        signature = read_signature(key_id, given, may_repeat=method in ("GET", "HEAD"))
        return await self._callers.by_signature(signature, signed, address), content


def _key(headers: Headers) -> str:
    found = [value for name, value in headers if name == _KEY_HEADER]
    return found[0].decode("latin-1") if len(found) == 1 else ""


def _split(query: bytes, body: bytes) -> tuple[Mapping[str, str], bytes]:
    """The parameters that a login needs, and what is signed.

    Raises:
        Numbered: -1100, -1101.
    """
    given: dict[str, str] = {}
    signed = b""
    for raw in (query, body):
        parts = []
        for name, value, part in pairs(raw):
            if name in ("signature", "timestamp", "recvWindow"):
                if name in given:
                    raise Numbered(-1101, "Duplicate values for a parameter detected.")
                given[name] = value
            if name != "signature":
                parts.append(part)
        signed += b"&".join(parts)
    return given, signed


def read_signature(key_id: str, given: Mapping[str, str], *, may_repeat: bool) -> Signature:
    """What ``signature``, ``timestamp`` and ``recvWindow`` say.

    A signature is its own nonce, however it is written: hex in any case, base64 of one form only.

    Raises:
        Numbered: -1102, -1100, -1022, -1131.
    """
    if not given.get("timestamp"):
        need({}, "timestamp")
    if not given.get("signature"):
        need({}, "signature")
    digest, (time_ms, window_ms) = given["signature"], read_time(given)
    if _DIGEST.fullmatch(digest) is not None:
        return Signature(key_id, time_ms, digest.lower(), digest, window_ms, may_repeat)
    signed = _by_private_key(digest)
    return Signature(key_id, time_ms, hashlib.sha256(signed).hexdigest(), "", window_ms, may_repeat, signed)


def read_time(given: Mapping[str, str]) -> tuple[int, int]:
    """When a request was made, and for how long it is good, in milliseconds.

    Raises:
        Numbered: -1102, -1100, -1131.
    """
    timestamp = need(given, "timestamp")
    if _TIME.fullmatch(timestamp) is None:
        raise illegal("timestamp", "^[0-9]{1,20}$")
    window = _WINDOW.fullmatch(given.get("recvWindow", "5000"))
    if window is None:
        raise illegal("recvWindow", r"^([0-9]{1,20})(\.[0-9]{1,3})?$")
    # A fraction of a millisecond makes a window larger, never smaller.
    window_ms = int(window[1]) + (1 if window[2] and window[2].strip(".0") else 0)
    if not 0 < window_ms <= RECV_WINDOW_MS_MAX:
        raise Numbered(-1131, f"recvWindow must be less than {RECV_WINDOW_MS_MAX}.")
    return us_of(int(timestamp)) // 1000, window_ms


def _by_private_key(text: str) -> bytes:
    """A signature of Ed25519 or RSA, which comes as base64.

    Raises:
        Numbered: -1022.
    """
    least, most = SIGNATURE_BYTES
    try:
        signed = binascii.a2b_base64(text.encode("ascii"), strict_mode=True) if len(text) <= 2 * most else b""
    except (binascii.Error, UnicodeEncodeError):
        signed = b""
    if not least <= len(signed) <= most or binascii.b2a_base64(signed, newline=False).decode() != text:
        raise Numbered(-1022, "Signature for this request is not valid.")
    return signed
