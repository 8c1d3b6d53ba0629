"""Cascades of stops with a budget of fills: bounded batches, in order, beside other markets, over any kill."""

import asyncio
import time
import uuid
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import asyncpg
import httpx
import pytest

from tests.e2e.conftest import engine_config
from tests.e2e.engines import BOUND_S, SECRET, EngineProcess
from tests.e2e.venue import Trader, Venue
from trade_engine.bootstrap.attached import attached_wallet
from trade_engine.domain.commands import CommandKind, decode_commands
from trade_engine.domain.enums import MarketState
from trade_engine.domain.events import EventKind, decode_events
from trade_engine.domain.scale import UNIT
from trade_engine.edge.auth.tokens import issue_token
from trade_engine.matching.books import new_book
from trade_engine.roles.all import TradeEngine
from trade_engine.sequencer.turns import UpkeepRequest
from trade_engine.sequencer.verify import verify

_BUDGET = 25
_PLAIN = {"tick_size": "0.01", "lot_size": "0.000001", "max_slippage": "0", "max_open_orders": 0}
_ICE = {"symbol": "ICE/USDT", "min_display_share": "0", "max_fills": _BUDGET} | _PLAIN
_MARKETS = [_ICE, {"symbol": "OTHER/USDT"} | _PLAIN, {"symbol": "ONE/USDT", "max_fills": 1} | _PLAIN]
#: Two lots each, of an iceberg that shows one: two fills.
_STOP = {"symbol": "ICE/USDT", "side": "BUY", "type": "STOP", "quantity": "0.000002", "stop_price": "100.00"}
_SET_OFF = {"symbol": "ICE/USDT", "side": "BUY", "type": "LIMIT", "quantity": "0.000001", "price": "100.00"}


class Recorded:
    """What the journal says of the cascade."""

    def __init__(self, rows: list[asyncpg.Record]) -> None:
        self.triggered: list[int] = []
        self.fills: dict[int, int] = {}
        self.started: dict[int, int] = {}
        self.kinds: dict[int, int] = {}
        for row in rows:
            for command in decode_commands(row["commands"]):
                self.kinds[command.sequence] = command.kind
            for event in decode_events(row["events"]):
                if event.kind == EventKind.TRADE:
                    self.fills[event.sequence] = self.fills.get(event.sequence, 0) + 1
                elif event.kind == EventKind.TRIGGERED:
                    self.started[event.sequence] = self.started.get(event.sequence, 0) + 1
                    self.triggered.append(event.order_number)

    @property
    def parts(self) -> int:
        """TRIGGERs that started something."""
        return sum(self.kinds[sequence] == CommandKind.TRIGGER for sequence in self.started)


async def _recorded(connection: Any) -> Recorded:
    return Recorded(await connection.fetch("SELECT commands, events FROM journal ORDER BY last_sequence"))


def _bounded(recorded: Recorded, most: int) -> None:
    assert max(recorded.fills.values()) <= most
    assert max(recorded.started.values()) <= most


@pytest.fixture
async def venue(database_url: str, tmp_path: Path) -> AsyncIterator[Venue]:
    engine = TradeEngine(engine_config(database_url, {"matching.markets": _MARKETS}), tmp_path)
    await engine.start()
    try:
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{engine.api.port}", timeout=60) as http:
            yield Venue(http, engine)
    finally:
        await engine.stop()


async def _stops(trader: Trader, count: int) -> list[str]:
    """Place so many stops; their ids."""
    ids: list[str] = []
    while len(ids) < count:
        orders = [_STOP] * min(50, count - len(ids))
        answer = await trader.http.post("/api/v1/orders/batch", json={"orders": orders}, headers=trader.headers)
        assert answer.status_code == 200, answer.text
        ids += [result["order"]["id"] for result in answer.json()["data"]]
    return ids


async def _ready(seller: Trader, buyer: Trader) -> None:
    """An iceberg at 100 that shows one lot, and a last price below it."""
    await seller.order("ICE/USDT", "SELL", "0.000001", "99.00")
    await buyer.order("ICE/USDT", "BUY", "0.000001", "99.00")
    await seller.order("ICE/USDT", "SELL", "1", "100.00", display_quantity="0.000001")


async def _until(condition: Any) -> None:
    until = time.monotonic() + BOUND_S
    while not await condition():
        assert time.monotonic() < until, "it did not come to that"
        await asyncio.sleep(0.02)


async def test_a_cascade_goes_on_in_bounded_batches_and_only_its_market_waits(venue: Venue) -> None:
    seller, buyer, pool = (
        await venue.trader(ICE="10", OTHER="10"),
        await venue.trader(USDT="1000000"),
        venue.running.pool,
    )
    await _ready(seller, buyer)
    stops = await _stops(buyer, 600)
    failpoints = venue.running.failpoints
    # The batch that sets it off, and some that go on with it; then the writer is held up.
    failpoints.arm("before_commit", "stall", 6)
    first, trades = await buyer.order("ICE/USDT", "BUY", "0.000001", "100.00")
    assert (first["status"], len(trades)) == ("FILLED", 1)
    late = asyncio.create_task(buyer.order("ICE/USDT", "BUY", "0.000001", "100.00"))
    other = asyncio.create_task(seller.order("OTHER/USDT", "SELL", "1", "70.00"))
    cancelled = asyncio.create_task(buyer.cancel(stops[-1]))
    sequencer = venue.running.sequencer

    async def all_wait() -> bool:
        """Each is held back, queued, in the batch that is held up, or done."""
        there = {*sequencer._turns, *sequencer.queue, *sequencer._under_way}
        asked = [request for request in there if not isinstance(request, UpkeepRequest)]
        return bool(len(asked) + other.done() + cancelled.done() >= 3)

    await _until(all_wait)
    failpoints.disarm("before_commit")
    assert (await cancelled).json()["data"]["status"] == "CANCELLED"
    (elsewhere, _), (last, _) = await other, await late
    assert (elsewhere["status"], last["status"]) == ("OPEN", "FILLED")
    async with pool.acquire() as connection:
        recorded = await _recorded(connection)
        placed = [row[0] for row in await connection.fetch(
            "SELECT sequence FROM orders WHERE type = 'STOP' AND order_id <> $1 ORDER BY sequence", stops[-1]
        )]  # fmt: skip
        await venue.settled(60)
        report = await verify(connection, new_book)
    assert report.differences == []
    assert recorded.triggered == placed, "every stop but the cancelled one, in time order"
    _bounded(recorded, _BUDGET)
    assert recorded.parts >= 599 * 2 // _BUDGET
    last_part = max(sequence for sequence in recorded.started if recorded.kinds[sequence] == CommandKind.TRIGGER)
    assert first["sequence"] < elsewhere["sequence"] < last_part < last["sequence"]


async def test_a_halted_market_keeps_its_stops_and_goes_on_when_it_resumes(venue: Venue) -> None:
    seller, buyer = await venue.trader(ICE="10"), await venue.trader(USDT="1000000")
    await _ready(seller, buyer)
    stops = await _stops(buyer, 60)
    engine, failpoints = venue.running.engine.operations, venue.running.failpoints
    failpoints.arm("before_commit", "stall", 2)
    await buyer.order("ICE/USDT", "BUY", "0.000001", "100.00")
    halting = asyncio.create_task(engine.set_market_state("ICE/USDT", MarketState.HALTED))
    await asyncio.sleep(0)
    failpoints.disarm("before_commit")
    await halting
    refused = await buyer.post(_SET_OFF)
    assert (refused.status_code, refused.json()["error"]["code"]) == (422, "MARKET_HALTED")
    halted = [await buyer.get(f"/orders/{order_id}") for order_id in stops]
    assert {order["status"] for order in halted} == {"FILLED", "PENDING"}
    await venue.running.engine.trading.cancel(stops[-1], None)
    await engine.set_market_state("ICE/USDT", MarketState.OPEN)
    await buyer.order("ICE/USDT", "BUY", "0.000001", "100.00")
    done = [(await buyer.get(f"/orders/{order_id}"))["status"] for order_id in stops]
    assert done == ["FILLED"] * 59 + ["CANCELLED"]
    async with venue.running.pool.acquire() as connection:
        await venue.settled(60)
        assert (await verify(connection, new_book)).differences == []


async def test_a_market_whose_stop_cannot_enter_is_halted_and_others_go_on(venue: Venue) -> None:
    """A stop whose row somebody has spoilt: what it would trade contradicts what it holds."""
    seller, buyer, pool = await venue.trader(ONE="10", OTHER="10"), await venue.trader(USDT="1000"), venue.running.pool
    await seller.order("ONE/USDT", "SELL", "1", "99.00")
    await buyer.order("ONE/USDT", "BUY", "1", "99.00")
    await seller.order("ONE/USDT", "SELL", "5", "100.00")
    placed = await buyer.post(
        {"symbol": "ONE/USDT", "side": "BUY", "type": "STOP", "quantity": "1", "stop_price": "100.00"}
    )
    stop = placed.json()["data"]["order"]["id"]
    await pool.execute("UPDATE orders SET hold = 0 WHERE order_id = $1", stop)
    # The writer loses its connection, and memory is built anew from what the rows say.
    await pool.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
        " WHERE application_name = 'trade-engine writer' AND datname = current_database()"
    )
    rest = {"symbol": "OTHER/USDT", "side": "SELL", "type": "LIMIT", "quantity": "1", "price": "70"}

    async def rebuilt() -> bool:
        placed = (await seller.post(rest)).status_code == 201
        return bool(placed and await pool.fetchval("SELECT epoch > 1 FROM engine_state"))

    await _until(rebuilt)
    await buyer.order("ONE/USDT", "BUY", "1", "100.00")
    engine = venue.running.engine.operations

    async def halted() -> bool:
        return bool(await pool.fetchval("SELECT state = 'HALTED' FROM markets WHERE symbol = 'ONE/USDT'"))

    await _until(halted)
    assert (await seller.order("OTHER/USDT", "SELL", "1", "70.00"))[0]["status"] == "OPEN"
    assert (await buyer.get(f"/orders/{stop}"))["status"] == "PENDING"
    assert (await venue.running.engine.trading.cancel(stop, None)).status.name == "CANCELLED"
    await engine.set_market_state("ONE/USDT", MarketState.OPEN)
    assert (await buyer.order("ONE/USDT", "BUY", "1", "100.00"))[0]["status"] == "FILLED"


async def test_a_cascade_goes_on_in_order_over_kill_9(database_url: str, tmp_path: Path) -> None:
    markets = "[" + ", ".join(str(market) for market in _MARKETS) + "]"
    engine = EngineProcess(tmp_path, database_url, MATCHING__MARKETS=markets)
    user_id = str(uuid.uuid4()), str(uuid.uuid4())
    try:
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{engine.port}", timeout=60) as http:
            engine.start()
            await _until(engine.is_ready)
            async with attached_wallet(database_url) as wallet:
                for user in user_id:
                    for asset in ("ICE", "USDT"):
                        assert (await wallet.deposit(user, asset, 1_000_000 * UNIT, str(uuid.uuid4()))).ok
            seller, buyer = (Trader(http, user, issue_token(SECRET, user)) for user in user_id)
            await _ready(seller, buyer)
            await _stops(buyer, 600)
            engine.stop()
            # Killed while it commits the 12th part of the cascade, then while it acknowledges the 9th part after that.
            engine.environment["TRADE_ENGINE_FAILPOINTS"] = "before_commit=crash@12"
            engine.start()
            await _until(engine.is_ready)
            first = await buyer.post(_SET_OFF)
            assert first.status_code == 201, first.text
            assert engine.ended() == -9
            engine.environment["TRADE_ENGINE_FAILPOINTS"] = "before_acknowledge=crash@9"
            engine.start()
            assert engine.ended() == -9
            engine.environment["TRADE_ENGINE_FAILPOINTS"] = ""
            engine.start()
            await _until(engine.is_ready)
            last, _ = await buyer.order("ICE/USDT", "BUY", "0.000001", "100.00")
        connection = await asyncpg.connect(database_url)
        try:

            async def settled() -> bool:
                return not await connection.fetchval("SELECT count(*) FROM settlement_instructions")

            await _until(settled)
            recorded = await _recorded(connection)
            placed = [
                row[0] for row in await connection.fetch("SELECT sequence FROM orders WHERE type = 'STOP' ORDER BY 1")
            ]
            assert recorded.triggered == placed
            assert len(placed) == 600
            _bounded(recorded, _BUDGET)
            assert last["sequence"] > max(recorded.started)
            assert (await verify(connection, new_book)).differences == []
        finally:
            await connection.close()
    finally:
        engine.stop()
