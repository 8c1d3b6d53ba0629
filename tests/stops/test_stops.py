"""A stop and an upgrade under load, small; `make stops` has 500 orders a second, and upgrades its own database, too."""

from pathlib import Path

import pytest

from tests.integration.test_released import RELEASES
from tests.stops.crowd import stop_under_load
from tests.stops.upgrade import upgrade


def test_sigterm_under_load_tells_everybody_and_loses_nothing(data_dir: Path, tmp_path: Path) -> None:
    stopped = stop_under_load(data_dir, tmp_path / "engine.yaml", orders=150, rest=8, sockets=3)
    assert stopped.wrong == []
    assert (stopped.told, stopped.streams_closed) == (11, 3)


@pytest.mark.parametrize("release", RELEASES, ids=lambda file: str(file.stem))
async def test_an_upgrade_loses_no_order(empty_database_url: str, release: Path, tmp_path: Path) -> None:
    found = await upgrade(empty_database_url, tmp_path / "engine", release=release, orders=40, connections=4)
    assert found.wrong == []
    assert found.migrations > 0
    assert found.found_open > 0
    assert found.repeated > 0, "nobody asked while the engine was away"
    assert found.acknowledged >= found.acknowledged_before + 40
