"""Bearer tokens: issues them for development, verifies them for everybody.

A token is verified once, then remembered until it expires or the keys change; the memory is bounded.  The algorithm is
pinned beside each key, so a token cannot choose how it is checked.  Nothing here ever logs a token.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final

import jwt
import msgspec
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ed25519, rsa

from trade_engine.domain.ids import canonical_uuid
from trade_engine.edge.auth.strict import read_strictly
from trade_engine.edge.problems import Unauthorized
from trade_engine.edge.settings import TokenSettings, VerificationKey

TRADER: Final = "trader"
ADMIN: Final = "admin"
SERVICE: Final = "service"
#: The engine as the wallet's caller: alone it may say which epoch's writer it is.
ENGINE: Final = "engine"
#: All that any route asks for.
ROLES: Final = frozenset({TRADER, ADMIN, SERVICE, ENGINE})

ALGORITHMS: Final = frozenset({"HS256", "RS256", "EdDSA"})
MIN_SECRET_BYTES: Final = 32
MIN_RSA_BITS: Final = 2048
MAX_TOKEN_BYTES: Final = 4096
#: What a login may be used for; a token that does not restrict itself may do all.
SCOPES: Final = frozenset({"read", "trade", "withdraw"})
_IAT_AHEAD_S: Final = 60
_LATEST_S: Final = 253_402_300_799
_ROLES_MAX: Final = 50
_SCHEME: Final = b"bearer "


class Principal(msgspec.Struct, frozen=True, kw_only=True):
    """Who a verified token speaks for."""

    user_id: str
    roles: frozenset[str]
    #: Seconds since 1970 at which the token ends.
    expires_s: float
    institution_id: str | None = None
    scopes: frozenset[str] = SCOPES
    #: The API key that signed the request; None: a token did.
    key_id: str | None = None


def issue_token(
    secret: str,
    user_id: str,
    roles: Sequence[str] = (TRADER,),
    ttl_s: int = 3600,
    *,
    now_s: float | None = None,
    issuer: str | None = None,
    audience: str | None = None,
    institution_id: str | None = None,
    key_id: str | None = None,
    algorithm: str = "HS256",
) -> str:
    """Sign a token for ``user_id`` that is good for ``ttl_s`` seconds from now (or from ``now_s``).

    ``secret`` is the private key (PEM) where ``algorithm`` is RS256 or EdDSA.

    Raises:
        ValueError: the secret is too short, the key does not fit the algorithm, or the user id is no UUID.
    """
    if algorithm not in ALGORITHMS:
        raise ValueError(f"algorithm {algorithm} is not one of {', '.join(sorted(ALGORITHMS))}")
    if algorithm == "HS256":
        _require_secret(secret)
    subject = canonical_uuid(user_id)
    if subject is None:
        raise ValueError("user_id must be a UUID")
    issued = int(time.time() if now_s is None else now_s)
    claims: dict[str, Any] = {"sub": subject, "roles": list(roles), "iat": issued, "nbf": issued, "exp": issued + ttl_s}
    optional = {"iss": issuer, "aud": audience, "institution_id": institution_id}
    claims |= {name: value for name, value in optional.items() if value is not None}
    try:
        return jwt.encode(claims, secret, algorithm=algorithm, headers=None if key_id is None else {"kid": key_id})
    except (jwt.PyJWTError, TypeError, ValueError, AttributeError) as error:
        raise ValueError(f"the private key does not fit {algorithm}") from error


class TokenVerifier:
    """Tells who an ``Authorization`` header speaks for."""

    def __init__(self, settings: TokenSettings, clock: Callable[[], float] = time.time) -> None:
        """Take the keys; ``clock`` gives seconds since 1970.

        Raises:
            ValueError: there is no key, an algorithm is not supported, or a secret is too short.
        """
        self._settings = settings
        self._clock = clock
        self._known: dict[bytes, Principal] = {}
        self._fixed = _prepared(settings.keys)
        self._rotating: tuple[_Key, ...] = ()
        self._source: tuple[VerificationKey, ...] = ()
        #: Called when a token names a key that is not known; the key set is then looked at again.
        self.on_unknown_key: Callable[[], None] | None = None
        if not self._fixed and not settings.rotates:
            raise ValueError("at least one key is needed to verify tokens")

    @staticmethod
    def check(key: VerificationKey) -> None:
        """Refuse a key that is weak or of another kind than its algorithm.

        Raises:
            ValueError: it is.
        """
        _material(key)

    def rotate(self, keys: Sequence[VerificationKey]) -> bool:
        """Replace the keys of the key set; whether they differ.  A token of a key that is gone is refused at once.

        Raises:
            ValueError: a key is weak or does not fit its algorithm; the earlier keys stay.
        """
        source = tuple(keys)
        if source == self._source:
            return False
        self._rotating = _prepared(source)
        self._source = source
        self._known.clear()
        return True

    def knows(self, header: bytes) -> bool:
        """Whether a header's token was found good before."""
        return header in self._known

    def verify(self, header: bytes) -> Principal:
        """The principal of an ``Authorization`` header's value.

        Raises:
            Unauthorized: UNAUTHORIZED, TOKEN_EXPIRED, TOKEN_NOT_YET_VALID or INVALID_TOKEN.
        """
        principal = self._known.get(header)
        if principal is None:
            principal = self._verify_first(header)
            if len(self._known) >= self._settings.cache_size:
                del self._known[next(iter(self._known))]
            self._known[header] = principal
        elif principal.expires_s <= self._clock():
            del self._known[header]
            raise Unauthorized("TOKEN_EXPIRED", "the token has expired")
        return principal

    def _verify_first(self, header: bytes) -> Principal:
        if header[: len(_SCHEME)].lower() != _SCHEME:
            raise Unauthorized("UNAUTHORIZED", "the Authorization header must be: Bearer <token>")
        token = header[len(_SCHEME) :].strip()
        if not token or len(token) > MAX_TOKEN_BYTES:
            raise Unauthorized("INVALID_TOKEN", f"a token has 1 to {MAX_TOKEN_BYTES} bytes")
        try:
            key_id, claims = read_strictly(token)
        except ValueError as error:
            raise Unauthorized("INVALID_TOKEN", "the token is malformed") from error
        named = False
        for key in (*self._fixed, *self._rotating):
            if key.key_id is None or key.key_id == key_id:
                named = named or key.key_id is not None
                if self._signed_by(token, key):
                    return self._principal(claims)
        if key_id is not None and not named and self.on_unknown_key is not None:
            self.on_unknown_key()
        raise Unauthorized("INVALID_TOKEN", "the token is not signed with a known key")

    def _signed_by(self, token: bytes, key: _Key) -> bool:
        """Whether this key signed the token, and it is meant for this venue."""
        settings = self._settings
        try:
            # The library compares times with its own clock, so they are compared in _principal instead.
            jwt.decode(
                token,
                key.material,
                algorithms=[key.algorithm],
                audience=settings.audience,
                issuer=settings.issuer,
                options={
                    "require": ["exp", "sub"],
                    "verify_exp": False,
                    "verify_nbf": False,
                    "verify_iat": False,
                    "verify_aud": settings.audience is not None,
                    "verify_iss": settings.issuer is not None,
                },
            )
            return True
        except (jwt.InvalidSignatureError, jwt.InvalidAlgorithmError):
            return False
        except jwt.MissingRequiredClaimError as error:
            raise Unauthorized(
                "INVALID_TOKEN", f"the token lacks the claim {error.claim}", claim=error.claim
            ) from error
        except jwt.InvalidIssuerError as error:
            raise Unauthorized("INVALID_TOKEN", "the token is from another issuer", claim="iss") from error
        except jwt.InvalidAudienceError as error:
            raise Unauthorized("INVALID_TOKEN", "the token is for another audience", claim="aud") from error
        except (jwt.PyJWTError, ValueError, TypeError, RecursionError) as error:
            raise Unauthorized("INVALID_TOKEN", "the token is malformed") from error

    def _principal(self, claims: dict[str, Any]) -> Principal:
        now, leeway = self._clock(), self._settings.leeway_s
        expires = _time_claim(claims, "exp") + leeway
        if expires <= now:
            raise Unauthorized("TOKEN_EXPIRED", "the token has expired")
        if "nbf" in claims and _time_claim(claims, "nbf") - leeway > now:
            raise Unauthorized("TOKEN_NOT_YET_VALID", "the token is not valid yet")
        if "iat" in claims and _time_claim(claims, "iat") - leeway - _IAT_AHEAD_S > now:
            raise Unauthorized("TOKEN_NOT_YET_VALID", "the token was issued in the future", claim="iat")
        subject = claims["sub"]
        user_id = canonical_uuid(subject) if isinstance(subject, str) else None
        if user_id is None:
            raise Unauthorized("INVALID_TOKEN", "the claim sub must be the user's UUID", claim="sub")
        roles = claims.get("roles", [TRADER])
        if not isinstance(roles, list) or len(roles) > _ROLES_MAX or not all(map(_is_word, roles)):
            raise Unauthorized("INVALID_TOKEN", "the claim roles must be a list of words", claim="roles")
        institution = claims.get("institution_id")
        if institution is not None and not _is_word(institution):
            message = "the claim institution_id must be a text of 1 to 100 printable characters"
            raise Unauthorized("INVALID_TOKEN", message, claim="institution_id")
        return Principal(
            user_id=user_id, roles=frozenset(roles), expires_s=expires, institution_id=institution,
            scopes=_scopes(claims),
        )  # fmt: skip


class _Key(msgspec.Struct, frozen=True):
    """A key ready for use."""

    material: Any
    algorithm: str
    key_id: str | None


def _prepared(keys: Iterable[VerificationKey]) -> tuple[_Key, ...]:
    return tuple(_Key(_material(key), key.algorithm, key.key_id) for key in keys)


def _material(key: VerificationKey) -> Any:
    """The key as the library wants it.

    Raises:
        ValueError: it is weak, or of another kind than its algorithm.
    """
    if key.algorithm not in ALGORITHMS:
        raise ValueError(f"algorithm {key.algorithm} is not one of {', '.join(sorted(ALGORITHMS))}")
    if key.algorithm == "HS256":
        _require_secret(key.key)
        if "-----BEGIN" in key.key or key.key.startswith("ssh-"):
            raise ValueError("a public or private key is no secret for HS256")
        return key.key
    public = serialization.load_pem_public_key(key.key.encode())
    if key.algorithm == "RS256":
        if not isinstance(public, rsa.RSAPublicKey) or public.key_size < MIN_RSA_BITS:
            raise ValueError(f"RS256 needs an RSA key of {MIN_RSA_BITS} bits or more")
    elif not isinstance(public, ed25519.Ed25519PublicKey):
        raise ValueError("EdDSA needs an Ed25519 key")
    return public


def _is_word(value: Any) -> bool:
    return isinstance(value, str) and 0 < len(value) <= 100 and value.isprintable()


def _scopes(claims: dict[str, Any]) -> frozenset[str]:
    """What the token may be used for: all, unless ``scope`` (words) or ``scopes`` (a list) restricts it."""
    granted = SCOPES
    for name in ("scope", "scopes"):
        if name in claims:
            value = claims[name]
            words = value.split() if isinstance(value, str) else value
            if not isinstance(words, list) or not all(map(_is_word, words)):
                raise Unauthorized("INVALID_TOKEN", f"the claim {name} must be words", claim=name)
            granted &= frozenset(words)
    return granted


def _time_claim(claims: dict[str, Any], name: str) -> float:
    value = claims[name]
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= _LATEST_S:
        raise Unauthorized("INVALID_TOKEN", f"the claim {name} must be seconds since 1970", claim=name)
    return float(value)


def _require_secret(secret: str) -> None:
    if len(secret.encode()) < MIN_SECRET_BYTES:
        raise ValueError(f"a secret for HS256 must have at least {MIN_SECRET_BYTES} bytes")
