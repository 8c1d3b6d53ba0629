"""Wrong signatures on the face that clients of Binance know: of 100,000 mutated requests none speaks for anybody.

In process, without sockets: the face's logins, the authenticator, and keys of all three kinds.  Every variant differs
from its request in what is signed, or in the signature's value; reading requests are used, so that no nonce helps.
"""

import asyncio
import base64
import hashlib
import hmac
import random
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ed25519, padding, rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from trade_engine.domain.errors import EngineError
from trade_engine.edge.auth.authenticator import Authenticator
from trade_engine.edge.auth.public_keys import read_public_key
from trade_engine.edge.binance.logins import SignedLogins
from trade_engine.storage.api_keys import HMAC, ApiKey

_EACH = {HMAC: 70_000, "ED25519": 20_000, "RSA": 10_000}
_SAMPLES = 200


class Keys:
    """A key ring that holds one key of each kind, and signs as its owner does."""

    def __init__(self) -> None:
        self.secret = b"0123456789abcdef"
        edwards, rivest = ed25519.Ed25519PrivateKey.generate(), rsa.generate_private_key(65_537, 2_048)
        self.sign: dict[str, Callable[[bytes], str]] = {
            HMAC: lambda text: hmac.new(self.secret, text, hashlib.sha256).hexdigest(),
            "ED25519": lambda text: base64.b64encode(edwards.sign(text)).decode(),
            "RSA": lambda text: base64.b64encode(rivest.sign(text, padding.PKCS1v15(), SHA256())).decode(),
        }
        self.found: dict[str, tuple[ApiKey, bytes]] = {}
        for number, (kind, private) in enumerate(((HMAC, None), ("ED25519", edwards), ("RSA", rivest))):
            material = self.secret
            if private is not None:
                pem = private.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
                assert read_public_key(pem.decode())[0] == kind
                material = read_public_key(pem.decode())[1]
            self.found[key_id(number)] = (
                ApiKey(
                    key_id=key_id(number), user_id=f"user {number}", institution_id=None, name=kind,
                    scopes=frozenset(("read",)), networks=(), algorithm=kind, created_us=0, expires_us=0,
                    last_used_us=0, revoked_us=0,
                ),
                material,
            )  # fmt: skip

    async def find(self, api_key: str) -> tuple[ApiKey, bytes] | None:
        return self.found.get(api_key)

    def used(self, api_key: str, at_us: int) -> None:
        """Nobody writes it down."""


def key_id(number: int) -> str:
    return f"tek_{number:032x}"


class Face:
    """The face's logins over these keys."""

    def __init__(self, keys: Keys) -> None:
        self.authenticator = Authenticator(None, keys)  # type: ignore[arg-type]
        self.logins = SignedLogins(self)  # type: ignore[arg-type]

    async def by_signature(self, *given: Any) -> Any:
        return await self.authenticator.authenticate_signature(*given)

    async def user_of(self, api_key: str, query: bytes, body: bytes) -> str | None:
        """Whom a request speaks for; None: it is refused."""

        async def content() -> bytes:
            return body

        headers = [(b"x-mbx-apikey", api_key.encode())]
        try:
            principal, _ = await self.logins.read(headers, "GET", b"/x?" + query, "192.0.2.1", content)
        except EngineError:
            return None
        return None if principal is None else principal.user_id


def _request(draw: random.Random, sign: Callable[[bytes], str]) -> tuple[list[bytes], list[bytes], bytes]:
    """Parameters of query and body, and their signature as a parameter."""
    parameters = [b"symbol=BTCUSDT", b"note=%E2%82%AC", b"quantity=1.50", b"price=100", b"side=BUY", b"x=a+b"]
    draw.shuffle(parameters)
    parameters = [*parameters[: draw.randint(1, 6)], b"timestamp=%d" % (time.time_ns() // 1_000_000 + 900)]
    if draw.random() < 0.5:
        parameters.append(b"recvWindow=60000")
    draw.shuffle(parameters)
    at = draw.randint(0, len(parameters))
    query, body = parameters[:at], parameters[at:]
    signature = sign(b"&".join(query) + b"&".join(body))
    return query, body, b"signature=" + signature.replace("+", "%2B").replace("/", "%2F").replace("=", "%3D").encode()


def _mutated(
    draw: random.Random, query: list[bytes], body: list[bytes], signature: bytes
) -> tuple[bytes, bytes, bytes]:
    """Query, body and signature of a request that was tampered with."""
    query, body = list(query), list(body)
    what = draw.randrange(7)
    part = query if (query and draw.random() < 0.5) or not body else body
    if what == 0:
        signature = _flipped(draw, signature, len(b"signature="))
    elif what == 1:
        index = draw.randrange(len(part))
        part[index] = _flipped(draw, part[index], 0)
    elif what == 2:
        part.insert(draw.randrange(len(part) + 1), b"y=%d" % draw.randrange(1000))
    elif what == 3:
        del part[draw.randrange(len(part))]
    elif what == 4:
        index = draw.randrange(len(part))
        part[index] = part[index].replace(b"=", b"=%30", 1)
    elif what == 5:
        index = draw.randrange(len(part))
        part[index] += draw.choice((b"0", b"%20", b"=", b";", b"#"))
    else:
        cut = draw.randint(len(b"signature="), len(signature) - 1)
        signature = draw.choice((signature[:cut], signature + b"0", signature[:cut] + b"A" + signature[cut:]))
    return b"&".join(query), b"&".join(body), signature


def _flipped(draw: random.Random, text: bytes, after: int) -> bytes:
    at = draw.randrange(after, len(text))
    return text[:at] + bytes((text[at] ^ (1 << draw.randrange(7)),)) + text[at + 1 :]


@pytest.mark.bulk
@pytest.mark.parametrize("kind", list(_EACH))
def test_no_mutated_request_passes(kind: str) -> None:
    seed = random.randrange(1 << 30)
    print(f"seed {seed}")
    asyncio.run(_attack(kind, random.Random(seed)))


async def _attack(kind: str, draw: random.Random) -> None:
    keys = Keys()
    face, number = Face(keys), list(_EACH).index(kind)
    tried: Counter[bool] = Counter()
    while tried[False] < _EACH[kind]:
        query, body, signature = _request(draw, keys.sign[kind])
        whole = b"&".join((*query, signature)), b"&".join(body)
        assert await face.user_of(key_id(number), *whole) == f"user {number}"
        tried[True] += 1
        for other in range(len(_EACH)):
            if other != number:
                assert await face.user_of(key_id(other), *whole) is None, whole
        for _ in range(_SAMPLES):
            new_query, new_body, new_signature = _mutated(draw, query, body, signature)
            same_text = (new_query, new_body) == (b"&".join(query), b"&".join(body))
            if same_text and (new_signature == signature or new_signature.lower() == signature.lower()):
                continue
            place = draw.randrange(2)
            asked = [new_query, new_body]
            asked[place] = b"&".join(filter(None, (asked[place], new_signature)))
            assert await face.user_of(key_id(number), asked[0], asked[1]) is None, (query, body, signature, asked)
            tried[False] += 1
    assert tried[True] > 10
