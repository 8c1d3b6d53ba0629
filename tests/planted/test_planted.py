"""A few falsifications at each run of the tests; `make planted` plants them all.

The sharpest ten are always among them, the others change from day to day: TRADE_ENGINE_TEST_SEED repeats a choice.
"""

import asyncio
import os
import random
from collections.abc import Iterator
from datetime import UTC, datetime

import pytest

from tests.harness.postgres import TestServer, run_apart
from tests.planted.ground import Ground, wait_for_none
from tests.planted.run import EVERY, reported

#: Whose money it is, and nothing else tells: every sum and every balance still agrees.
SHARPEST = (
    "the proceeds of a sale go to another user",
    "the seller receives less and the exchange more",
    "a reserve and a release of an order that never was",
    "after-values of what buyers received",
    "whose institution and called what",
    "client order ids forgotten",
    "fees of a listed market, in the chain as well",
    "the engine's counters",
    "a deposit is another user's, in the chain as well",
    "the last deed is gone from audit and chain",
)
OTHERS = 6


@pytest.fixture(scope="module")
def ground(postgres: TestServer) -> Iterator[Ground]:
    """The database to copy, written once."""
    url = postgres.migrated()
    made = Ground(url)
    run_apart(made.prepare())
    run_apart(wait_for_none(url))
    yield made
    postgres.drop(url)


def test_nothing_is_told_of_what_is_right(ground: Ground) -> None:
    assert asyncio.run(ground.unplanted()).all == []


def test_planted_falsifications_are_told(ground: Ground) -> None:
    seed = os.environ.get("TRADE_ENGINE_TEST_SEED", datetime.now(UTC).strftime("%Y%m%d"))
    print(f"seed {seed}")
    sharpest = [plant for plant in EVERY if plant.name in SHARPEST]
    assert len(sharpest) == len(SHARPEST)
    others = [plant for plant in EVERY if plant.name not in SHARPEST]
    for plant in [*sharpest, *random.Random(seed).sample(others, OTHERS)]:
        verdict = asyncio.run(ground.planted(plant))
        assert reported(plant, verdict), f"{plant.name}: {verdict.all}"


def test_names_are_given_once() -> None:
    names = [plant.name for plant in EVERY]
    assert len(names) == len(set(names))
