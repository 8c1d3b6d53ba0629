"""Runs schemathesis, driven by the description that an engine serves, and says what it did and found."""

import asyncio
import json
import os
import sys
from pathlib import Path
from typing import Any, NamedTuple

_CONFIG = Path(__file__).parent / "schemathesis.toml"


class Outcome(NamedTuple):
    """What a run did: its number of requests, whether it found nothing, and its own words."""

    cases: int
    passed: bool
    report: str


async def fuzz(url: str, token: str, folder: Path, *options: str, examples: int, seed: int) -> Outcome:
    """Send every route's requests, well-formed and not, with ``examples`` a route and phase at most."""
    report = folder / "report.json"
    command = (
        sys.executable, "-m", "schemathesis.cli", "--config-file", str(_CONFIG), "run", f"{url}/openapi.json",
        "--header", f"Authorization: Bearer {token}", "--max-examples", str(examples), "--seed", str(seed),
        "--generation-deterministic", "--no-color", "--continue-on-failure",
        "--request-timeout", "20", "--report", "json", "--report-json-path", str(report), *options,
    )  # fmt: skip
    environment = os.environ | {"SCHEMATHESIS_HOOKS": "tests.fuzz.hooks"}
    process = await asyncio.create_subprocess_exec(
        *command, env=environment, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    output, _ = await process.communicate()
    summary: Any = json.loads(report.read_text()) if report.exists() else {}
    return Outcome(summary, process.returncode == 0, output.decode())
