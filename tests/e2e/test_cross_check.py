"""The wallet's cross-check of a whole engine: over a real RabbitMQ, against the ledger that settlement writes."""

import asyncio
import json
import time
from pathlib import Path
from typing import Any

import httpx
import pytest
from structlog.testing import capture_logs

from tests.e2e.test_event_tools import command
from tests.e2e.test_events import running
from tests.e2e.venue import Venue
from tests.harness.events import Ear
from tests.harness.rabbitmq import TestRabbit
from trade_engine.messaging.cross_check import CrossCheck
from trade_engine.messaging.topology import TRADES_QUEUE


async def counted(venue: Venue, name: str) -> float:
    """What a metric of the cross-check says."""
    async with httpx.AsyncClient() as http:
        text = (await http.get(f"http://127.0.0.1:{venue.running.scraped.port}/metrics")).text
    return next(float(line.split()[1]) for line in text.splitlines() if line.startswith(f"cross_check_{name} "))


async def until(venue: Venue, name: str, number: float) -> None:
    """Wait until a metric says so."""
    end_s = time.monotonic() + 60
    while await counted(venue, name) != number:
        assert time.monotonic() < end_s, (name, number, await counted(venue, name))
        await asyncio.sleep(0.1)


async def trade(venue: Venue, symbol: str) -> Any:
    """A trade: its id, and its buyer's order."""
    seller, buyer = await venue.trader(**{symbol.partition("/")[0]: "10"}), await venue.trader(USDT="1000")
    await seller.order(symbol, "SELL", "1", "100.00")
    order, [made] = await buyer.order(symbol, "BUY", "1", "100.00")
    return made["id"], order["id"]


async def test_a_trade_that_never_reaches_the_ledger_is_told_and_found_once_it_does(
    database_url: str, tmp_path: Path, own_rabbit: TestRabbit, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Within five seconds here, a minute else."""
    monkeypatch.setattr(CrossCheck.__init__, "__defaults__", (5.0,))
    ear = await Ear(own_rabbit.url).open()
    with capture_logs() as logs:
        async with running(database_url, tmp_path, ear, **{"rabbitmq.cross_check": True}) as venue:
            symbol = venue.market()
            for _ in range(3):
                await trade(venue, symbol)
            await until(venue, "found_total", 3)
            await venue.running.settlement.pause()
            trade_id, order_id = await trade(venue, symbol)
            reserved = "UPDATE wallet.reservations SET remaining = remaining {} 99 WHERE order_id = $1"
            await venue.running.pool.execute(reserved.format("-"), order_id)
            await venue.running.settlement.resume()
            await until(venue, "waiting", 1)
            await until(venue, "missing_total", 1)
            (dead,) = json.loads(await command(database_url, tmp_path, ear, "dead", "--json"))["dead"]
            assert (dead["queue"], dead["body"]["trade_id"]) == (TRADES_QUEUE, trade_id)
            await venue.running.pool.execute(reserved.format("+"), order_id)
            number = await venue.running.pool.fetchval("SELECT instruction_id FROM settlement_instructions")
            await venue.running.dead_letters.retry(number, "tests", "the reservation is whole again")
            await venue.settled()
            await command(database_url, tmp_path, ear, "requeue", "--json")
            await until(venue, "found_total", 4)
            assert (await counted(venue, "missing_total"), await counted(venue, "waiting")) == (1, 0)
    told = [line for line in logs if line["event"] == "trade_not_in_ledger"]
    assert [(line["trade_id"], line["log_level"]) for line in told] == [(trade_id, "error")]
    await ear.close()
