"""Traces, told to a real receiver of OTLP over HTTP: one order from its request to the settlement of its trade."""

import asyncio
import http.server
import itertools
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from tests.e2e.conftest import engine_config
from tests.e2e.test_events import described, running
from tests.e2e.venue import Venue
from tests.harness.events import Ear
from trade_engine.roles.all import TradeEngine

STAGES = ("admit and reserve", "match", "commit", "answer")


class Collector:
    """Takes spans as Jaeger would."""

    def __init__(self) -> None:
        self.resources: list[dict[str, str]] = []
        self.spans: list[Any] = []
        spans, resources = self.spans, self.resources

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                assert self.path == "/v1/traces"
                body = self.rfile.read(int(self.headers["content-length"]))
                request = ExportTraceServiceRequest.FromString(body)
                for resource in request.resource_spans:
                    resources.append({a.key: a.value.string_value for a in resource.resource.attributes})
                    for scope in resource.scope_spans:
                        spans.extend(scope.spans)
                self.send_response(200)
                self.end_headers()

            def log_message(self, *_: Any) -> None:
                """Silence."""

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.endpoint = f"http://127.0.0.1:{self.server.server_port}/v1/traces"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()


@pytest.fixture
def collector() -> Iterator[Collector]:
    collector = Collector()
    yield collector
    collector.server.shutdown()
    collector.server.server_close()


async def test_an_order_is_traced_from_its_request_to_its_settlement(
    collector: Collector, database_url: str, tmp_path: Path
) -> None:
    options = {
        "monitoring.jaeger_enabled": "true", "monitoring.jaeger_endpoint": collector.endpoint,
        "monitoring.trace_ratio": 1, "environment": "drill",
    }  # fmt: skip
    engine = TradeEngine(engine_config(database_url, options), tmp_path)
    began_ns = time.time_ns()
    await engine.start()
    try:
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{engine.api.port}", timeout=30) as http:
            venue = Venue(http, engine)
            seller, buyer = await venue.trader(T01="10"), await venue.trader(USDT="1000")
            sold, _ = await seller.order("T01/USDT", "SELL", "1", "100.00")
            bought, [trade] = await buyer.order("T01/USDT", "BUY", "1", "100.00")
            assert (await http.get("/api/v1/markets")).status_code == 200
            await venue.settled()
            until_s = time.monotonic() + 30
            while await engine.pool.fetchval("SELECT count(*) FROM trades WHERE settlement_status <> 'SETTLED'"):
                assert time.monotonic() < until_s
                await asyncio.sleep(0.01)
            await asyncio.sleep(0.1)
    finally:
        await engine.stop()
    ended_ns = time.time_ns()
    assert collector.resources[0]["service.name"] == "trade-engine"
    assert collector.resources[0]["deployment.environment.name"] == "drill"
    roots = {_text(span, "order_id"): span for span in collector.spans if not span.parent_span_id}
    assert {span.name for span in roots.values()} == {"POST /api/v1/orders", "GET /api/v1/markets"}
    for order in (sold, bought):
        root = roots[order["id"]]
        assert _text(root, "symbol") == "T01/USDT"
        below = {span.name: span for span in collector.spans if span.parent_span_id == root.span_id}
        assert set(below) == {*STAGES, "settle"}
        assert {span.trace_id for span in below.values()} == {root.trace_id}
        assert _text(below["settle"], "trade_id") == trade["id"]
        times = [time for name in STAGES for time in (below[name].start_time_unix_nano, below[name].end_time_unix_nano)]
        assert times[0] == root.start_time_unix_nano
        # The clock that stamps is exact to the microsecond.
        assert all(later >= earlier - 1_000 for earlier, later in itertools.pairwise(times))
        assert began_ns < times[0] < times[-1] == root.end_time_unix_nano < ended_ns
        assert below["settle"].end_time_unix_nano > below["match"].start_time_unix_nano


async def test_events_name_the_trace_of_their_order(
    collector: Collector, database_url: str, rabbit_url: str, tmp_path: Path
) -> None:
    """A consumer's span belongs to the request's trace; of a trade, to the taker's."""
    ear = await Ear(rabbit_url).open()
    options = {
        "monitoring.jaeger_enabled": "true", "monitoring.jaeger_endpoint": collector.endpoint,
        "monitoring.trace_ratio": 0.5,
    }  # fmt: skip
    try:
        async with running(database_url, tmp_path, ear, **options) as venue:
            seller, buyer = await venue.trader(T01="100"), await venue.trader(USDT="10000")
            for _ in range(10):
                await seller.order("T01/USDT", "SELL", "1", "100.00")
                await buyer.order("T01/USDT", "BUY", "1", "100.00")
            await ear.until(lambda e: e.types().count("trade.settled") == 10, "every trade is settled")
            described(ear)
    finally:
        await ear.close()
    roots = {span.trace_id.hex(): span.span_id.hex() for span in collector.spans if _text(span, "order_id")}
    traced = 0
    for heard in ear.unique():
        _, trace_id, span_id, sampled = heard.properties.headers["traceparent"].split("-")
        assert trace_id == (heard.body.get("order_id") or heard.body["buyer_order_id"]).replace("-", "")
        assert sampled == f"{trace_id in roots:02x}"
        if trace_id in roots:
            assert span_id == roots[trace_id]
            traced += 1
    assert 0 < traced < len(ear.unique()), "half of them are traced"


async def test_a_collector_that_is_away_holds_nobody_up(database_url: str, tmp_path: Path) -> None:
    options = {
        "monitoring.jaeger_enabled": "true", "monitoring.jaeger_endpoint": "http://127.0.0.1:1/v1/traces",
        "monitoring.trace_ratio": 1,
    }  # fmt: skip
    engine = TradeEngine(engine_config(database_url, options), tmp_path)
    await engine.start()
    try:
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{engine.api.port}", timeout=30) as http:
            buyer = await Venue(http, engine).trader(USDT="1000")
            for _ in range(5):
                await buyer.order("T01/USDT", "BUY", "1", "10.00")
    finally:
        async with asyncio.timeout(30):
            await engine.stop()


def test_without_traces_nothing_of_them_is_imported() -> None:
    lazy = "('opentelemetry.exporter', 'trade_engine.ops.tracing')"
    script = f"import sys, trade_engine.roles.all; assert not any(n.startswith({lazy}) for n in sys.modules)"
    subprocess.run([sys.executable, "-c", script], check=True, timeout=60)


def _text(span: Any, name: str) -> str:
    return next((str(a.value.string_value) for a in span.attributes if a.key == name), "")
