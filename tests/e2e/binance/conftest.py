"""The face that clients of Binance know, over the whole engine: asked without a client, so that every byte is ours."""

import base64
import hashlib
import hmac
import time
from collections.abc import AsyncIterator, Callable
from typing import Any
from urllib.parse import urlencode

import httpx
import pytest

from tests.e2e.venue import Trader, Venue


class Key:
    """An API key of a user, who signs with it."""

    def __init__(self, http: httpx.AsyncClient, key_id: str, secret: str, user_id: str = "") -> None:
        self.http, self.key_id, self.secret, self.user_id = http, key_id, secret, user_id
        self.headers = {"X-MBX-APIKEY": key_id}
        #: Signs with a private key, if it is no secret that does.
        self.private: Callable[[bytes], bytes] | None = None
        self._last_ms = 0

    def now_ms(self) -> int:
        """A time that no earlier request of this key had."""
        self._last_ms = max(self._last_ms + 1, time.time_ns() // 1_000_000)
        return self._last_ms

    def digest(self, signed: str) -> str:
        """The signature of a text."""
        if self.private is not None:
            return base64.b64encode(self.private(signed.encode())).decode()
        return hmac.new(self.secret.encode(), signed.encode(), hashlib.sha256).hexdigest()

    def sign(self, terms: str) -> str:
        """A query, or a form, with its signature."""
        return f"{terms}&{urlencode({'signature': self.digest(terms)})}"

    async def ask(self, method: str, path: str, *, timestamp: int | None = None, **given: Any) -> httpx.Response:
        """A signed request; parameters in the query."""
        terms = urlencode(given | {"timestamp": self.now_ms() if timestamp is None else timestamp})
        return await self.http.request(method, f"{path}?{self.sign(terms)}", headers=self.headers)

    async def good(self, method: str, path: str, **given: Any) -> Any:
        """The same, of a request that must pass: its answer."""
        answer = await self.ask(method, path, **given)
        assert answer.status_code == 200, answer.text
        return answer.json()

    async def order(self, side: str, kind: str, **given: Any) -> Any:
        """Place an order that must be taken."""
        return await self.good("POST", "/api/v3/order", side=side, type=kind, **given)

    async def refused(self, method: str, path: str, **given: Any) -> tuple[int, int, str]:
        """Status, number and text of a refusal."""
        return refusal(await self.ask(method, path, **given))


def refusal(answer: httpx.Response) -> tuple[int, int, str]:
    """Status, number and text of a refusal."""
    body = answer.json()
    assert set(body) == {"code", "msg"}, body
    return answer.status_code, body["code"], body["msg"]


class Face:
    """The face of a running venue."""

    def __init__(self, http: httpx.AsyncClient, venue: Venue) -> None:
        self.http, self.venue = http, venue

    def market(self) -> tuple[str, str]:
        """A market that no other test has used: as we write it, and as this face does."""
        symbol = self.venue.market()
        return symbol, symbol.replace("/", "")

    async def trader(self, **funds: str) -> Trader:
        """A user with a token, as our own face has them."""
        return await self.venue.trader(**funds)

    async def rich(self, asset: str, amount: str) -> Key:
        """The API key of a new user who has so much of an asset."""
        return await self.key(await self.venue.trader(**{asset: amount}))

    async def key(self, trader: Trader | None = None, scopes: tuple[str, ...] = ("read", "trade"), **funds: str) -> Key:
        """A new user's API key, or another one of a user."""
        owner = trader or await self.venue.trader(**funds)
        body: dict[str, Any] = {"name": "bot", "scopes": list(scopes)}
        made = await owner.http.post("/api/v1/api-keys", json=body, headers=owner.headers)
        assert made.status_code == 201, made.text
        data = made.json()["data"]
        return Key(self.http, data["key"]["key_id"], data["secret"], owner.user_id)

    async def get(self, path: str, **given: Any) -> Any:
        """An answer that must be good."""
        answer = await self.http.get(f"/api/v3/{path}", params=given)
        assert answer.status_code == 200, answer.text
        return answer.json()

    async def refused(self, path: str, **given: Any) -> tuple[int, int, str]:
        """Status, number and text of a refusal."""
        return refusal(await self.http.get(f"/api/v3/{path}", params=given))


@pytest.fixture
async def face(venue: Venue) -> AsyncIterator[Face]:
    """The face of a running engine, limits off."""
    async with httpx.AsyncClient(base_url=venue.http.base_url, timeout=30) as http:
        yield Face(http, venue)
