"""A fuzzer that knows the API only by its description finds no fault of the server and no answer it was not told of."""

import contextlib
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
from trade_engine.edge.rest.openapi.answers import LIMIT_HEADERS
from trade_engine.roles.all import TradeEngine

#: At least so many requests in all; ``make fuzz FUZZ_CASES=...`` asks for more.
CASES: Final = int(os.environ.get("FUZZ_CASES", "3000"))
#: Given, it makes another run than usual, which the same seed repeats.
SEED: Final = int(os.environ["FUZZ_SEED"]) if "FUZZ_SEED" in os.environ else None
#: Requests that both runs send at least, whatever is asked, and for each example a route (seen: 4,600 and 55).
_FIXED_CASES: Final = 2500
_CASES_PER_EXAMPLE: Final = 50


class Target(NamedTuple):
    """A running engine and who may ask it."""

    url: str
    trader: str
    operator: str


@contextlib.asynccontextmanager
async def running(database_url: str, folder: Path, **flags: object) -> AsyncIterator[Target]:
    """An engine with its default markets, furnished."""
    engine = TradeEngine(engine_config(database_url, {"matching.markets": None} | flags), folder)
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
    examples = max(20, (CASES - _FIXED_CASES) // _CASES_PER_EXAMPLE)
    cases = 0
    for who, token in (("trader", target.trader), ("operator", target.operator)):
        outcome = await fuzz(target.url, token, tmp_path, examples=examples, seed=SEED)
        print(f"{who}: {outcome.cases} cases, examples={examples}, seed={SEED or 'deterministic'}: {outcome.classes()}")
        assert outcome.passed, outcome.report
        # Most were not refused at the door: orders were really placed, changed and cancelled.
        for deed in (
            "POST /api/v1/orders 201",
            "PATCH /api/v1/orders/{order_id} 200",
            "DELETE /api/v1/orders/{order_id} 200",
            "POST /api/v1/orders/batch 200",
        ):
            assert outcome.answers.get(deed, 0) >= 20, (deed, outcome.answers)
        cases += outcome.cases
    assert cases >= CASES


@pytest.fixture
async def target(database_url: str, tmp_path: Path) -> AsyncIterator[Target]:
    """An engine without rate limits."""
    async with running(database_url, tmp_path) as found:
        yield found


async def test_refusals_by_rate_limits_are_as_described(database_url: str, tmp_path: Path) -> None:
    # The burst lets the venue be furnished: an order that trades costs two.
    flags = {"orders_per_s": 1, "orders_burst": 60, "queries_per_s": 1, "queries_burst": 20, "public_per_s": 10_000,
             "public_burst": 100_000}  # fmt: skip
    limits = {f"rate_limit.{name}": value for name, value in flags.items()}
    async with running(database_url, tmp_path, **limits) as target:
        async with httpx.AsyncClient() as http:
            document = (await http.get(f"{target.url}/openapi.json")).json()
        for name in LIMIT_HEADERS:
            document["components"]["headers"][name]["required"] = True
        strict = tmp_path / "strict.json"
        strict.write_text(json.dumps(document))
        options = ("--include-path-regex", "^/api/v1/(orders|balances|time)$", "--phases", "examples,coverage,fuzzing")
        outcome = await fuzz(target.url, target.trader, tmp_path, *options, examples=50, description=strict)
    print(f"limited: {outcome.cases} cases: {outcome.classes()}, {outcome.of(429)} of them 429")
    assert outcome.passed, outcome.report
    assert outcome.of(429) >= 20, outcome.answers
    assert outcome.of(200) >= 20, outcome.answers


def _without_status(document: Any) -> None:
    del document["paths"]["/api/v1/orders/{order_id}"]["get"]["responses"]["400"]


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
