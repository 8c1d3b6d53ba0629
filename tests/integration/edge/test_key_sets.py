"""Key sets rotate, from a file and from a URL, and a key that is gone is believed no more."""

import asyncio
import json
import os
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import jwt
import pytest
from aiohttp import web
from cryptography.hazmat.primitives.asymmetric import ed25519

from trade_engine.edge.auth.keysets import KeySetFile, KeySetUrl, read_key_set
from trade_engine.edge.auth.tokens import TokenVerifier
from trade_engine.edge.problems import Unauthorized
from trade_engine.edge.settings import TokenSettings, VerificationKey

SECRET = "a secret of more than thirty-two bytes"
USER = "0190a0b0-0000-7000-8000-00000000abcd"


class Signer:
    def __init__(self, key_id: str) -> None:
        self.key_id = key_id
        self.private = ed25519.Ed25519PrivateKey.generate()

    @property
    def jwk(self) -> dict[str, Any]:
        made: dict[str, Any] = json.loads(jwt.algorithms.OKPAlgorithm.to_jwk(self.private.public_key()))
        return made | {"kid": self.key_id, "alg": "EdDSA", "use": "sig"}

    def header(self) -> bytes:
        claims = {"sub": USER, "exp": int(time.time()) + 60}
        return b"Bearer " + jwt.encode(claims, self.private, "EdDSA", headers={"kid": self.key_id}).encode()


def key_set(*signers: Signer) -> str:
    return json.dumps({"keys": [signer.jwk for signer in signers]})


def new_verifier() -> TokenVerifier:
    return TokenVerifier(TokenSettings(keys=(VerificationKey(key=SECRET),)))


def refused(verifier: TokenVerifier, header: bytes) -> bool:
    try:
        verifier.verify(header)
    except Unauthorized:
        return True
    return False


async def until(condition: Any) -> None:
    end = time.monotonic() + 5
    while not condition():
        assert time.monotonic() < end
        await asyncio.sleep(0.02)


def test_a_file_rotates_and_a_verified_token_goes_with_its_key(tmp_path: Path) -> None:
    one, two, verifier, file = Signer("one"), Signer("two"), new_verifier(), tmp_path / "keys.json"
    file.write_text(key_set(one))
    source = KeySetFile(file, verifier)
    source.load()
    header = one.header()
    assert verifier.verify(header).user_id == USER
    assert refused(verifier, two.header())
    file.write_text(key_set(two))
    os.utime(file, ns=(1, 1))
    source.load()
    assert refused(verifier, header)
    assert verifier.verify(two.header()).user_id == USER
    file.write_text("{")
    with pytest.raises(ValueError):
        source.load()
    assert verifier.verify(two.header()).user_id == USER


class Publisher:
    """A server that publishes a key set."""

    def __init__(self) -> None:
        self.text = ""
        self.status = 200
        self.asked = 0
        self.url = ""

    async def answer(self, _: web.Request) -> web.Response:
        self.asked += 1
        return web.Response(text=self.text, status=self.status)


@pytest.fixture
async def publisher() -> AsyncIterator[Publisher]:
    made = Publisher()
    app = web.Application()
    app.router.add_get("/keys", made.answer)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    made.url = f"http://127.0.0.1:{runner.addresses[0][1]}/keys"
    yield made
    await runner.cleanup()


async def test_a_url_rotates_is_asked_for_an_unknown_key_and_may_be_away(publisher: Publisher) -> None:
    one, two, verifier = Signer("one"), Signer("two"), new_verifier()
    publisher.text = key_set(one)
    source = KeySetUrl(publisher.url, verifier, 60, pause_s=0.2)
    task = asyncio.create_task(source.keep_running())
    try:
        header = one.header()
        await until(lambda: not refused(verifier, header))
        publisher.text = key_set(two)
        asked = publisher.asked
        for _ in range(50):
            assert refused(verifier, Signer("nobody").header())
        await until(lambda: not refused(verifier, two.header()))
        assert refused(verifier, header)
        assert publisher.asked <= asked + 2
        publisher.status = 500
        with pytest.raises(ValueError):
            await source.fetch()
        publisher.status, publisher.text = 200, "[]"
        with pytest.raises(ValueError):
            await source.fetch()
        assert verifier.verify(two.header()).user_id == USER
    finally:
        task.cancel()


async def test_a_url_that_is_away_keeps_the_last_good_set(unused_tcp_port_url: str) -> None:
    one, verifier = Signer("one"), new_verifier()
    verifier.rotate(read_key_set(key_set(one), secrets=False))
    with pytest.raises(aiohttp.ClientError):
        await KeySetUrl(unused_tcp_port_url, verifier, 60).fetch()
    assert verifier.verify(one.header()).user_id == USER


@pytest.fixture
def unused_tcp_port_url() -> str:
    """A port that nobody listens on: 1 needs rights that tests do not use."""
    return "http://127.0.0.1:1/keys"


@pytest.mark.parametrize("change", [
    {"alg": None}, {"alg": "none"}, {"alg": "HS256"}, {"alg": "RS256"}, {"kty": "oct"}, {"kid": None}, {"kid": ""},
    {"use": "enc"}, {"d": "AAAA"}, {"x": "AAAA"}, {"crv": "P-256"},
], ids=str)  # fmt: skip
def test_a_doubtful_key_is_not_used(change: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="no key that can be used"):
        read_key_set(json.dumps({"keys": [Signer("one").jwk | change]}), secrets=True)


def test_a_secret_comes_from_a_file_only_and_ids_are_unique() -> None:
    secret = {"kty": "oct", "alg": "HS256", "kid": "s", "k": jwt.utils.base64url_encode(SECRET.encode()).decode()}
    [key] = read_key_set(json.dumps({"keys": [secret]}), secrets=True)
    assert (key.key, key.algorithm) == (SECRET, "HS256")
    with pytest.raises(ValueError):
        read_key_set(json.dumps({"keys": [secret]}), secrets=False)
    with pytest.raises(ValueError, match="share an id"):
        read_key_set(key_set(Signer("one"), Signer("one")), secrets=True)
