"""The API on a real socket and a real database, over the real engine on a store in memory."""

import asyncio
import contextlib
import inspect
import uuid
from collections.abc import AsyncIterator, Callable
from typing import Any

import asyncpg
import httpx
import pytest

from tests.harness.engine import PLENTY, MemoryVenue, memory_venue
from trade_engine.bootstrap.verification import Asked, Verifications
from trade_engine.domain.orders import Order
from trade_engine.domain.scale import UNIT
from trade_engine.edge.auth.tokens import TokenVerifier, issue_token
from trade_engine.edge.backoffice import BackOffice, Reloaded
from trade_engine.edge.limits import LocalLimits, RateLimits
from trade_engine.edge.rest.app import create_app
from trade_engine.edge.rest.system import PROBES
from trade_engine.edge.services import Services
from trade_engine.edge.settings import ApiSettings, LimitSettings, RateLimit, TokenSettings
from trade_engine.edge.settings import VerificationKey as Key
from trade_engine.http.connections import Connections, ConnectionSettings
from trade_engine.http.server import ApiServer
from trade_engine.http.settings import ServerSettings
from trade_engine.settlement.dead_letters import DeadLetters
from trade_engine.settlement.reconciler import Reconciler
from trade_engine.storage.probe import DatabaseProbe
from trade_engine.storage.queries import Queries
from trade_engine.storage.webhooks import WebhookStore

SECRET = "a secret of more than thirty-two bytes"
UNLIMITED = LimitSettings(
    orders=RateLimit(0, 1), queries=RateLimit(0, 1), public=RateLimit(0, 1), address=RateLimit(0, 1)
)


class Mistreated:
    """A port of the engine whose calls can be made to fail, or to take long, before they reach it."""

    def __init__(self, port: Any, mishap: "Mishap") -> None:
        self._port = port
        self._mishap = mishap

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._port, name)
        if not inspect.iscoroutinefunction(method):
            return method

        async def call(*arguments: Any, **named: Any) -> Any:
            await asyncio.sleep(self._mishap.delay_s)
            if self._mishap.failure is not None:
                raise self._mishap.failure
            return await method(*arguments, **named)

        return call


class Mishap:
    """What the next calls suffer."""

    def __init__(self) -> None:
        #: Raised by the next calls, if set.
        self.failure: Exception | None = None
        self.delay_s = 0.0


class Api:
    """The running API, and what stands behind it."""

    def __init__(
        self,
        http: httpx.AsyncClient,
        venue: MemoryVenue,
        mishap: Mishap,
        port: int,
        connections: Connections,
        services: Services,
    ) -> None:
        self.connections = connections
        self.services = services
        self.http = http
        self.venue = venue
        self.mishap = mishap
        self.wallet = venue.wallet
        self.port = port

    @property
    def orders(self) -> dict[str, Order]:
        """All orders stored, by id."""
        return self.venue.store.database.orders

    def headers(self, user_id: str | None = None, *, funded: bool = True, **claims: Any) -> dict[str, str]:
        """The headers of a user with a token, who has plenty of everything."""
        user_id = user_id or str(uuid.uuid4())
        for asset in ("BTC", "ETH", "USDT") if funded else ():
            fund = self.wallet.deposit(user_id, asset, PLENTY, str(uuid.uuid5(uuid.UUID(user_id), asset)))
            with contextlib.suppress(StopIteration):
                # The wallet in memory waits for nothing.
                fund.send(None)
        return {"Authorization": f"Bearer {issue_token(SECRET, user_id, **claims)}"}


Start = Callable[..., contextlib.AbstractAsyncContextManager[Api]]


@pytest.fixture
def start(pool: asyncpg.Pool) -> Start:
    """Starts the API with the settings a test wants."""

    @contextlib.asynccontextmanager
    async def run(
        limits: LimitSettings | RateLimits = UNLIMITED,
        server: dict[str, Any] | None = None,
        connections: dict[str, Any] | None = None,
        **settings: Any,
    ) -> AsyncIterator[Api]:
        async def pending(user_id: str) -> dict[str, int]:
            return {"BTC": UNIT // 2}

        async def reload() -> Reloaded:
            return Reloaded(["logging.level"], ["server.host"], {})

        async with memory_venue() as venue:
            wallet, engine, mishap = venue.wallet, venue.engine, Mishap()
            verifier = TokenVerifier(TokenSettings(keys=(Key(key=SECRET),)))
            office = BackOffice(
                pool,
                DeadLetters(pool, wallet),
                Reconciler(pool, wallet, lambda: 0),
                reload,
                WebhookStore(pool, lambda: [bytes(32)]),
                Verifications(Asked("", ledger=False), venue.supervisor, lambda: 0),
                lambda: b"",
            )
            counted = LocalLimits(limits) if isinstance(limits, LimitSettings) else limits
            probe = DatabaseProbe(pool)
            await probe.look()
            services = Services(
                Mistreated(engine.trading, mishap),
                engine.reader,
                Mistreated(engine.operations, mishap),
                wallet,
                Queries(pool),
                verifier,
                counted,
                ApiSettings(**settings),
                pending,
                office,
                probe.condition,
            )
            usual: dict[str, Any] = {"port": 0, "shutdown_timeout_s": 1, "probe_paths": PROBES}
            listening = ServerSettings(**usual | (server or {}))
            places = Connections(ConnectionSettings(**(connections or {})))
            running = ApiServer(create_app(services), listening, places)
            await running.start()
            try:
                async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{running.port}", timeout=10) as http:
                    yield Api(http, venue, mishap, running.port, running.connections, services)
            finally:
                await running.stop()

    return run


@pytest.fixture
async def api(start: Start) -> AsyncIterator[Api]:
    """The API as it is by default, without rate limits."""
    async with start() as running:
        yield running
