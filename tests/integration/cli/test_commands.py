"""Every command of the command line, on a real database."""

import json
import uuid
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from trade_engine.cli import main
from trade_engine.demo.users import user_id_of
from trade_engine.edge.auth.tokens import ROLES

USER = str(uuid.uuid4())


class Cli:
    """Runs commands against one database and data directory."""

    def __init__(self, url: str, data_dir: Path) -> None:
        self._env = {"TRADE_ENGINE__DATABASE__URL": url}
        self._data_dir = str(data_dir)

    def run(self, *words: str, exit_code: int = 0) -> str:
        """What a command prints."""
        result = CliRunner().invoke(main, list(words), env=self._env)
        assert result.exit_code == exit_code, result.output
        assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
        return result.output

    def json(self, *words: str, exit_code: int = 0) -> Any:
        """What a command prints with ``--json`` on the data directory."""
        return json.loads(self.run(*words, "--data-dir", self._data_dir, "--json", exit_code=exit_code))


@pytest.fixture
def cli(database_url: str, tmp_path: Path) -> Cli:
    return Cli(database_url, tmp_path)


def test_help_lists_every_command(cli: Cli) -> None:
    printed = cli.run("--help")
    for command in ("serve", "migrate", "token", "deposit", "replay", "verify", "bench", "config"):
        assert command in printed
    assert cli.run("--version").startswith("trade-engine")


def test_deposit_can_be_repeated_safely(cli: Cli) -> None:
    operation = str(uuid.uuid4())
    for _ in range(2):
        answer = cli.json("deposit", "alice", "usdt", "12.5", "--operation-id", operation)
        assert (answer["user_id"], answer["asset"]) == (user_id_of("alice"), "USDT")
        assert (answer["available"], answer["reserved"]) == ("12.5", "0")
    assert cli.json("deposit", "alice", "USDT", "1")["available"] == "13.5"


@pytest.mark.parametrize("amount", ["0", "1e3", "x", "1.123456789"])
def test_a_wrong_amount_is_refused(cli: Cli, tmp_path: Path, amount: str) -> None:
    printed = cli.run("deposit", USER, "USDT", amount, "--data-dir", str(tmp_path), exit_code=1)
    assert "INVALID_AMOUNT" in printed


def test_token_is_made_with_the_directory_s_secret(cli: Cli, tmp_path: Path) -> None:
    first = cli.json("token", "alice", "--role", "admin", "--ttl", "60")
    assert first["token"].count(".") == 2
    assert (tmp_path / "jwt.secret").stat().st_mode & 0o077 == 0
    assert cli.run("token", "alice", "--data-dir", str(tmp_path)).count(".") == 2


def test_a_token_s_roles_are_those_there_are(cli: Cli, tmp_path: Path) -> None:
    printed = cli.run("token", "alice", "--role", "root", "--data-dir", str(tmp_path), exit_code=2)
    assert f"'root' is not one of {', '.join(map(repr, sorted(ROLES)))}" in printed
    assert not (tmp_path / "jwt.secret").exists()


def test_migrations_go_down_and_up_again(cli: Cli, tmp_path: Path) -> None:
    steps = cli.json("migrate", "status")
    assert all(state != "not applied" for state in steps.values())
    down = cli.json("migrate", "down", "--to", "1", "--yes")["taken_back"]
    assert down == sorted(steps, reverse=True)[:-1]
    assert cli.json("migrate", "up", "--to", "2")["applied"] == sorted(steps)[1:2]
    assert cli.json("migrate", "up")["applied"] == sorted(steps)[2:]
    assert "0001_engine" in cli.run("migrate", "status", "--data-dir", str(tmp_path))


def test_verify_of_an_empty_database(cli: Cli, tmp_path: Path) -> None:
    report = cli.json("verify")
    parts = ("chain", "facts", "state", "orders", "trades", "markets", "traders", "ledger", "settlement")
    assert report == {
        "journal_batches": 0,
        "journal_head": "0 ",
        "anchor": 0,
        "files": 0,
        **{f"{part}_ok": True for part in (*parts, "funding", "candles", "audit")},
        "unproven": 0,
        "in_flight": 0,
        "differences": [],
    }
    assert "none" in cli.run("verify", "--data-dir", str(tmp_path))


def test_config_tells_where_each_option_came_from(cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "engine.yaml"
    file.write_text("server:\n  http_port: 81\n")
    monkeypatch.setenv("TRADE_ENGINE_CONFIG", str(file))
    monkeypatch.setenv("TRADE_ENGINE_SERVER__HOST", "a")
    shown = json.loads(cli.run("config", "show", "--origin", "--json"))
    assert shown["server.http_port"] == {"value": 81, "origin": f"file {file}:2"}
    assert shown["database.url"] == {"value": "(set)", "origin": "environment TRADE_ENGINE__DATABASE__URL"}
    assert shown["server.host"]["origin"] == "default"
    assert f"file {file}:2" in cli.run("config", "show", "--origin")
    checked = cli.run("config", "check")
    assert "TRADE_ENGINE_SERVER__HOST is no option of the engine's; did you mean TRADE_ENGINE__SERVER__HOST?" in checked
    assert "http_port: 8080" in cli.run("config", "example")
    for name in ("TRADE_ENGINE_CONFIG", "TRADE_ENGINE_DATA_DIR"):
        assert name in cli.run("serve", "--help")


def test_config_is_shown_and_checked(cli: Cli, tmp_path: Path) -> None:
    assert json.loads(cli.run("config", "show", "--json"))["server"]["http_port"] == 8080
    assert "http_port: 8080" in cli.run("config", "show")
    assert "10 markets" in cli.run("config", "check")
    assert json.loads(cli.run("config", "check", "--json")) == {"ok": True, "markets": 10, "notes": []}
    assert json.loads(cli.run("config", "schema"))
    wrong = tmp_path / "wrong.yaml"
    wrong.write_text("server:\n  http_port: 99999\n")
    printed = cli.run("config", "check", "--config", str(wrong), exit_code=1)
    assert "server.http_port" in printed
    assert "99999" in printed
    answer = json.loads(cli.run("config", "check", "--json", "--config", str(wrong), exit_code=1))
    assert (answer["ok"], answer["key"]) == (False, "server.http_port")
    assert answer["message"] in printed


def test_the_example_for_replays_is_right(cli: Cli) -> None:
    example = Path(__file__).parents[3] / "examples" / "replay.yaml"
    assert "1 markets" in cli.run("config", "check", "--config", str(example))


def test_replay_on_the_core_writes_its_trades(cli: Cli, tmp_path: Path) -> None:
    flow, out, real = tmp_path / "flow.jsonl", tmp_path / "out.csv", tmp_path / "real.csv"
    flow.write_text(
        '{"op":"seed","id":"1","side":"sell","px":"10.00","qty":"1.5"}\n'
        '{"op":"place","id":"2","side":"buy","px":"10.01","qty":"0.50000001"}\n'
    )
    real.write_text("ts_ms,price,qty,trade_id\n1,10.00,0.50000001,7\n")
    result = cli.json("replay", str(flow), "--expect", str(real), "--trades-out", str(out))
    assert (result["commands"], result["trades"], result["expected"], result["in_order"]) == (2, 1, 1, 1)
    assert out.read_text() == "10,0.50000001\n"


def test_replay_on_a_server_needs_its_market(cli: Cli, tmp_path: Path) -> None:
    flow = tmp_path / "flow.jsonl"
    flow.write_text('{"op":"seed","id":"1","side":"sell","px":"10.00","qty":"1.5"}\n')
    printed = cli.run("replay", str(flow), "--target", "server", "--data-dir", str(tmp_path), exit_code=1)
    assert "BTC/USD" in printed


def test_a_database_that_is_away_is_one_clear_line(tmp_path: Path) -> None:
    away = Cli("postgresql://nobody@127.0.0.1:1/nothing", tmp_path)
    printed = away.run("deposit", USER, "USDT", "1", "--data-dir", str(tmp_path), exit_code=1)
    assert printed.startswith("Error: ")
    assert "Traceback" not in printed


def test_bench_of_the_core_prints_its_figures(cli: Cli) -> None:
    figures = json.loads(cli.run("bench", "core", "--messages", "2000", "--json"))
    assert {"per_call_per_s", "reference_per_call_per_s", "batch_per_s", "machine", "command"} <= figures.keys()


def test_bench_of_orders_counts_what_the_table_holds(cli: Cli) -> None:
    """A short run against a server of its own: figures there, no error, as many rows as orders were answered."""
    words = ("bench", "orders", "--seconds", "1", "--connections", "4", "--users", "6", "--json")
    figures = json.loads(CliRunner().invoke(main, list(words), catch_exceptions=False).output)
    assert {
        "orders_per_s", "requests_per_s", "cancels", "refused", "trades", "errors", "p50_ms", "p99_ms", "echo_per_s",
        "ratio_to_echo", "rows_in_table", "rate_limit",
    } <= figures.keys()  # fmt: skip
    assert figures["errors"] == 0
    assert figures["rows_in_table"] >= figures["orders"] > 0
    assert figures["echo_per_s"] > 0


@pytest.mark.parametrize("other", [("--face", "binance"), ("--pages", "2")], ids=lambda words: words[0].strip("-"))
def test_bench_of_orders_compares_in_pairs(cli: Cli, other: tuple[str, str]) -> None:
    words = (
        "bench",
        "orders",
        *other,
        "--pairs",
        "1",
        "--seconds",
        "1",
        "--connections",
        "4",
        "--users",
        "6",
        "--json",
    )
    figures = json.loads(CliRunner().invoke(main, list(words), catch_exceptions=False).output)
    assert figures["ratio"] > 0


def test_bench_of_fanout_counts_every_frame(cli: Cli) -> None:
    words = (
        "bench",
        "fanout",
        "--subscribers",
        "40",
        "--stalled",
        "10",
        "--rate",
        "40",
        "--seconds",
        "6",
        "--fill",
        "0",
    )
    figures = json.loads(cli.run(*words, "--json"))
    assert figures["errors"] == figures["lost_connections"] == figures["dropped_trades"] == 0
    # Two orders are two changes of the book and one trade; a change may be merged with the next.
    assert 0.3 * 40 * 40 < figures["messages_per_s"] < 1.6 * 40 * 40
    assert figures["samples"] > 20
    assert 0 < figures["p50_ms"] <= figures["p99_ms"]


def test_bench_of_latency_prints_percentiles(cli: Cli) -> None:
    words = ("bench", "latency", "--rate", "40", "--seconds", "1", "--users", "4", "--json")
    figures = json.loads(CliRunner().invoke(main, list(words), catch_exceptions=False).output)
    assert {"order_p99_ms", "cancel_p99_ms", "order_book_p99_ms", "settled_p99_ms"} <= figures.keys()
    assert (figures["errors"], figures["unsettled"]) == (0, 0)
    assert figures["orders"] + figures["cancels"] == 40
