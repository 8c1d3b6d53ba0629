"""The short form of the drill with RabbitMQ: two kills under load."""

from pathlib import Path

from tests.fault.rabbit import drill
from tests.harness.rabbitmq import TestRabbit


async def test_nothing_is_lost_when_rabbitmq_dies(database_url: str, own_rabbit: TestRabbit, tmp_path: Path) -> None:
    figures = await drill(database_url, own_rabbit, tmp_path, kills=2, rate=100, seed=7)
    assert figures.acknowledged > 50
    assert figures.events > figures.acknowledged
    assert (figures.lost, figures.doubled, figures.missing, figures.out_of_order) == (0, 0, 0, 0), figures
    said = (tmp_path / "server.log").read_text()
    assert 0 < said.count("relay_waits") <= 4, "each time it went away is told once, not each attempt"
    assert "aiormq" not in said
