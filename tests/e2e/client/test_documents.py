"""The snippets of the trader's documents, run as they are against a server started as `make run` starts it."""

import asyncio
import os
import re
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.harness.tools import tool

ADDRESS = "127.0.0.1:8080"
FIRST_ORDER = ROOT / "docs" / "trader" / "first-order.md"
PYTHON_CLIENT = ROOT / "docs" / "trader" / "python-client.md"


def blocks(document: Path, language: str) -> list[str]:
    """The fenced blocks of a language."""
    return re.findall(rf"^```{language}\n(.*?)^```$", document.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)


def outputs(document: Path, heading: str) -> str:
    """The blocks of text below a heading: what its programs print."""
    section = document.read_text(encoding="utf-8").partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    return "".join(re.findall(r"^```text\n(.*?)^```$", section, re.DOTALL | re.MULTILINE))


class Demo:
    """A folder with a running engine in it, as a newcomer has it, and programs that run there."""

    def __init__(self, folder: Path, database_url: str) -> None:
        self._folder = folder
        programs = folder / "bin"
        programs.mkdir()
        command = programs / "trade-engine"
        command.write_text(f'#!/bin/sh\nexec {sys.executable} -m trade_engine.cli "$@"\n')
        command.chmod(0o755)
        plain = {name: value for name, value in os.environ.items() if not name.startswith("TRADE_ENGINE")}
        self._env = plain | {"PATH": f"{programs}:{os.environ['PATH']}"}
        self._server_env = self._env | {
            "TRADE_ENGINE__DATABASE__URL": database_url,
            "TRADE_ENGINE__SERVER__METRICS_PORT": "0",
        }
        self._server: asyncio.subprocess.Process | None = None
        self._address = ADDRESS

    async def start(self) -> None:
        """Start the engine, and take tokens as the document says."""
        log = self._folder / "log"
        with log.open("wb") as written:
            self._server = await asyncio.create_subprocess_exec(
                "trade-engine", "serve", "--demo", "--port", "0", "--websocket-port", "0",
                cwd=self._folder, env=self._server_env, stdout=written, stderr=written,
            )  # fmt: skip
        async with asyncio.timeout(30):
            while "Ctrl-C stops it" not in log.read_text():
                assert self._server.returncode is None, log.read_text()
                await asyncio.sleep(0.05)
        found = re.search(r"REST API +http://(\S+)/api", log.read_text())
        assert found
        self._address = found[1]
        tokens = await self.run("sh", "-c", blocks(FIRST_ORDER, "sh")[0] + 'printf "%s %s" "$ALICE" "$BOB"')
        self._env["ALICE"], self._env["BOB"] = tokens.split()

    async def stop(self) -> None:
        """Stop the engine."""
        if self._server is not None and self._server.returncode is None:
            self._server.send_signal(signal.SIGINT)
            await self._server.wait()

    async def run(self, *command: str) -> str:
        """What a program prints."""
        pipe = asyncio.subprocess.PIPE
        words = [word.replace(ADDRESS, self._address) for word in command]
        program = await asyncio.create_subprocess_exec(
            *words, cwd=self._folder, env=self._env, stdin=asyncio.subprocess.DEVNULL, stdout=pipe, stderr=pipe
        )
        async with asyncio.timeout(60):
            out, err = await program.communicate()
        assert (program.returncode, err.decode()) == (0, ""), (out, err)
        return out.decode()


@pytest.fixture
async def demo(database_url: str, tmp_path: Path) -> AsyncIterator[Demo]:
    running = Demo(tmp_path, database_url)
    try:
        await running.start()
        yield running
    finally:
        await running.stop()


async def test_first_order_with_curl_and_the_command_line(demo: Demo) -> None:
    tool("curl")
    _, with_curl, with_commands = blocks(FIRST_ORDER, "sh")
    printed = await demo.run("sh", "-eu", "-c", with_curl)
    assert printed.count('{"success":true') == 4
    assert '"status":"FILLED"' in printed
    printed = await demo.run("sh", "-eu", "-c", with_commands)
    assert "traded 0.1 at 50000.00" in printed
    assert "99.8" in printed


async def test_first_order_in_python(demo: Demo) -> None:
    program = "".join(blocks(FIRST_ORDER, "python"))
    assert await demo.run(sys.executable, "-W", "error::DeprecationWarning", "-c", program) == outputs(
        FIRST_ORDER, "Python"
    )


async def test_first_order_in_javascript(demo: Demo, tmp_path: Path) -> None:
    node = tool("node")
    (program,) = blocks(FIRST_ORDER, "js")
    words = ["--no-warnings", "--experimental-websocket", "--input-type=module", "-e", program]
    printed = await demo.run(node, *words)
    # The trade may be told before the answer that made it.
    assert sorted(printed.splitlines()) == sorted(outputs(FIRST_ORDER, "JavaScript").splitlines())


async def test_the_guide_of_the_python_client(demo: Demo) -> None:
    head, *rest = blocks(PYTHON_CLIENT, "python")
    token = 'import os\n\ntoken = os.environ["ALICE"]\n'
    seller = 'Client("http://127.0.0.1:8080", token=os.environ["BOB"]).place("BTC/USDT", "SELL", 1, "50000")\n'
    program = "".join([token, head, seller, *rest, "import asyncio\n\nasyncio.run(follow())\n"])
    printed = await demo.run(sys.executable, "-W", "error::DeprecationWarning", "-c", program)
    assert "47000.00 0" in printed
    assert "PriceLevel(price=Decimal('49000.00')" in printed
