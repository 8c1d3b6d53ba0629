"""The short form of the drill with Redis: three kills under load."""

import json
from pathlib import Path

from tests.fault.redis import drill
from tests.harness.redis import TestRedis


async def test_nothing_is_lost_when_redis_dies(database_url: str, own_redis: TestRedis, tmp_path: Path) -> None:
    figures = await drill(database_url, own_redis, tmp_path, kills=3, rate=100, seed=7)
    assert figures.acknowledged > 50
    assert (figures.lost, figures.differences, figures.wrong_markets) == (0, 0, 0), figures
    lines = [json.loads(line) for line in (tmp_path / "server.log").read_text().splitlines() if line.startswith("{")]
    events = [line["event"] for line in lines]
    assert 1 <= events.count("redis_away") <= 3, "each time it went away is told once, not each attempt"
    assert 1 <= events.count("market_cache_waits") <= 3
    assert 1 <= events.count("redis_back") <= 3
