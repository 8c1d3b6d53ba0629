"""All roles in one process: the whole engine, wired in the order in which it starts.

    1 database -> 2 wallet -> 3 settlement -> 4 ports, and standing by while another engine writes
    -> 5 sequencer and admission -> 6 reconciliation -> 7 API

Nothing below knows the configuration; everything gets plain values from here.
"""

import asyncio
import contextlib
import random
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final, cast

import structlog
from starlette.types import ASGIApp

from trade_engine.bootstrap.api import (
    OF_METRICS,
    OF_OPERATORS,
    api_settings,
    beside,
    connection_settings,
    make_apps,
    server_settings,
    start_access_log,
    start_authenticator,
    start_streams,
)
from trade_engine.bootstrap.consumers import start_consumers
from trade_engine.bootstrap.database import TimedStore, before_writing, maintenance_of, start_database
from trade_engine.bootstrap.keys import jwt_secret
from trade_engine.bootstrap.lease import Tenure
from trade_engine.bootstrap.redis import keep_market_cache, make_market_cache, read_redis, redis_condition, start_limits
from trade_engine.bootstrap.reload import Reloadable, Reloader, session_end_us
from trade_engine.bootstrap.stopping import Farewell
from trade_engine.bootstrap.tracing import start_traces, timed_by
from trade_engine.bootstrap.verification import Asked, Verifications
from trade_engine.bootstrap.wallet import make_wallet
from trade_engine.bootstrap.webhooks import webhook_store
from trade_engine.cache.market_cache import MarketCache
from trade_engine.config import Config, markets_of
from trade_engine.edge.auth.tokens import TRADER, issue_token
from trade_engine.edge.backoffice import BackOffice
from trade_engine.edge.limits import RateLimits
from trade_engine.edge.rest.entrance import Entrance
from trade_engine.edge.rest.system import PROBES
from trade_engine.edge.services import Services
from trade_engine.edge.ws.server import StreamServer
from trade_engine.http.connections import Connections
from trade_engine.http.server import ApiServer
from trade_engine.matching.books import BookKind, default_kind, new_book
from trade_engine.matching.protocol import Book
from trade_engine.ops.metrics import Metrics, Reading
from trade_engine.ops.readings import (
    ENGINE_UP,
    read_connections,
    read_engine,
    read_partitions,
    read_settlement,
    read_streams,
)
from trade_engine.ops.supervisor import EXIT_BROKEN, EXIT_SUPERSEDED, Supervisor
from trade_engine.ops.surroundings import BacklogCount, read_surroundings, read_wallet
from trade_engine.ops.watchdog import Watchdog
from trade_engine.sequencer.admission import DAY_US
from trade_engine.sequencer.clock import Clock
from trade_engine.sequencer.clock_watch import ClockWatch
from trade_engine.sequencer.engine import Engine, EngineSettings
from trade_engine.sequencer.failpoints import Failpoints
from trade_engine.sequencer.pipeline import SequencerLimits
from trade_engine.settlement.comparison import Excess, compare_reservations
from trade_engine.settlement.dead_letters import DeadLetters
from trade_engine.settlement.proceeds import pending_proceeds
from trade_engine.settlement.reconcile import excess_reservations
from trade_engine.settlement.reconciler import Reconciler, earlier_excess
from trade_engine.settlement.worker import MarkedTrade, SettlementSettings, SettlementWorker
from trade_engine.storage.queries import Queries
from trade_engine.storage.types import Connection
from trade_engine.wallet.port import Release

if TYPE_CHECKING:
    from trade_engine.messaging.relay import Relay

log = structlog.get_logger(__name__)

#: The longest that the engine lets a request wait for it.
_ANSWER_WITHIN_S: Final = 10.0


class TradeEngine:
    """The whole engine in one process: ``start`` it, serve, ``stop`` it.

    Args:
        config: all options.
        data_dir: the embedded database and secrets live here; must exist unless the database has a url.
        take_over: do not stand by for an engine that writes now.
        reread: reads the configuration again; without it a reload changes nothing.
        clock: of an engine whose time a test has in its hand; the program never gives one.
    """

    def __init__(
        self,
        config: Config,
        data_dir: Path,
        failpoints: Failpoints | None = None,
        *,
        take_over: bool = False,
        reread: Callable[[], Config] | None = None,
        clock: Clock | None = None,
    ) -> None:
        self.reloader = Reloader(config, reread or (lambda: config))
        self._take_over = take_over
        self.config = config
        self.data_dir = data_dir
        self.failpoints = failpoints or Failpoints()
        self.markets = markets_of(config)
        self.secret = jwt_secret(config, data_dir)
        kind: BookKind = config.matching.book
        self.book_kind = default_kind() if kind == "auto" else kind
        self.new_book: Callable[[int], Book] = lambda market_id: new_book(market_id, kind)
        self.clock = clock or Clock(jump_max_us=round(config.engine.clock_jump_max_s * 1_000_000))
        self.streams: StreamServer | None = None
        self.relay: Relay | None = None
        self._read_relay: Callable[[], Iterable[Reading]] = tuple
        self._read_consumers: Callable[[], Iterable[Reading]] = tuple
        self.limits: RateLimits | None = None
        self.market_cache: MarketCache | None = None
        self.metrics = Metrics(self._readings)
        self._stack = contextlib.AsyncExitStack()
        self.traces = start_traces(config, self._stack)
        self.clock.on_timed = self._timed = timed_by(self.metrics.timed, self.traces)
        self._servers: list[ApiServer] = []
        self._entrance = Entrance()
        self.farewell = Farewell(config.server.shutdown_timeout_s, config.server.drain_s)
        self.supervisor = Supervisor()
        #: Runs a task of the engine's own, which ends when the engine stops.
        self._run = partial(self.supervisor.start, stack=self._stack)
        self.watchdog = Watchdog()

    async def start(self, before_serving: Callable[["TradeEngine"], Awaitable[None]] | None = None) -> None:
        """Start everything, in order; the API answers when this returns.

        Args:
            before_serving: done when the engine is there and nobody can reach it yet.

        Raises:
            StorageError, RecoveryError, OSError: what prevents it; everything started until then is stopped.
        """
        try:
            self._run("watchdog", self.watchdog.keep_running)
            await self._start_database()
            self._start_wallet_and_settlement()
            self._take_ports()
            await self.tenure.stand_by(self.wallet, self._stand_by, forced=self._take_over)
            self._entrance.show("starting")
            await self._start_engine()
            if before_serving is not None:
                await before_serving(self)
            await self._start_api()
        except BaseException:
            await self.stop()
            raise

    async def _start_database(self) -> None:
        database = await start_database(self.config, self.data_dir, self.clock, self._stack, self._run)
        self.database_url, self.pool = database.url, database.pool
        self.database_urls = database.url, database.direct_url
        self._wallet_pool, self._history_pool = database.wallet_pool, database.history_pool
        self.probe, self._default_rows = database.probe, database.default_rows
        self.backlog = BacklogCount(database.pool)
        self.tenure = Tenure(self.config, database.direct_url, self.data_dir, self._stack)
        self._writer = self.tenure.writer

    def _start_wallet_and_settlement(self) -> None:
        settlement = self.config.settlement
        self.wallet = make_wallet(self.config, self._wallet_pool, self.secret, self.metrics.called)
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
            clock_us=self.clock.unbroken_us,
            chance=random.random,
            on_settled=self._settled,
            on_released=self._moved,
        )

    def _settled(self, settled: Sequence[MarkedTrade]) -> None:
        self.metrics.settled(settled)
        if self.traces is not None:
            self.traces.settled(settled)
        self._moved(user for done in settled for user in (done.trade.buyer_user_id, done.trade.seller_user_id))

    def _moved(self, users: Iterable[str]) -> None:
        if self.streams is not None:
            self.streams.moved(users)
        if self.relay is not None:
            self.relay.settled()

    async def _start_engine(self) -> None:
        matching, server = self.config.matching, self.config.server
        await before_writing(self.config, self.clock, self.pool, self._default_rows)
        limits = SequencerLimits(
            queue=matching.queue,
            batch_commands=matching.batch_commands,
            batch_events=matching.batch_events,
            # Below what the server lets a request take, so that the engine's own answer is heard.
            answer_within_s=min(_ANSWER_WITHIN_S, server.request_timeout_s / 2),
        )
        self.engine = Engine(
            TimedStore(self._writer, self.pool, self._history_pool, self.config.database.read_timeout_s, self._timed),
            self.wallet,
            self.clock,
            self.markets,
            self.new_book,
            self.failpoints,
            EngineSettings(
                limits=limits,
                with_cancels=self.config.wallet.mode != "http",
                session_end_us=session_end_us(self.config),
                longest_life_us=matching.longest_life_days * DAY_US,
            ),
            earlier_excess=self._earlier_excess,
            excess=self._excess,
            unwell=self._unwell,
            on_doubt=self._doubt,
            end_engine=self.supervisor.end_engine,
            wallet_is_out=lambda: self.wallet.is_out,
        )
        self.sequencer = self.engine.sequencer
        self.lease = self.tenure.lease(lambda: self.sequencer.trouble is None, self._lost)
        self._stack.push_async_callback(self._writer.close)
        self._stack.push_async_callback(self.lease.hand_over)
        self._run("lease", self.lease.keep_running)
        await self.engine.start(self._run)
        await self.lease.begin()
        self._stack.push_async_callback(self.engine.stop)
        self._run("clock", ClockWatch(self.clock, self.pool).keep_running)
        self._run("settlement", self.settlement.run)
        self._stack.callback(self.settlement.stop)
        self.dead_letters = DeadLetters(self.pool, self.wallet)
        self.reconciler = Reconciler(self.pool, self.wallet, self.clock.unbroken_us)
        self._run("backlog", self.backlog.keep_running)
        self._run("reconciliation", partial(self.reconciler.keep_running, self.config.settlement.reconcile_every_s))
        maintenance = await maintenance_of(self.config, self.database_urls, self.data_dir, self._stack)
        if maintenance is not None:
            self._run("maintenance", maintenance.keep_running)
        self.engine.publisher.add("settlement", self.settlement)
        self.engine.publisher.add("metrics", self.metrics)
        if self.traces is not None:
            self.engine.publisher.add("traces", self.traces)
        await self._start_relay()

    async def _start_relay(self) -> None:
        if self.config.rabbitmq.url is None:
            return
        # Its library takes a fifth of a second to import.
        from trade_engine.bootstrap.relay import make_relay, read_relay

        self.relay = relay = make_relay(self.config, self.tenure.url, self.clock.unbroken_us)
        if relay is not None:
            self._read_relay = lambda: read_relay(relay)
            await relay.begin()
            self.engine.publisher.add("relay", relay)
            self._stack.push_async_callback(relay.stop)
            self._run("relay", relay.run)
        urls, stack = (self.database_url, self.tenure.url), self._stack
        self._read_consumers = await start_consumers(self.config, urls, self.data_dir, stack, self._run)

    def _unwell(self) -> dict[str, str]:
        """What of this process is not well, by name."""
        unwell = self.supervisor.condition()
        said = self.watchdog.condition()
        return unwell if said == "ok" else unwell | {"event loop": said}

    async def _excess(self) -> list[Excess]:
        """What is reserved and nothing needs, as of now."""
        return (await compare_reservations(self.pool, self.wallet)).excess

    def _doubt(self, why: str) -> None:
        """Another engine seems to write: take nothing more, and find out."""
        self.sequencer.halt(why)
        self.lease.doubt(why)

    def _lost(self, why: str, superseded: bool) -> None:
        self.sequencer.halt(why)
        self.supervisor.end_engine(why, EXIT_SUPERSEDED if superseded else EXIT_BROKEN)

    async def _earlier_excess(self, epoch: int) -> list[Release]:
        """Orphaned reservations of earlier writers; where the ledger is in this database, by one statement."""
        if self.config.wallet.mode == "in_process":
            async with self.pool.acquire() as connection:
                return await excess_reservations(cast("Connection", connection), epoch)
        return await earlier_excess(self.pool, self.wallet, epoch)

    async def _start_api(self) -> None:
        options = self.config.database
        authenticator = start_authenticator(self.config, self.secret, self.data_dir, self.pool, self._run)
        access = start_access_log(self.config, self._stack)
        self.limits = limits = await start_limits(self.config, self._stack)
        webhooks = webhook_store(self.config, self.pool, self.data_dir)
        asked = Asked(self.tenure.url, self.config.wallet.mode == "in_process")
        verifier = Verifications(asked, self.supervisor, self.clock.unbroken_us)
        self.services = services = Services(
            self.engine.trading,
            self.engine.reader,
            self.engine.operations,
            self.wallet,
            Queries(self._history_pool, options.history_timeout_s, behind_pooler=options.behind_pooler),
            authenticator.tokens,
            limits,
            api_settings(self.config),
            lambda user_id: pending_proceeds(self._history_pool, user_id),
            BackOffice(
                self.pool,
                self.dead_letters,
                self.reconciler,
                self.reloader.reload,
                webhooks,
                verifier,
                self.metrics.shown,
            ),
            self.probe.condition,
            self.metrics,
            authenticator,
            access=access if self.traces is None else self.traces.over(access),
            rabbitmq=lambda: self.relay.condition() if self.relay else "not used",
            redis=lambda: redis_condition(limits, self.market_cache),
        )
        epoch, now_us = self.epoch, self.clock.unbroken_us
        cache = make_market_cache(self.config, self.engine.reader, services.queries, self.pool, epoch, now_us)
        self.market_cache = keep_market_cache(cache, self.engine.publisher, self._run, self._stack)
        self.reloader.begin(Reloadable(limits, self.api.connections, services.callers, self.engine))
        self.app, self._entrance.operators = make_apps(self.config, services)
        self._run("cancel timers", services.cancel_timers.keep_running)
        self.streams = await start_streams(self.config, services, self._stack, self._run)
        self.engine.publisher.add("streams", self.streams)
        for server in (self.api, self.websocket):
            server.serve_streams(self.streams.protocol)
        # The first to stop, although the ports were taken early.
        self._stack.push_async_callback(self._take_leave)
        self._entrance.app = self.app
        await self._listen()

    @property
    def epoch(self) -> int:
        """The epoch that this engine writes in."""
        return self._writer.epoch

    def _take_ports(self) -> None:
        """Take the ports, so that one that is taken prevents the start before anything is taken over."""
        options = self.config.server
        self._stack.push_async_callback(self._stop_serving)
        places = Connections(connection_settings(self.config))
        self.api = self._serve(self._entrance, "http_port", options.http_port, places)
        self.websocket = self._serve(self._entrance, "websocket_port", options.websocket_port, places)
        if options.admin_port is not None:
            app, places = self._entrance.for_operators, Connections(OF_OPERATORS)
            self.administration = self._serve(app, "admin_port", options.admin_port, places)
        if self.config.monitoring.prometheus_enabled:
            self._run("loop lag", self.metrics.watch_loop)
            self.scraped = self._serve(
                beside(PROBES, self._entrance, self.metrics.app()),
                "metrics_port",
                options.metrics_port,
                Connections(OF_METRICS),
            )

    def _readings(self) -> Iterator[Reading]:
        """What the metrics read at a scrape."""
        yield from self.tenure.readings()
        pools = {"engine": self.pool, "wallet": self._wallet_pool, "history": self._history_pool}
        yield from read_surroundings(self.supervisor, self.watchdog, self.probe, pools)
        yield from read_connections(self.api.connections)
        if self.tenure.role in ("starting", "standby"):
            yield Reading("engine_up", ENGINE_UP, 0.0)
            return
        yield from read_engine(self.engine)
        yield from read_settlement(self.settlement)
        yield from read_partitions(self._default_rows)
        yield from self.backlog.readings()
        yield from read_wallet(self.wallet.breaker)
        yield from read_redis(self.limits, self.market_cache)
        yield from self._read_relay()
        yield from self._read_consumers()
        if self.streams is not None:
            yield from read_streams(self.streams.connections, self.streams.hub.counts)

    def _serve(self, app: ASGIApp, option: str, port: int, places: Connections | None = None) -> ApiServer:
        api = ApiServer(app, server_settings(self.config, option, port), places)
        api.bind()
        self._servers.append(api)
        return api

    async def _listen(self) -> None:
        for server in self._servers:
            await server.start()

    async def _stand_by(self, why: str) -> None:
        """Listen while this engine stands by: the entrance says why it is not ready."""
        self._entrance.show(why)
        await self._listen()

    async def _stop_serving(self) -> None:
        await asyncio.gather(*(server.stop() for server in self._servers))

    async def _take_leave(self) -> None:
        if self.streams is not None and self.supervisor.reason is None:
            await self.farewell.take(self._entrance, self._servers, self.streams, self.settlement)
        await self._stop_serving()

    async def stop(self) -> None:
        """Stop everything, last started first; a second call does nothing."""
        stack, self._stack = self._stack, contextlib.AsyncExitStack()
        await stack.aclose()

    @property
    def stopping(self) -> asyncio.Event:
        """Set when the engine has to end."""
        return self.supervisor.finished

    def issue_token(self, user_id: str, roles: Sequence[str] = (TRADER,), ttl_s: int = 3600) -> str:
        """A token that this engine accepts."""
        auth = self.config.auth
        return issue_token(self.secret, user_id, roles, ttl_s, issuer=auth.jwt_issuer, audience=auth.jwt_audience)
