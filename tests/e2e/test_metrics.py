"""Metrics as Prometheus scrapes them: what was done is counted, by market, route and status."""

import asyncio
import contextlib
import re
from pathlib import Path
from typing import Final

import asyncpg
import httpx
from prometheus_client.parser import text_string_to_metric_families

from tests.e2e.conftest import engine_config
from tests.e2e.venue import Venue
from tests.harness.postgres import TestServer
from tests.harness.wallet_service import SECRET, wallet_service
from trade_engine.bootstrap.webhooks import webhook_store
from trade_engine.messaging.broker import QueueDepth
from trade_engine.roles.all import TradeEngine

PAGE: Final = Path(__file__).parents[2] / "docs" / "operator" / "metrics.md"
#: What each bucket, and each sample, is told apart by beside the labels of its metric.
_OWN_LABELS: Final = {"le"}

#: Kind and labels of a metric.
Terms = tuple[str, frozenset[str]]


async def scrape(venue: Venue) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    """Every sample by name and labels."""
    async with httpx.AsyncClient() as http:
        answer = await http.get(f"http://127.0.0.1:{venue.running.scraped.port}/metrics")
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/plain")
    families = text_string_to_metric_families(answer.text)
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in families
        for sample in family.samples
    }


async def test_what_happened_is_counted(venue: Venue) -> None:
    symbol = venue.market()
    base = symbol.split("/")[0]
    seller, buyer = await venue.trader(**{base: "10"}), await venue.trader(USDT="1000")
    await seller.order(symbol, "SELL", "2", "100.00")
    await buyer.order(symbol, "BUY", "1", "100.00")
    await buyer.order(symbol, "BUY", "1", "90.00")
    assert (await buyer.post({"symbol": symbol})).status_code == 400
    await venue.http.get("/no/such/path")
    await venue.settled()
    seen = await scrape(venue)
    market = ("symbol", symbol)
    assert seen["orders_placed_total", (("side", "SELL"), market, ("type", "LIMIT"))] == 1
    assert seen["orders_placed_total", (("side", "BUY"), market, ("type", "LIMIT"))] == 2
    assert seen["orders_matched_total", (market,)] == 2
    assert seen["trades_executed_total", (market,)] == 1
    assert seen["trade_volume_total", (market,)] == 100
    assert seen["order_placement_duration_seconds_count", (market,)] == 3
    route = ("route", "/api/v1/orders")
    assert seen["http_requests_total", (("method", "POST"), route, ("status", "201"))] == 3
    assert seen["http_requests_total", (("method", "POST"), route, ("status", "400"))] == 1
    assert seen["http_requests_total", (("method", "GET"), ("route", "none"), ("status", "404"))] == 1
    assert seen["http_request_duration_seconds_count", (route,)] == 4
    assert seen["engine_up", ()] == 1
    assert seen["engine_live_orders", ()] == 2
    assert seen["order_book_spread", (market,)] == 10
    assert seen["order_book_levels", (market,)] == 2
    assert seen["settlement_settled_total", ()] == 1
    assert [seen["engine_default_partition_rows", (("table", name),)] for name in ("journal", "orders", "trades")] == [
        0, 0, 0,
    ]  # fmt: skip
    assert seen["websocket_connections", ()] == 0
    # The venue's own client keeps at least one open.
    assert seen["api_connections", ()] >= 1
    assert seen["api_connections_refused_total", ()] == 0
    assert seen["process_resident_memory_bytes", ()] > 0


async def test_connections_are_counted_and_those_that_were_refused(database_url: str, tmp_path: Path) -> None:
    engine = TradeEngine(engine_config(database_url, {"server.max_connections": 2}), tmp_path)
    await engine.start()
    try:
        async with httpx.AsyncClient() as http, contextlib.AsyncExitStack() as stack:
            for server in (engine.api, engine.websocket):
                _, writer = await asyncio.open_connection("127.0.0.1", server.port)
                stack.callback(writer.close)
            for _ in range(3):
                assert (await http.get(f"http://127.0.0.1:{engine.api.port}/api/v1/time")).status_code == 503
            assert (await http.get(f"http://127.0.0.1:{engine.api.port}/health/live")).status_code == 200
            seen = await scrape(Venue(http, engine))
            assert seen["api_connections", ()] == 2
            assert seen["api_connections_refused_total", ()] == 3
    finally:
        await engine.stop()


async def test_rows_without_a_partition_of_their_own_are_told(database_url: str, tmp_path: Path) -> None:
    """The row is one of a day for which there is a table already, so that it cannot be moved."""
    engine = TradeEngine(engine_config(database_url), tmp_path)
    connection = await asyncpg.connect(database_url)
    try:
        await connection.execute("CREATE TABLE journal_y2031m01d01 ()")
        await connection.execute(
            "INSERT INTO journal (last_sequence, first_sequence, stamped_at, epoch, previous_hash, hash, state_hash,"
            " commands, events) VALUES (0, 0, '2031-01-01', 0, '', '', '', '', '')"
        )
        await engine.start()
        async with httpx.AsyncClient() as http:
            seen = await scrape(Venue(http, engine))
        assert seen["engine_default_partition_rows", (("table", "journal"),)] == 1
        assert seen["engine_default_partition_rows", (("table", "orders"),)] == 0
    finally:
        await connection.close()
        await engine.stop()


async def test_an_engine_that_lost_its_database_says_so(venue: Venue) -> None:
    venue.running.sequencer._keeper.trouble = "database: away"
    assert (await scrape(venue))["engine_up", ()] == 0
    venue.running.sequencer._keeper.trouble = None


def documented(of_wallet_service: bool) -> dict[str, Terms]:
    """The metrics that the page names."""
    parts = PAGE.read_text(encoding="utf-8").split("## The wallet service")
    rows = re.findall(r"^\| `(\w+)` \| (\w+) \|([^|]*)\|", parts[of_wallet_service], re.MULTILINE)
    return {name: (kind, frozenset(re.findall(r"\w+", labels))) for name, kind, labels in rows}


async def exported(port: int) -> dict[str, Terms]:
    """The metrics that a process exports; when each began is left out."""
    async with httpx.AsyncClient() as http:
        text = (await http.get(f"http://127.0.0.1:{port}/metrics")).text
    families = {family.name: family for family in text_string_to_metric_families(text)}
    names = {name: f"{name}_total" if family.type == "counter" else name for name, family in families.items()}
    return {
        names[name]: (
            family.type,
            frozenset(label for sample in family.samples for label in sample.labels) - _OWN_LABELS,
        )
        for name, family in families.items()
        if name.removesuffix("_created") not in families or not name.endswith("_created")
    }


async def test_the_page_of_metrics_tells_of_each_and_of_no_other(
    postgres: TestServer, database_url: str, redis_url: str, tmp_path: Path
) -> None:
    wallet_url = postgres.migrated()
    try:
        nobody = "amqp://127.0.0.1:9/"
        async with wallet_service(wallet_url, rabbitmq__url=nobody) as wallet_port:
            more = {
                "wallet.mode": "http", "wallet.url": f"http://127.0.0.1:{wallet_port}", "auth.jwt_secret": SECRET,
                "redis.url": redis_url, "redis.timeout_ms": 5_000,
            }  # fmt: skip
            # Nobody is there, so what queues hold is put in by hand.
            events = {"rabbitmq.url": nobody, "webhooks.enabled": True}
            engine = TradeEngine(engine_config(database_url, more | events), tmp_path)
            await engine.start()
            assert engine.relay is not None
            engine.relay.depths = [QueueDepth("wallet.service.trades", 0, 0)]
            await webhook_store(engine.config, engine.pool, tmp_path).add("https://hooks.example.com/", "nobody")
            try:
                url = f"http://127.0.0.1:{engine.api.port}"
                async with httpx.AsyncClient(base_url=url, timeout=30) as http:
                    venue = Venue(http, engine)
                    symbol = venue.market()
                    base = symbol.split("/")[0]
                    seller, buyer = await venue.trader(**{base: "10"}), await venue.trader(USDT="1000")
                    await seller.order(symbol, "SELL", "2", "100.00")
                    await buyer.order(symbol, "BUY", "1", "100.00")
                    await buyer.order(symbol, "BUY", "1", "90.00")
                while engine.backlog.found is None or "webhooks_waiting" not in await exported(engine.scraped.port):
                    await asyncio.sleep(0.05)
                assert await exported(engine.scraped.port) == documented(of_wallet_service=False)
                assert await exported(wallet_port) == documented(of_wallet_service=True)
            finally:
                await engine.stop()
    finally:
        postgres.drop(wallet_url)
