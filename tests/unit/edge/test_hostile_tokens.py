"""Tokens and signatures made to deceive: none is believed, and neither is any that differs in one bit."""

import base64
import hashlib
import hmac
import json
import random
from typing import Any, Final

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ed25519, rsa

from trade_engine.edge.auth.authenticator import sign
from trade_engine.edge.auth.strict import read_strictly
from trade_engine.edge.auth.tokens import TokenVerifier
from trade_engine.edge.problems import Unauthorized
from trade_engine.edge.settings import TokenSettings, VerificationKey

SECRET: Final = "a secret of more than thirty-two bytes"
USER: Final = "0190a0b0-0000-7000-8000-00000000abcd"
NOW: Final = 1_800_000_000
RSA: Final = rsa.generate_private_key(public_exponent=65537, key_size=2048)
EDWARDS: Final = ed25519.Ed25519PrivateKey.generate()
OTHER_RSA: Final = rsa.generate_private_key(public_exponent=65537, key_size=2048)


def pem(private: rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey) -> str:
    form = serialization.PublicFormat.SubjectPublicKeyInfo
    return private.public_key().public_bytes(serialization.Encoding.PEM, form).decode()


def verifier() -> TokenVerifier:
    keys = (
        VerificationKey(key=SECRET, key_id="hs"),
        VerificationKey(key=pem(RSA), algorithm="RS256", key_id="rs"),
        VerificationKey(key=pem(EDWARDS), algorithm="EdDSA", key_id="ed"),
    )
    return TokenVerifier(TokenSettings(keys=keys, issuer="venue", audience="api"), lambda: float(NOW))


CLAIMS: Final = {"sub": USER, "exp": NOW + 60, "iat": NOW, "iss": "venue", "aud": "api", "roles": ["trader"]}
HEAD: Final = {"alg": "HS256", "typ": "JWT", "kid": "hs"}


def b64(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def forged(head: Any = HEAD, claims: Any = CLAIMS, secret: bytes = SECRET.encode()) -> str:
    """A token by hand, rightly signed with HS256; parts that are bytes stand as they are."""
    parts = [b64(part if isinstance(part, bytes) else json.dumps(part).encode()) for part in (head, claims)]
    text = ".".join(parts)
    return f"{text}.{b64(hmac.new(secret, text.encode(), hashlib.sha256).digest())}"


def head(**changes: Any) -> dict[str, Any]:
    return {name: value for name, value in (HEAD | changes).items() if value is not ...}


def claims(**changes: Any) -> dict[str, Any]:
    return {name: value for name, value in (CLAIMS | changes).items() if value is not ...}


def raw_claims(more: str) -> bytes:
    return json.dumps(CLAIMS)[:-1].encode() + f", {more}}}".encode()


def with_exp(value: str) -> bytes:
    return json.dumps(CLAIMS).replace(str(NOW + 60), value).encode()


GOOD: Final = forged()
START, MIDDLE, END = GOOD.split(".")
JWK: Final = {"kty": "oct", "k": b64(b"x" * 32), "alg": "HS256", "kid": "hs"}
HOSTILE: Final[dict[str, str]] = {
    **{f"alg {word!r}": forged(head(alg=word)) for word in (
        "none", "None", "NONE", "nOnE", "", " HS256", "HS256 ", "hs256", "HS384", "HS512", "RS256", "ES256", "PS256",
        "EdDSA", "HS256\x00", None, 1, ["HS256"], {"a": 1}, True,
    )},
    "alg missing": forged(head(alg=...)),
    "alg none, no signature": f"{b64(json.dumps(head(alg='none')).encode())}.{MIDDLE}.",
    "RS256 to HS256 with the public key": forged(head(kid="rs"), secret=pem(RSA).encode()),
    "the same without the last newline": forged(head(kid="rs"), secret=pem(RSA).strip().encode()),
    "EdDSA to HS256 with the public key": forged(head(kid="ed"), secret=pem(EDWARDS).encode()),
    "empty secret": forged(secret=b""),
    "kid a path": forged(head(kid="../../../../dev/null"), secret=b""),
    "kid SQL": forged(head(kid="x' UNION SELECT 'key'--"), secret=b"key"),
    "kid missing": forged(head(kid=...)),
    "kid unknown": forged(head(kid="nobody")),
    "kid a list": forged(head(kid=["hs"])),
    "kid a number": forged(head(kid=1)),
    "kid with a null": forged(head(kid="hs\x00")),
    "kid too long": forged(head(kid="h" * 300)),
    "jwk": forged(head(jwk=JWK), secret=b"x" * 32),
    "jwk beside a good signature": forged(head(jwk=JWK)),
    "jku": forged(head(jku="http://127.0.0.1:1/keys")),
    "x5u": forged(head(x5u="http://127.0.0.1:1/cert")),
    "x5c": forged(head(x5c=["MIIB"])),
    "crit": forged(head(crit=["exp"])),
    "b64 false": forged(head(b64=False, crit=["b64"])),
    "b64 false without crit": forged(head(b64=False)),
    "zip": forged(head(zip="DEF")),
    "nested": forged(head(cty="JWT"), GOOD.encode()),
    "another typ": forged(head(typ="JWE")),
    "typ a number": forged(head(typ=1)),
    "header a list": forged([HEAD]),
    "header twice alg": forged(b'{"alg":"none","alg":"HS256","kid":"hs"}'),
    "header no JSON": forged(b"{"),
    "header not UTF-8": forged(b"\xff\xfe"),
    "signature empty": f"{START}.{MIDDLE}.",
    "signature missing": f"{START}.{MIDDLE}",
    "signature cut": GOOD[:-4],
    "signature padded": GOOD + "=",
    "signature longer": GOOD + "AAAA",
    "four parts": f"{GOOD}.{END}",
    "five parts": f"{GOOD}.{END}.{END}",
    "space inside": f"{START}. {MIDDLE}.{END}",
    "newline inside": f"{START}.{MIDDLE}\n.{END}",
    "null at the end": GOOD + "\x00",
    "plain base64": GOOD.replace("-", "+").replace("_", "/") + "+",
    "parts swapped": f"{MIDDLE}.{START}.{END}",
    "claims of another": f"{START}.{b64(json.dumps(claims(roles=['admin'])).encode())}.{END}",
    "oversize": forged(claims=claims(more="x" * 5000)),
    "claims a list": forged(claims=[CLAIMS]),
    "claims null": forged(claims=None),
    "claims no JSON": forged(claims=b"{"),
    "claims deep": forged(claims=b'{"a":' * 500 + b"1" + b"}" * 500),
    "sub twice": forged(claims=raw_claims(f'"sub": "{USER}"')),
    "exp twice": forged(claims=raw_claims('"exp": 1900000000')),
    **{f"exp {value}": forged(claims=with_exp(value)) for value in (
        "NaN", "Infinity", "-Infinity", "1e400", "-1", "null", "true", '"1900000000"', "[1900000000]", "1" + "0" * 30,
        str(NOW), str(NOW - 1),
    )},
    "exp missing": forged(claims=claims(exp=...)),
    "nbf to come": forged(claims=claims(nbf=NOW + 1)),
    "nbf a text": forged(claims=claims(nbf="0")),
    "iat far ahead": forged(claims=claims(iat=NOW + 3600)),
    "iat a text": forged(claims=claims(iat="now")),
    "iss another": forged(claims=claims(iss="else")),
    "iss missing": forged(claims=claims(iss=...)),
    "iss a list": forged(claims=claims(iss=["venue"])),
    "aud another": forged(claims=claims(aud="else")),
    "aud missing": forged(claims=claims(aud=...)),
    "aud a number": forged(claims=claims(aud=1)),
    **{f"sub {value!r}": forged(claims=claims(sub=value)) for value in (
        1, None, [USER], {"id": USER}, "", "admin", USER + "\x00", USER + "\n", USER.replace("0", "\u0660"), "*",
    )},
    "sub missing": forged(claims=claims(sub=...)),
    **{f"roles {value!r}": forged(claims=claims(roles=value)) for value in (
        "admin", 1, None, {"admin": True}, ["trader", 1], ["trader", None], [["admin"]], [""], ["admin\x00"],
        ["x" * 101], ["trader"] * 51,
    )},
    "scopes a number": forged(claims=claims(scopes=1)),
    "scope of numbers": forged(claims=claims(scope=[1])),
    "institution a list": forged(claims=claims(institution_id=["acme"])),
    "another RSA key": jwt.encode(CLAIMS, OTHER_RSA, algorithm="RS256", headers={"kid": "rs"}),
    "RSA key, kid of the secret": jwt.encode(CLAIMS, RSA, algorithm="RS256", headers={"kid": "hs"}),
    "PS256": jwt.encode(CLAIMS, RSA, algorithm="PS256", headers={"kid": "rs"}),
    "RS512": jwt.encode(CLAIMS, RSA, algorithm="RS512", headers={"kid": "rs"}),
}  # fmt: skip


def test_the_table_is_made_from_a_token_that_is_good() -> None:
    assert len(HOSTILE) >= 60
    assert verifier().verify(f"Bearer {GOOD}".encode()).user_id == USER


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_token_is_refused(name: str) -> None:
    with pytest.raises(Unauthorized):
        verifier().verify(b"Bearer " + HOSTILE[name].encode())


def mutated(rng: random.Random, text: str, alphabet: str) -> str:
    """The text with a character changed, cut, doubled or put in, or with its end cut."""
    at = rng.randrange(len(text))
    kind = rng.randrange(4)
    if kind == 0:
        return text[:at] + rng.choice(alphabet.replace(text[at], "")) + text[at + 1 :]
    if kind == 1:
        return text[:at]
    if kind == 2:
        return text[:at] + text[at + 1 :]
    return text[:at] + rng.choice(alphabet) + text[at:]


ALPHABET: Final = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"


@pytest.mark.parametrize("algorithm", ["HS256", "RS256", "EdDSA"])
def test_no_mutated_signature_of_a_token_is_accepted(algorithm: str) -> None:
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    rng, checks = random.Random(seed), verifier()
    key: Any = {"HS256": SECRET, "RS256": RSA, "EdDSA": EDWARDS}[algorithm]
    token = jwt.encode(CLAIMS, key, algorithm=algorithm, headers={"kid": algorithm[:2].lower()})
    assert checks.verify(f"Bearer {token}".encode()).user_id == USER
    signed_part, _, signature = token.rpartition(".")
    last = [signature[:-1] + letter for letter in ALPHABET]
    for changed in (*last, *(mutated(rng, signature, ALPHABET) for _ in range(2_500))):
        if changed != signature:
            with pytest.raises(Unauthorized):
                checks.verify(f"Bearer {signed_part}.{changed}".encode())


@pytest.mark.parametrize("key", [
    VerificationKey(key=pem(RSA)),
    VerificationKey(key=pem(RSA), algorithm="EdDSA"),
    VerificationKey(key=pem(EDWARDS), algorithm="RS256"),
    VerificationKey(key=SECRET, algorithm="RS256"),
], ids=["public key as a secret", "RSA as EdDSA", "Ed25519 as RS256", "secret as RS256"])  # fmt: skip
def test_a_key_is_only_for_its_own_algorithm(key: VerificationKey) -> None:
    with pytest.raises(ValueError):
        TokenVerifier(TokenSettings(keys=(key,)))


def test_the_documented_signature() -> None:
    text = b"1700000000000\nn1\nPOST\n/api/v1/orders?a=1\n{}"
    expected = hmac.new(b"secret", text, hashlib.sha256).hexdigest()
    assert sign("secret", "1700000000000", "n1", "POST", "/api/v1/orders?a=1", b"{}") == expected


def test_only_the_canonical_last_letter_is_read() -> None:
    read = []
    for letter in ALPHABET:
        try:
            read_strictly((GOOD[:-1] + letter).encode())
        except ValueError:
            continue
        read.append(letter)
    assert read == list("AEIMQUYcgkosw048")
