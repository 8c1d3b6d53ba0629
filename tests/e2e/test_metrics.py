"""Metrics as Prometheus scrapes them: what was done is counted, by market, route and status."""

import httpx
from prometheus_client.parser import text_string_to_metric_families

from tests.e2e.venue import Venue


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
    assert seen["websocket_connections", ()] == 0
    assert seen["process_resident_memory_bytes", ()] > 0


async def test_an_engine_that_lost_its_database_says_so(venue: Venue) -> None:
    venue.running.sequencer.trouble = "database: away"
    assert (await scrape(venue))["engine_up", ()] == 0
    venue.running.sequencer.trouble = None
