"""The one place where everything is wired, in the order in which it starts.

    1 database -> 2 wallet -> 3 settlement -> 4 sequencer and admission -> 5 reconciliation -> 6 API

Nothing below this module knows the configuration; everything gets plain values from here.
"""

import asyncio
import contextlib
import os
import random
import secrets
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final, cast

import asyncpg
import msgspec
import structlog
from starlette.types import ASGIApp

from trade_engine import __version__
from trade_engine.api.addresses import ClientAddress
from trade_engine.api.app import create_app
from trade_engine.api.auth.authenticator import Authenticator
from trade_engine.api.auth.key_ring import KeyRing
from trade_engine.api.auth.keysets import KeySetFile, KeySetUrl
from trade_engine.api.auth.tokens import TRADER, TokenVerifier, issue_token
from trade_engine.api.backoffice import BackOffice
from trade_engine.api.call import Services
from trade_engine.api.limits import Limits as RateLimits
from trade_engine.api.limits import LocalLimits
from trade_engine.api.server import ApiServer
from trade_engine.api.settings import (
    ApiSettings,
    LimitSettings,
    RateLimit,
    ServerSettings,
    StreamSettings,
    TokenSettings,
    VerificationKey,
)
from trade_engine.api.ws.server import StreamServer
from trade_engine.bootstrap_wallet import make_wallet
from trade_engine.cache.redis_limits import RedisLimits, RedisSettings
from trade_engine.config import Config, ConfigError, markets_of
from trade_engine.matching.books import BookKind, default_kind, new_book
from trade_engine.matching.protocol import Book
from trade_engine.ops.metrics import Metrics, Reading
from trade_engine.ops.readings import read_engine, read_settlement, read_streams
from trade_engine.sequencer.admission import Admission
from trade_engine.sequencer.bookkeeping import Changes
from trade_engine.sequencer.candle_store import CandleStore
from trade_engine.sequencer.clock import Clock, wall_clock_us
from trade_engine.sequencer.commit import Writer
from trade_engine.sequencer.failpoints import Failpoints
from trade_engine.sequencer.memory import Memory
from trade_engine.sequencer.pipeline import Limits, Sequencer
from trade_engine.sequencer.recovery import recover
from trade_engine.sequencer.service import EngineService
from trade_engine.settlement.dead_letters import DeadLetters
from trade_engine.settlement.proceeds import pending_proceeds
from trade_engine.settlement.reconcile import excess_reservations
from trade_engine.settlement.reconciler import Reconciler, earlier_excess
from trade_engine.settlement.worker import SettlementSettings, SettlementWorker
from trade_engine.storage.api_keys import ApiKeyStore
from trade_engine.storage.durability import require_durable
from trade_engine.storage.embedded import EmbeddedPostgres, EmbeddedSettings, use_embedded
from trade_engine.storage.migrate import load_migrations, require_current, up
from trade_engine.storage.partitions import create_partitions, keep_ahead
from trade_engine.storage.pool import PoolSettings, close_pool, open_pool
from trade_engine.storage.queries import Queries
from trade_engine.storage.types import Connection, Pool
from trade_engine.wallet.audit import PostgresLedger
from trade_engine.wallet.breaker import BreakerState
from trade_engine.wallet.http_client import HttpWallet
from trade_engine.wallet.port import AuditedWallet, Release

log = structlog.get_logger(__name__)

_SECRET_FILE: Final = "jwt.secret"
_ENCRYPTION_FILE: Final = "api-keys.secret"


class TradeEngine:
    """The whole engine in one process: ``start`` it, serve, ``stop`` it.

    Args:
        config: all options.
        data_dir: the embedded database and secrets live here; must exist unless the database has a url.
    """

    def __init__(self, config: Config, data_dir: Path, failpoints: Failpoints | None = None) -> None:
        self.config = config
        self.data_dir = data_dir
        self.failpoints = failpoints or Failpoints()
        self.markets = markets_of(config)
        self.secret = jwt_secret(config, data_dir)
        kind: BookKind = config.matching.book
        self.book_kind = default_kind() if kind == "auto" else kind
        self.new_book: Callable[[int], Book] = lambda market_id: new_book(market_id, kind)
        self._embedded: EmbeddedPostgres | None = None
        self.streams: StreamServer | None = None
        self.metrics = Metrics(self._readings)
        self._servers: list[ApiServer] = []
        self._stack = contextlib.AsyncExitStack()
        self.stopping = asyncio.Event()

    async def start(self) -> None:
        """Start everything, in order; the API answers when this returns.

        Raises:
            StorageError, RecoveryError, OSError: what prevents it; everything started until then is stopped.
        """
        try:
            await self._start_database()
            self._start_wallet_and_settlement()
            await self._start_engine()
            await self._start_api()
        except BaseException:
            await self.stop()
            raise

    async def _start_database(self) -> None:
        database = self.config.database
        url = database.url
        if url is None:
            self._embedded = EmbeddedPostgres(self.data_dir, embedded_settings(self.config))
            url = await self._embedded.start()
            self._stack.push_async_callback(self._embedded.stop)
        self.database_url = url
        self._writer = Writer(database.direct_url or url, database.commit_timeout_s)
        connection = await asyncpg.connect(database.direct_url or url)
        try:
            await require_durable(connection)
            if self._embedded is not None:
                await up(connection, load_migrations())
            await require_current(connection, load_migrations())
        finally:
            await connection.close()
        settings = PoolSettings(max_open=database.max_open_conns, behind_pooler=database.behind_pooler)
        self.pool: Pool = await open_pool(url, settings)
        self._stack.push_async_callback(close_pool, self.pool)
        ahead = {"months_ahead": database.partitions_months, "days_ahead": database.partitions_days}
        await create_partitions(self.pool, **ahead)
        self._run("partitions", keep_ahead(self.pool, **ahead))

    def _start_wallet_and_settlement(self) -> None:
        settlement = self.config.settlement
        self.clock = Clock()
        self.wallet = make_wallet(self.config, self.pool, self.secret)
        if isinstance(self.wallet, HttpWallet):
            self._stack.push_async_callback(self.wallet.aclose)
        self.settlement = SettlementWorker(
            self.pool,
            self.wallet,
            SettlementSettings(
                workers=settlement.worker_pool_size,
                batch_max=settlement.batch_size,
                attempts_max=settlement.retry_max_attempts,
                backoff_ms=settlement.retry_backoff_ms,
                backoff_max_ms=settlement.retry_max_backoff_ms,
            ),
            clock_us=wall_clock_us,
            chance=random.random,
            on_settled=lambda settled: self._moved(
                user for done in settled for user in (done.trade.buyer_user_id, done.trade.seller_user_id)
            ),
            on_released=self._moved,
        )

    def _moved(self, users: Iterable[str]) -> None:
        if self.streams is not None:
            self.streams.moved(users)

    async def _start_engine(self) -> None:
        matching = self.config.matching

        async def recover_memory() -> Memory:
            return await recover(self._writer, self.markets, self.new_book, self.clock)

        def committed(changes: Changes) -> None:
            if changes.instructions:
                self.settlement.notify()
            new = [changes.orders[number] for number in changes.new]
            self.metrics.committed(new, changes.trades, self.sequencer.memory.markets)
            if self.streams is not None:
                self.streams.committed(changes.markets, changes.orders.values(), changes.trades)

        def rebuilt() -> None:
            if self.streams is not None:
                self.streams.rebuilt()

        limits = Limits(
            queue=matching.queue, batch_commands=matching.batch_commands, batch_events=matching.batch_events
        )
        self.sequencer = Sequencer(
            self._writer, recover_memory, self.clock, limits, self.failpoints, committed, rebuilt
        )
        admission = Admission(
            self.sequencer,
            self.wallet,
            self.pool,
            self.clock,
            self.failpoints,
            lambda: self._writer.epoch,
            with_cancels=self.config.wallet.mode != "http",
            wallet_is_out=self._wallet_is_out,
            queue=matching.queue,
        )
        self.engine = EngineService(
            self.sequencer,
            admission,
            self.wallet,
            self.pool,
            self.clock,
            self.markets,
            lambda: self._writer.epoch,
            self._earlier_excess,
        )
        self._stack.push_async_callback(self._writer.close)
        await self.engine.start()
        self._stack.push_async_callback(self.engine.stop)
        self._run("candles", CandleStore(self.pool, lambda: self.sequencer.memory).keep_running())
        self._run("settlement", self.settlement.run())
        self._stack.callback(self.settlement.stop)
        self.dead_letters = DeadLetters(self.pool, self.wallet)
        self.reconciler = Reconciler(self.pool, self.wallet, wall_clock_us)
        self._run("reconciliation", self.reconciler.keep_running(self.config.settlement.reconcile_every_s))

    def _wallet_is_out(self) -> bool:
        return isinstance(self.wallet, HttpWallet) and self.wallet.breaker.state is BreakerState.OPEN

    async def _earlier_excess(self, epoch: int) -> list[Release]:
        """Orphaned reservations of earlier writers; where the ledger is in this database, by one statement."""
        if self.config.wallet.mode == "in_process":
            async with self.pool.acquire() as connection:
                return await excess_reservations(cast("Connection", connection), epoch)
        return await earlier_excess(self.pool, self.wallet, epoch)

    async def _start_api(self) -> None:
        config = self.config
        authenticator = self._start_authenticator()
        settings = ApiSettings(
            version=__version__,
            max_body_bytes=config.server.max_body_bytes,
            timeout_s=config.server.request_timeout_s,
            cors_origins=tuple(config.server.cors_origins),
            echo_route=config.server.echo_route,
            access_log=config.logging.access,
        )
        services = Services(
            self.engine,
            self.wallet,
            Queries(self.pool),
            authenticator.tokens,
            await self._start_limits(),
            settings,
            lambda user_id: pending_proceeds(self.pool, user_id),
            BackOffice(self.pool, self.dead_letters, self.reconciler),
            self.metrics,
            authenticator,
        )
        self.app = create_app(services)
        self.streams = await self._start_streams(services)
        protocol = self.streams.protocol
        self._stack.push_async_callback(self._stop_serving)
        self.api = await self._serve(self.app, "http_port", config.server.http_port, protocol)
        self.websocket = await self._serve(self.app, "websocket_port", config.server.websocket_port, protocol)
        if config.monitoring.prometheus_enabled:
            self._run("loop lag", self.metrics.watch_loop())
            self.scraped = await self._serve(self.metrics.app(), "metrics_port", config.server.metrics_port)

    def _readings(self) -> Iterator[Reading]:
        """What the metrics read at a scrape."""
        yield from read_engine(self.sequencer)
        yield from read_settlement(self.settlement)
        if isinstance(self.wallet, HttpWallet):
            is_open = self.wallet.breaker.state is BreakerState.OPEN
            yield Reading("wallet_circuit_open", "1 while the wallet is not called.", float(is_open))
        if self.streams is not None:
            yield from read_streams(self.streams.connections, self.streams.hub.counts)

    def _start_authenticator(self) -> Authenticator:
        auth = self.config.auth
        verifier = TokenVerifier(
            TokenSettings(keys=(VerificationKey(key=self.secret),), issuer=auth.jwt_issuer, audience=auth.jwt_audience)
        )
        if auth.jwks_file is not None:
            key_set = KeySetFile(Path(auth.jwks_file), verifier)
            try:
                key_set.load()
            except (OSError, ValueError) as error:
                raise ConfigError(f"auth.jwks_file: {auth.jwks_file!r}: {error}") from error
            self._run("key set", key_set.keep_running())
        elif auth.jwks_url is not None:
            self._run("key set", KeySetUrl(auth.jwks_url, verifier, auth.jwks_refresh_s).keep_running())
        ring = KeyRing(ApiKeyStore(self.pool, encryption_key(self.config, self.data_dir)))
        self._run("API keys", ring.keep_running())
        return Authenticator(verifier, ring)

    async def _start_streams(self, services: Services) -> StreamServer:
        options = msgspec.structs.asdict(self.config.websocket)
        address_of = ClientAddress(self.config.server.trusted_proxies)
        streams = StreamServer(services, StreamSettings(**options), address_of)
        await streams.start()
        self._stack.push_async_callback(streams.stop)
        return streams

    async def _serve(
        self, app: ASGIApp, option: str, port: int, protocol: Callable[..., asyncio.Protocol] | None = None
    ) -> ApiServer:
        server = self.config.server
        settings = ServerSettings(
            host=server.host,
            port=port,
            name=f"server.{option}",
            header_timeout_s=server.header_timeout_s,
            body_timeout_s=server.body_timeout_s,
            max_header_bytes=server.max_header_bytes,
            max_connections=server.max_connections,
            trusted_proxies=tuple(server.trusted_proxies),
            shutdown_timeout_s=int(server.shutdown_timeout_s),
        )
        api = ApiServer(app, settings, protocol)
        await api.start()
        self._servers.append(api)
        return api

    async def _stop_serving(self) -> None:
        await asyncio.gather(*(server.stop() for server in self._servers))

    async def _start_limits(self) -> RateLimits:
        """Rate limits in Redis if there is one, else in this process."""
        rates, redis = self.config.rate_limit, self.config.redis
        settings = LimitSettings(
            orders=RateLimit(rates.orders_per_s, rates.orders_burst),
            queries=RateLimit(rates.queries_per_s, rates.queries_burst),
            public=RateLimit(rates.public_per_s, rates.public_burst),
            address=RateLimit(rates.address_per_s, rates.address_burst),
        )
        if redis.url is None:
            return LocalLimits(settings)
        limits = RedisLimits(
            RedisSettings(
                url=redis.url,
                pool_size=redis.pool_size,
                max_retries=redis.max_retries,
                timeout_ms=redis.timeout_ms,
                retry_every_s=redis.retry_every_s,
            ),
            settings,
        )
        self._stack.push_async_callback(limits.aclose)
        await limits.start()
        return limits

    async def stop(self) -> None:
        """Stop everything, last started first; a second call does nothing."""
        stack, self._stack = self._stack, contextlib.AsyncExitStack()
        await stack.aclose()

    def _run(self, name: str, work: Coroutine[Any, Any, None]) -> None:
        """Run a task of the engine's own; if it breaks down, the engine stops rather than going on without it."""
        task = asyncio.create_task(work, name=name)

        def ended(done: asyncio.Task[None]) -> None:
            if not done.cancelled() and done.exception() is not None:
                log.critical("a part of the engine broke down", part=name, error=repr(done.exception()))
                self.stopping.set()

        async def end() -> None:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError, Exception):
                await task

        task.add_done_callback(ended)
        self._stack.push_async_callback(end)

    def issue_token(self, user_id: str, roles: Sequence[str] = (TRADER,), ttl_s: int = 3600) -> str:
        """A token that this engine accepts."""
        auth = self.config.auth
        return issue_token(self.secret, user_id, roles, ttl_s, issuer=auth.jwt_issuer, audience=auth.jwt_audience)


def jwt_secret(config: Config, data_dir: Path) -> str:
    """The configured HS256 secret, else the one kept in the data directory, made there the first time."""
    if config.auth.jwt_secret:
        return config.auth.jwt_secret
    return _made_once(data_dir / _SECRET_FILE, lambda: secrets.token_urlsafe(48))


def encryption_key(config: Config, data_dir: Path) -> bytes:
    """What API keys' secrets are encrypted with: as configured, else kept in the data directory, made the first time.

    Raises:
        ConfigError: the file holds no key.
    """
    text = config.auth.encryption_key or _made_once(data_dir / _ENCRYPTION_FILE, lambda: secrets.token_hex(32))
    try:
        return bytes.fromhex(text)
    except ValueError as error:
        raise ConfigError(f"{data_dir / _ENCRYPTION_FILE}: must hold 64 hex digits") from error


def _made_once(file: Path, make: Callable[[], str]) -> str:
    if not file.exists():
        file.parent.mkdir(parents=True, exist_ok=True)
        made = file.with_suffix(f".{os.getpid()}")
        made.touch(mode=0o600)
        made.write_text(make())
        with contextlib.suppress(FileExistsError):
            os.link(made, file)
        made.unlink()
    return file.read_text().strip()


def embedded_settings(config: Config) -> EmbeddedSettings:
    """How the configuration wants the embedded database."""
    folder = config.database.postgres_bin
    return EmbeddedSettings(postgres_bin=Path(folder) if folder else None)


@contextlib.asynccontextmanager
async def attached_url(config: Config, data_dir: Path) -> AsyncIterator[str]:
    """For commands beside a server: the URL of the engine's database, embedded or not.

    Raises:
        EmbeddedError: there is no database in ``data_dir``.
    """
    url = config.database.direct_url or config.database.url
    if url is not None:
        yield url
        return
    async with use_embedded(data_dir, embedded_settings(config)) as embedded:
        yield embedded


@contextlib.asynccontextmanager
async def attached_wallet(url: str, config: Config | None = None, secret: str = "") -> AsyncIterator[AuditedWallet]:
    """For commands beside a server: the wallet; on a pool of its own, or the service that the configuration names."""
    if config is not None and config.wallet.mode == "http":
        async with contextlib.aclosing(cast("HttpWallet", make_wallet(config, None, secret))) as remote:
            yield remote
        return
    pool = await open_pool(url, PoolSettings(max_open=2))
    try:
        yield PostgresLedger(pool, reserve_timeout_s=30, timeout_s=30)
    finally:
        await close_pool(pool)
