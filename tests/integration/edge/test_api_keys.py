"""API keys on a real database: signatures, windows, nonces, revocation, and a database that is away."""

import asyncio
import hashlib
import hmac
import random
import string
import time
import uuid
from typing import Any, Final

import asyncpg
import pytest

from trade_engine.domain.errors import EngineError, Refused, Unavailable
from trade_engine.edge.auth.authenticator import Authenticator, Signature, sign, signed_text
from trade_engine.edge.auth.key_ring import FRESH_S, KeyRing
from trade_engine.edge.auth.nonces import REMEMBERED_MS, Nonces
from trade_engine.edge.auth.tokens import TokenVerifier
from trade_engine.edge.problems import RateLimited, Unauthorized
from trade_engine.edge.settings import TokenSettings, VerificationKey
from trade_engine.storage.api_keys import KEYS_PER_USER, ApiKey, ApiKeyStore
from trade_engine.storage.sealing import SecretUnreadableError
from trade_engine.storage.webhooks import WebhookStore

KEY: Final = b"k" * 32


class Desk:
    """An authenticator with one key, and a clock to turn."""

    def __init__(self, pool: asyncpg.Pool) -> None:
        self.now = time.time() - 1_000
        self.ring_now = 0.0
        self.store = ApiKeyStore(pool, lambda: [KEY])
        self.ring = KeyRing(self.store, lambda: self.ring_now)
        tokens = TokenVerifier(TokenSettings(keys=(VerificationKey(key="s" * 32),)))
        self.login = Authenticator(tokens, self.ring, lambda: self.now)
        self.now += 500
        self.key_id = ""
        self.secret = ""

    async def anew(self, expires_us: int = 0) -> ApiKey:
        """Have another key from now on."""
        key, secret = await self.store.make(str(uuid.uuid4()), "bot", ["read"], (), expires_us)
        assert secret is not None
        self.key_id, self.secret = key.key_id, secret
        return key

    async def ask(self, signature: str | None = None, window: str | None = None, **changes: Any) -> Any:
        """Sign a request, then send it with these changes."""
        sent: dict[str, Any] = {
            "api_key": self.key_id, "timestamp": str(int(self.now * 1000)), "nonce": uuid.uuid4().hex, "method": "GET",
            "target": "/api/v1/orders?limit=1", "body": b"", "address": "192.0.2.7",
        }  # fmt: skip
        signed_terms = sent | {k: v for k, v in changes.items() if k in ("timestamp", "nonce")}
        right = sign(
            self.secret, str(signed_terms["timestamp"]), str(signed_terms["nonce"]), "GET", str(sent["target"])
        )
        sent |= {"recv_window": window, "signature": right if signature is None else signature}
        sent |= changes
        signed = signed_text(str(sent["timestamp"]), sent["nonce"], sent["method"], sent["target"], sent["body"])
        given = Signature(sent["api_key"], sent["timestamp"], sent["nonce"], sent["signature"], sent["recv_window"])
        return await self.login.authenticate_signature(given, signed, sent["address"])

    async def code(self, **changes: Any) -> str:
        """The code that a request is refused with."""
        with pytest.raises(EngineError) as refused:
            await self.ask(**changes)
        return refused.value.code


@pytest.fixture
async def desk(pool: asyncpg.Pool) -> Desk:
    made = Desk(pool)
    await made.anew()
    return made


async def test_a_signed_request_passes_and_any_other_does_not(desk: Desk) -> None:
    principal = await desk.ask()
    assert (principal.scopes, principal.roles, principal.key_id) == ({"read"}, {"trader"}, desk.key_id)
    for changes in ({"method": "POST"}, {"target": "/api/v1/orders?limit=2"}, {"body": b" "}, {"signature": "0" * 64}):
        assert await desk.code(**changes) == "INVALID_SIGNATURE", changes
    for signature in ("", "0" * 63, "0" * 65, "g" * 64, "\u0660" * 64):
        assert await desk.code(signature=signature) == "INVALID_SIGNATURE"
    for key_id in ("", "tek_", "tek_" + "0" * 32, desk.key_id.upper(), desk.key_id + "\n"):
        assert await desk.code(api_key=key_id) == "INVALID_API_KEY"
    for nonce in ("", "n" * 65, "a b", "a\nb", "\u00e9"):
        assert await desk.code(nonce=nonce) == "INVALID_SIGNATURE"


async def test_the_window(desk: Desk) -> None:
    now_ms = int(desk.now * 1000)
    for then_ms in (now_ms - 4_999, now_ms + 1_000):
        await desk.ask(timestamp=str(then_ms))
    await desk.ask(timestamp=now_ms - 59_000, window="60000")
    for timestamp in ("", "-1", "1e3", "NaN", "0", str(now_ms - 5_001), str(now_ms + 1_001), str(now_ms // 1000)):
        assert await desk.code(timestamp=timestamp) == "TIMESTAMP_OUT_OF_WINDOW", timestamp
    for window in ("0", "60001", "-1", "x", ""):
        assert await desk.code(window=window) == "INVALID_PARAMETER", window


async def test_a_face_says_itself_which_bytes_are_signed(desk: Desk) -> None:
    signed = b"symbol=BTCUSDT&timestamp=1"
    digest = hmac.new(desk.secret.encode(), signed, hashlib.sha256).hexdigest()
    given = Signature(desk.key_id, int(desk.now * 1000), uuid.uuid4().hex, digest, None)
    with pytest.raises(Unauthorized, match="signature is wrong"):
        await desk.login.authenticate_signature(given, signed + b"0", "192.0.2.7")
    assert (await desk.login.authenticate_signature(given, signed, "192.0.2.7")).key_id == desk.key_id


async def test_what_was_signed_before_the_start_is_refused(desk: Desk) -> None:
    fresh = Authenticator(desk.login.tokens, desk.ring, lambda: desk.now)
    earlier = desk.now - 1
    desk.login = fresh
    assert await desk.code(timestamp=str(int(earlier * 1000))) == "TIMESTAMP_OUT_OF_WINDOW"


async def test_a_nonce_passes_once_and_a_wrong_signature_does_not_use_it(desk: Desk) -> None:
    assert await desk.code(nonce="n", signature="0" * 64) == "INVALID_SIGNATURE"
    timestamp = str(int(desk.now * 1000))
    await desk.ask(nonce="n", timestamp=timestamp)
    assert await desk.code(nonce="n", timestamp=timestamp) == "NONCE_REUSED"
    desk.now += 59
    assert await desk.code(nonce="n", timestamp=timestamp, window="60000") == "NONCE_REUSED"


def test_a_full_memory_of_nonces_refuses_and_never_forgets_a_live_one() -> None:
    nonces = Nonces(most=4, most_of_a_key=3)
    for n in range(3):
        nonces.take("a", str(n), n)
    with pytest.raises(RateLimited):
        nonces.take("a", "3", 3)
    nonces.take("b", "0", 3)
    with pytest.raises(Unavailable):
        nonces.take("c", "0", REMEMBERED_MS - 1)
    with pytest.raises(Unauthorized):
        nonces.take("a", "0", REMEMBERED_MS - 1)
    nonces.take("c", "0", REMEMBERED_MS)


async def test_no_mutated_signature_is_accepted(desk: Desk) -> None:
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    rng = random.Random(seed)
    terms = (str(int(desk.now * 1000)), "n")
    right = sign(desk.secret, *terms, "GET", "/api/v1/orders?limit=1")
    for _ in range(2_500):
        at = rng.randrange(64)
        wrong = rng.choice((
            right[:at], right + rng.choice(string.hexdigits), right[:at] + right[at + 1 :],
            right[:at] + rng.choice([c for c in "0123456789abcdef" if c != right[at]]) + right[at + 1 :],
        ))  # fmt: skip
        assert await desk.code(signature=wrong, timestamp=terms[0], nonce="n") == "INVALID_SIGNATURE", wrong
    await desk.ask(signature=right, timestamp=terms[0], nonce="n")


async def test_a_revocation_elsewhere_takes_effect_within_a_second_and_here_at_once(desk: Desk) -> None:
    await desk.ask()
    await desk.store.revoke(desk.key_id, None)
    desk.ring_now += FRESH_S
    assert await desk.code() == "INVALID_API_KEY"
    key = await desk.anew()
    await desk.ask()
    await desk.store.revoke(desk.key_id, key.user_id)
    desk.ring.drop(desk.key_id)
    assert await desk.code() == "INVALID_API_KEY"


async def test_keys_in_use_are_read_again_together(desk: Desk, database_url: str) -> None:
    first, others = desk.key_id, [(await desk.anew()).key_id for _ in range(3)]
    principal = await desk.ask()
    desk.ring_now += FRESH_S
    await desk.ring.read_again()
    # It is fresh, so nobody need look; the others were never used.
    gone = await asyncpg.create_pool(database_url, min_size=1, max_size=1)
    real, desk.ring.store = desk.ring.store, ApiKeyStore(gone, lambda: [KEY])
    await gone.close()
    assert await desk.ask() == principal
    assert [desk.ring.knows(key_id) for key_id in (first, *others)] == [False, False, False, True]
    # What cannot be read again is not good for longer.
    desk.ring_now += FRESH_S
    await desk.ring.read_again()
    assert await desk.code() == "DATABASE_UNAVAILABLE"
    desk.ring.store = real
    await desk.ask()
    await desk.store.revoke(desk.key_id, None)
    desk.ring_now += FRESH_S / 2
    await desk.ring.read_again()
    assert await desk.code() == "INVALID_API_KEY"


async def test_an_expired_key_is_refused(desk: Desk) -> None:
    expires_us = int(desk.now * 1_000_000) + 1_000_000
    await desk.anew(expires_us)
    await desk.ask()
    desk.now += 1
    assert await desk.code() == "INVALID_API_KEY"


async def test_a_database_that_is_away_is_said_so(desk: Desk, database_url: str) -> None:
    await desk.ask()
    gone = await asyncpg.create_pool(database_url, min_size=1, max_size=1)
    store = ApiKeyStore(gone, lambda: [KEY])
    desk.ring.store = store
    await gone.close()
    desk.ring_now += FRESH_S
    assert await desk.code() == "DATABASE_UNAVAILABLE"


async def test_secrets_are_encrypted_and_bound_to_their_key(desk: Desk, pool: asyncpg.Pool) -> None:
    stored = await pool.fetchval("SELECT secret FROM api_keys WHERE key_id = $1", desk.key_id)
    assert desk.secret.encode() not in stored
    other, _ = await desk.store.make(str(uuid.uuid4()), "other", ["read"])
    await pool.execute("UPDATE api_keys SET secret = $2 WHERE key_id = $1", other.key_id, stored)
    with pytest.raises(SecretUnreadableError):
        await desk.store.find(other.key_id)
    desk.ring.store = ApiKeyStore(pool, lambda: [b"x" * 32])
    desk.ring.drop(desk.key_id)
    assert await desk.code() == "API_KEY_UNREADABLE"


async def test_a_user_has_only_so_many_keys_even_at_once(desk: Desk) -> None:
    user_id = str(uuid.uuid4())
    made = await asyncio.gather(
        *(desk.store.make(user_id, "bot", ["read"]) for _ in range(KEYS_PER_USER + 5)), return_exceptions=True
    )
    assert sum(isinstance(one, Refused) for one in made) == 5
    assert len(await desk.store.of_user(user_id)) == KEYS_PER_USER


async def test_the_last_use_is_written_later(desk: Desk) -> None:
    running = asyncio.create_task(desk.ring.keep_running())
    principal = await desk.ask()
    await asyncio.sleep(0)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    [key] = await desk.store.of_user(principal.user_id)
    assert key.last_used_us == int(desk.now * 1_000_000)


async def test_secrets_are_encrypted_anew_while_others_make_and_use_them(desk: Desk, pool: asyncpg.Pool) -> None:
    new = b"n" * 32
    keys = [KEY]
    running = ApiKeyStore(pool, lambda: keys)
    desk.ring.store = running
    await desk.ask()
    keys[:] = [new, KEY]
    user_ids = [str(uuid.uuid4()) for _ in range(20)]
    making = asyncio.gather(*(running.make(user_id, "bot", ["read"]) for user_id in user_ids))
    count = await ApiKeyStore(pool, lambda: keys).encrypt_anew()
    made = await making
    assert 1 <= count <= 21
    keys[:] = [new]
    desk.ring_now += FRESH_S
    desk.now += 1
    await desk.ask()
    alone = ApiKeyStore(pool, lambda: [new])
    for key, secret in made:
        found = await alone.find(key.key_id)
        assert found is not None
        assert found[1].decode() == secret, "none is left behind under the old key"
    with pytest.raises(SecretUnreadableError):
        await ApiKeyStore(pool, lambda: [KEY]).find(desk.key_id)


async def test_a_secret_that_no_key_opens_prevents_all_of_a_change(desk: Desk, pool: asyncpg.Pool) -> None:
    await ApiKeyStore(pool, lambda: [b"x" * 32]).make(str(uuid.uuid4()), "strange", ["read"])
    with pytest.raises(SecretUnreadableError):
        await ApiKeyStore(pool, lambda: [b"n" * 32, KEY]).encrypt_anew()
    assert await desk.store.find(desk.key_id) is not None, "nothing was changed"


async def test_secrets_of_webhooks_are_encrypted_anew_as_well(pool: asyncpg.Pool) -> None:
    old, new = WebhookStore(pool, lambda: [KEY]), WebhookStore(pool, lambda: [b"n" * 32])
    endpoint, _ = await old.add("https://receiver.example/hook", "books")
    await old.rotate(endpoint.endpoint_id)
    [(_, before)] = await old.keys()
    assert await WebhookStore(pool, lambda: [b"n" * 32, KEY]).encrypt_anew() == 1
    assert (await new.keys())[0][1] == before
    assert len(before) == 2
    assert (await old.keys())[0][1] == [], "the old key opens nothing any more"
    with pytest.raises(SecretUnreadableError):
        await old.encrypt_anew()
