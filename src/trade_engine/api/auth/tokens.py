"""Bearer tokens: issues them for development, verifies them for everybody.

A token is verified once, then remembered until it expires; the memory is bounded.  The algorithm is pinned beside
each key, so a token cannot choose how it is checked.  Nothing here ever logs a token.
"""

import time
from collections.abc import Callable, Sequence
from typing import Any, Final

import jwt
import msgspec

from trade_engine.api.problems import Unauthorized
from trade_engine.api.settings import TokenSettings, VerificationKey
from trade_engine.domain.ids import canonical_uuid

TRADER: Final = "trader"
ADMIN: Final = "admin"
SERVICE: Final = "service"

ALGORITHMS: Final = frozenset({"HS256", "RS256", "EdDSA"})
MIN_SECRET_BYTES: Final = 32
MAX_TOKEN_BYTES: Final = 4096
_SCHEME: Final = b"bearer "


class Principal(msgspec.Struct, frozen=True, kw_only=True):
    """Who a verified token speaks for."""

    user_id: str
    roles: frozenset[str]
    #: Seconds since 1970 at which the token ends.
    expires_s: float
    institution_id: str | None = None


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
) -> str:
    """Sign an HS256 token for ``user_id`` that is good for ``ttl_s`` seconds from now (or from ``now_s``).

    Raises:
        ValueError: the secret is too short, or the user id is no UUID.
    """
    _require_secret(secret)
    subject = canonical_uuid(user_id)
    if subject is None:
        raise ValueError("user_id must be a UUID")
    issued = int(time.time() if now_s is None else now_s)
    claims: dict[str, Any] = {"sub": subject, "roles": list(roles), "iat": issued, "nbf": issued, "exp": issued + ttl_s}
    optional = {"iss": issuer, "aud": audience, "institution_id": institution_id}
    claims |= {name: value for name, value in optional.items() if value is not None}
    return jwt.encode(claims, secret, algorithm="HS256", headers=None if key_id is None else {"kid": key_id})


class TokenVerifier:
    """Tells who an ``Authorization`` header speaks for."""

    def __init__(self, settings: TokenSettings, clock: Callable[[], float] = time.time) -> None:
        """Take the keys; ``clock`` gives seconds since 1970.

        Raises:
            ValueError: there is no key, an algorithm is not supported, or a secret is too short.
        """
        if not settings.keys:
            raise ValueError("at least one key is needed to verify tokens")
        for key in settings.keys:
            if key.algorithm not in ALGORITHMS:
                raise ValueError(f"algorithm {key.algorithm} is not one of {', '.join(sorted(ALGORITHMS))}")
            if key.algorithm == "HS256":
                _require_secret(key.key)
        self._settings = settings
        self._clock = clock
        self._known: dict[bytes, Principal] = {}

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
            key_id = jwt.get_unverified_header(token).get("kid")
        except jwt.PyJWTError as error:
            raise Unauthorized("INVALID_TOKEN", "the token is malformed") from error
        for key in self._settings.keys:
            if key.key_id is None or key.key_id == key_id:
                claims = self._claims(token, key)
                if claims is not None:
                    return self._principal(claims)
        raise Unauthorized("INVALID_TOKEN", "the token is not signed with a known key")

    def _claims(self, token: bytes, key: VerificationKey) -> dict[str, Any] | None:
        """The token's claims, or None if this key did not sign it."""
        settings = self._settings
        try:
            # The library compares times with its own clock, so they are compared in _principal instead.
            return jwt.decode(
                token,
                key.key,
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
        except (jwt.InvalidSignatureError, jwt.InvalidAlgorithmError):
            return None
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
        subject = claims["sub"]
        user_id = canonical_uuid(subject) if isinstance(subject, str) else None
        if user_id is None:
            raise Unauthorized("INVALID_TOKEN", "the claim sub must be the user's UUID", claim="sub")
        roles = claims.get("roles", [TRADER])
        if not isinstance(roles, list) or not all(isinstance(role, str) for role in roles):
            raise Unauthorized("INVALID_TOKEN", "the claim roles must be a list of words", claim="roles")
        institution = claims.get("institution_id")
        if institution is not None and not (isinstance(institution, str) and 0 < len(institution) <= 100):
            message = "the claim institution_id must be a text of 1 to 100 characters"
            raise Unauthorized("INVALID_TOKEN", message, claim="institution_id")
        return Principal(user_id=user_id, roles=frozenset(roles), expires_s=expires, institution_id=institution)


def _time_claim(claims: dict[str, Any], name: str) -> float:
    value = claims[name]
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) < 1e15:
        raise Unauthorized("INVALID_TOKEN", f"the claim {name} must be seconds since 1970", claim=name)
    return float(value)


def _require_secret(secret: str) -> None:
    if len(secret.encode()) < MIN_SECRET_BYTES:
        raise ValueError(f"a secret for HS256 must have at least {MIN_SECRET_BYTES} bytes")
