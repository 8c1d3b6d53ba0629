"""Tokens: which are believed, for how long, and what each other one is told."""

import base64
import json
import random
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ed25519, rsa

from trade_engine.edge.auth.tokens import MAX_TOKEN_BYTES, TRADER, TokenVerifier, issue_token
from trade_engine.edge.problems import Unauthorized
from trade_engine.edge.settings import TokenSettings, VerificationKey

SECRET = "a secret of more than thirty-two bytes"
OTHER = "another secret of more than thirty-two bytes"
USER = "0190a0b0-0000-7000-8000-00000000abcd"
NOW = 1_800_000_000


class FakeClock:
    def __init__(self) -> None:
        self.now = float(NOW)

    def __call__(self) -> float:
        return self.now


def verifier(clock: FakeClock | None = None, **settings: Any) -> TokenVerifier:
    settings.setdefault("keys", (VerificationKey(key=SECRET),))
    return TokenVerifier(TokenSettings(**settings), clock or FakeClock())


def signed(claims: dict[str, Any], *, secret: str = SECRET, headers: dict[str, Any] | None = None) -> bytes:
    return b"Bearer " + jwt.encode(claims, secret, algorithm="HS256", headers=headers).encode()


def good(**changes: Any) -> dict[str, Any]:
    claims = {"sub": USER, "exp": NOW + 60, "roles": ["trader"]} | changes
    return {name: value for name, value in claims.items() if value is not ...}


def test_a_token_says_who_is_asking() -> None:
    token = issue_token(SECRET, USER.upper(), ("trader", "admin"), 60, now_s=NOW, institution_id="acme")
    principal = verifier().verify(f"Bearer {token}".encode())
    assert principal.user_id == USER
    assert principal.roles == {"trader", "admin"}
    assert principal.institution_id == "acme"
    assert principal.expires_s == NOW + 60


def test_the_scheme_is_in_any_case_and_a_missing_roles_claim_is_a_trader() -> None:
    header = signed(good(roles=...)).replace(b"Bearer", b"bearer")
    assert verifier().verify(header).roles == {TRADER}


def test_a_remembered_token_expires() -> None:
    clock = FakeClock()
    checks = verifier(clock)
    header = signed(good())
    first = checks.verify(header)
    clock.now += 59.9
    assert checks.verify(header) is first
    clock.now += 0.1
    for _ in range(2):
        with pytest.raises(Unauthorized) as refused:
            checks.verify(header)
        assert refused.value.code == "TOKEN_EXPIRED"


def test_the_memory_is_bounded() -> None:
    checks = verifier(cache_size=3)
    for n in range(10):
        checks.verify(signed(good(n=n)))
    assert len(checks._known) == 3


def b64(value: Any) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()


def unsigned(header: dict[str, Any], claims: dict[str, Any] | None = None) -> bytes:
    return f"Bearer {b64(header)}.{b64(claims or good())}.".encode()


REFUSED: list[tuple[str, bytes, str]] = [
    ("no scheme", b"nonsense", "UNAUTHORIZED"),
    ("another scheme", b"Basic dXNlcjpwYXNz", "UNAUTHORIZED"),
    ("no token", b"Bearer ", "INVALID_TOKEN"),
    ("not a token", b"Bearer a.b.c", "INVALID_TOKEN"),
    ("binary", b"Bearer \xff\xfe\x00.\xff.\xff", "INVALID_TOKEN"),
    ("too long", b"Bearer " + b"a" * (MAX_TOKEN_BYTES + 1), "INVALID_TOKEN"),
    ("another secret", signed(good(), secret=OTHER), "INVALID_TOKEN"),
    ("alg none", unsigned({"alg": "none", "typ": "JWT"}), "INVALID_TOKEN"),
    ("alg None", unsigned({"alg": "None", "typ": "JWT"}), "INVALID_TOKEN"),
    ("alg missing", unsigned({"typ": "JWT"}), "INVALID_TOKEN"),
    ("alg of another kind", unsigned({"alg": ["HS256"], "typ": "JWT"}), "INVALID_TOKEN"),
    ("HS512", b"Bearer " + jwt.encode(good(), SECRET * 2, algorithm="HS512").encode(), "INVALID_TOKEN"),
    ("no exp", signed(good(exp=...)), "INVALID_TOKEN"),
    ("no sub", signed(good(sub=...)), "INVALID_TOKEN"),
    ("exp a text", signed(good(exp="tomorrow")), "INVALID_TOKEN"),
    ("exp true", signed(good(exp=True)), "INVALID_TOKEN"),
    ("exp huge", signed(good(exp=10**30)), "INVALID_TOKEN"),
    ("exp past", signed(good(exp=NOW - 1)), "TOKEN_EXPIRED"),
    ("exp now", signed(good(exp=NOW)), "TOKEN_EXPIRED"),
    ("nbf to come", signed(good(nbf=NOW + 1)), "TOKEN_NOT_YET_VALID"),
    ("nbf a list", signed(good(nbf=[])), "INVALID_TOKEN"),
    ("sub not a UUID", signed(good(sub="alice")), "INVALID_TOKEN"),
    ("roles a text", signed(good(roles="trader")), "INVALID_TOKEN"),
    ("roles of numbers", signed(good(roles=[1])), "INVALID_TOKEN"),
    ("institution a number", signed(good(institution_id=7)), "INVALID_TOKEN"),
    ("institution too long", signed(good(institution_id="x" * 101)), "INVALID_TOKEN"),
]


@pytest.mark.parametrize(("name", "header", "code"), REFUSED, ids=[row[0] for row in REFUSED])
def test_a_bad_token_is_refused(name: str, header: bytes, code: str) -> None:
    checks = verifier()
    with pytest.raises(Unauthorized) as refused:
        checks.verify(header)
    assert refused.value.code == code, name
    assert not checks._known


def test_issuer_and_audience_are_checked_when_configured() -> None:
    checks = verifier(issuer="venue", audience="api")
    assert checks.verify(signed(good(iss="venue", aud="api"))).user_id == USER
    assert checks.verify(signed(good(iss="venue", aud=["web", "api"]))).user_id == USER
    for claims in (good(aud="api"), good(iss="venue"), good(iss="else", aud="api"), good(iss="venue", aud="else")):
        with pytest.raises(Unauthorized) as refused:
            checks.verify(signed(claims))
        assert refused.value.code == "INVALID_TOKEN"
    assert verifier().verify(signed(good(aud="anything"))).user_id == USER


def test_the_key_is_chosen_by_its_id() -> None:
    keys = (VerificationKey(key=SECRET, key_id="one"), VerificationKey(key=OTHER, key_id="two"))
    checks = verifier(keys=keys)
    assert checks.verify(signed(good(), secret=OTHER, headers={"kid": "two"})).user_id == USER
    for headers in ({"kid": "one"}, {"kid": "three"}, None):
        with pytest.raises(Unauthorized):
            checks.verify(signed(good(), secret=OTHER, headers=headers))


def _pem(public: rsa.RSAPublicKey | ed25519.Ed25519PublicKey) -> str:
    form = serialization.PublicFormat.SubjectPublicKeyInfo
    return public.public_bytes(serialization.Encoding.PEM, form).decode()


def test_the_algorithm_is_pinned_to_its_key() -> None:
    private = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    edwards = ed25519.Ed25519PrivateKey.generate()
    pem = _pem(private.public_key())
    keys = (
        VerificationKey(key=pem, algorithm="RS256", key_id="rsa"),
        VerificationKey(key=_pem(edwards.public_key()), algorithm="EdDSA", key_id="ed"),
    )
    checks = verifier(keys=keys)
    by_rsa = jwt.encode(good(), private, algorithm="RS256", headers={"kid": "rsa"})
    by_edwards = jwt.encode(good(), edwards, algorithm="EdDSA", headers={"kid": "ed"})
    for token in (by_rsa, by_edwards):
        assert checks.verify(f"Bearer {token}".encode()).user_id == USER
    # The classic confusion: an HS256 token "signed" with the public key's text.
    confused = _hs256_by_hand({"alg": "HS256", "kid": "rsa", "typ": "JWT"}, good(), pem.encode())
    with pytest.raises(Unauthorized) as refused:
        checks.verify(confused)
    assert refused.value.code == "INVALID_TOKEN"


def _hs256_by_hand(header: dict[str, Any], claims: dict[str, Any], secret: bytes) -> bytes:
    import hashlib
    import hmac

    signing = f"{b64(header)}.{b64(claims)}"
    digest = hmac.new(secret, signing.encode(), hashlib.sha256).digest()
    return f"Bearer {signing}.{base64.urlsafe_b64encode(digest).rstrip(b'=').decode()}".encode()


def test_no_mutated_signature_is_accepted() -> None:
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    rng = random.Random(seed)
    checks = verifier()
    header = signed(good())
    start = header.rindex(b".") + 1
    signature = base64.urlsafe_b64decode(header[start:] + b"=")
    for _ in range(2_000):
        changed = bytearray(signature)
        changed[rng.randrange(len(changed))] ^= 1 << rng.randrange(8)
        with pytest.raises(Unauthorized):
            checks.verify(header[:start] + base64.urlsafe_b64encode(bytes(changed)).rstrip(b"="))


@pytest.mark.parametrize(
    "keys",
    [(), (VerificationKey(key="short"),), (VerificationKey(key=SECRET, algorithm="none"),)],
    ids=["no key", "short secret", "no algorithm"],
)
def test_a_verifier_refuses_weak_keys(keys: tuple[VerificationKey, ...]) -> None:
    with pytest.raises(ValueError):
        verifier(keys=keys)


def test_no_token_is_issued_with_a_weak_secret_or_for_no_user() -> None:
    with pytest.raises(ValueError):
        issue_token("short", USER)
    with pytest.raises(ValueError):
        issue_token(SECRET, "alice")
