"""A live engine in this process, in a loop of its own, and cells to tell stories in: a market, two users, keys."""

import asyncio
import threading
import uuid
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, Final, TypeVar

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, generate_private_key
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from tests.e2e.conftest import engine_config
from trade_engine.domain.scale import parse_units
from trade_engine.edge.auth.key_ring import KeyRing
from trade_engine.edge.auth.public_keys import ED25519, RSA, read_public_key
from trade_engine.roles.all import TradeEngine
from trade_engine.storage.api_keys import HMAC

QUOTE: Final = "USDT"
#: Longer than anything here takes on a machine that is busy.
_PATIENCE_S: Final = 120.0
#: So many orders of a user pass at once, and so few a second after that: one story runs into it.
_ORDERS: Final = 100

_PRIVATE: Final[dict[str, Callable[[], Ed25519PrivateKey | RSAPrivateKey]]] = {
    ED25519: Ed25519PrivateKey.generate,
    RSA: lambda: generate_private_key(65_537, 2_048),
}

Result = TypeVar("Result")


def _pem_of(private: Ed25519PrivateKey | RSAPrivateKey) -> str:
    return private.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()


class LiveVenue:
    """Start it, ask for cells, stop it."""

    def __init__(self, database_url: str, data_dir: Path, cells: int) -> None:
        scales = {"tick_size": "0.01", "lot_size": "0.000001", "min_quantity": "0.0001", "max_slippage": "0"}
        self._bases = [f"C{n:03}" for n in range(cells)]
        options: dict[str, Any] = {
            "matching.markets": [{"symbol": f"{base}/{QUOTE}", **scales} for base in self._bases],
            "rate_limit.orders_per_s": 0.5,
            "rate_limit.orders_burst": _ORDERS,
            "rate_limit.weight_per_minute": 1_000_000,
            "server.address_messages_per_s": 0,
            "server.address_accepts_per_s": 0,
        }
        self._config, self._data_dir = engine_config(database_url, options), data_dir
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="engine", daemon=True)

    def start(self) -> None:
        """Return when the engine answers."""
        self._thread.start()
        self._do(self._start())

    async def _start(self) -> None:
        self._engine = TradeEngine(self._config, self._data_dir)
        await self._engine.start()

    def stop(self) -> None:
        """End it."""
        self._do(self._engine.stop())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(_PATIENCE_S)
        self._loop.close()

    def cell(self, story: str, algorithm: str = HMAC) -> dict[str, Any]:
        """What a driver is told: a market that is unused, and two users with funds and keys of a kind."""
        base = self._bases.pop()
        return {
            "story": story,
            "url": f"http://127.0.0.1:{self._engine.api.port}",
            "base": base,
            "quote": QUOTE,
            "me": self._do(self._user(QUOTE, "100000", algorithm)),
            "other": self._do(self._user(base, "1000", algorithm)),
        }

    async def _user(self, asset: str, amount: str, algorithm: str) -> list[str]:
        user_id = str(uuid.uuid4())
        assert (await self._engine.wallet.deposit(user_id, asset, parse_units(amount), str(uuid.uuid4()))).ok
        ring = self._engine.services.callers.keys
        assert isinstance(ring, KeyRing)
        private = None if algorithm == HMAC else _PRIVATE[algorithm]()
        public = None if private is None else read_public_key(_pem_of(private))
        key, secret = await ring.store.make(user_id, "bot", ["read", "trade"], public_key=public)
        if private is not None:
            secret = private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
        assert secret is not None
        return [key.key_id, secret]

    def _do(self, work: Coroutine[Any, Any, Result]) -> Result:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(_PATIENCE_S)
