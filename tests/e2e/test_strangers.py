"""Requests without a good login: counted by address, before they make work; and what watches the engine is answered."""

import asyncio
import contextlib
import hashlib
import secrets
import time
import uuid
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import asyncpg
import httpx
import pytest

from tests.e2e.conftest import engine_config
from tests.e2e.venue import Venue
from trade_engine.edge.auth.tokens import TokenVerifier, issue_token
from trade_engine.roles.all import TradeEngine
from trade_engine.storage.api_keys import ApiKeyStore
from trade_engine.storage.order_lookup import Statement
from trade_engine.storage.queries import Queries

Start = Callable[..., contextlib.AbstractAsyncContextManager[Venue]]
#: Five requests of strangers, and then next to none.
FEW = {"rate_limit.public_per_s": 0.001, "rate_limit.public_burst": 5}


@pytest.fixture
def start(database_url: str, tmp_path: Path) -> Start:
    """Starts an engine with these options beside the usual ones."""

    @contextlib.asynccontextmanager
    async def run(options: dict[str, Any]) -> AsyncIterator[Venue]:
        engine = TradeEngine(engine_config(database_url, options), tmp_path)
        await engine.start()
        try:
            async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{engine.api.port}", timeout=30) as http:
                yield Venue(http, engine)
        finally:
            await engine.stop()

    return run


def count(monkeypatch: pytest.MonkeyPatch, kind: type, name: str) -> list[Any]:
    """Count the calls of a method: a list with one entry for each."""
    calls: list[Any] = []
    method = getattr(kind, name)

    def counted(self: Any, *args: Any, **more: Any) -> Any:
        calls.append(args)
        return method(self, *args, **more)

    monkeypatch.setattr(kind, name, counted)
    return calls


def signed_by_nobody() -> dict[str, str]:
    """The headers of a request with an API key that there is not."""
    return {
        "X-API-Key": f"tek_{secrets.token_hex(16)}", "X-API-Timestamp": str(int(time.time() * 1000)),
        "X-API-Nonce": secrets.token_hex(8), "X-API-Signature": hashlib.sha256(b"").hexdigest(),
    }  # fmt: skip


async def statuses(venue: Venue, path: str, headers: Callable[[], dict[str, str]], times: int = 9) -> list[int]:
    """What so many requests are answered with; each 429 says so in the usual way."""
    answers = [await venue.http.get(path, headers=headers()) for _ in range(times)]
    for answer in answers:
        assert {"x-ratelimit-limit", "x-ratelimit-remaining", "x-ratelimit-reset"} <= answer.headers.keys()
        assert len(answer.headers.get_list("x-ratelimit-limit")) == 1
        if answer.status_code == 429:
            assert answer.json()["error"]["code"] == "RATE_LIMITED"
            assert int(answer.headers["retry-after"]) >= 1
    return [answer.status_code for answer in answers]


async def test_unknown_api_keys_are_counted_before_they_are_looked_for(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with start(FEW) as venue:
        looked = count(monkeypatch, ApiKeyStore, "find")
        assert await statuses(venue, "/api/v1/orders", signed_by_nobody) == [401] * 5 + [429] * 4
        assert len(looked) == 5


async def test_bad_tokens_are_counted_before_they_are_verified(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    async with start(FEW) as venue:
        looked = count(monkeypatch, TokenVerifier, "_verify_first")

        def forged() -> dict[str, str]:
            token = issue_token("another secret of more than 32 bytes", str(uuid.uuid4()))
            return {"Authorization": f"Bearer {token}"}

        assert await statuses(venue, "/api/v1/balances", forged) == [401] * 5 + [429] * 4
        assert len(looked) == 5


async def test_failed_logins_of_every_kind_share_a_budget(start: Start) -> None:
    async with start(FEW) as venue:
        kinds: list[Callable[[], dict[str, str]]] = [dict, signed_by_nobody, lambda: {"Authorization": "Bearer x"}]
        seen = [(await statuses(venue, "/api/v1/orders", kind, 3)) for kind in kinds]
        # Who brings no login at all counts as public.
        assert seen == [[401] * 3, [401] * 3, [401, 401, 429]]


async def test_who_is_known_is_not_counted_with_strangers(start: Start) -> None:
    async with start(FEW) as venue:
        trader = await venue.trader(USDT="1")
        assert await statuses(venue, "/api/v1/nothing", dict, 3) == [404] * 3
        for _ in range(8):
            answer = await venue.http.get("/api/v1/balances", headers=trader.headers)
            assert answer.status_code == 200
            assert len(answer.headers.get_list("x-request-id")) == 1
        assert await statuses(venue, "/api/v1/nothing", dict, 3) == [404, 404, 429]
        assert (await venue.http.get("/api/v1/balances", headers=trader.headers)).status_code == 200


@pytest.mark.parametrize(("method", "path", "status"), [("GET", "/x", 404), ("PUT", "/api/v1/orders", 405)])
async def test_paths_and_methods_that_are_not_there_are_counted(
    start: Start, method: str, path: str, status: int
) -> None:
    async with start(FEW) as venue:
        seen = [(await venue.http.request(method, path)).status_code for _ in range(8)]
        assert seen == [status] * 5 + [429] * 3


async def test_readiness_asks_nothing_and_is_answered_at_any_rate(start: Start) -> None:
    async with start(FEW) as venue:
        before = await queries(venue)
        answers = [await venue.http.get(path) for _ in range(100) for path in ("/health/ready", "/health/live")]
        assert {answer.status_code for answer in answers} == {200}
        assert set(answers[0].json()) == {"status", "database", "engine", "wallet", "redis", "rabbitmq"}
        # The probe and what the engine does by itself; not one for each.
        assert await queries(venue) - before < 60


async def queries(venue: Venue) -> int:
    """Transactions of the venue's database until now."""
    connection = await asyncpg.connect(venue.running.database_url)
    try:
        await connection.execute("SELECT pg_stat_force_next_flush()")
        return int(
            await connection.fetchval(
                "SELECT xact_commit + xact_rollback FROM pg_stat_database WHERE datname = current_database()"
            )
        )
    finally:
        await connection.close()


async def test_health_is_answered_when_all_places_are_taken(start: Start) -> None:
    async with start({"server.max_connections": 3}) as venue, contextlib.AsyncExitStack() as stack:
        port = venue.running.api.port
        await venue.http.aclose()
        for _ in range(3):
            _, writer = await asyncio.open_connection("127.0.0.1", port)
            stack.callback(writer.close)
        async with httpx.AsyncClient() as probe:
            for path in ("/health/live", "/health/ready", "/health", "/ready"):
                for _ in range(3):
                    assert (await probe.get(f"http://127.0.0.1:{port}{path}")).status_code == 200
                beside = f"http://127.0.0.1:{venue.running.scraped.port}{path}"
                assert (await probe.get(beside)).status_code == 200
            assert (await probe.get(f"http://127.0.0.1:{port}/api/v1/time")).status_code == 503


async def test_readiness_tells_of_a_database_that_went_away(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trade_engine.storage.probe._EVERY_S", 0.05)
    async with start({}) as venue:
        assert (await venue.http.get("/health/ready")).json()["database"] == "ok"
        probe = venue.running.probe
        await probe._pool.close()
        async with asyncio.timeout(20):
            while (answer := await venue.http.get("/health/ready")).status_code == 200:
                await asyncio.sleep(0.02)
        assert answer.json() == {
            "status": "not ready", "database": "does not answer", "engine": "ok", "wallet": "does not answer",
            "redis": "not used", "rabbitmq": "not used",
        }  # fmt: skip
        assert (await venue.http.get("/health/live")).status_code == 200


async def test_a_user_has_so_many_queries_under_way_and_the_next_is_told_to_wait(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    going, fetch = asyncio.Event(), Queries._fetch

    async def slow(queries: Queries, statement: Statement) -> Any:
        await going.wait()
        return await fetch(queries, statement)

    async with start({}) as venue:
        monkeypatch.setattr(Queries, "_fetch", slow)
        trader, other = await venue.trader(USDT="100"), await venue.trader(USDT="100")

        async def ask(path: str, headers: dict[str, str] | None) -> httpx.Response:
            return await venue.http.get(f"/api/v1{path}", headers=headers)

        waiting = [asyncio.create_task(ask("/orders", trader.headers)) for _ in range(4)]
        public = [asyncio.create_task(ask("/trades?symbol=T01/USDT", None)) for _ in range(16)]
        callers = venue.running.services.callers
        while len(callers.readings) + len(callers.public_readings) < 2:
            await asyncio.sleep(0.01)
        async with asyncio.timeout(20):
            while (await ask("/balances", trader.headers)).status_code == 200:
                await asyncio.sleep(0.01)
        for refused in (await ask("/orders", trader.headers), await ask("/trades?symbol=T01/USDT", None)):
            assert (refused.status_code, refused.json()["error"]["code"]) == (429, "TOO_MANY_QUERIES")
            assert int(refused.headers["retry-after"]) >= 1
        # Nobody else waits, and orders have nothing to do with it.
        assert (await ask("/balances", other.headers)).status_code == 200
        await trader.order("T01/USDT", "BUY", "1", "1.00")
        going.set()
        assert {task.status_code for task in await asyncio.gather(*waiting, *public)} == {200}
        assert (await ask("/balances", trader.headers)).status_code == 200


async def test_orders_go_on_while_all_connections_for_history_are_taken(start: Start) -> None:
    async with start({"database.history_conns": 2, "database.history_timeout_s": 0.5}) as venue:
        pool = venue.running._history_pool
        async with pool.acquire(), pool.acquire():
            trader = await venue.trader(USDT="100")
            order, _ = await trader.order("T01/USDT", "BUY", "1", "1.00", client_order_id="a")
            assert (await trader.cancel(order["id"])).status_code == 200
            answer = await venue.http.get("/api/v1/orders", headers=trader.headers)
            assert (answer.status_code, answer.json()["error"]["code"]) == (503, "DATABASE_UNAVAILABLE")
            assert (await venue.http.get("/health/ready")).status_code == 200
        assert len(await trader.get("/orders")) == 1


async def test_the_database_ends_a_history_query_that_takes_too_long(start: Start) -> None:
    async with start({"database.history_timeout_s": 0.3}) as venue:
        with pytest.raises((asyncpg.QueryCanceledError, TimeoutError)):
            await venue.running._history_pool.fetch("SELECT pg_sleep(20)")
        shown = await venue.running._history_pool.fetchval("SHOW statement_timeout")
        assert shown == "300ms"
        assert await venue.running.pool.fetchval("SHOW statement_timeout") == "0"
