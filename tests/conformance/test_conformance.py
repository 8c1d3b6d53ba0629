"""Unmodified clients of Binance tell their stories here: every client with every story is a test.

``make conformance`` installs all clients and runs them all.  Without ``CONFORMANCE=all`` only the smallest is
installed, and only if that is quick, and tells its stories alone.
"""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from tests.conformance.clients import CLIENTS, Client, Driver, install
from tests.conformance.venue import LiveVenue
from tests.harness.postgres import TestServer

ALL: Final = os.environ.get("CONFORMANCE") == "all"
CHOSEN: Final = CLIENTS if ALL else CLIENTS[:1]
CELLS: Final = [
    pytest.param(client, story, id=f"{client.adapter}-{story}") for client in CHOSEN for story in client.stories
]


@pytest.fixture(scope="module")
def live(postgres: TestServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveVenue]:
    """The engine that all cells share."""
    venue = LiveVenue(url := postgres.migrated(), Path(tmp_path_factory.mktemp("live")), len(CELLS))
    venue.start()
    yield venue
    venue.stop()
    postgres.drop(url)


@pytest.fixture(scope="module")
def drivers() -> Iterator[dict[str, Driver | str]]:
    """The processes of the clients by adapter, or why there is none: that is tried once."""
    running: dict[str, Driver | str] = {}
    yield running
    for driver in running.values():
        if isinstance(driver, Driver):
            driver.stop()


@pytest.mark.parametrize(("client", "story"), CELLS)
def test_story(client: Client, story: str, live: LiveVenue, drivers: dict[str, Driver | str]) -> None:
    if client.adapter not in drivers:
        drivers[client.adapter] = install(client, within_s=600 if ALL else 15) or Driver(client)
    driver = drivers[client.adapter]
    if isinstance(driver, str):
        assert not ALL, driver
        pytest.skip(driver)
    failure = driver.tell(live.cell(story, client.algorithm))
    assert failure is None, failure
