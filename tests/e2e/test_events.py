"""Events as other services hear them: over a real RabbitMQ, compared with the tables."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path
from typing import Any
from uuid import uuid4

import asyncpg
import httpx
import jsonschema_rs
import msgspec
import pytest
import yaml

from tests.e2e.conftest import engine_config
from tests.e2e.venue import Trader, Venue
from tests.harness.events import Ear
from trade_engine.messaging.asyncapi import describe
from trade_engine.messaging.source import RelaySource, new_stream
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
        await ear.until(lambda e: e.types().count("order.cancelled") >= 2, "the last order has ended")
        in_order(ear)
        described(ear)
        await compare(venue, ear)
        await counted(venue, len(ear.unique()))
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


async def counted(venue: Venue, messages: int) -> None:
    """The metrics say what was published."""
    async with httpx.AsyncClient() as http:
        text = (await http.get(f"http://127.0.0.1:{venue.running.scraped.port}/metrics")).text
    told = dict(line.rsplit(" ", 1) for line in text.splitlines() if line.startswith(("relay_", "rabbitmq_")))
    assert float(told["relay_published_total"]) >= messages
    assert (told["rabbitmq_up"], told["relay_connects_total"], told["relay_lag_commands"]) == ("1.0", "1.0", "0.0")


def described(ear: Ear) -> None:
    """Every message is as the AsyncAPI document says, with no field more."""
    document = msgspec.json.decode(msgspec.json.encode(describe()))
    parts = document["components"]
    for schema in parts["schemas"].values():
        schema["additionalProperties"] = False
    checks = {
        message["name"]: jsonschema_rs.Draft202012Validator({"components": parts, **message["payload"]})
        for message in parts["messages"].values()
    }
    headers = {
        message["name"]: jsonschema_rs.Draft202012Validator(message["headers"] | {"additionalProperties": False})
        for message in parts["messages"].values()
    }
    for heard in ear.heard:
        found = list(checks[heard.type].iter_errors(heard.body))
        assert not found, f"{heard}: {found[0]}"
        assert heard.key == f"{heard.type}.{heard.body['symbol'].replace('/', '-')}"
        assert heard.message_id == heard.body["event_id"]
        assert not list(headers[heard.type].iter_errors(heard.properties.headers)), heard.properties.headers


async def test_the_document_in_the_repository_is_what_is_printed() -> None:
    page = Path(__file__).parents[2] / "docs" / "developer" / "events.asyncapi.yaml"
    assert yaml.safe_load(page.read_text(encoding="utf-8")) == yaml.safe_load(yaml.safe_dump(describe()))


async def test_an_engine_that_starts_again_goes_on(database_url: str, tmp_path: Path, ear: Ear) -> None:
    """Orders of before the restart are known again, filled as they were; nothing is missing and nothing comes anew."""
    async with running(database_url, tmp_path, ear) as venue:
        symbol = venue.market()
        seller = await venue.trader(**{symbol.partition("/")[0]: "100"})
        buyer = await venue.trader(USDT="100000")
        await seller.order(symbol, "SELL", "2", "100.00", client_order_id="old")
        await buyer.order(symbol, "BUY", "0.5", "100.00")
        await ear.until(lambda e: "trade.settled" in e.types(), "the first trade is told")
    count = len(ear.unique())
    async with running(database_url, tmp_path, ear, **{"rabbitmq.url": "amqp://guest:guest@127.0.0.1:9/"}) as venue:
        # Nobody can be told of these: RabbitMQ is not there.
        http, users = venue.http, (seller.user_id, buyer.user_id)
        seller, buyer = (Trader(http, user, venue.token(user)) for user in users)
        await buyer.order(symbol, "BUY", "0.25", "100.00")
        await buyer.order(symbol, "BUY", "0.25", "100.00")
        await venue.settled()
        ready = (await http.get("/health/ready")).json()
        assert ready["status"] == "ready"
        assert ready["rabbitmq"].startswith("down: ")
        assert venue.running.relay.lag_s > 0
        assert venue.running.relay.lag_commands >= 2
    assert len(ear.unique()) == count
    async with running(database_url, tmp_path, ear) as venue:
        buyer = Trader(venue.http, buyer.user_id, venue.token(buyer.user_id))
        await buyer.order(symbol, "BUY", "1", "100.00")
        await ear.until(lambda e: e.types().count("trade.settled") == 4, "all trades are told")
        assert (await venue.http.get("/health/ready")).json()["rabbitmq"] == "ok"
        in_order(ear)
        described(ear)
        await compare(venue, ear)
    fills = [
        h.body["filled_quantity"] for h in ear.unique() if h.body.get("client_order_id") == "old" and "fee" in h.body
    ]
    assert fills == ["0.5", "0.75", "1", "2"]
    assert len(ear.heard) == len(ear.unique()), "nothing came twice"


async def test_a_settlement_that_fails_is_told(database_url: str, tmp_path: Path, ear: Ear) -> None:
    async with running(database_url, tmp_path, ear) as venue:
        symbol = venue.market()
        seller = await venue.trader(**{symbol.partition("/")[0]: "100"})
        buyer = await venue.trader(USDT="100000")
        await seller.order(symbol, "SELL", "1", "100.00")
        await venue.running.settlement.pause()
        order, _ = await buyer.order(symbol, "BUY", "1", "100.00")
        # The wallet will refuse: what was reserved is gone.
        await venue.running.pool.execute(
            "UPDATE wallet.reservations SET remaining = 0.01 WHERE order_id = $1", order["id"]
        )
        await venue.running.settlement.resume()
        await ear.until(lambda e: "trade.settlement_failed" in e.types(), "the failure is told")
        in_order(ear)
        described(ear)
    (failed,) = [heard.body for heard in ear.unique() if heard.type == "trade.settlement_failed"]
    assert failed["attempts"] == 3
    assert failed["reason"]


async def test_a_second_relay_supersedes_the_first(database_url: str, tmp_path: Path, ear: Ear) -> None:
    async with running(database_url, tmp_path, ear) as venue:
        symbol, relay = venue.market(), venue.running.relay
        seller = await venue.trader(**{symbol.partition("/")[0]: "100"})
        await seller.order(symbol, "SELL", "1", "100.00")
        await ear.until(lambda e: len(e.unique()) == 1, "the first order is told")
        other = RelaySource(database_url, str(uuid4()), "another")
        place = await other.take_over()
        await other.close()
        await seller.order(symbol, "SELL", "1", "101.00")
        until = time.monotonic() + 30
        while relay.condition() != "down: another relay has taken over":
            assert time.monotonic() < until, relay.condition()
            await asyncio.sleep(0.02)
        row = await venue.running.pool.fetchrow("SELECT epoch, sequence FROM event_relay")
        assert tuple(row) == (place.epoch, place.sequence), "the superseded one moved nothing"
        assert (await venue.http.get("/health/ready")).json()["status"] == "ready"


def has_heard(count: int, ear: Ear) -> bool:
    """Whether it has heard so many messages."""
    return len(ear.unique()) == count


async def test_a_relay_whose_database_connection_is_cut_goes_on(database_url: str, tmp_path: Path, ear: Ear) -> None:
    async with running(database_url, tmp_path, ear) as venue:
        symbol, pool = venue.market(), venue.running.pool
        seller = await venue.trader(**{symbol.partition("/")[0]: "100"})
        for number in (1, 2, 3):
            cut = await pool.fetchval(
                "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity"
                " WHERE application_name = 'trade-engine relay' AND datname = current_database()"
            )
            assert cut <= 1
            await seller.order(symbol, "SELL", "1", f"{100 + number}.00")
            await ear.until(partial(has_heard, number), "the order is told")
        in_order(ear)
        assert venue.running.relay.counts.connects > 1


async def test_a_new_stream_has_other_ids(database_url: str, tmp_path: Path, ear: Ear) -> None:
    async with running(database_url, tmp_path, ear) as venue:
        symbol = venue.market()
        seller = await venue.trader(**{symbol.partition("/")[0]: "100"})
        await seller.order(symbol, "SELL", "1", "100.00")
        await ear.until(lambda e: len(e.unique()) == 1, "the first order is told")
        connection = await asyncpg.connect(database_url)
        stream_id = await new_stream(connection)
        await connection.close()
        await seller.order(symbol, "SELL", "1", "101.00")
        await ear.until(lambda e: e.unique()[-1].body["stream_id"] == stream_id, "the new stream is told")
        assert venue.running.relay.condition() == "ok"
    assert ear.unique()[0].body["stream_id"] != stream_id
    assert [heard.body["price"] for heard in ear.unique()] == ["100.00", "101.00"]


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
