"""The API on a real socket and a real database, over an engine in memory."""

import contextlib
import uuid
from collections.abc import AsyncIterator, Callable
from typing import Any

import asyncpg
import httpx
import pytest

from tests.integration.api.memory_engine import MemoryEngine
from trade_engine.api.app import create_app
from trade_engine.api.auth.tokens import TokenVerifier, issue_token
from trade_engine.api.backoffice import BackOffice
from trade_engine.api.call import Services
from trade_engine.api.limits import Limits, LocalLimits
from trade_engine.api.server import ApiServer
from trade_engine.api.settings import ApiSettings, LimitSettings, RateLimit, ServerSettings, TokenSettings
from trade_engine.api.settings import VerificationKey as Key
from trade_engine.domain.scale import UNIT
from trade_engine.settlement.dead_letters import DeadLetters
from trade_engine.settlement.reconciler import Reconciler
from trade_engine.storage.queries import Queries
from trade_engine.wallet.memory import MemoryWallet

SECRET = "a secret of more than thirty-two bytes"
UNLIMITED = LimitSettings(
    orders=RateLimit(0, 1), queries=RateLimit(0, 1), public=RateLimit(0, 1), address=RateLimit(0, 1)
)


class Api:
    """The running API, and what stands behind it."""

    def __init__(self, http: httpx.AsyncClient, engine: MemoryEngine, wallet: MemoryWallet, port: int) -> None:
        self.http = http
        self.engine = engine
        self.wallet = wallet
        self.port = port

    def headers(self, user_id: str | None = None, **claims: Any) -> dict[str, str]:
        """The headers of a user with a token."""
        return {"Authorization": f"Bearer {issue_token(SECRET, user_id or str(uuid.uuid4()), **claims)}"}


Start = Callable[..., contextlib.AbstractAsyncContextManager[Api]]


@pytest.fixture
def start(pool: asyncpg.Pool) -> Start:
    """Starts the API with the settings a test wants."""

    @contextlib.asynccontextmanager
    async def run(
        limits: LimitSettings | Limits = UNLIMITED, server: dict[str, Any] | None = None, **settings: Any
    ) -> AsyncIterator[Api]:
        engine, wallet = MemoryEngine(), MemoryWallet()

        async def pending(user_id: str) -> dict[str, int]:
            return {"BTC": UNIT // 2}

        verifier = TokenVerifier(TokenSettings(keys=(Key(key=SECRET),)))
        office = BackOffice(pool, DeadLetters(pool, wallet), Reconciler(pool, wallet, lambda: 0))
        counted = LocalLimits(limits) if isinstance(limits, LimitSettings) else limits
        shown = ApiSettings(**settings)
        services = Services(engine, wallet, Queries(pool), verifier, counted, shown, pending, office)
        app = create_app(services)
        listening = ServerSettings(**{"port": 0, "shutdown_timeout_s": 1} | (server or {}))
        running = ApiServer(app, listening)
        await running.start()
        try:
            async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{running.port}", timeout=10) as http:
                yield Api(http, engine, wallet, running.port)
        finally:
            await running.stop()

    return run


@pytest.fixture
async def api(start: Start) -> AsyncIterator[Api]:
    """The API as it is by default, without rate limits."""
    async with start() as running:
        yield running
