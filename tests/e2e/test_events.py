"""Events as other services hear them: over a real RabbitMQ, compared with the tables."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.e2e.conftest import engine_config
from tests.e2e.venue import Venue
from tests.harness.events import Ear
from trade_engine.roles.all import TradeEngine


@contextlib.asynccontextmanager
async def running(database_url: str, folder: Path, ear: Ear, **more: Any) -> AsyncIterator[Venue]:
    """An engine that tells ``ear``."""
    engine = TradeEngine(engine_config(database_url, ear.options | more), folder)
    await engine.start()
    try:
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{engine.api.port}", timeout=30) as http:
            yield Venue(http, engine)
    finally:
        await engine.stop()
        await asyncio.sleep(0)


@pytest.fixture
async def ear(rabbit_url: str) -> AsyncIterator[Ear]:
    opened = await Ear(rabbit_url).open()
    yield opened
    await opened.close()


ENDS = ("filled", "cancelled", "expired", "rejected")


def in_order(ear: Ear) -> None:
    """First deliveries of each market are in order; a trade is told before its settlement."""
    last: dict[str, tuple[int, int]] = {}
    executed = set()
    for heard in ear.unique():
        body = heard.body
        if heard.type == "trade.executed":
            executed.add(body["trade_id"])
        if heard.type in ("trade.settled", "trade.settlement_failed"):
            assert body["trade_id"] in executed
            continue
        place = (body["sequence"], body["index"])
        assert last.get(body["symbol"], (0, 0)) < place
        last[body["symbol"]] = place


async def test_what_happens_is_told(database_url: str, tmp_path: Path, ear: Ear) -> None:
    async with running(database_url, tmp_path, ear) as venue:
        symbol = venue.market()
        seller = await venue.trader(**{symbol.partition("/")[0]: "100", "USDT": "100000"})
        buyer = await venue.trader(USDT="100000")
        resting, _ = await seller.order(symbol, "SELL", "2", "100.00", client_order_id="a-1")
        await buyer.order(symbol, "BUY", "0.5", "100.00")
        stop, _ = await buyer.order(symbol, "BUY", "0.1", type="STOP", stop_price="101.00")
        await seller.order(symbol, "SELL", "1", "101.00")
        _, trades = await buyer.order(symbol, "BUY", "2", "101.00")
        assert len(trades) == 2
        await buyer.http.patch(f"/api/v1/orders/{stop['id']}", json={"quantity": "0.1"}, headers=buyer.headers)
        bid, _ = await buyer.order(symbol, "BUY", "1", "50.00")
        patched = await buyer.http.patch(f"/api/v1/orders/{bid['id']}", json={"price": "51.00"}, headers=buyer.headers)
        assert patched.status_code == 200, patched.text
        assert (await buyer.cancel(bid["id"])).status_code == 200
        await buyer.order(symbol, "BUY", "0.1", quote_amount=None, price="100.00", time_in_force="IOC")
        await venue.settled()
        count = await venue.running.pool.fetchval("SELECT count(*) FROM trades")
        await ear.until(lambda e: e.types().count("trade.settled") == count, "every trade is settled")
        in_order(ear)
        await compare(venue, ear)
    first = ear.unique()[0]
    assert first.key == f"order.opened.{symbol.replace('/', '-')}"
    assert first.body["order_id"] == resting["id"]
    assert first.body["client_order_id"] == "a-1"
    assert first.properties.content_type == "application/json"
    assert first.properties.delivery_mode == 2
    assert first.properties.headers == {"schema_version": 1}
    assert first.body["event_id"] == first.message_id
    assert "order.triggered" in ear.types()
    assert "order.amended" in ear.types()


async def compare(venue: Venue, ear: Ear) -> None:
    """What was told of every order and trade is what the tables say."""
    told: dict[str, list[dict[str, Any]]] = {}
    trades = {}
    for heard in ear.unique():
        if heard.type == "trade.executed":
            trades[heard.body["trade_id"]] = heard.body
        elif heard.type.startswith("order."):
            told.setdefault(heard.body["order_id"], []).append(heard.body)
    rows = await venue.running.pool.fetch(
        "SELECT trade_id::TEXT, buyer_order_id::TEXT, trim_scale(price)::TEXT AS price, trim_scale(quantity)::TEXT AS"
        " quantity, trim_scale(buyer_fee)::TEXT AS buyer_fee, sequence FROM trades"
    )
    assert {row["trade_id"] for row in rows} == trades.keys()
    for row in rows:
        body = trades[row["trade_id"]]
        assert body["price"].rstrip("0").rstrip(".") == row["price"].removesuffix(".00")
        assert (body["quantity"], body["buyer_fee"]) == (row["quantity"], row["buyer_fee"])
        assert (body["trade_sequence"], body["buyer_order_id"]) == (row["sequence"], row["buyer_order_id"])
    orders = await venue.running.pool.fetch(
        "SELECT order_id::TEXT, status::TEXT, trim_scale(filled_quantity)::TEXT AS filled, reason::TEXT FROM orders"
    )
    assert {row["order_id"] for row in orders} == told.keys()
    for row in orders:
        story = [body["event"].removeprefix("order.") for body in told[row["order_id"]]]
        ended = row["status"].lower() if row["status"] in ("FILLED", "CANCELLED", "EXPIRED", "REJECTED") else None
        assert [word for word in story if word in ("filled", "cancelled", "expired", "rejected")] == [ended] * bool(
            ended
        )
        assert story[0] == ("rejected" if ended == "rejected" else "opened")
        fills = [body for body in told[row["order_id"]] if "filled_quantity" in body]
        assert (fills[-1]["filled_quantity"] if fills else "0") == row["filled"]
        if ended in ("cancelled", "expired"):
            assert told[row["order_id"]][-1]["reason"] == row["reason"]
