"""Listing commands imports none of them; calling one imports that one."""

import subprocess
import sys

import click
import pytest
from click.testing import CliRunner

from trade_engine.cli import COMMANDS, main
from trade_engine.cli.lazy import LazyCommand

#: What takes longest to import, and a part of the engine for each kind.
HEAVY = {
    "aiohttp", "asyncio", "asyncpg", "cryptography", "httpx", "jwt", "msgspec", "prometheus_client", "redis", "rich",
    "starlette", "structlog", "uvicorn", "uvloop", "websockets", "yaml",
}  # fmt: skip
LISTING = {"trade_engine", "trade_engine.cli", "trade_engine.cli.lazy"}
PLACES = {command.name: command.place.partition(":")[0] for command in COMMANDS}


PROGRAM = """
import atexit, runpy, sys
atexit.register(lambda: print(*sys.modules, sep="\\n", file=sys.stderr))
runpy.run_module("trade_engine", run_name="__main__", alter_sys=True)
"""


def run(*words: str) -> tuple[str, set[str]]:
    """What `python -m trade_engine` prints, and every module it imported."""
    command = [sys.executable, "-c", PROGRAM, *words]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    return done.stdout, set(done.stderr.splitlines())


@pytest.mark.parametrize("word", ["--version", "--help", "-h"])
def test_listing_imports_nothing_heavy(word: str) -> None:
    printed, modules = run(word)
    assert "trade-engine" in printed
    assert not HEAVY & modules
    assert {name for name in modules if name.startswith("trade_engine")} == LISTING


@pytest.mark.parametrize("name", ["order", "config", "replay", "asyncapi"])
def test_a_command_s_help_imports_that_command_only(name: str) -> None:
    printed, modules = run(name, "--help")
    assert f"Usage: trade-engine {name}" in printed
    assert set(PLACES.values()) & modules == {PLACES[name]}


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command.name)
def test_the_list_says_what_each_command_says_of_itself(command: LazyCommand) -> None:
    loaded = command.load()
    assert loaded.name == command.name
    assert loaded.get_short_help_str(1_000) == command.summary == main.commands[command.name].get_short_help_str(1_000)


@pytest.mark.parametrize(
    ("words", "found"), [("trade-engine mak", "make-market"), ("trade-engine order can", "cancel")]
)
def test_shells_complete_commands_and_what_is_below_them(words: str, found: str) -> None:
    env = {"_TRADE_ENGINE_COMPLETE": "bash_complete", "COMP_WORDS": words, "COMP_CWORD": str(words.count(" "))}
    completed = CliRunner().invoke(main, prog_name="trade-engine", env=env, complete_var="_TRADE_ENGINE_COMPLETE")
    assert completed.output == f"plain,{found}\n"


def test_what_is_no_command_is_no_command() -> None:
    with pytest.raises(TypeError, match="is no command"):
        LazyCommand("x", "trade_engine.cli.lazy:LazyGroup", "").load()


def test_a_mistyped_command_is_answered_with_one_like_it() -> None:
    result = CliRunner().invoke(main, ["ordre"])
    assert result.exit_code == 2
    assert "Did you mean 'order'?" in result.output


def test_a_stand_in_is_never_carried_out() -> None:
    context = click.Context(main)
    for command in COMMANDS:
        _, found, rest = main.resolve_command(context, [command.name, "rest"])
        assert found is command.load()
        assert rest == ["rest"]
