"""The machine's clock is set while the engine runs: nothing is stamped meanwhile, nothing runs out, nothing is lost."""

import asyncio
import calendar
import contextlib
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import asyncpg
import httpx

from tests.e2e.conftest import engine_config
from tests.e2e.venue import Trader, Venue
from tests.harness.clocked_serve import shifted
from tests.harness.description import check_answer
from trade_engine.roles.all import TradeEngine
from trade_engine.sequencer.clock import Clock, wall_clock_us
from trade_engine.sequencer.verify import verify
from trade_engine.storage.clock_acceptances import accept_clock

DAYS = 86_400.0


class Wrong:
    """By how much the machine's clock is ahead."""

    def __init__(self, folder: Path) -> None:
        self._file = folder / "offset"
        self.now_us = shifted(self._file, wall_clock_us)

    async def by(self, seconds: float) -> None:
        """Set the machine's clock."""
        self._file.write_text(str(seconds))
        await asyncio.sleep(0.05)


@contextlib.asynccontextmanager
async def running(database_url: str, folder: Path, wrong: Wrong) -> AsyncIterator[Venue]:
    """An engine on a machine whose clock is wrong."""
    engine = TradeEngine(engine_config(database_url), folder)
    engine.clock = Clock(wrong.now_us, jump_max_us=5_000_000)
    await engine.start()
    try:
        url, hooks = f"http://127.0.0.1:{engine.api.port}", {"response": [check_answer]}
        async with httpx.AsyncClient(base_url=url, timeout=30, event_hooks=hooks) as http:
            yield Venue(http, engine)
    finally:
        await engine.stop()


async def refused(call: Any) -> str:
    """The code of a 503."""
    answer = await call
    assert answer.status_code == 503, answer.text
    assert "retry-after" in answer.headers
    return str(answer.json()["error"]["code"])


async def until(question: Callable[[], Any], within_s: float = 30.0) -> None:
    """Wait for something to be so."""
    end = time.monotonic() + within_s
    while not await question():
        assert time.monotonic() < end
        await asyncio.sleep(0.05)


async def is_ready(venue: Venue) -> bool:
    """Whether the engine says that it takes orders."""
    return (await venue.http.get("/health/ready")).status_code == 200


async def verified(venue: Venue, *, but_dates: bool = False) -> None:
    """Everything adds up; dates need not where stamps were taken for right that PostgreSQL's clock contradicts."""
    await venue.settled()
    async with venue.running.pool.acquire() as connection:
        differences = (await verify(connection, venue.running.new_book)).differences
        if but_dates:
            differences = [
                line for line in differences if "ledger: dates:" not in line and ": settled_at is" not in line
            ]
        assert differences == [], "\n".join(differences)


def body(symbol: str, **more: str) -> dict[str, str]:
    """A small order to buy."""
    return {"symbol": symbol, "side": "BUY", "type": "LIMIT", "quantity": "1", "price": "10.00"} | more


async def placed_at(trader: Trader, symbol: str) -> float:
    """Place an order; its time, in days from now."""
    order, _ = await trader.order(symbol, "BUY", "1", "10.00")
    made = calendar.timegm(time.strptime(order["created_at"][:19], "%Y-%m-%dT%H:%M:%S"))
    return round((made - time.time()) / DAYS, 2)


async def test_while_the_clock_is_wrong_nothing_is_stamped_and_nothing_runs_out(
    database_url: str, tmp_path: Path
) -> None:
    wrong = Wrong(tmp_path)
    async with running(database_url, tmp_path, wrong) as venue:
        symbol, buyer = venue.market(), await venue.trader(USDT="1000")
        day, _ = await buyer.order(symbol, "BUY", "1", "10.00", time_in_force="DAY")
        sequence = venue.running.sequencer.memory.sequence
        for seconds in (3 * DAYS, -3 * DAYS):
            await wrong.by(seconds)
            assert await refused(buyer.post(body(symbol, client_order_id=f"late {seconds}"))) == "CLOCK_JUMPED"
            assert await refused(buyer.cancel(day["id"])) == "CLOCK_JUMPED"
            change = buyer.http.patch(f"/api/v1/orders/{day['id']}", json={"price": "9.00"}, headers=buyer.headers)
            assert await refused(change) == "CLOCK_JUMPED"
            ready = await venue.http.get("/health/ready")
            assert ready.status_code == 503
            assert ready.json()["engine"] == f"the machine's clock jumped by {seconds:+.1f} s"
            await asyncio.sleep(0.3)
            assert (await buyer.get(f"/orders/{day['id']}"))["status"] == "OPEN"
            assert len((await venue.book(symbol))[0]) == 1
            await wrong.by(0)
            assert await is_ready(venue)
        assert venue.running.sequencer.memory.sequence == sequence
        assert await placed_at(buyer, symbol) == 0
        assert (await buyer.cancel(day["id"])).status_code == 200
        await verified(venue)
        assert (await buyer.balance("USDT"))[1] == 1001_000_000


async def test_orders_on_their_way_when_the_clock_jumps_give_their_funds_back(
    database_url: str, tmp_path: Path
) -> None:
    wrong = Wrong(tmp_path)
    async with running(database_url, tmp_path, wrong) as venue:
        symbol, buyer = venue.market(), await venue.trader(USDT="1000")
        venue.running.failpoints.arm("after_reserve", "stall")
        pending = asyncio.create_task(buyer.post(body(symbol)))
        await until(lambda: _reserved(venue))
        await wrong.by(3600)
        venue.running.failpoints.disarm("after_reserve")
        assert await refused(pending) == "CLOCK_JUMPED"
        await wrong.by(0)
        await until(lambda: _nothing_reserved(venue))
        await verified(venue)


async def test_orders_that_wait_for_their_batch_when_the_clock_jumps_are_refused(
    database_url: str, tmp_path: Path
) -> None:
    wrong = Wrong(tmp_path)
    async with running(database_url, tmp_path, wrong) as venue:
        symbol, buyer = venue.market(), await venue.trader(USDT="1000")
        await buyer.order(symbol, "BUY", "1", "10.00")
        venue.running.failpoints.arm("before_commit", "stall")
        stamped = asyncio.create_task(buyer.post(body(symbol)))
        await until(lambda: _matched(venue, 2))
        waiting = asyncio.create_task(buyer.post(body(symbol)))
        await until(lambda: _waits(venue))
        await wrong.by(-3600)
        venue.running.failpoints.disarm("before_commit")
        assert (await stamped).status_code == 201, "it was stamped before"
        assert await refused(waiting) == "CLOCK_JUMPED"
        await wrong.by(0)
        await until(lambda: _is_reserved(venue, 2 * 1001_000_000))
        await verified(venue)


async def _matched(venue: Venue, orders: int) -> bool:
    return len(venue.running.sequencer.memory.live) == orders


async def _waits(venue: Venue) -> bool:
    return bool(venue.running.sequencer.waiting)


async def _is_reserved(venue: Venue, units: int) -> bool:
    held = "SELECT (sum(reserved) * 100000000)::BIGINT FROM wallet.balances"
    return bool(await venue.running.pool.fetchval(held) == units)


async def _reserved(venue: Venue) -> bool:
    return bool(await venue.running.pool.fetchval("SELECT count(*) FROM wallet.balances WHERE reserved > 0"))


async def _nothing_reserved(venue: Venue) -> bool:
    return not await _reserved(venue)


async def test_an_accepted_jump_holds_rows_that_get_partitions_and_a_restart(database_url: str, tmp_path: Path) -> None:
    """Three days ahead, taken for right; then right again, which is a jump, too; a restart does not forget it."""
    wrong = Wrong(tmp_path)
    async with running(database_url, tmp_path, wrong) as venue:
        symbol, buyer = venue.market(), await venue.trader(USDT="1000")
        seller = await venue.trader(**{symbol.split("/")[0]: "10"})
        await wrong.by(3 * DAYS)
        await until(lambda: _says(venue, "jumped"))
        await _accept(database_url)
        await until(lambda: is_ready(venue))
        assert await placed_at(buyer, symbol) == 3
        _, trades = await seller.order(symbol, "SELL", "1", "10.00")
        assert len(trades) == 1
        await venue.settled()
        await wrong.by(0)
        assert await refused(buyer.post(body(symbol))) == "CLOCK_JUMPED"
    async with running(database_url, tmp_path, wrong) as venue:
        defaults = "SELECT (SELECT count(*) FROM trades_default) + (SELECT count(*) FROM journal_default)"
        assert await venue.running.pool.fetchval(defaults) == 0
        assert not await is_ready(venue)
        assert await _says(venue, "behind the last commit's time")
        buyer.http = seller.http = venue.http
        buyer.headers = {"Authorization": f"Bearer {venue.token(buyer.user_id)}"}
        assert await refused(buyer.post(body(symbol))) == "CLOCK_JUMPED"
        await _accept(database_url)
        await until(lambda: is_ready(venue))
        assert await placed_at(buyer, symbol) == 3, "time stands still until the clock has caught up"
    async with running(database_url, tmp_path, wrong) as venue:
        assert await is_ready(venue), "what was accepted stays so"
        await verified(venue, but_dates=True)


async def test_a_start_behind_the_last_commit_tells_the_books_their_rules_once_the_clock_is_right(
    database_url: str, tmp_path: Path
) -> None:
    connection = await asyncpg.connect(database_url)
    await connection.execute("UPDATE engine_state SET clock_us = $1", wall_clock_us() + 7_000_000)
    await connection.close()
    async with running(database_url, tmp_path, Wrong(tmp_path)) as venue:
        assert not await is_ready(venue)
        assert venue.running.sequencer.memory.sequence == 0
        await until(lambda: is_ready(venue))
        buyer = await venue.trader(USDT="1000")
        await buyer.order(venue.market(), "BUY", "1", "10.00")
        assert venue.running.sequencer.memory.sequence > len(venue.running.markets)


async def test_an_acceptance_from_before_a_jump_does_not_count(database_url: str, tmp_path: Path) -> None:
    wrong = Wrong(tmp_path)
    async with running(database_url, tmp_path, wrong) as venue:
        await _accept(database_url)
        await asyncio.sleep(2.5)
        await wrong.by(3600)
        await asyncio.sleep(2.5)
        assert not await is_ready(venue)


async def _accept(database_url: str) -> None:
    connection = await asyncpg.connect(database_url)
    try:
        await accept_clock(connection, "the test", "it is right")
    finally:
        await connection.close()


async def _says(venue: Venue, what: str) -> bool:
    return what in (await venue.http.get("/health/ready")).json()["engine"]
