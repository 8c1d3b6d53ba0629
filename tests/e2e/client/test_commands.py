"""The commands that ask a running server, run as programs against the whole engine."""

import asyncio
import json
import os
import re
import sys
from typing import Any

import pytest

from tests.e2e.client.conftest import address, token_of
from tests.e2e.venue import Trader, Venue


class Shell:
    """Runs commands as a trader, or as nobody."""

    def __init__(self, venue: Venue, trader: Trader | None = None) -> None:
        plain = {name: value for name, value in os.environ.items() if not name.startswith("TRADE_ENGINE_")}
        self._env = plain | {"TRADE_ENGINE_URL": address(venue)}
        if trader is not None:
            self._env["TRADE_ENGINE_TOKEN"] = token_of(trader)

    async def run(self, *words: str, exit_code: int = 0) -> str:
        """What a command prints; on standard error if it is to fail."""
        program = await self._program(*words)
        out, err = await program.communicate()
        assert program.returncode == exit_code, (out, err)
        assert (out if exit_code else err) == b"", (out, err)
        return (err if exit_code else out).decode()

    async def _program(self, *words: str) -> asyncio.subprocess.Process:
        pipe = asyncio.subprocess.PIPE
        command = (sys.executable, "-m", "trade_engine.cli", *words)
        return await asyncio.create_subprocess_exec(*command, stdout=pipe, stderr=pipe, env=self._env)

    async def start(self, *words: str) -> "Running":
        """A command that goes on."""
        return Running(await self._program(*words))

    async def on_terminal(self, screen: int, *words: str) -> int:
        """Run a command that prints on a terminal: its exit code."""
        command = (sys.executable, "-m", "trade_engine.cli", *words)
        program = await asyncio.create_subprocess_exec(*command, stdout=screen, env=self._env | {"TERM": "xterm"})
        return await program.wait()

    async def json(self, *words: str) -> Any:
        """What a command prints with --json."""
        return json.loads(await self.run(*words, "--json"))


class Running:
    """A command that goes on printing."""

    def __init__(self, program: asyncio.subprocess.Process) -> None:
        self._program = program

    async def line(self) -> str:
        """The next line."""
        assert self._program.stdout is not None
        async with asyncio.timeout(20):
            return (await self._program.stdout.readline()).decode()

    async def end(self) -> int | None:
        """Its exit code."""
        await self._program.communicate()
        return self._program.returncode


async def test_orders_from_the_command_line(venue: Venue) -> None:
    shell = Shell(venue, await venue.trader(USDT="1000", T01="10"))
    placed = await shell.json("order", "place", "T01/USDT", "buy", "1.50", "10", "--client-order-id", "c")
    order = placed["order"]
    assert (order["side"], order["quantity"], order["price"], order["client_order_id"]) == ("BUY", "1.5", "10.00", "c")
    printed = await shell.run("order", "place", "t01-usdt", "BUY", "1.5", "10", "--client-order-id", "c")
    assert "placed before" in printed
    await shell.run("order", "amend", order["id"], "--price", "11")
    assert (await shell.json("order", "list"))["orders"][0]["price"] == "11.00"

    market = await shell.run(
        "order", "place", "T01/USDT", "sell", "0.5", "--type", "market", "--self-trade-prevention", "none"
    )
    assert "traded 0.5 at 11.00" in market
    lines = (await shell.run("order", "list", "--status", "open")).splitlines()
    assert (len(lines), lines[0].split()[0], lines[1].split()[-2:]) == (2, "id", ["PARTIALLY_FILLED", "-"])
    assert "BUY" in await shell.run("trades", "--own")
    assert (await shell.json("trades", "T01/USDT"))["trades"][0]["quantity"] == "0.5"
    await venue.settled()
    balances = {row["asset"]: row for row in (await shell.json("balances"))["balances"]}
    assert balances["T01"]["total"] == "10"
    assert "available" in await shell.run("balances")
    assert "CANCELLED" in await shell.run("order", "cancel", order["id"])
    assert await shell.json("order", "cancel", "--all", "--symbol", "T01/USDT") == {"cancelled": 0}


async def test_the_book_once_and_live(venue: Venue) -> None:
    trader = await venue.trader(USDT="1000")
    await trader.order("T01/USDT", "BUY", "2", "10.00")
    nobody = Shell(venue)
    assert "2             10.00  -    -" in await nobody.run("book", "T01/USDT", "--once")
    assert (await nobody.json("book", "T01/USDT", "--once"))["bids"][0]["price"] == "10.00"
    live = await nobody.start("book", "T01/USDT", "--updates", "2", "--json")
    lines = await nobody.start("book", "T01/USDT", "--updates", "2")
    assert json.loads(await live.line())["bids"] == [["10.00", "2"]]
    assert (await lines.line()).endswith("  bid 2 at 10.00  ask none\n")
    await trader.order("T01/USDT", "BUY", "1", "11.00")
    assert json.loads(await live.line())["bids"] == [["11.00", "1"], ["10.00", "2"]]
    assert (await lines.line()).endswith("  bid 1 at 11.00  ask none\n")
    assert [await program.end() for program in (live, lines)] == [0, 0]


async def test_the_book_on_a_terminal(venue: Venue) -> None:
    trader, other = await venue.trader(USDT="1000"), await venue.trader(T01="10")
    await trader.order("T01/USDT", "BUY", "2", "10.00")
    await other.order("T01/USDT", "SELL", "0.5", "10.00")
    await other.order("T01/USDT", "SELL", "3", "10.05")
    terminal, screen = os.openpty()
    try:
        assert await Shell(venue).on_terminal(screen, "book", "T01/USDT", "--updates", "1") == 0
        shown = os.read(terminal, 65536).decode()
    finally:
        os.close(terminal)
        os.close(screen)
    assert "T01/USDT" in shown
    assert "(old" not in shown
    assert "spread 0.05 (0.500 %)" in shown
    assert "last 10.00, 0.5 sold, " in shown
    # The longest bar is that of the largest quantity, the other half of it.
    assert re.findall("█+", shown)[-2:] == ["█" * 6, "█" * 12]


async def test_errors_are_one_line_with_a_code(venue: Venue) -> None:
    shell, nobody = Shell(venue, await venue.trader(USDT="1")), Shell(venue)
    poor = await shell.run("order", "place", "T01/USDT", "buy", "1", "10", exit_code=1)
    assert poor.startswith("Error: INSUFFICIENT_BALANCE: ")
    assert "UNAUTHORIZED" in await nobody.run("balances", exit_code=1)
    assert "INVALID_SYMBOL" in await nobody.run("book", "NO/SUCH", exit_code=1)
    assert "ORDER_NOT_FOUND" in await shell.run("order", "cancel", "01a1fcb8-eb76-7de3-98b2-9848dd881c86", exit_code=1)


@pytest.mark.parametrize(
    "words",
    [
        ("order", "place", "T01/USDT", "buy", "x", "10"),
        ("order", "place", "T01/USDT", "keep", "1", "10"),
        ("order", "cancel"),
        ("order", "cancel", "--symbol", "T01/USDT", "id"),
        ("order", "amend", "id"),
        ("trades",),
        ("book", "T01/USDT", "--depth", "0"),
        ("balances", "--api-key", "k"),
        ("balances", "--api-key", "k", "--api-secret", "s", "--token", "t"),
        ("balances", "--url", "ws://localhost"),
    ],
)
def test_wrong_use(words: tuple[str, ...]) -> None:
    from click.testing import CliRunner

    from trade_engine.cli import main

    assert CliRunner().invoke(main, words, env={"TRADE_ENGINE_URL": None}).exit_code == 2
