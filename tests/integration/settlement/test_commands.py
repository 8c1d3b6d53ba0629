"""The commands of settlement, as an operator runs them beside an engine."""

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from tests.harness.postgres import run_apart
from trade_engine.cli import main


@pytest.fixture
def run(database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setenv("TRADE_ENGINE__DATABASE__URL", database_url)

    def invoke(*arguments: str) -> Result:
        return CliRunner().invoke(main, [*arguments, "--data-dir", str(tmp_path)])

    return invoke


async def _plant(url: str) -> None:
    import asyncpg

    connection = await asyncpg.connect(url)
    await connection.execute(
        "INSERT INTO settlement_instructions (instruction_id, kind, order_id, user_id, asset, amount, reason, status,"
        " attempts, last_reason, created_at) SELECT n, 'RELEASE', gen_random_uuid(), gen_random_uuid(), 'USDT', 1,"
        " 'test', 'FAILED', 3, 'RESERVATION_NOT_FOUND', now() FROM generate_series(1, 2) n"
    )
    await connection.close()


def test_dead_letters_on_the_command_line(run: Any, database_url: str) -> None:
    run_apart(_plant(database_url))
    listed = json.loads(run("dead-letters", "list", "--json").stdout)["dead_letters"]
    assert [row["instruction_id"] for row in listed] == [1, 2]
    assert json.loads(run("dead-letters", "show", "1", "--json").stdout) == listed[0]
    assert run("dead-letters", "retry", "1", "--reason", "again").exit_code == 0
    assert run("dead-letters", "resolve", "2", "--reason", "nothing to release").exit_code == 0
    missing = run("dead-letters", "show", "2")
    assert (missing.exit_code, "DEAD_LETTER_NOT_FOUND" in missing.output) == (1, True)


def test_reconcile_says_what_differs_and_fails(run: Any, database_url: str) -> None:
    clean = run("reconcile", "--json")
    assert (clean.exit_code, json.loads(clean.stdout)["differences"]) == (0, [])
    run_apart(_plant(database_url))
    found = run("reconcile", "--repair", "--reason", "drill", "--json")
    assert found.exit_code == 1
    rows = json.loads(found.stdout)["differences"]
    assert [(row["check"], row["left"], row["right"]) for row in rows] == [
        ("reservations", "engine: needs 1", "wallet: has reserved nothing")
    ] * 2


def test_bench_settlement_prints_its_figures() -> None:
    result = CliRunner().invoke(main, ["bench", "settlement", "--trades", "200", "--users", "10", "--json"])
    assert result.exit_code == 0, result.output
    figures = json.loads(result.stdout)
    assert figures["trades_per_s"] > 0
    assert figures["settle_p99_ms"] > 0
    assert figures["differences"] == []
