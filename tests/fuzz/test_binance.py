"""The same fuzzer on the face for clients of Binance, which it knows by that face's own description."""

import json
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Final

import httpx
import pytest

from tests.e2e.conftest import engine_config
from tests.e2e.venue import Venue
from tests.fuzz.fuzzer import BINANCE, fuzz
from tests.fuzz.venue import furnished
from trade_engine.roles.all import TradeEngine

#: At least so many requests, as ``make fuzz FUZZ_CASES=...`` asks; else a few, well-formed ones for the most part.
CASES: Final = int(os.environ.get("FUZZ_CASES", "0"))
SEED: Final = int(os.environ["FUZZ_SEED"]) if "FUZZ_SEED" in os.environ else None
#: Requests that are sent whatever is asked, and for each example (seen: 4,500 and 60).
_FIXED_CASES: Final = 4_000
_CASES_PER_EXAMPLE: Final = 50
_FEW: Final = ("--phases", "examples,fuzzing")
_LOGIN: Final = ("timestamp", "recvWindow", "signature")


class Signer:
    """A running engine, and an API key of a user with funds."""

    def __init__(self, url: str, login: str) -> None:
        self.url, self.login = url, login


@pytest.fixture
async def signer(database_url: str, tmp_path: Path) -> AsyncIterator[Signer]:
    options = {"matching.markets": None, "rate_limit.weight_per_minute": 0}
    engine = TradeEngine(engine_config(database_url, options), tmp_path)
    await engine.start()
    try:
        url = f"http://127.0.0.1:{engine.api.port}"
        async with httpx.AsyncClient(base_url=url, timeout=30) as http:
            await furnished(engine, http)
            owner = await Venue(http, engine).trader(BTC="1000", USDT="100000000")
            body = {"name": "fuzzer", "scopes": ["read", "trade"]}
            made = (await http.post("/api/v1/api-keys", json=body, headers=owner.headers)).json()["data"]
        yield Signer(url, f"{made['key']['key_id']} {made['secret']}")
    finally:
        await engine.stop()


@pytest.mark.timeout(3600)
async def test_no_fault_and_no_undocumented_answer(signer: Signer, tmp_path: Path) -> None:
    examples = max(10, (CASES - _FIXED_CASES) // _CASES_PER_EXAMPLE)
    # Every request is signed on its way: what signatures are checked for has tests of its own.
    async with httpx.AsyncClient() as http:
        description = (await http.get(f"{signer.url}{BINANCE.described}")).json()
    for operation in (row for methods in description["paths"].values() for row in methods.values()):
        kept = [row for row in operation["parameters"] if row["name"] not in _LOGIN]
        operation["x-signed"], operation["parameters"] = len(kept) < len(operation["parameters"]), kept
    unsigned = tmp_path / "unsigned.json"
    unsigned.write_text(json.dumps(description))
    outcome = await fuzz(
        signer.url,
        signer.login,
        tmp_path,
        *(() if CASES else _FEW),
        examples=examples,
        seed=SEED,
        face=BINANCE,
        description=unsigned,
    )
    print(f"binance: {outcome.cases} cases, examples={examples}, seed={SEED or 'deterministic'}: {outcome.classes()}")
    assert outcome.passed, outcome.report
    for deed in ("POST /api/v3/order 200", "DELETE /api/v3/order 200", "GET /api/v3/account 200"):
        assert outcome.answers.get(deed, 0) >= 3, (deed, outcome.answers)
    assert outcome.cases >= CASES
