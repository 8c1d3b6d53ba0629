"""Key sets (JWK Set, RFC 7517) that rotate while the server runs: from a file, or from a URL.

The last good set stays when the source is away or broken.  Keys are never logged, only their ids.  A set from a URL
gives public keys only: a secret does not belong there.
"""

import asyncio
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import aiohttp
import jwt
import structlog
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from trade_engine.edge.auth.tokens import TokenVerifier
from trade_engine.edge.settings import VerificationKey

log = structlog.get_logger(__name__)

_BYTES_MAX: Final = 262_144
_KEYS_MAX: Final = 100
_FETCH_S: Final = 5.0
_LOOK_S: Final = 1.0
#: An unknown key id lets the set be fetched so often at most.
UNKNOWN_KEY_PAUSE_S: Final = 10.0
_KINDS: Final = {"HS256": "oct", "RS256": "RSA", "EdDSA": "OKP"}


def read_key_set(text: str | bytes, *, secrets: bool) -> tuple[VerificationKey, ...]:
    """The keys of a JWK Set; keys for other uses or algorithms are left out.

    Raises:
        ValueError: it is no JWK Set, two keys share an id, or no key can be used.
    """
    try:
        listed = json.loads(text)["keys"]
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise ValueError("not a JWK Set") from error
    if not isinstance(listed, list) or len(listed) > _KEYS_MAX:
        raise ValueError(f"a JWK Set has a list of at most {_KEYS_MAX} keys")
    found: dict[str, VerificationKey] = {}
    for jwk in listed:
        try:
            key = _read_key(jwk, secrets=secrets)
        except (jwt.PyJWTError, ValueError, TypeError, KeyError, AttributeError) as error:
            key_id = jwk.get("kid") if isinstance(jwk, dict) else None
            log.warning("key_set_key_not_used", one_of_a_kind=True, key_id=str(key_id)[:200], reason=_reason(error))
            continue
        if key.key_id in found:
            raise ValueError("two keys of the key set share an id")
        found[str(key.key_id)] = key
    if not found:
        raise ValueError("the key set has no key that can be used")
    return tuple(found.values())


def _reason(error: Exception) -> str:
    """Why, in words that are ours: a library's might quote the key."""
    return str(error) if type(error) is ValueError else "malformed"


def _read_key(jwk: dict[str, Any], *, secrets: bool) -> VerificationKey:
    key_id, algorithm = jwk.get("kid"), jwk.get("alg")
    if not isinstance(key_id, str) or not 0 < len(key_id) <= 200:
        raise ValueError("a key needs an id (kid)")
    if not isinstance(algorithm, str) or algorithm not in _KINDS:
        raise ValueError("alg is not one of EdDSA, HS256, RS256")
    if jwk.get("kty") != _KINDS[algorithm]:
        raise ValueError("kty does not fit alg")
    if jwk.get("use", "sig") != "sig":
        raise ValueError("the key is not for signatures")
    if algorithm == "HS256":
        if not secrets:
            raise ValueError("a secret does not belong in a key set at a URL")
        # A secret is text everywhere here; bytes that are none cannot be used.
        secret: str = jwt.PyJWK(jwk, algorithm).key.decode("ascii")
        made = VerificationKey(key=secret, algorithm=algorithm, key_id=key_id)
    else:
        if "d" in jwk:
            raise ValueError("a private key does not belong in a key set")
        public = jwt.PyJWK(jwk, algorithm).key
        pem = public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
        made = VerificationKey(key=pem, algorithm=algorithm, key_id=key_id)
    TokenVerifier.check(made)
    return made


class KeySetFile:
    """Keys from a file, read again when it changes."""

    def __init__(self, path: Path, verifier: TokenVerifier) -> None:
        self._path = path
        self._verifier = verifier
        self._seen: tuple[int, int, int] | None = None

    def load(self) -> None:
        """Read the file if it changed.

        Raises:
            OSError, ValueError: it cannot be read, or is no key set.
        """
        state = self._path.stat()
        seen = (state.st_mtime_ns, state.st_size, state.st_ino)
        if seen == self._seen:
            return
        self._seen = seen
        if state.st_size > _BYTES_MAX:
            raise ValueError(f"a key set has at most {_BYTES_MAX} bytes")
        if self._verifier.rotate(read_key_set(self._path.read_bytes(), secrets=True)):
            log.info("key_set_read", source="file")

    async def keep_running(self) -> None:
        """Look once a second; never ends."""
        while True:
            await asyncio.sleep(_LOOK_S)
            try:
                self.load()
            except (OSError, ValueError) as error:
                log.warning("key_set_not_read", reason=_reason(error))


class KeySetUrl:
    """Keys from a URL, fetched again and again, and when a token names an unknown key."""

    def __init__(
        self,
        url: str,
        verifier: TokenVerifier,
        refresh_s: float,
        *,
        pause_s: float = UNKNOWN_KEY_PAUSE_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._url = url
        self._verifier = verifier
        self._refresh_s = refresh_s
        self._pause_s = pause_s
        self._clock = clock
        self._fetched_at = -float("inf")
        self._wanted = asyncio.Event()
        verifier.on_unknown_key = self._wanted.set

    async def fetch(self) -> None:
        """Fetch it now.

        Raises:
            aiohttp.ClientError, TimeoutError, ValueError: the URL is away, or what it gives is no key set.
        """
        self._fetched_at = self._clock()
        timeout = aiohttp.ClientTimeout(total=_FETCH_S)
        async with (
            aiohttp.ClientSession(timeout=timeout) as session,
            session.get(self._url, allow_redirects=False) as answer,
        ):
            if answer.status != 200:
                raise ValueError(f"the key set's URL answers {answer.status}")
            body = await answer.content.read(_BYTES_MAX + 1)
            while len(body) <= _BYTES_MAX and (more := await answer.content.read(_BYTES_MAX)):
                body += more
        if len(body) > _BYTES_MAX:
            raise ValueError(f"a key set has at most {_BYTES_MAX} bytes")
        if self._verifier.rotate(read_key_set(body, secrets=False)):
            log.info("key_set_read", source="url")

    async def keep_running(self) -> None:
        """Fetch at once, each ``refresh_s``, and (not too often) when a key is unknown; never ends."""
        while True:
            self._wanted.clear()
            pause_s = self._refresh_s
            try:
                await self.fetch()
            except (aiohttp.ClientError, OSError, TimeoutError, ValueError) as error:
                log.warning("key_set_not_fetched", reason=_reason(error))
                pause_s = min(pause_s, self._pause_s)
            try:
                async with asyncio.timeout(pause_s):
                    await self._wanted.wait()
            except TimeoutError:
                continue
            await asyncio.sleep(max(0.0, self._fetched_at + self._pause_s - self._clock()))
