"""The whole engine in a thread of the test's process: REST, WebSocket and Binance's face on real sockets.

Each exchange has a database, ports, users and a clock of its own, so many stand side by side.
"""

import asyncio
import contextlib
import logging
import shutil
import tempfile
import uuid
from collections.abc import Callable, Mapping
from datetime import timedelta
from functools import cached_property
from pathlib import Path
from random import Random
from typing import Any, Final, NamedTuple, Self, TypeVar

import structlog

from trade_engine.bootstrap.keys import encryption_keys
from trade_engine.box.clock import BoxClock
from trade_engine.box.database import BoxDatabase, LoopThread
from trade_engine.box.market import BoxMarket, Number
from trade_engine.client import AsyncClient, Client
from trade_engine.config import load_config
from trade_engine.demo.users import MAKER, TAKERS, user_id_of
from trade_engine.domain.scale import UNIT, parse_units
from trade_engine.roles.all import TradeEngine
from trade_engine.sequencer.clock import Clock
from trade_engine.storage.api_keys import ApiKeyStore

T = TypeVar("T")

#: What everybody has who is given nothing else.
FUNDS: Final = {"USDT": "1000000", "BTC": "100", "ETH": "1000"}
_PLENTY: Final = 1_000_000_000 * UNIT
#: Nobody is limited, nothing is scraped, and nothing runs that a test does not last long enough for.
_OPTIONS: Final = {
    "server.host": "127.0.0.1",
    "server.http_port": 0,
    "server.websocket_port": 0,
    "server.drain_s": 0,
    "monitoring.prometheus_enabled": False,
    "database.maintenance_every_s": 0,
    "database.partitions_months": 1,
    "database.partitions_days": 1,
    "rate_limit.orders_per_s": 0,
    "rate_limit.queries_per_s": 0,
    "rate_limit.address_per_s": 0,
    "rate_limit.public_per_s": 0,
    "rate_limit.weight_per_minute": 0,
    "wallet.reserve_timeout_ms": 10_000,
}
_UPKEEP_S: Final = 10.0
_LOOK_EVERY_S: Final = 0.005


class ApiKeyPair(NamedTuple):
    """An API key and its secret."""

    key: str
    secret: str


class BoxUser:
    """A user with funds."""

    def __init__(self, user_id: str, token: str, url: str, make_key: Callable[[], ApiKeyPair]) -> None:
        self.user_id = user_id
        self.token = token
        self._url = url
        self._make_key = make_key

    @cached_property
    def api_key(self) -> ApiKeyPair:
        """An API key that may read and trade, as clients of Binance need it."""
        return self._make_key()

    def client(self, **more: Any) -> Client:
        """A client of our own API, as this user; close it."""
        return Client(self._url, token=self.token, **more)

    def async_client(self, **more: Any) -> AsyncClient:
        """A client for asyncio, as this user; close it."""
        return AsyncClient(self._url, token=self.token, **more)


class Exchange:
    """A fresh exchange; use it in ``with``.

    Args:
        database: where it keeps its tables.
        seed: the same one gives the same market and the same ids.
        funds: of alice and bob, and of users who are given nothing else.
        config: options of the engine, with dots (``matching.markets``), beside or instead of the usual.
    """

    def __init__(
        self,
        database: BoxDatabase,
        *,
        seed: int = 1,
        funds: Mapping[str, Number] = FUNDS,
        config: Mapping[str, Any] | None = None,
    ) -> None:
        self._database = database
        self._funds = funds
        self.seed = seed
        self.clock = BoxClock()
        self._config = config or {}
        self._users: dict[str, BoxUser] = {}
        self._markets: dict[str, BoxMarket] = {}
        self._stack = contextlib.ExitStack()

    def __enter__(self) -> Self:
        """Start it."""
        if not structlog.is_configured():
            structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
        with contextlib.ExitStack() as stack:
            folder = Path(tempfile.mkdtemp(prefix="trade-engine-box-"))
            stack.callback(shutil.rmtree, folder, ignore_errors=True)
            url = self._database.copy()
            stack.callback(self._database.drop, url)
            self._thread = LoopThread("trade-engine-box")
            stack.callback(self._thread.end)
            config = load_config(None, _OPTIONS | {"database.url": url} | dict(self._config), {})
            random = Random(self.seed)  # noqa: S311 - to be the same again
            clock = Clock(self.clock.now_us, random.getrandbits)
            self._engine = TradeEngine(config, folder, clock=clock)
            self._thread.run(self._engine.start(self._fund_market))
            stack.callback(self._stop)
            self._stack = stack.pop_all()
        for name in ("alice", "bob"):
            self.user(name)
        return self

    def __exit__(self, *_: object) -> None:
        """Stop it and forget everything."""
        self._stack.close()

    def _stop(self) -> None:
        self._thread.run(self._engine.stop())

    async def _fund_market(self, engine: TradeEngine) -> None:
        assets = {asset for market in engine.markets for asset in (market.base, market.quote)}
        for user_id in (MAKER, TAKERS[0]):
            for asset in sorted(assets):
                await engine.wallet.deposit(user_id, asset, _PLENTY, str(uuid.uuid4()))

    # ---- where it is

    @property
    def url(self) -> str:
        """Of the REST API; Binance's face is below it, at ``/api/v3`` and ``/sapi/v1``."""
        return f"http://127.0.0.1:{self._engine.api.port}"

    @property
    def websocket_url(self) -> str:
        """Of all streams: ours at ``/ws``, Binance's at ``/ws/...``, ``/stream`` and ``/ws-api/v3``."""
        return f"ws://127.0.0.1:{self._engine.api.port}"

    # ---- users

    @property
    def alice(self) -> BoxUser:
        """One user with funds."""
        return self.user("alice")

    @property
    def bob(self) -> BoxUser:
        """Another one."""
        return self.user("bob")

    def user(self, name: str, **funds: Number) -> BoxUser:
        """A user by his name, made and funded (BTC=1, USDT="5000.50") when he is first asked for."""
        if name not in self._users:
            user_id = user_id_of(name)
            self._thread.run(self._deposit(user_id, funds or self._funds))
            token = self._engine.issue_token(user_id, ttl_s=86_400)
            self._users[name] = BoxUser(user_id, token, self.url, lambda: self._thread.run(self._make_key(user_id)))
        return self._users[name]

    async def _deposit(self, user_id: str, funds: Mapping[str, Number]) -> None:
        for asset, amount in funds.items():
            outcome = await self._engine.wallet.deposit(user_id, asset, parse_units(str(amount)), str(uuid.uuid4()))
            if not outcome.ok:
                raise ValueError(f"{asset} {amount}: {outcome}")

    async def _make_key(self, user_id: str) -> ApiKeyPair:
        store = ApiKeyStore(self._engine.pool, encryption_keys(self._engine.config, self._engine.data_dir))
        key, secret = await store.make(user_id, "box", ("read", "trade"))
        return ApiKeyPair(key.key_id, str(secret))

    # ---- market and time

    def market(self, symbol: str) -> BoxMarket:
        """A market, to be moved.

        Raises:
            KeyError: there is none of that symbol.
        """
        if symbol not in self._markets:
            core = self._engine.engine
            listed = core.reader.markets[symbol]
            self._markets[symbol] = BoxMarket(listed, core.trading, core.operations, self.seed, self._thread.run)
        return self._markets[symbol]

    def advance(self, by: timedelta | float) -> None:
        """Be so much later (a length of time, or seconds), with all done that falls due: orders have expired."""
        self.clock.advance(by)
        self._thread.run(self._upkeep())

    async def _upkeep(self) -> None:
        due = "SELECT EXISTS (SELECT FROM orders WHERE is_open AND expires_at <= at_us($1))"
        async with asyncio.timeout(_UPKEEP_S):
            while await self._engine.pool.fetchval(due, self.clock.now_us()):
                self._engine.sequencer.queue.wake()
                await asyncio.sleep(_LOOK_EVERY_S)

    def settle(self) -> None:
        """Wait until every trade is settled and every reservation given back that is not needed any more."""
        self._thread.run(self._settled())

    async def _settled(self) -> None:
        async with asyncio.timeout(_UPKEEP_S):
            while await self._engine.pool.fetchval(
                "SELECT count(*) FROM settlement_instructions WHERE status <> 'FAILED'"
            ):
                await asyncio.sleep(_LOOK_EVERY_S)
