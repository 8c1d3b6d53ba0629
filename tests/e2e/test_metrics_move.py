"""Every metric moves: under load, or under the fault that it is named for here."""

import asyncio
import contextlib
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any, Final

import httpx
import pytest
import structlog
from websockets.exceptions import ConnectionClosed

from tests.e2e.conftest import engine_config
from tests.e2e.test_metrics import documented, scrape
from tests.e2e.venue import Trader, Venue
from tests.e2e.ws.client import client
from tests.harness.postgres import TestServer, run_apart
from tests.harness.redis import TestRedis
from tests.harness.wallet_service import SECRET, wallet_config
from trade_engine.domain.scale import UNIT
from trade_engine.roles.all import TradeEngine
from trade_engine.roles.wallet import WalletService
from trade_engine.sequencer.publish import CommittedBatch
from trade_engine.storage.embedded import EmbeddedSettings
from trade_engine.wallet.http_client import HttpWallet
from trade_engine.wallet.port import BreakerState, Reserve, WalletUnavailable

#: Longer than anything here takes on a machine that is busy.
BOUND_S: Final = 60.0

#: What moves each metric.
MOVES: Final = {
    "load": {
        "http_requests_total", "http_request_duration_seconds", "order_placement_duration_seconds",
        "orders_placed_total", "orders_matched_total", "orders_ended_total", "trades_executed_total",
        "trade_volume_total", "matching_duration_seconds", "commit_duration_seconds", "engine_batch_commands",
        "settlement_duration_seconds", "wallet_calls_total", "wallet_call_duration_seconds", "engine_sequence",
        "engine_live_orders", "order_book_levels", "order_book_depth", "order_book_spread",
        "settlement_settled_total", "settlement_released_total", "event_loop_lag_seconds", "running_tasks",
        "process_cpu_seconds_total", "process_open_fds", "python_gc_collections_total",
        "python_gc_objects_collected_total",
        "engine_batch_size", "api_connections", "market_cache_writes_total",
    },
    "a batch that waits": {"engine_queue_depth"},
    "funds that wait": {"engine_admission_waiting"},
    "a reader who does not read": {
        "websocket_connections", "websocket_messages_total", "websocket_conflated_total", "websocket_dropped_total",
    },
    "the wallet is away": {
        "settlement_outages_total", "settlement_pending", "settlement_lag_seconds", "wallet_circuit_open",
        "wallet_breaker_state", "wallet_breaker_opened_total", "engine_unknown_reserves",
    },
    "the wallet refuses": {"settlement_retries_total", "settlement_failed_total", "settlement_dead_letters"},
    "a reservation of nobody": {"engine_orphans_total"},
    "Redis is away": {"redis_up", "market_cache_up", "market_cache_lag_seconds", "market_cache_failures_total"},
    "the database is away": {"database_up", "engine_up", "engine_epoch", "engine_rebuilds_total"},
    "a commit fails": {"engine_pending_releases"},
    "work that holds connections": {"database_pool_in_use", "database_pool_connections"},
    "a listener that raises": {"engine_listener_failures_total"},
    "market data that is wrong": {"engine_market_repairs_total"},
    "the loop stands still": {"event_loop_stalls_total"},
    "a task dies": {"engine_task_restarts_total"},
}  # fmt: skip
OF_EVENTS: Final = (
    "rabbitmq_up", "relay_lag_seconds", "relay_lag_commands", "relay_published_total", "relay_unconfirmed_total",
    "relay_connects_total", "rabbitmq_queue_messages", "rabbitmq_queue_consumers",
)  # fmt: skip
OF_WEBHOOKS: Final = (
    "webhooks_active", "webhooks_events_total", "webhooks_repeated_total", "webhooks_unreadable_total",
    "webhooks_delivered_total", "webhooks_failed_total", "webhooks_waiting", "webhooks_waiting_seconds",
    "webhooks_dead", "webhooks_dropped_total",
)  # fmt: skip
#: What stays as it is while an engine is the writer of one configuration, and is moved elsewhere or by nothing.
STILL: Final = {
    "engine_role": "tests/e2e/test_lease.py",
    "database_pool_max": "an option",
    "api_connections_refused_total": "tests/e2e/test_metrics.py",
    "engine_default_partition_rows": "tests/integration/test_partitions.py: counted once an hour",
    **dict.fromkeys(OF_EVENTS, "tests/e2e/test_events.py"),
    **dict.fromkeys(OF_WEBHOOKS, "tests/integration/messaging/test_notifier.py"),
    "process_start_time_seconds": "the process",
    "process_max_fds": "the process",
    "process_resident_memory_bytes": "the process: it need not grow",
    "process_virtual_memory_bytes": "the process: it need not grow",
    "python_info": "the interpreter",
    "python_gc_objects_uncollectable_total": "of broken extensions",
}

Samples = dict[tuple[str, tuple[tuple[str, str], ...]], float]


def test_each_metric_of_the_page_is_moved_by_something() -> None:
    named = set().union(*MOVES.values()) | STILL.keys()
    assert named == documented(of_wallet_service=False).keys()


class Stage:
    """An engine with everything that it stands on, each of which may fail."""

    def __init__(
        self, engine: TradeEngine, venue: Venue, wallet: "Wallet", redis: TestRedis, database: "OwnServer"
    ) -> None:
        self.engine = engine
        self.venue = venue
        self.wallet = wallet
        self.redis = redis
        self.database = database
        self.symbol = venue.market()
        self.base = self.symbol.split("/")[0]
        self._before: Samples = {}
        #: Somebody with funds.
        self.trader: Trader

    async def traders(self) -> tuple[Trader, Trader]:
        return await self.venue.trader(**{self.base: "100"}), await self.venue.trader(USDT="100000")

    async def begins(self) -> None:
        """What moves is seen from here on."""
        self._before = await scrape(self.venue)

    async def moves(self, fault: str) -> None:
        """Every metric of a fault has moved, at once or soon."""
        left, until_s = set(MOVES[fault]), time.monotonic() + BOUND_S
        while left:
            now = await scrape(self.venue)
            left -= {name for name in left if _of(name, now) != _of(name, self._before)}
            assert time.monotonic() < until_s, f"{fault}: does not move: {left}"
            await asyncio.sleep(0.05)

    async def well_again(self) -> None:
        until_s = time.monotonic() + BOUND_S
        while (await self.venue.http.get("/health/ready")).status_code != 200:
            assert time.monotonic() < until_s, (await self.venue.http.get("/health/ready")).text
            await asyncio.sleep(0.05)


def _of(name: str, samples: Samples) -> dict[Any, float]:
    ends = (name, f"{name}_count", f"{name}_bucket")
    return {key: value for key, value in samples.items() if key[0] in ends}


class Wallet:
    """A wallet service that may be away, always at the same port."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.port = 0
        self._service: WalletService | None = None

    async def start(self) -> None:
        config = wallet_config(self.url, wallet__port=self.port)
        self._service = WalletService(config, Path(), EmbeddedSettings(), SECRET)
        self.port = await self._service.start()

    async def stop(self) -> None:
        if self._service is not None:
            await self._service.stop()


class OwnServer(TestServer):
    """A database that may be away."""

    __test__ = False

    def stop_for_a_while(self) -> None:
        assert self._embedded is not None
        run_apart(self._embedded.stop())

    def go_on(self) -> None:
        assert self._embedded is not None
        run_apart(self._embedded.start())


@pytest.fixture
def own_server() -> Iterator[OwnServer]:
    server = OwnServer()
    server.start()
    yield server
    server.stop()


@pytest.fixture
async def stage(
    postgres: TestServer, own_server: "OwnServer", own_redis: TestRedis, tmp_path: Path
) -> AsyncIterator[Stage]:
    wallet = Wallet(postgres.migrated())
    await wallet.start()
    engine = TradeEngine(
        engine_config(own_server.migrated(), {
            "wallet.mode": "http", "wallet.url": f"http://127.0.0.1:{wallet.port}", "auth.jwt_secret": SECRET,
            "wallet.breaker_failures": 2, "wallet.breaker_open_s": 0.5,
            "wallet.retries": 1, "wallet.retry_backoff_ms": 1,
            "redis.url": own_redis.url, "redis.timeout_ms": 2_000, "redis.retry_every_s": 0.1,
            "rate_limit.queries_per_s": 1_000,
            "websocket.buffer_bytes": 1024, "websocket.socket_bytes": 4096,
            "websocket.stalled_s": 5, "websocket.ping_s": 0.2,
        }),
        tmp_path,
    )  # fmt: skip
    await engine.start()
    try:
        url = f"http://127.0.0.1:{engine.api.port}"
        async with httpx.AsyncClient(base_url=url, timeout=30) as http:
            made = Stage(engine, Venue(http, engine), wallet, own_redis, own_server)
            made.trader = await made.venue.trader(USDT="100000")
            yield made
    finally:
        await engine.stop()
        await wallet.stop()
        postgres.drop(wallet.url)


async def load(stage: Stage) -> None:
    seller, buyer = await stage.traders()
    kept = [await seller.order(stage.symbol, "SELL", "1", f"{110 + n}.00") for n in range(10)]
    for n in range(10):
        await buyer.order(stage.symbol, "BUY", "1", f"{90 - n}.00")
    await asyncio.gather(*(buyer.order(stage.symbol, "BUY", "1") for _ in range(5)))
    await seller.cancel(kept[9][0]["id"])
    await stage.venue.settled()
    _ = [[] for _ in range(100_000)]
    await stage.moves("load")


async def waits(stage: Stage, step: str, fault: str) -> None:
    """Orders that wait at a step are seen while they do."""
    _, buyer = await stage.traders()
    stage.engine.failpoints.arm(step, "stall")
    try:
        async with asyncio.TaskGroup() as group:
            for n in range(4):
                group.create_task(buyer.order(stage.symbol, "BUY", "1", f"{50 + n}.00"))
                await asyncio.sleep(0.05)
            await stage.moves(fault)
            stage.engine.failpoints.disarm(step)
    finally:
        stage.engine.failpoints.disarm(step)


async def slow_reader(stage: Stage) -> None:
    _, buyer = await stage.traders()
    async with client(stage.engine.websocket.port, receive_buffer=4096) as slow:
        for channel, levels in (("depth", 0), ("depth", 50), ("trades", None), ("book", None)):
            more = {} if levels is None else {"levels": levels}
            await slow.do("subscribe", channel=channel, symbol=stage.symbol, **more)
        assert stage.engine.streams is not None
        for n in range(60):
            await buyer.order(stage.symbol, "BUY", "1", f"{10 + n}.00")
        counts, until_s = stage.engine.streams.hub.counts, time.monotonic() + BOUND_S
        while not counts.conflated:
            assert time.monotonic() < until_s
            slow.pause()
            await slow.fill(stage.symbol, 400)
            for n in range(20):
                order, _ = await buyer.order(stage.symbol, "BUY", "1", f"{10 + n}.00")
                await buyer.cancel(order["id"])
            slow.read_on()
            await asyncio.sleep(0.2)
        slow.pause()
        with contextlib.suppress(ConnectionClosed):
            await slow.fill(stage.symbol, 500)
        while not counts.slow_closed:
            assert time.monotonic() < until_s
            order, _ = await buyer.order(stage.symbol, "BUY", "1", "10.00")
            await buyer.cancel(order["id"])
    async with client(stage.engine.websocket.port):
        await stage.moves("a reader who does not read")


async def wallet_away(stage: Stage) -> None:
    # It is counted every few seconds only: what it was told last may be of long ago.
    await stage.venue.settled(BOUND_S)
    until_s = time.monotonic() + BOUND_S
    while (await scrape(stage.venue))["settlement_pending", ()]:
        assert time.monotonic() < until_s
        await asyncio.sleep(0.1)
    await stage.begins()
    seller, buyer = await stage.traders()
    rests, _ = await buyer.order(stage.symbol, "BUY", "1", "40.00")
    await stage.engine.settlement.pause()
    await seller.order(stage.symbol, "SELL", "1", "100.00")
    await buyer.order(stage.symbol, "BUY", "1", "100.00")
    await stage.wallet.stop()
    await stage.engine.settlement.resume()
    for n in range(3):
        await buyer.http.patch(f"/api/v1/orders/{rests['id']}", json={"price": f"{45 + n}.00"}, headers=buyer.headers)
    await stage.moves("the wallet is away")
    await stage.wallet.start()
    assert isinstance(stage.engine.wallet, HttpWallet)
    until_s = time.monotonic() + BOUND_S
    while stage.engine.wallet.breaker.state is not BreakerState.CLOSED:
        assert time.monotonic() < until_s
        with contextlib.suppress(WalletUnavailable):
            await stage.engine.wallet.balances(buyer.user_id)
        await asyncio.sleep(0.05)
    await stage.well_again()
    await stage.venue.settled(BOUND_S)


async def wallet_refuses(stage: Stage) -> None:
    seller, buyer = await stage.traders()
    await stage.engine.settlement.pause()
    await seller.order(stage.symbol, "SELL", "1", "100.00")
    await buyer.order(stage.symbol, "BUY", "1", "100.00")
    await stage.engine.pool.execute(
        "UPDATE trades SET buyer_user_id = $1 WHERE settlement_status = 'PENDING'", seller.user_id
    )
    await stage.engine.settlement.resume()
    await stage.moves("the wallet refuses")


async def reservation_of_nobody(stage: Stage) -> None:
    _, buyer = await stage.traders()
    order_id = stage.engine.clock.order_id()
    reserve = Reserve(buyer.user_id, "USDT", UNIT, order_id, order_id)
    assert [outcome.ok for outcome in await stage.engine.wallet.reserve_many([reserve], stage.engine.epoch)] == [True]
    await stage.engine.engine.sweep.sweep()
    await stage.moves("a reservation of nobody")


async def redis_away(stage: Stage) -> None:
    _, buyer = await stage.traders()
    stage.redis.stop()
    await buyer.get("/balances")
    await stage.moves("Redis is away")


async def database_away(stage: Stage) -> None:
    await stage.trader.order(stage.symbol, "BUY", "1", "30.00")
    stage.database.stop_for_a_while()
    try:
        until_s = time.monotonic() + BOUND_S
        while stage.engine.sequencer.trouble is None:
            assert time.monotonic() < until_s
            body = {"symbol": stage.symbol, "side": "BUY", "type": "LIMIT", "quantity": "1", "price": "30.00"}
            await stage.trader.post(body)
        left = {"database_up", "engine_up"}
        while left:
            now = await scrape(stage.venue)
            left = {name for name in left if now[name, ()]}
            assert time.monotonic() < until_s
            await asyncio.sleep(0.05)
    finally:
        stage.database.go_on()
    await stage.well_again()
    left = {"engine_epoch", "engine_rebuilds_total"}
    now = await scrape(stage.venue)
    assert all(_of(name, now) != _of(name, stage._before) for name in left)


async def commit_fails(stage: Stage) -> None:
    _, buyer = await stage.traders()
    stage.engine.failpoints.arm("before_commit", "error")
    body = {"symbol": stage.symbol, "side": "BUY", "type": "LIMIT", "quantity": "1", "price": "20.00"}
    assert (await buyer.post(body)).status_code == 503
    await stage.moves("a commit fails")
    stage.engine.failpoints.disarm("before_commit")


async def connections_held(stage: Stage) -> None:
    async with contextlib.AsyncExitStack() as stack:
        for _ in range(stage.engine.pool.get_max_size() - 2):
            await stack.enter_async_context(stage.engine.pool.acquire())
        await stage.moves("work that holds connections")


class Raises:
    """A listener with a defect."""

    def committed(self, batch: CommittedBatch) -> None:
        raise RuntimeError("planted")

    def rebuilt(self) -> None:
        """Nothing."""


async def listener_raises(stage: Stage) -> None:
    stage.engine.engine.publisher.add("planted", Raises())
    _, buyer = await stage.traders()
    await buyer.order(stage.symbol, "BUY", "1", "20.00")
    await stage.moves("a listener that raises")


async def market_data_is_wrong(stage: Stage) -> None:
    _, buyer = await stage.traders()
    order, _ = await buyer.order(stage.symbol, "BUY", "1", "21.00")
    view = next(view for view in stage.engine.engine.reader.views.values() if view.market.symbol == stage.symbol)
    price = 21_00
    view.depth._levels[0][price][0] = 0
    await buyer.cancel(order["id"])
    await stage.moves("market data that is wrong")


async def loop_stands_still(stage: Stage) -> None:
    time.sleep(2.5)  # noqa: ASYNC251 - it is to stand still
    await stage.moves("the loop stands still")


async def task_dies(stage: Stage) -> None:
    async def die() -> None:
        raise RuntimeError("planted")

    stage.engine._run("planted", die)
    await stage.moves("a task dies")
    await stage.engine.supervisor.end("planted")


PLAY: Final[tuple[tuple[str, Callable[[Stage], Awaitable[None]]], ...]] = (
    ("load", load),
    ("a batch that waits", lambda stage: waits(stage, "before_commit", "a batch that waits")),
    ("funds that wait", lambda stage: waits(stage, "before_reserve", "funds that wait")),
    ("a reader who does not read", slow_reader),
    ("work that holds connections", connections_held),
    ("a reservation of nobody", reservation_of_nobody),
    ("the wallet is away", wallet_away),
    ("the wallet refuses", wallet_refuses),
    ("a commit fails", commit_fails),
    ("market data that is wrong", market_data_is_wrong),
    ("a listener that raises", listener_raises),
    ("the loop stands still", loop_stands_still),
    ("a task dies", task_dies),
    ("Redis is away", redis_away),
    ("the database is away", database_away),
)


async def test_every_metric_moves(stage: Stage) -> None:
    assert [name for name, _ in PLAY] == [name for name, _ in PLAY if name in MOVES]
    assert {name for name, _ in PLAY} == MOVES.keys()
    for _, act in PLAY:
        await stage.begins()
        await act(stage)


async def test_a_dead_letter_is_an_error_with_all_it_concerns(stage: Stage) -> None:
    with structlog.testing.capture_logs() as lines:
        await stage.begins()
        await wallet_refuses(stage)
    [line] = [line for line in lines if line["event"] == "dead_letter"]
    assert line["log_level"] == "error"
    for field in ("trade_id", "buyer_order_id", "seller_order_id", "buyer_user_id", "seller_user_id"):
        assert str(uuid.UUID(line[field])) == line[field]
    assert line["attempts"] == 3
    assert line["reason"]
