"""Metrics for Prometheus: what happened is counted as it happens, what is (queues, backlogs) is read when asked.

Labels are bounded: methods, route patterns, markets.  Counting is on the writer's path and keeps its labelled children.
"""

import asyncio
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import lru_cache
from typing import Final, NamedTuple

from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    Counter,
    Gauge,
    GCCollector,
    Histogram,
    PlatformCollector,
    ProcessCollector,
    generate_latest,
)
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp

from trade_engine.domain.enums import OrderStatus, OrderType, Side
from trade_engine.domain.ids import time_of
from trade_engine.domain.scale import UNIT
from trade_engine.sequencer.publish import CommittedBatch
from trade_engine.settlement.worker import MarkedTrade

_SECONDS: Final = (0.001, 0.0025, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.5, 5.0, 10.0)
#: Of what takes a fraction of a millisecond when all is well.
_SHORT_SECONDS: Final = (
    0.00005, 0.0001, 0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.5, 5.0, 10.0,
)  # fmt: skip
_COMMANDS: Final = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1_000)
_METHODS: Final = frozenset(("GET", "HEAD", "POST", "PATCH", "DELETE", "OPTIONS"))
_LAG_EVERY_S: Final = 0.5


class Reading(NamedTuple):
    """One thing that is read when Prometheus asks."""

    name: str
    text: str
    value: float
    #: Label and its value, if it has one.
    label: tuple[str, str] | None = None
    #: Whether it only ever grows.
    counts: bool = False
    #: A second label and its value, if it has one.
    also: tuple[str, str] | None = None


class Metrics:
    """All metrics of one engine.

    Args:
        read: what is now; called at each scrape, must not wait.
    """

    def __init__(self, read: Callable[[], Iterable[Reading]]) -> None:
        self.registry = CollectorRegistry()
        self._requests = self._counter("http_requests", "Requests answered.", "method", "route", "status")
        self._request_seconds = self._histogram("http_request_duration_seconds", "Time to answer a request.", "route")
        self._placement_seconds = self._histogram(
            "order_placement_duration_seconds", "From an order's request, read, to its commit.", "symbol"
        )
        self._orders = self._counter("orders_placed", "Orders committed.", "symbol", "type", "side")
        self._matched = self._counter("orders_matched", "Orders that a batch filled, at least in part.", "symbol")
        self._trades = self._counter("trades_executed", "Trades committed.", "symbol")
        self._volume = self._counter("trade_volume", "Notional traded, in the quote asset.", "symbol")
        self._ended = self._counter("orders_ended", "Orders that came to their end, by status.", "symbol", "status")
        stages = {
            "match": self._histogram("matching_duration_seconds", "Time to match a batch.", buckets=_SHORT_SECONDS),
            "commit": self._histogram("commit_duration_seconds", "Time to commit a batch.", buckets=_SHORT_SECONDS),
        }
        self._stages = {stage: histogram.observe for stage, histogram in stages.items()}
        self._batch = self._histogram("engine_batch_commands", "Commands of a batch.", buckets=_COMMANDS)
        self._settlement = self._histogram("settlement_duration_seconds", "From a trade to its settlement.")
        self._wallet_calls = self._counter("wallet_calls", "Calls of the wallet.", "operation", "outcome")
        self._wallet_seconds = self._histogram(
            "wallet_call_duration_seconds", "Time of a call of the wallet.", "operation", buckets=_SHORT_SECONDS
        )
        self._lag = Gauge("event_loop_lag_seconds", "How late the event loop runs.", registry=self.registry)
        tasks = Gauge("running_tasks", "Tasks of the event loop.", registry=self.registry)
        tasks.set_function(lambda: float(len(asyncio.all_tasks())))
        self.registry.register(_Readings(read))
        for collector in (ProcessCollector, PlatformCollector, GCCollector):
            collector(registry=self.registry)
        keep = lru_cache(maxsize=65_536)
        self._request = keep(self._requests.labels)
        self._request_time = keep(self._request_seconds.labels)
        self._placement_time = keep(self._placement_seconds.labels)
        self._order = keep(self._orders.labels)
        self._match = keep(self._matched.labels)
        self._trade = keep(self._trades.labels)
        self._turnover = keep(self._volume.labels)
        self._end = keep(self._ended.labels)
        self._wallet_call = keep(self._wallet_calls.labels)
        self._wallet_time = keep(self._wallet_seconds.labels)

    def _counter(self, name: str, text: str, *labels: str) -> Counter:
        return Counter(name, text, labels, registry=self.registry)

    def _histogram(self, name: str, text: str, *labels: str, buckets: Sequence[float] = _SECONDS) -> Histogram:
        return Histogram(name, text, labels, buckets=buckets, registry=self.registry)

    # ---- what happens

    def request(self, method: str, route: str, status: int, seconds: float) -> None:
        """A request was answered."""
        self._request(method if method in _METHODS else "OTHER", route, str(status)).inc()
        self._request_time(route).observe(seconds)

    def placed(self, symbol: str, seconds: float) -> None:
        """An order was placed."""
        self._placement_time(symbol).observe(seconds)

    def committed(self, batch: CommittedBatch) -> None:
        """A batch was committed."""
        symbols = {touched.market.market_id: touched.market.symbol for touched in batch.markets}
        self._batch.observe(batch.journal.last_sequence - batch.previous_sequence)
        # Whole numbers as keys, counted together: there are many orders in a batch, of few kinds.
        placed: dict[int, int] = {}
        ended: dict[int, int] = {}
        for order in batch.orders:
            if order.sequence in batch.new:
                kind = order.market_id << 16 | order.type << 8 | order.side
                placed[kind] = placed.get(kind, 0) + 1
            if order.status >= OrderStatus.FILLED:
                end = order.market_id << 8 | order.status
                ended[end] = ended.get(end, 0) + 1
        for kind, count in placed.items():
            self._order(symbols[kind >> 16], OrderType(kind >> 8 & 0xFF).name, Side(kind & 0xFF).name).inc(count)
        for end, count in ended.items():
            self._end(symbols[end >> 8], OrderStatus(end & 0xFF).name).inc(count)
        matched: set[tuple[str, str]] = set()
        for trade in batch.trades:
            symbol = symbols[trade.market_id]
            matched |= {(symbol, trade.buyer_order_id), (symbol, trade.seller_order_id)}
            self._trade(symbol).inc()
            self._turnover(symbol).inc(trade.notional / UNIT)
        for symbol, _ in matched:
            self._match(symbol).inc()

    def timed(self, stage: str, seconds: float) -> None:
        """A stage of a batch took so long."""
        self._stages[stage](seconds)

    def called(self, operation: str, outcome: str, seconds: float) -> None:
        """The wallet was called."""
        self._wallet_call(operation, outcome).inc()
        self._wallet_time(operation).observe(seconds)

    def settled(self, trades: Iterable[MarkedTrade]) -> None:
        """Trades were settled."""
        for marked in trades:
            self._settlement.observe(max(0.0, marked.settled_us / 1e6 - time_of(marked.trade.trade_id) / 1e3))

    def rebuilt(self) -> None:
        """Nothing to count: the writer counts its rebuilds."""

    async def watch_loop(self) -> None:
        """Measure how late the event loop runs, until cancelled."""
        loop = asyncio.get_running_loop()
        while True:
            due_s = loop.time() + _LAG_EVERY_S
            await asyncio.sleep(_LAG_EVERY_S)
            self._lag.set(max(0.0, loop.time() - due_s))

    # ---- what is told

    def shown(self) -> bytes:
        """All of them, as Prometheus takes them."""
        return generate_latest(self.registry)

    def app(self) -> ASGIApp:
        """``GET /metrics`` as an application."""

        async def show(_: Request) -> Response:
            return Response(self.shown(), headers={"content-type": CONTENT_TYPE_LATEST})

        return Starlette(routes=[Route("/metrics", show)])


def exposition(read: Callable[[], Iterable[Reading]]) -> bytes:
    """What is read now, as Prometheus takes it: for a role that counts nothing else."""
    registry = CollectorRegistry()
    registry.register(_Readings(read))
    return generate_latest(registry)


class _Readings(Collector):
    """Reads what is at each scrape."""

    def __init__(self, read: Callable[[], Iterable[Reading]]) -> None:
        self._read = read

    def describe(self) -> Iterator[Metric]:
        """Nothing: names are known when they are read."""
        return iter(())

    def collect(self) -> Iterator[Metric]:
        """All readings, those of one name together."""
        families: dict[str, CounterMetricFamily | GaugeMetricFamily] = {}
        for reading in self._read():
            labels = [label for label in (reading.label, reading.also) if label]
            family = families.get(reading.name)
            if family is None:
                kind = CounterMetricFamily if reading.counts else GaugeMetricFamily
                family = families[reading.name] = kind(reading.name, reading.text, labels=[n for n, _ in labels])
            family.add_metric([value for _, value in labels], reading.value)
        yield from families.values()
