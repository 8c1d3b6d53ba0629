"""A backup drill: trade, back up, trade on, restore elsewhere, verify, and trade there."""

import asyncio
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from tests.e2e.processes import checked, funded, load, served
from tests.harness.postgres import TestServer, new_data_dir, remove_data_dir
from trade_engine.bootstrap.attached import attached_url
from trade_engine.config import load_config

ALONE = {"TRADE_ENGINE_USUAL_NAMES": "off"}


def run(*words: object, **environment: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "trade_engine.cli", *map(str, words)]
    return subprocess.run(
        command, capture_output=True, text=True, timeout=180, check=False, env=os.environ | ALONE | environment
    )


def told(*words: object, **environment: str) -> dict[str, Any]:
    done = run(*words, "--json", **environment)
    assert done.returncode == 0, done.stderr + done.stdout
    found: dict[str, Any] = json.loads(done.stdout)
    return found


async def state_of(url: str) -> tuple[int, int, str, set[str]]:
    connection = await asyncpg.connect(url)
    try:
        epoch = await connection.fetchval("SELECT epoch FROM engine_state")
        fence = await connection.fetchval("SELECT epoch FROM wallet.fence")
        stream = await connection.fetchval("SELECT stream_id::TEXT FROM event_relay")
        orders = {row["id"] for row in await connection.fetch("SELECT order_id::TEXT AS id FROM orders")}
    finally:
        await connection.close()
    return epoch, fence, stream, orders


async def embedded_state(data_dir: Path) -> tuple[int, int, str, set[str]]:
    async with attached_url(load_config(None, None, {}), data_dir) as url:
        return await state_of(url)


def test_trade_back_up_trade_on_restore_and_trade(
    data_dir: Path, tmp_path: Path, postgres: TestServer, empty_database_url: str
) -> None:
    target = tmp_path / "backups" / "first"
    before: dict[str, int] = {}
    after: dict[str, int] = {}
    with served(data_dir) as (port, _):
        tokens = asyncio.run(funded(data_dir, 3))
        asyncio.run(load(port, tokens, before, 1.0))
        manifest = told("backup", target, "--data-dir", data_dir)
        asyncio.run(load(port, tokens, after, 1.0))
        epoch, _, stream, _ = asyncio.run(embedded_state(data_dir))
    assert before
    assert after
    assert set(manifest["sha256"]) == {"database.dump", "jwt.secret", "api-keys.secret"}
    assert manifest["left_out"] == []
    assert {oct(file.stat().st_mode & 0o777) for file in target.iterdir()} == {"0o600"}
    assert oct(target.stat().st_mode & 0o777) == "0o700"
    again = run("backup", target, "--data-dir", data_dir)
    assert (again.returncode, "is there already" in again.stderr) == (1, True)

    elsewhere = new_data_dir()
    try:
        found = told("restore", target, "--data-dir", elsewhere)
        assert (found["verified"], found["reconciled"], found["differences"]) == (True, True, [])
        assert found["epoch"] > epoch
        assert (elsewhere / "jwt.secret").read_text() == (data_dir / "jwt.secret").read_text()
        assert asyncio.run(embedded_state(elsewhere))[:2] == (found["epoch"],) * 2
        refused = run("restore", target, "--data-dir", elsewhere)
        assert (refused.returncode, "already" in refused.stderr) == (1, True)
        with served(elsewhere) as (port, _):
            anew: dict[str, int] = {}
            asyncio.run(load(port, tokens, anew, 1.0))
            assert anew, "it trades, and the tokens of before are good"
            asyncio.run(checked(elsewhere, before | anew))
            _, _, stream_there, orders = asyncio.run(embedded_state(elsewhere))
        assert stream_there == found["stream_id"] != stream
        assert not orders & set(after), "what came after the backup is not there"
    finally:
        remove_data_dir(elsewhere)

    by_url = {"TRADE_ENGINE__DATABASE__URL": empty_database_url}
    found = told("restore", target, "--data-dir", tmp_path / "by-url", **by_url)
    assert (found["verified"], found["reconciled"]) == (True, True)
    assert asyncio.run(state_of(empty_database_url))[3] >= set(before)
    refused = run("restore", target, "--data-dir", tmp_path / "by-url", **by_url)
    assert (refused.returncode, "the database is not empty" in refused.stderr) == (1, True)
    second = told("backup", tmp_path / "second", "--data-dir", tmp_path / "by-url", **by_url)
    assert int(second["journal_head"].split()[0]) == int(found["journal_head"].split()[0])
    del postgres


@pytest.mark.parametrize("harm", ["changed", "missing", "no manifest", "a file elsewhere"])
def test_a_backup_that_is_not_whole_is_refused_and_nothing_is_made(tmp_path: Path, harm: str) -> None:
    backup = tmp_path / "backup"
    backup.mkdir()
    (backup / "database.dump").write_bytes(b"falsified")
    digests = {"database.dump": "0" * 64}
    if harm == "missing":
        (backup / "database.dump").unlink()
    if harm == "a file elsewhere":
        digests["../../etc/passwd"] = "0" * 64
    manifest = {
        "format": 1, "version": "0", "taken_at": "", "journal_head": "", "sha256": digests, "left_out": [],
    }  # fmt: skip
    if harm != "no manifest":
        (backup / "manifest.json").write_text(json.dumps(manifest))
    done = run("restore", backup, "--data-dir", tmp_path / "data")
    assert done.returncode == 1
    said = {"changed": "not what was written", "missing": "cannot be read", "no manifest": "is no backup"}
    assert said.get(harm, "no part of a backup") in done.stderr or harm == "a file elsewhere"
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "data").exists()
