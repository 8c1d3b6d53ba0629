"""When something the engine needs is away or dies: nothing acknowledged is lost, nothing half done."""

import asyncio
from collections.abc import Sequence

import pytest

from tests.e2e.venue import Venue
from trade_engine.domain.scale import UNIT
from trade_engine.sequencer.verify import verify
from trade_engine.wallet.port import Outcome, SettleTrade, WalletUnavailable


async def _verified(venue: Venue) -> None:
    await venue.settled()
    async with venue.running.pool.acquire() as connection:
        report = await verify(connection, venue.running.new_book)
    assert report.differences == []


async def test_wallet_down_stores_nothing(venue: Venue, monkeypatch: pytest.MonkeyPatch) -> None:
    symbol = venue.market()
    buyer = await venue.trader(USDT="1000")

    async def away(*_: object) -> None:
        raise WalletUnavailable("the test took it away")

    with monkeypatch.context() as patch:
        patch.setattr(venue.running.wallet, "reserve_many", away)
        answer = await buyer.post(
            {
                "symbol": symbol,
                "side": "BUY",
                "type": "LIMIT",
                "quantity": "1",
                "price": "10.00",
                "client_order_id": "w",
            }
        )
    assert (answer.status_code, answer.json()["error"]["code"]) == (503, "WALLET_UNAVAILABLE")
    assert "retry-after" in answer.headers
    assert await buyer.get("/orders") == []
    order, _ = await buyer.order(symbol, "BUY", "1", "10.00", client_order_id="w")
    assert order["status"] == "OPEN"
    await _verified(venue)


@pytest.mark.parametrize("step", ["before_reserve", "after_reserve", "before_commit"])
async def test_database_failure_rolls_back(venue: Venue, step: str) -> None:
    symbol = venue.market()
    buyer = await venue.trader(USDT="1000")
    failpoints = venue.running.failpoints
    failpoints.arm(step, "error")
    try:
        answer = await buyer.post({"symbol": symbol, "side": "BUY", "type": "LIMIT", "quantity": "1", "price": "10.00"})
    finally:
        failpoints.disarm(step)
    assert answer.status_code == 503
    assert await buyer.get("/orders") == []
    assert await venue.book(symbol) == ([], [])
    order, _ = await buyer.order(symbol, "BUY", "1", "10.00")
    assert order["status"] == "OPEN"
    await _verified(venue)
    assert (await buyer.balance("USDT"))[:2] == (1000 * UNIT - 1001_000_000, 1001_000_000)


async def test_a_poisonous_order_is_refused_and_its_neighbours_go_on(venue: Venue) -> None:
    """One order the database refuses (a check of the table) must not take the rest of its batch with it."""
    symbol = venue.market()
    buyer = await venue.trader(USDT="1000")
    pool = venue.running.pool
    await pool.execute("ALTER TABLE orders ADD CONSTRAINT poison CHECK (client_order_id <> 'poison') NOT VALID")
    try:
        bodies = [
            {
                "symbol": symbol,
                "side": "BUY",
                "type": "LIMIT",
                "quantity": "1",
                "price": "10.00",
                "client_order_id": "poison" if n == 7 else f"good-{n}",
            }
            for n in range(16)
        ]
        answers = await asyncio.gather(*(buyer.post(body) for body in bodies))
    finally:
        await pool.execute("ALTER TABLE orders DROP CONSTRAINT poison")
    assert [a.status_code for a in answers] == [422 if n == 7 else 201 for n in range(16)]
    assert answers[7].json()["error"]["code"] == "COMMAND_REFUSED"
    await _verified(venue)
    assert (await buyer.balance("USDT"))[1] == 15 * 1001_000_000


async def test_a_lost_commit_answer_is_an_unknown_outcome_and_the_repeat_tells(venue: Venue) -> None:
    """The writer's connection dies while it commits: 503 OUTCOME_UNKNOWN, and the same client id gives the truth."""
    symbol = venue.market()
    buyer = await venue.trader(USDT="1000")
    body = {"symbol": symbol, "side": "BUY", "type": "LIMIT", "quantity": "1", "price": "10.00", "client_order_id": "u"}
    pool = venue.running.pool
    async with pool.acquire() as blocker:
        transaction = blocker.transaction()
        await transaction.start()
        await blocker.execute("LOCK TABLE trades IN ACCESS EXCLUSIVE MODE")
        pending = asyncio.create_task(buyer.post(body))
        for _ in range(200):
            pid = await pool.fetchval(
                "SELECT pid FROM pg_stat_activity WHERE application_name = 'trade-engine writer'"
                " AND wait_event_type = 'Lock' AND datname = current_database()"
            )
            if pid:
                break
            await asyncio.sleep(0.01)
        assert pid, "the writer never came to its commit"
        await pool.fetchval("SELECT pg_terminate_backend($1)", pid)
        await transaction.rollback()
    answer = await pending
    assert (answer.status_code, answer.json()["error"]["code"]) == (503, "OUTCOME_UNKNOWN")
    for _ in range(200):
        again = await buyer.post(body)
        if again.status_code != 503:
            break
        await asyncio.sleep(0.02)
    assert again.status_code in (200, 201)
    assert len(await buyer.get("/orders")) == 1
    await _verified(venue)
    assert (await buyer.balance("USDT"))[1] == 1001_000_000


async def test_a_database_that_stopped_being_durable_gets_no_order_until_it_is_again(venue: Venue) -> None:
    """Somebody turns synchronous_commit off for the database; the writer finds out when it connects anew."""
    symbol = venue.market()
    buyer = await venue.trader(USDT="1000")
    body = {"symbol": symbol, "side": "BUY", "type": "LIMIT", "quantity": "1", "price": "10.00"}
    pool = venue.running.pool
    name = await pool.fetchval("SELECT current_database()")

    async def answers(status: int) -> str:
        for _ in range(600):
            answer = await buyer.post(body)
            if answer.status_code == status and (status == 201 or "OUTCOME" not in answer.text):
                return answer.text
            await asyncio.sleep(0.05)
        raise AssertionError(answer.text)

    await pool.execute(f"ALTER DATABASE {name} SET synchronous_commit = off")
    await pool.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'trade-engine writer'"
        " AND datname = current_database()"
    )
    assert "DATABASE_UNAVAILABLE" in await answers(503)
    ready = await venue.http.get("/health/ready")
    assert ready.status_code == 503
    assert "synchronous_commit is off" in ready.json()["database"]
    await pool.execute(f"ALTER DATABASE {name} SET synchronous_commit = on")
    await answers(201)
    await _verified(venue)


async def test_settlement_failure(venue: Venue, monkeypatch: pytest.MonkeyPatch) -> None:
    """A trade whose settlement the wallet refuses becomes a dead letter; its neighbours settle all the same."""
    symbol = venue.market()
    base = symbol.split("/")[0]
    buyer = await venue.trader(USDT="1000")
    seller = await venue.trader(**{base: "10"})
    settle = venue.running.wallet.settle_many
    planted: set[str] = set()

    async def refuse_the_first(items: Sequence[SettleTrade]) -> list[Outcome]:
        if not planted:
            planted.add(items[0].trade_id)
        outcomes = iter(await settle([item for item in items if item.trade_id not in planted]))
        return [Outcome("PLANTED", message="refused") if i.trade_id in planted else next(outcomes) for i in items]

    with monkeypatch.context() as patch:
        patch.setattr(venue.running.wallet, "settle_many", refuse_the_first)
        await seller.order(symbol, "SELL", "3", "100.00")
        for _ in range(3):
            await buyer.order(symbol, "BUY", "1", "100.00")
        await venue.settled()
    trades = await buyer.get("/trades", symbol=symbol, scope="own")
    assert sorted(trade["settlement_status"] for trade in trades) == ["FAILED", "SETTLED", "SETTLED"]
    assert [trade["id"] for trade in trades if trade["settlement_status"] == "FAILED"] == list(planted)
    assert await buyer.balance(base) == (2 * UNIT, 0, UNIT), "what is not settled is pending"
    letter = await venue.running.pool.fetchrow("SELECT status, attempts, last_reason FROM settlement_instructions")
    assert (letter["status"], letter["attempts"]) == ("FAILED", 3)
    assert "PLANTED" in letter["last_reason"]
    await _verified(venue)
