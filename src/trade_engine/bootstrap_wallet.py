"""Wiring of the wallet: which implementation the engine uses, and the wallet as a service of its own.

Plain values go in from the configuration; nothing below knows it.
"""

import contextlib
import random
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

import asyncpg
import structlog

from trade_engine import __version__
from trade_engine.api.auth.tokens import SERVICE, TokenVerifier, issue_token
from trade_engine.api.problems import Unauthorized
from trade_engine.api.server import ApiServer
from trade_engine.api.settings import ServerSettings, TokenSettings, VerificationKey
from trade_engine.config import Config
from trade_engine.storage.embedded import EmbeddedSettings, use_embedded
from trade_engine.storage.migrate import load_migrations, require_current, up
from trade_engine.storage.pool import PoolSettings, close_pool, open_pool
from trade_engine.storage.types import Pool
from trade_engine.wallet.audit import PostgresLedger
from trade_engine.wallet.breaker import BreakerSettings, BreakerState
from trade_engine.wallet.http_app import Roles, create_wallet_app
from trade_engine.wallet.http_client import ClientSettings, HttpWallet
from trade_engine.wallet.memory import MemoryWallet
from trade_engine.wallet.port import AuditedWallet

log = structlog.get_logger(__name__)

#: Who the engine is to the wallet service.
_ENGINE_ID: Final = "00000000-0000-7000-8000-0000000000e0"
_TOKEN_TTL_S: Final = 3_600


def make_wallet(config: Config, pool: Pool | None, secret: str) -> AuditedWallet:
    """The wallet that ``wallet.mode`` names; one over HTTP has to be closed."""
    options = config.wallet
    if options.mode == "memory":
        log.warning("wallet.mode is memory: balances are a fake, and forgotten when the engine stops")
        return MemoryWallet()
    if options.mode == "http":
        return HttpWallet(
            client_settings(config),
            service_token(config, secret),
            clock=time.monotonic,
            chance=random.random,
            on_change=_tell,
        )
    if pool is None:
        raise ValueError("wallet.mode in_process needs a pool")
    return PostgresLedger(pool, reserve_timeout_s=options.reserve_timeout_ms / 1e3, timeout_s=options.timeout_ms / 1e3)


def client_settings(config: Config) -> ClientSettings:
    """How the client of the service works."""
    options = config.wallet
    return ClientSettings(
        url=options.url or "",
        reserve_timeout_s=options.reserve_timeout_ms / 1e3,
        timeout_s=options.timeout_ms / 1e3,
        retries=options.retries,
        backoff_s=options.retry_backoff_ms / 1e3,
        connections=options.max_connections,
        breaker=BreakerSettings(
            options.breaker_failures,
            options.breaker_within_s,
            options.breaker_open_s,
            options.breaker_trial_calls,
        ),
    )


def service_token(config: Config, secret: str) -> Callable[[], str]:
    """The configured service token, else one made with the shared secret, made anew before it ends."""
    if config.wallet.token:
        given = config.wallet.token
        return lambda: given
    made, until_s = "", 0.0

    def token() -> str:
        nonlocal made, until_s
        now_s = time.monotonic()
        if now_s >= until_s:
            auth = config.auth
            made = issue_token(
                secret, _ENGINE_ID, (SERVICE,), _TOKEN_TTL_S, issuer=auth.jwt_issuer, audience=auth.jwt_audience
            )
            until_s = now_s + _TOKEN_TTL_S / 2
        return made

    return token


class WalletService:
    """The wallet as a process of its own: ``start`` it, serve, ``stop`` it.

    Args:
        config: all options.
        data_dir: where the embedded database is, if neither wallet nor engine have one by url.
        secret: what service tokens are signed with.
    """

    def __init__(self, config: Config, data_dir: Path, embedded: EmbeddedSettings, secret: str) -> None:
        self._config = config
        self._data_dir = data_dir
        self._embedded = embedded
        self._secret = secret
        self._stack = contextlib.AsyncExitStack()

    async def start(self) -> int:
        """Start; the port that it listens on.

        Raises:
            StorageError, OSError: what prevents it; everything started until then is stopped.
        """
        try:
            return await self._start()
        except BaseException:
            await self.stop()
            raise

    async def _start(self) -> int:
        config = self._config
        url = config.wallet.database_url or config.database.url
        if url is None:
            url = await self._stack.enter_async_context(use_embedded(self._data_dir, self._embedded))
        connection = await asyncpg.connect(url)
        try:
            if config.wallet.database_url:
                await up(connection, load_migrations())
            await require_current(connection, load_migrations())
        finally:
            await connection.close()
        pool = await open_pool(url, PoolSettings(max_open=config.database.max_open_conns))
        self._stack.push_async_callback(close_pool, pool)
        # The client waits half a second for a reserve; past that an answer helps nobody.
        wallet = PostgresLedger(
            pool,
            reserve_timeout_s=config.wallet.reserve_timeout_ms / 1e3,
            timeout_s=config.wallet.timeout_ms / 1e3,
        )
        app = create_wallet_app(wallet, _roles(config, self._secret), __version__)
        server = ApiServer(
            app,
            ServerSettings(
                host=config.wallet.host,
                port=config.wallet.port,
                shutdown_timeout_s=int(config.server.shutdown_timeout_s),
            ),
        )
        await server.start()
        self._stack.push_async_callback(server.stop)
        return server.port

    async def stop(self) -> None:
        """Stop everything, last started first; a second call does nothing."""
        stack, self._stack = self._stack, contextlib.AsyncExitStack()
        await stack.aclose()


def _roles(config: Config, secret: str) -> Roles:
    verifier = TokenVerifier(
        TokenSettings(
            keys=(VerificationKey(key=secret),), issuer=config.auth.jwt_issuer, audience=config.auth.jwt_audience
        )
    )

    def roles(header: bytes) -> frozenset[str] | None:
        try:
            return verifier.verify(header).roles
        except Unauthorized:
            return None

    return roles


def _tell(before: BreakerState, after: BreakerState) -> None:
    log.warning("the wallet's circuit breaker changed", before=before.value, after=after.value)
