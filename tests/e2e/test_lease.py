"""Several engines on one database: one writes, the others stand by, and none throws another out without need."""

import asyncio
import signal
import uuid
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import asyncpg
import pytest

from tests.e2e.engines import BOUND_S, EngineProcess
from trade_engine.bootstrap.attached import attached_wallet
from trade_engine.domain.scale import UNIT
from trade_engine.matching.books import new_book
from trade_engine.ops.supervisor import EXIT_BROKEN, EXIT_SUPERSEDED
from trade_engine.sequencer.verify import verify

Make = Callable[..., EngineProcess]


@pytest.fixture
async def make(database_url: str, tmp_path: Path) -> AsyncIterator[Make]:
    """Makes engines on one database, each with a data directory of its own; all are ended."""
    made: list[EngineProcess] = []

    def one(name: str, **settings: str) -> EngineProcess:
        made.append(EngineProcess(tmp_path / name, database_url, **({"ENGINE__LEASE_S": "2"} | settings)))
        return made[-1]

    yield one
    for engine in made:
        await asyncio.to_thread(engine.stop)


@pytest.fixture
async def users(database_url: str) -> list[str]:
    """Users with money."""
    found = [str(uuid.uuid4()) for _ in range(4)]
    async with attached_wallet(database_url) as wallet:
        for user in found:
            for asset in ("BTC", "USDT"):
                assert (await wallet.deposit(user, asset, 1_000_000 * UNIT, str(uuid.uuid4()))).ok
    return found


class Load:
    """Orders to one engine from several users at once, until it is stopped; what was acknowledged."""

    def __init__(self, engine: EngineProcess, users: list[str]) -> None:
        self._engine = engine
        self._tasks = [asyncio.create_task(self._drive(n, user)) for n, user in enumerate(users)]
        self.placed: dict[str, str] = {}
        self.codes: set[str] = set()

    async def _drive(self, number: int, user: str) -> None:
        for n in range(5_000):
            client_order_id = f"{number}-{n}-{uuid.uuid4()}"
            side, price = ("BUY", "SELL")[(n + number) % 2], f"{100 + (n * 7 + number) % 5}.00"
            answer = await self._engine.order(user, side, price, client_order_id=client_order_id)
            if answer is not None and answer.status_code == 201:
                self.placed[client_order_id] = answer.json()["data"]["order"]["id"]
            elif answer is not None:
                self.codes.add(answer.json()["error"]["code"])
                await asyncio.sleep(0.02)

    async def until_placed(self, count: int) -> None:
        """Wait for so many more acknowledgements."""
        target = len(self.placed) + count
        async with asyncio.timeout(BOUND_S):
            while len(self.placed) < target:
                await asyncio.sleep(0.02)

    async def stop(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


async def epoch(connection: asyncpg.Connection) -> int:
    return int(await connection.fetchval("SELECT epoch FROM engine_state"))


async def require_whole(connection: asyncpg.Connection, *loads: Load) -> None:
    """Every acknowledged order is stored, once, and everything adds up."""
    async with asyncio.timeout(BOUND_S):
        while await connection.fetchval("SELECT count(*) FROM settlement_instructions WHERE status <> 'FAILED'"):
            await asyncio.sleep(0.05)
    rows = await connection.fetch("SELECT client_order_id, array_agg(order_id::TEXT) AS ids FROM orders GROUP BY 1")
    stored = {row["client_order_id"]: row["ids"] for row in rows}
    for load in loads:
        for client_order_id, order_id in load.placed.items():
            assert stored[client_order_id] == [order_id]
    assert (await verify(connection, new_book)).differences == []


async def test_a_second_engine_stands_by_and_takes_over_when_the_first_stops(
    make: Make, users: list[str], connection: asyncpg.Connection
) -> None:
    first, second = make("first").start(), make("second")
    await first.ready()
    before = await epoch(connection)
    await second.start().standing_by()
    assert (await second.ask("GET", "/health/live")).status_code == 200  # type: ignore[union-attr]
    said = (await second.readiness())["engine"]
    assert said.startswith("standing by for writer ")
    assert f"process {first.process.pid}, epoch {before}" in said
    refused = await second.order(users[0])
    assert refused is not None
    assert (refused.status_code, refused.json()["error"]["code"]) == (503, "ENGINE_UNAVAILABLE")
    assert "standing by" in refused.json()["error"]["message"]
    scraped = await second.ask("GET", "/metrics", second.metrics_port)
    assert scraped is not None
    assert 'engine_role{role="standby"} 1.0' in scraped.text
    assert "engine_up 0.0" in scraped.text
    placed = await first.order(users[0])
    assert placed is not None
    assert placed.status_code == 201, "the first goes on"
    assert await epoch(connection) == before, "nothing was taken over"
    await asyncio.to_thread(first.stop)
    assert first.process.returncode == 0
    await second.ready()
    assert await epoch(connection) == before + 1
    seen = await second.ask("GET", "/api/v1/orderbook/BTC-USDT")
    assert seen is not None
    assert seen.json()["data"]["bids"][0]["price"] == "100.00"
    scraped = await second.ask("GET", "/metrics", second.metrics_port)
    assert scraped is not None
    assert 'engine_role{role="writer"} 1.0' in scraped.text
    assert f"engine_epoch {before + 1}.0" in scraped.text


async def test_a_standby_takes_over_from_a_killed_writer(
    make: Make, users: list[str], connection: asyncpg.Connection
) -> None:
    first, second = make("first").start(), make("second")
    await first.ready()
    await second.start().standing_by()
    load = Load(first, users)
    await load.until_placed(50)
    await asyncio.to_thread(first.kill)
    await second.ready()
    await load.stop()
    more = Load(second, users)
    await more.until_placed(20)
    await more.stop()
    await require_whole(connection, load, more)


async def test_taking_over_a_healthy_engine_ends_it_and_loses_nothing(
    make: Make, users: list[str], connection: asyncpg.Connection
) -> None:
    first, second = make("first").start(), make("second")
    await first.ready()
    load = Load(first, users)
    await load.until_placed(50)
    second.start("--take-over")
    assert await asyncio.to_thread(first.ended) == EXIT_SUPERSEDED
    assert "superseded: writer" in first.log
    await second.ready()
    await load.stop()
    assert load.codes <= {"ENGINE_UNAVAILABLE", "OUTCOME_UNKNOWN"}
    more = Load(second, users)
    await more.until_placed(20)
    await more.stop()
    await require_whole(connection, load, more)
    await first.start().standing_by()
    assert await second.is_ready(), "started again, it does not take over in turn"


async def test_a_writer_that_hung_is_taken_over_and_acknowledges_nothing_afterwards(
    make: Make, users: list[str], connection: asyncpg.Connection
) -> None:
    first, second = make("first").start(), make("second")
    await first.ready()
    await second.start().standing_by()
    load = Load(first, users)
    await load.until_placed(50)
    first.signal(signal.SIGSTOP)
    await second.ready()
    new_epoch, placed = await epoch(connection), len(load.placed)
    last = await connection.fetchval("SELECT max(last_sequence) FROM journal WHERE epoch < $1", new_epoch)
    first.signal(signal.SIGCONT)
    assert await asyncio.to_thread(first.ended) == EXIT_SUPERSEDED
    await load.stop()
    # What had been committed before it hung may have been told only now, and nothing else.
    assert len(load.placed) - placed <= len(users)
    assert await connection.fetchval("SELECT max(last_sequence) FROM journal WHERE epoch < $1", new_epoch) == last
    await require_whole(connection, load)


async def test_engines_started_at_once_elect_one(make: Make, connection: asyncpg.Connection) -> None:
    engines = [make(f"engine{n}").start() for n in range(3)]

    async def settled() -> bool:
        ready = [await engine.is_ready() for engine in engines]
        waiting = [await engine.stands_by() for engine in engines]
        return (ready.count(True), waiting.count(True)) == (1, 2)

    await engines[0].until(settled, "no one is elected")
    assert await epoch(connection) == 1
    (writer,) = [engine for engine in engines if await engine.is_ready()]
    for engine in engines:
        if engine is not writer:
            await asyncio.to_thread(engine.stop)
            assert engine.process.returncode == 0
    assert await writer.is_ready()
    assert await connection.fetchval("SELECT heartbeat_at IS NOT NULL FROM engine_state"), "they did not speak for it"


async def test_engines_that_are_started_again_and_again_converge(make: Make, connection: asyncpg.Connection) -> None:
    engines = [make(f"engine{n}", ENGINE__LEASE_S="1") for n in range(2)]
    over = asyncio.Event()
    statuses: list[int] = []

    async def supervise(engine: EngineProcess) -> None:
        while not over.is_set():
            engine.start()
            while engine.process.poll() is None and not over.is_set():
                await asyncio.sleep(0.02)
            if engine.process.poll() is not None:
                statuses.append(engine.process.returncode)

    supervisors = [asyncio.create_task(supervise(engine)) for engine in engines]
    kills = 0

    async def one_serves() -> bool:
        ready = [await engine.is_ready() for engine in engines]
        return ready.count(True) == 1 and await engines[ready.index(False)].stands_by()

    try:
        for _ in range(3):
            await engines[0].until(one_serves, "they do not agree who writes")
            assert await epoch(connection) == kills + 1, "each take-over had a death before it"
            (writer,) = [engine for engine in engines if await engine.is_ready()]
            writer.process.kill()
            kills += 1
        await engines[0].until(one_serves, "they do not agree who writes")
        assert await epoch(connection) == kills + 1
        assert statuses == [-signal.SIGKILL] * kills, "nobody was thrown out"
    finally:
        over.set()
        await asyncio.gather(*supervisors)


@pytest.mark.parametrize("database", ["embedded", "external"])
async def test_a_killed_engine_does_not_wait_for_itself(database: str, database_url: str, data_dir: Path) -> None:
    url = database_url if database == "external" else None
    engine = EngineProcess(data_dir, url, ENGINE__LEASE_S="300")
    try:
        await engine.start().ready()
        await asyncio.to_thread(engine.kill)
        await engine.start().ready()
    finally:
        await asyncio.to_thread(engine.stop)


async def test_a_writer_in_a_long_commit_is_not_dead(
    make: Make, users: list[str], connection: asyncpg.Connection, database_url: str
) -> None:
    first, second = make("first").start(), make("second")
    await first.ready()
    await second.start().standing_by()
    before = await epoch(connection)
    holding = await asyncpg.connect(database_url)
    try:
        # The commit takes the lease's row first, then waits for this one, far longer than the lease.
        async with holding.transaction():
            await holding.execute("SELECT FROM markets FOR UPDATE")
            order = asyncio.create_task(first.order(users[0]))
            waiting = (
                "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'trade-engine writer'"
                " AND wait_event_type = 'Lock' AND query LIKE '%SET epoch = epoch + 1%'"
            )
            async with asyncio.timeout(BOUND_S):
                while not await connection.fetchval(waiting):
                    await asyncio.sleep(0.05)
        placed = await order
        assert placed is not None
        assert placed.status_code == 201
        assert (await first.order(users[1])).status_code == 201  # type: ignore[union-attr]
        await second.standing_by()
        assert await epoch(connection) == before
    finally:
        await holding.close()


async def test_a_fence_that_somebody_else_raised_ends_the_engine_with_what_to_do(
    make: Make, users: list[str], connection: asyncpg.Connection
) -> None:
    engine = make("engine").start()
    await engine.ready()
    own = await epoch(connection)
    done = await asyncio.to_thread(engine.run, "wallet", "fence", "--to", str(own + 7), "--reason", "a mistake")
    assert done.returncode == 0, done.stderr
    refused = await engine.order(users[0])
    assert refused is None or refused.status_code == 503
    assert await asyncio.to_thread(engine.ended) == EXIT_BROKEN
    assert "yet this engine is the writer" in engine.log
    assert await asyncio.to_thread(engine.start().ended) == 1
    assert f"`trade-engine wallet fence --to {own} --force`" in engine.log
    assert await epoch(connection) == own, "it has not taken over what it may not use"
    refused_down = await asyncio.to_thread(engine.run, "wallet", "fence", "--to", str(own))
    assert refused_down.returncode == 1
    assert "--force" in refused_down.stderr
    done = await asyncio.to_thread(engine.run, "wallet", "fence", "--to", str(own), "--force", "--json")
    assert done.returncode == 0, done.stderr
    await engine.start().ready()
    assert (await engine.order(users[0])).status_code == 201  # type: ignore[union-attr]
    audited = await connection.fetch("SELECT action, subject, reason FROM admin_audit ORDER BY audit_id")
    assert [tuple(row) for row in audited] == [
        ("wallet.fence", f"fence from {own} to {own + 7}", "a mistake"),
        ("wallet.fence", f"fence from {own + 7} to {own}", "not given"),
    ]


async def test_a_wallet_far_behind_is_not_believed_to_be_the_right_one(
    make: Make, connection: asyncpg.Connection
) -> None:
    await connection.execute("UPDATE engine_state SET epoch = 1000")
    engine = make("engine").start()
    assert await asyncio.to_thread(engine.ended) == 1
    assert "`trade-engine wallet fence --to 1000`" in engine.log
    assert await epoch(connection) == 1000
    assert (await asyncio.to_thread(engine.run, "wallet", "fence", "--to", "1000")).returncode == 0
    await engine.start().ready()
    assert await connection.fetchval("SELECT epoch FROM wallet.fence") == 1001


async def test_a_writer_whose_connection_is_cut_goes_on_writing(
    make: Make, users: list[str], connection: asyncpg.Connection
) -> None:
    first, second = make("first").start(), make("second")
    await first.ready()
    await second.start().standing_by()
    before = await epoch(connection)
    cut = await connection.fetch(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
        " WHERE datname = current_database() AND application_name IN ('trade-engine writer', 'trade-engine lease')"
    )
    assert len(cut) >= 2

    async def places() -> bool:
        answer = await first.order(users[0])
        return answer is not None and answer.status_code == 201

    await first.until(places, "it does not take orders again")
    assert await epoch(connection) == before + 1, "it took over from itself"
    await second.standing_by()
    assert await first.is_ready()
