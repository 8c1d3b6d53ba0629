"""A fuzzer that knows the API only by its description finds no fault of the server and no answer it was not told of."""

import json
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Final, NamedTuple

import httpx
import pytest

from tests.e2e.conftest import engine_config
from tests.fuzz.fuzzer import fuzz
from tests.fuzz.venue import furnished
from trade_engine.bootstrap import TradeEngine

#: At least so many requests in all; ``make fuzz FUZZ_CASES=...`` asks for more.
CASES: Final = int(os.environ.get("FUZZ_CASES", "5000"))
#: Given, it makes another run than usual, which the same seed repeats.
SEED: Final = int(os.environ["FUZZ_SEED"]) if "FUZZ_SEED" in os.environ else None
#: Requests that a run sends for each example a route, about; the rest does not depend on it.
_CASES_PER_EXAMPLE: Final = 50


class Target(NamedTuple):
    """A running engine and who may ask it."""

    url: str
    trader: str
    operator: str


@pytest.fixture
async def target(database_url: str, tmp_path: Path) -> AsyncIterator[Target]:
    """An engine with its default markets, furnished."""
    engine = TradeEngine(engine_config(database_url, {"matching.markets": None}), tmp_path)
    await engine.start()
    try:
        url = f"http://127.0.0.1:{engine.api.port}"
        async with httpx.AsyncClient(base_url=url, timeout=30) as http:
            trader, operator = await furnished(engine, http)
        yield Target(url, trader, operator)
    finally:
        await engine.stop()


@pytest.mark.timeout(3600)
async def test_no_fault_and_no_undocumented_answer(target: Target, tmp_path: Path) -> None:
    examples = max(30, CASES // (2 * _CASES_PER_EXAMPLE))
    cases = 0
    for who, token in (("trader", target.trader), ("operator", target.operator)):
        outcome = await fuzz(target.url, token, tmp_path, examples=examples, seed=SEED)
        print(f"{who}: {outcome.cases} cases, examples={examples}, seed={SEED or 'deterministic'}")
        assert outcome.passed, outcome.report
        cases += outcome.cases
    assert cases >= CASES


def _without_status(document: Any) -> None:
    del document["paths"]["/api/v1/orders/{order_id}"]["get"]["responses"]["404"]


def _without_field(document: Any) -> None:
    del document["components"]["schemas"]["TimeView"]["properties"]["milliseconds"]
    document["components"]["schemas"]["TimeView"]["required"].remove("milliseconds")


def _without_code(document: Any) -> None:
    for answer in document["paths"]["/api/v1/orders"]["get"]["responses"].values():
        for schema in answer["content"].values():
            error = schema["schema"]["properties"].get("error")
            if error and "INVALID_SYMBOL" in error["properties"]["code"]["enum"]:
                error["properties"]["code"]["enum"].remove("INVALID_SYMBOL")


@pytest.mark.parametrize(
    ("plant", "path"),
    [
        (_without_status, "/api/v1/orders/{order_id}"),
        (_without_field, "/api/v1/time"),
        (_without_code, "/api/v1/orders"),
    ],
)
async def test_an_undocumented_answer_is_found(target: Target, tmp_path: Path, plant: Any, path: str) -> None:
    async with httpx.AsyncClient() as http:
        document = (await http.get(f"{target.url}/openapi.json")).json()
    plant(document)
    planted = tmp_path / "planted.json"
    planted.write_text(json.dumps(document))
    options = ("--include-path", path, "--phases", "examples,coverage,fuzzing")
    outcome = await fuzz(target.url, target.trader, tmp_path, *options, examples=20, description=planted)
    assert outcome.cases
    assert not outcome.passed, outcome.report
    assert "Undocumented status code" in outcome.report or "Response violates schema" in outcome.report
