"""`trade-engine bench orders --face binance`: the same flow of orders over both faces in turn, and how they compare.

Each pair is some seconds of our own face and then some of the other, on one server, so that what else the machine does
meets both.  Over ours callers bring a bearer token, over the other a signature made for every request.
"""

import hashlib
import hmac
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any, Final

import asyncpg
import msgspec

from trade_engine.bench.orders import OrderFlow, ReadAnswer, run_load
from trade_engine.bench.own_server import RATE_LIMIT, funded_tokens, own_config, user_ids
from trade_engine.bootstrap.attached import attached_url
from trade_engine.bootstrap.keys import encryption_keys, jwt_secret
from trade_engine.storage.api_keys import ApiKeyStore

#: Requests of one address are not weighed.
UNWEIGHED: Final = {"TRADE_ENGINE__RATE_LIMIT__WEIGHT_PER_MINUTE": "0"}
_OPEN: Final = frozenset(("NEW", "PARTIALLY_FILLED"))


class _PlacedReport(msgspec.Struct):
    order_id: int = msgspec.field(name="orderId")
    status: str
    fills: list[msgspec.Raw] = msgspec.field(default_factory=list)


_decode: Final = msgspec.json.Decoder(_PlacedReport).decode


class SignedFlow(OrderFlow):
    """The flow as clients of Binance send it."""

    def __init__(self, keys: Sequence[tuple[str, str]], seed: int) -> None:
        super().__init__([key for key, _ in keys], seed)
        self._secrets = [secret.encode() for _, secret in keys]
        self._stamp_us = 0

    def cancelling(self, name: str, user: int) -> bytes:
        """The request that ends an order; its name is its market and its number."""
        symbol, _, number = name.partition(" ")
        return self._signed("DELETE", f"symbol={symbol}&orderId={number}", user)

    def placing(self, symbol: str, side: str, quantity: str, price: str, user: int) -> bytes:
        """The request that places an order."""
        terms = f"symbol={symbol.replace('/', '')}&side={side}&type=LIMIT&timeInForce=GTC"
        return self._signed("POST", f"{terms}&quantity={quantity}&price={price}", user)

    def _signed(self, method: str, terms: str, user: int) -> bytes:
        # No two requests are alike, also within a millisecond: times may be given in microseconds.
        self._stamp_us = max(self._stamp_us + 1, time.time_ns() // 1_000)
        terms += f"&timestamp={self._stamp_us}"
        digest = hmac.new(self._secrets[user], terms.encode(), hashlib.sha256).hexdigest()
        head = f"{method} /api/v3/order?{terms}&signature={digest} HTTP/1.1\r\nHost: localhost\r\n"
        return f"{head}X-MBX-APIKEY: {self._tokens[user]}\r\nContent-Length: 0\r\n\r\n".encode()

    def read(self, status: int, body: bytes, symbol: str) -> ReadAnswer | None:
        """What an answer to an order says."""
        if status != 200:
            return None
        found = _decode(body)
        name = f"{symbol.replace('/', '')} {found.order_id}"
        return ReadAnswer(name, found.status, len(found.fills), rests=found.status in _OPEN)


async def measure_faces(
    data_dir: Path, port: int, seconds: float, connections: int, users: int, seed: int, pairs: int
) -> dict[str, Any]:
    """Requests a second of both faces, in pairs: the figures."""
    config = own_config()
    async with attached_url(config, data_dir) as url:
        ours = OrderFlow(await funded_tokens(url, jwt_secret(config, data_dir), users), seed)
        pool = await asyncpg.create_pool(url, min_size=1, max_size=1)
        try:
            store = ApiKeyStore(pool, encryption_keys(config, data_dir))
            made = [await store.make(user, "bench", ["read", "trade"]) for user in user_ids(users)]
        finally:
            await pool.close()
        theirs = SignedFlow([(key.key_id, str(secret)) for key, secret in made], seed)
        rates: dict[str, list[float]] = {"native": [], "binance": []}
        errors = 0
        for flow in (ours, theirs):
            await run_load("127.0.0.1", port, flow, connections=connections, seconds=min(2.0, seconds))
        for _ in range(pairs):
            for name, flow in (("native", ours), ("binance", theirs)):
                tally, took = await run_load("127.0.0.1", port, flow, connections=connections, seconds=seconds)
                rates[name].append(round(tally.requests / took, 1))
                errors += tally.errors
    ratios = [theirs / ours for ours, theirs in zip(*rates.values(), strict=True)]
    return {
        "native_per_s": median(rates["native"]),
        "binance_per_s": median(rates["binance"]),
        "ratio": round(median(ratios), 3),
        "ratios": [round(ratio, 3) for ratio in ratios],
        "errors": errors,
        "rate_limit": RATE_LIMIT,
    }
