"""Runs schemathesis, driven by the description that an engine serves, and says what it did and found."""

import asyncio
import json
import os
import sys
from collections import Counter
from pathlib import Path
from typing import Final, NamedTuple

_CONFIG: Final = Path(__file__).parent / "schemathesis.toml"
_ROOT: Final = Path(__file__).resolve().parents[2]


class Face(NamedTuple):
    """Which REST API is fuzzed: where its description is, what is told of the venue, and where a login goes."""

    described: str
    hooks: str
    login: str


NATIVE: Final = Face("/openapi.json", "tests.fuzz.hooks", "Authorization: Bearer ")
BINANCE: Final = Face("/api/v3/openapi.json", "tests.fuzz.binance_hooks", "X-MBX-APIKEY: ")


class Outcome(NamedTuple):
    """What a run did: its number of requests, whether it found nothing, its own words, and what was answered."""

    cases: int
    passed: bool
    report: str
    #: Answers by operation and status, as ``GET /api/v1/time 200``.
    answers: dict[str, int]

    def classes(self) -> str:
        """How many answers there were of each class of status."""
        counted: Counter[str] = Counter()
        for answer, number in self.answers.items():
            counted[f"{answer.rpartition(' ')[2][0]}xx"] += number
        return ", ".join(f"{number} {name}" for name, number in sorted(counted.items()))

    def of(self, status: int) -> int:
        """How many answers had a status."""
        return sum(number for answer, number in self.answers.items() if answer.endswith(f" {status}"))


async def fuzz(
    url: str,
    token: str,
    folder: Path,
    *options: str,
    examples: int,
    seed: int | None = None,
    description: Path | None = None,
    face: Face = NATIVE,
) -> Outcome:
    """Send every route's requests, well-formed and not, ``examples`` a route and phase at most.

    Without a seed the same code sends the same requests.  ``description`` stands in for the one that is served.
    """
    report, answers = folder / "report.json", folder / "answers.json"
    for old in (report, answers):
        old.unlink(missing_ok=True)
    chance = ("--generation-deterministic",) if seed is None else ("--seed", str(seed))
    login = face.login + token.partition(" ")[0]
    command = (
        sys.executable, "-m", "schemathesis.cli", "--config-file", str(_CONFIG), "run",
        str(description or f"{url}{face.described}"), "--url", url, "--header", login,
        "--max-examples", str(examples), *chance, "--no-color", "--continue-on-failure", "--request-timeout", "20",
        "--report", "json", "--report-json-path", str(report), *options,
    )  # fmt: skip
    environment = os.environ | {
        "SCHEMATHESIS_HOOKS": face.hooks,
        "PYTHONPATH": os.pathsep.join(("src", ".")),
        "FUZZ_ANSWERS": str(answers),
        "FUZZ_URL": url,
        "FUZZ_TOKEN": token,
    }
    process = await asyncio.create_subprocess_exec(
        *command, cwd=_ROOT, env=environment, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    output, _ = await process.communicate()
    cases = json.loads(report.read_text())["test_cases"]["generated"] if report.exists() else 0
    answered = json.loads(answers.read_text()) if answers.exists() else {}
    return Outcome(cases, process.returncode == 0, output.decode(), answered)
