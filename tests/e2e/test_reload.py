"""Options that change while the engine runs, over the admin API and by SIGHUP; and what its log says of it."""

import asyncio
import json
import logging
import signal
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import asyncpg
import httpx
import pytest
import structlog

from tests.e2e.conftest import engine_config
from tests.e2e.engines import SECRET, EngineProcess
from tests.e2e.venue import Venue, markets_yaml
from trade_engine.config import Config, ConfigError
from trade_engine.edge.auth.tokens import issue_token
from trade_engine.roles.all import TradeEngine

USER: Final = str(uuid.uuid4())


class Options:
    """What the engine is told when it reads its options again."""

    def __init__(self, url: str) -> None:
        self._url = url
        self.changes: dict[str, Any] = {}

    def read(self) -> Config:
        return engine_config(self._url, self.changes)


@pytest.fixture
def kept_logging() -> Iterator[None]:
    """Logging is the process's: whoever changes it puts it back."""
    before, level = logging.root.handlers[:], logging.root.level
    yield
    structlog.reset_defaults()
    logging.root.handlers[:] = before
    logging.root.setLevel(level)


async def reload(venue: Venue) -> Any:
    headers = {"Authorization": f"Bearer {venue.token(str(uuid.uuid4()), ('admin',))}"}
    return await venue.http.post("/api/v1/admin/reload", json={"reason": "drill"}, headers=headers)


@pytest.mark.usefixtures("kept_logging")
async def test_limits_and_markets_follow_their_options(database_url: str, tmp_path: Path) -> None:
    options = Options(database_url)
    engine = TradeEngine(options.read(), tmp_path, reread=options.read)
    await engine.start()
    try:
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{engine.api.port}", timeout=30) as http:
            venue = Venue(http, engine)
            nothing = (await reload(venue)).json()["data"]
            assert nothing == {"applied": [], "needs_restart": [], "refused": {}}

            markets = markets_yaml()
            markets[0] |= {"taker_fee": "0.005"}
            markets[1] |= {"tick_size": "0.1"}
            added = {"symbol": "NEW/USDT", "tick_size": "0.01", "lot_size": "0.000001", "max_slippage": "0"}
            options.changes = {
                "matching.markets": [*markets, added], "rate_limit.orders_per_s": 0.001, "rate_limit.orders_burst": 2,
                "server.max_headers": 50,
            }  # fmt: skip
            done = (await reload(venue)).json()["data"]
            assert set(done["applied"]) == {
                "rate_limit.orders_per_s", "rate_limit.orders_burst", "matching.markets T01/USDT",
                "matching.markets NEW/USDT",
            }  # fmt: skip
            assert done["needs_restart"] == ["server.max_headers"]
            assert list(done["refused"]) == ["T02/USDT"]
            shown = (await http.get("/api/v1/markets/T01-USDT")).json()["data"]
            assert shown["taker_fee"] == "0.005"
            trader = await venue.trader(USDT="1000")
            for _ in range(2):
                await trader.order("NEW/USDT", "BUY", "1", "10.00")
            body = {"symbol": "NEW/USDT", "side": "BUY", "type": "LIMIT", "quantity": "1", "price": "10.00"}
            assert (await trader.post(body)).status_code == 429
            # The option speaks for these markets, not the database; what is still to come is told again.
            connection = await asyncpg.connect(database_url)
            assert await connection.fetchval("SELECT count(*) FROM markets WHERE managed") == 0
            await connection.close()
            assert (await reload(venue)).json()["data"]["needs_restart"] == ["server.max_headers"]

            def wrong() -> Config:
                raise ConfigError("server.http_port: 'x': Expected `int`")

            engine.reloader._read = wrong
            answer = await reload(venue)
            assert answer.status_code == 400
            assert answer.json()["error"]["code"] == "CONFIG_INVALID"
    finally:
        await engine.stop()


def lines(engine: EngineProcess) -> list[dict[str, Any]]:
    """What it wrote to where its log goes: JSON and nothing else."""
    return [json.loads(line) for line in (engine.data_dir / "server.log").read_text().splitlines()]


async def test_a_process_reloads_at_sighup_and_writes_nothing_but_json(database_url: str, tmp_path: Path) -> None:
    file = tmp_path / "engine.yaml"
    file.write_text("logging: {level: info}\n")
    engine = EngineProcess(tmp_path / "data", database_url, DATABASE__LOG_QUERIES="true")
    engine.environment |= {
        "TRADE_ENGINE_CONFIG": str(file), "TRADE_ENGINE_USUAL_NAMES": "", "REDIS_URL": "redis://127.0.0.1:1/0",
        "TRADE_ENGINE_SERVER__HTTP_PORT": "9", "PYTHONWARNINGS": "always", "LOG_LEVEL": "error",
    }  # fmt: skip
    engine.start()
    try:
        await engine.ready()
        headers = {"Authorization": f"Bearer {issue_token(SECRET, USER)}"}
        answer = await engine.ask("GET", "/api/v1/balances", headers=headers | {"X-Request-ID": "look-for-me"})
        assert answer is not None
        assert answer.status_code == 200

        async def access() -> bool:
            return any(line["event"] == "request" and line["request_id"] == "look-for-me" for line in lines(engine))

        await engine.until(access, "the request has no line")
        file.write_text("logging: {level: loud}\n")
        engine.signal(signal.SIGHUP)

        async def refused() -> bool:
            return any(line["event"] == "reload_failed" and "logging.level" in line["reason"] for line in lines(engine))

        await engine.until(refused, "a wrong option is not told of")
        file.write_text("logging: {level: error}\n")
        engine.signal(signal.SIGHUP)
        await asyncio.sleep(0)

        async def silent() -> bool:
            before = len(lines(engine))
            await engine.ask("GET", "/api/v1/balances", headers=headers)
            await asyncio.sleep(0.3)
            return len(lines(engine)) == before

        await engine.until(silent, "the level does not change")
    finally:
        engine.stop()
    written = lines(engine)
    start = written[0]
    assert (start["event"], start["role"], start["environment"]) == ("starting", "all", "development")
    assert start["version"]
    assert start["options"]["auth.jwt_secret"] == "(set)"
    assert SECRET not in json.dumps(start)
    events = [(line["event"], line.get("name")) for line in written]
    assert ("usual_name_used", "REDIS_URL") in events
    assert ("usual_name_used", "LOG_LEVEL") not in events, "the file speaks for it"
    assert ("unknown_environment_name", "TRADE_ENGINE_SERVER__HTTP_PORT") in events
    assert {"ready", "redis_away", "statement"} <= {line["event"] for line in written}


async def test_a_database_that_is_not_there_is_named_with_its_option(tmp_path: Path) -> None:
    engine = EngineProcess(tmp_path / "data", "postgresql://u:hunter2@127.0.0.1:1/nothing").start()
    try:
        assert engine.ended() == 1
    finally:
        engine.stop()
    last = lines(engine)[-1]
    assert last["event"] == "ended"
    assert last["reason"].startswith("database.url: cannot use PostgreSQL at 127.0.0.1 port 1, database nothing: ")
    assert "hunter2" not in engine.log


async def test_day_orders_end_when_the_option_says(database_url: str, tmp_path: Path) -> None:
    options = engine_config(database_url, {"matching.session_end": "16:30", "matching.longest_life_days": 7})
    engine = TradeEngine(options, tmp_path)
    await engine.start()
    try:
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{engine.api.port}", timeout=30) as http:
            venue = Venue(http, engine)
            trader = await venue.trader(USDT="1000")
            order, _ = await trader.order("T01/USDT", "BUY", "1", "10.00", time_in_force="DAY")
            assert order["expires_at"].endswith("T16:30:00.000000Z")
            rests, _ = await trader.order("T01/USDT", "BUY", "1", "10.00")
            stored = await engine.engine.trading.order(rests["id"], None)
            assert stored.expires_us - stored.created_us == pytest.approx(7 * 86_400e6, abs=60e6)
    finally:
        await engine.stop()
