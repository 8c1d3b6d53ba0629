"""What is known of the database without asking it."""

import asyncio

import asyncpg
import pytest

from trade_engine.storage.probe import DatabaseProbe


class Clock:
    """Seconds, turned by hand."""

    now = 100.0

    def __call__(self) -> float:
        return self.now


async def test_a_probe_knows_what_it_saw_last_and_only_for_a_while(pool: asyncpg.Pool) -> None:
    clock = Clock()
    probe = DatabaseProbe(pool, clock)
    assert probe.condition() == "not asked yet"
    await probe.look()
    assert probe.condition() == "ok"
    clock.now += 4.9
    assert probe.condition() == "ok"
    clock.now += 0.2
    assert probe.condition() == "was not asked for too long"
    await probe.look()
    assert probe.condition() == "ok"
    await pool.close()
    await probe.look()
    assert probe.condition() == "does not answer"


async def test_a_probe_asks_again_by_itself(database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trade_engine.storage.probe._EVERY_S", 0.01)
    async with asyncpg.create_pool(database_url, min_size=1, max_size=1) as pool:
        probe = DatabaseProbe(pool)
        asking = asyncio.create_task(probe.keep_running())
        async with asyncio.timeout(20):
            while probe.condition() != "ok":
                await asyncio.sleep(0.01)
            pool.terminate()
            while probe.condition() != "does not answer":
                await asyncio.sleep(0.01)
        asking.cancel()
