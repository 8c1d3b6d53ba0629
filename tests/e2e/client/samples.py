"""Every sample of the README and the trader's guides, in reading order, in an empty folder beside a demo's engine.

    python -m tests.e2e.client.samples      # `make docs-samples`: a line for each

A sample is run as it is written; only the address is that of the engine that was started.  What a document says that
it prints must come, and nobody may leave an order behind: so the documents can be read one after the other.
"""

import asyncio
import os
import re
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Final, NamedTuple

from tests.conftest import ROOT

README: Final = ROOT / "README.md"
GUIDES: Final = ROOT / "docs" / "trader"
FIRST_ORDER: Final = GUIDES / "first-order.md"
PYTHON_CLIENT: Final = GUIDES / "python-client.md"
AUTHENTICATION: Final = GUIDES / "authentication.md"
REST: Final = GUIDES / "rest.md"
BACKTEST: Final = GUIDES / "backtest.md"
MARKET_MAKER: Final = GUIDES / "market-maker.md"

_ADDRESS: Final = re.compile(r"(?:127\.0\.0\.1|localhost):8080")
#: What a sample's output is held to: these fields and lines, as the document shows them.
_SHOWN: Final = re.compile(
    r'"(?:status|filled_quantity|average_price|available)":"[^"]*"|^\w+_ok +True$|^traded .*$', re.MULTILINE
)
_PYTHON: Final = (sys.executable, "-W", "error::DeprecationWarning", "-c")


class MissingTool(Exception):
    """A program that a sample needs is not installed."""


def text(document: Path) -> str:
    """What a document says."""
    return document.read_text(encoding="utf-8")


def blocks(document: Path, language: str) -> list[str]:
    """The fenced blocks of a language."""
    return re.findall(rf"^```{language}\n(.*?)^```$", text(document), re.DOTALL | re.MULTILINE)


def outputs(document: Path, heading: str) -> str:
    """The blocks of text below a heading: what its programs print."""
    section = text(document).partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    return "".join(re.findall(r"^```text\n(.*?)^```$", section, re.DOTALL | re.MULTILINE))


class Typed(NamedTuple):
    """A command at a prompt, and what the document shows that it prints."""

    command: str
    shown: str


def typed(document: Path) -> list[Typed]:
    """What is typed in a document's indented blocks after ``$``, with lines that go on."""
    found = re.findall(r"^    \$ ((?:[^\n]*\\\n)*[^\n]*)\n((?:    (?![$>]).*\n)*)", text(document), re.MULTILINE)
    return [Typed(command, shown) for command, shown in found]


def indented(document: Path, program: str) -> list[str]:
    """The lines of a document's indented blocks that begin with a program, with lines that go on."""
    return re.findall(rf"^    ({program} (?:[^\n]*\\\n)*[^\n]*)$", text(document), re.MULTILINE)


def session(document: Path) -> str:
    """What is typed after ``>>>``: a program that prints what each expression is."""
    lines = re.findall(r"^    >>> (.*)$", text(document), re.MULTILINE)
    *rest, last = lines
    return "\n".join([*rest, f"print(repr({last.partition('    #')[0]}))"])


def tool(name: str) -> str:
    """Where a program is.

    Raises:
        MissingTool: nowhere.
    """
    found = shutil.which(name)
    if found is None:
        raise MissingTool(f"{name} is not installed")
    return found


class Demo:
    """A folder with a running engine in it, as a newcomer has it, and programs that run there."""

    def __init__(self, folder: Path, database_url: str | None) -> None:
        self._folder = folder
        programs = folder / "bin"
        programs.mkdir()
        command = programs / "trade-engine"
        command.write_text(f'#!/bin/sh\nexec {sys.executable} -m trade_engine.cli "$@"\n')
        command.chmod(0o755)
        plain = {name: value for name, value in os.environ.items() if not name.startswith("TRADE_ENGINE")}
        self.env = plain | {"PATH": f"{programs}:{os.environ['PATH']}"}
        more = {"TRADE_ENGINE__SERVER__METRICS_PORT": "0", "TRADE_ENGINE_USUAL_NAMES": "off"}
        if database_url is not None:
            more["TRADE_ENGINE__DATABASE__URL"] = database_url
        self._server_env = self.env | more
        # What looks into the database beside the engine must find it as the engine does.
        self.env |= {name: value for name, value in more.items() if "DATABASE" in name}
        self._server: asyncio.subprocess.Process | None = None
        self._address = ""

    async def start(self) -> None:
        """Start the engine as ``make run`` does, and take tokens as the guide says."""
        log = self._folder / "log"
        with log.open("wb") as written:
            self._server = await asyncio.create_subprocess_exec(
                "trade-engine", "serve", "--demo", "--port", "0", "--websocket-port", "0",
                cwd=self._folder, env=self._server_env, stdout=written, stderr=written,
            )  # fmt: skip
        async with asyncio.timeout(120):
            while "Ctrl-C stops it" not in log.read_text():
                assert self._server.returncode is None, log.read_text()
                await asyncio.sleep(0.05)
        found = re.search(r"REST API +http://(\S+)/api", log.read_text())
        assert found
        self._address = found[1]
        self.env["TRADE_ENGINE_URL"] = f"http://{self._address}"
        tokens = await self.run("sh", "-c", blocks(FIRST_ORDER, "sh")[0] + 'printf "%s %s" "$ALICE" "$BOB"')
        self.env["ALICE"], self.env["BOB"] = tokens.split()
        self.env["TOKEN"] = self.env["token"] = self.env["ALICE"]

    async def stop(self) -> None:
        """Stop the engine."""
        if self._server is not None and self._server.returncode is None:
            self._server.send_signal(signal.SIGINT)
            await self._server.wait()

    async def run(self, *command: str) -> str:
        """What a program prints; it must end well, say nothing else, and soon."""
        pipe = asyncio.subprocess.PIPE
        words = [_ADDRESS.sub(self._address, word) for word in command]
        program = await asyncio.create_subprocess_exec(
            *words, cwd=self._folder, env=self.env, stdin=asyncio.subprocess.DEVNULL, stdout=pipe, stderr=pipe
        )
        async with asyncio.timeout(120):
            out, err = await program.communicate()
        assert (program.returncode, err.decode()) == (0, ""), (out, err)
        return out.decode()

    async def interrupted(self, line: str, after: str) -> str:
        """What a command prints that goes on until it is interrupted, once it has printed ``after``."""
        pipe = asyncio.subprocess.PIPE
        program = await asyncio.create_subprocess_exec(
            "sh", "-c", f"exec {_ADDRESS.sub(self._address, line)}",
            cwd=self._folder, env=self.env, stdin=asyncio.subprocess.DEVNULL, stdout=pipe, stderr=pipe,
        )  # fmt: skip
        assert program.stdout is not None
        printed = ""
        async with asyncio.timeout(120):
            while after not in printed:
                read = await program.stdout.readline()
                assert read, await program.communicate()
                printed += read.decode()
            program.send_signal(signal.SIGINT)
            out, err = await program.communicate()
        assert (program.returncode, err.decode()) == (0, ""), (out, err)
        return printed + out.decode()


async def readme(demo: Demo) -> None:
    """The tour, all of it in one shell: what a command sets is there for the next."""
    tool("curl")
    end = "---- end of a command ----"
    lines = typed(README)
    printed = await demo.run("sh", "-c", "".join(f"{line.command}\necho\necho '{end}'\n" for line in lines))
    for line, came in zip(lines, printed.split(end), strict=False):
        for shown in _SHOWN.findall(re.sub(r"^    ", "", line.shown, flags=re.MULTILINE)):
            assert shown in came, (line.command, shown, came)
    assert len(lines) == 9, "a shell's sessions are found"
    assert "differences      none" in printed
    program = f"import os\ntoken = os.environ['BOB']\n{session(README)}"
    assert await demo.run(*_PYTHON, program) == "'FILLED'\n"


async def first_order_with_curl(demo: Demo) -> None:
    """A sale and a purchase."""
    tool("curl")
    printed = await demo.run("sh", "-eu", "-c", blocks(FIRST_ORDER, "sh")[1])
    assert printed.count('{"success":true') == 4, printed
    assert '"status":"FILLED"' in printed


async def first_order_in_python(demo: Demo) -> None:
    """Both programs, one after the other, print what the guide says."""
    program = "".join(blocks(FIRST_ORDER, "python"))
    assert await demo.run(*_PYTHON, program) == outputs(FIRST_ORDER, "Python")


async def first_order_in_javascript(demo: Demo) -> None:
    """As in Python; the trade may be told before the answer that made it."""
    (program,) = blocks(FIRST_ORDER, "js")
    words = ("--no-warnings", "--experimental-websocket", "--input-type=module", "-e", program)
    printed = await demo.run(tool("node"), *words)
    assert sorted(printed.splitlines()) == sorted(outputs(FIRST_ORDER, "JavaScript").splitlines())


async def first_order_from_the_command_line(demo: Demo) -> None:
    """The same again."""
    printed = await demo.run("sh", "-eu", "-c", blocks(FIRST_ORDER, "sh")[2])
    assert "traded 0.1 at 50000.00" in printed


async def rest(demo: Demo) -> None:
    """An order, and its end."""
    tool("curl")
    placed, ended = [await demo.run("sh", "-c", f"{line} -s") for line in indented(REST, "curl")[:2]]
    assert '"status":"OPEN"' in placed, placed
    assert '"status":"CANCELLED"' in ended, ended


async def authentication(demo: Demo) -> None:
    """A key that is made here signs a request, in the shell and in Python."""
    tool("openssl")
    made = await demo.run("trade-engine", "api-key", "create", "alice", "--name", "samples", "--json")
    key, secret = re.search(r'"key_id": "([^"]+)"', made), re.search(r'"secret": "([^"]+)"', made)
    assert key, made
    assert secret, made
    (shell,) = blocks(AUTHENTICATION, "sh")
    given = shell.replace("KEY=tek_...; SECRET=...", f"KEY={key[1]}; SECRET={secret[1]}")
    assert given != shell
    await asyncio.sleep(1.5)  # a new key is known within about a second
    assert '"success":true' in await demo.run("sh", "-c", given.replace("curl -H", "curl -s -H"))
    (program,) = blocks(AUTHENTICATION, "python")
    use = (
        "import urllib.request\n"
        f"signed = headers({key[1]!r}, {secret[1]!r}, 'GET', '/api/v1/balances')\n"
        "asked = urllib.request.Request('http://127.0.0.1:8080/api/v1/balances', headers=signed)\n"
        "print(urllib.request.urlopen(asked).read().decode())\n"
    )
    assert '"success":true' in await demo.run(*_PYTHON, program + use)


async def python_client(demo: Demo) -> None:
    """The guide's fragments, put together to one program."""
    head, *rest_of_it = blocks(PYTHON_CLIENT, "python")
    token = 'import os\n\ntoken = os.environ["ALICE"]\n'
    program = "".join([token, head, *rest_of_it, "import asyncio\n\nasyncio.run(follow())\n"])
    printed = await demo.run(*_PYTHON, program)
    assert "47000.00 0" in printed
    assert "PriceLevel(price=Decimal('499" in printed


async def market_maker(demo: Demo) -> None:
    """It quotes, and takes its quotes back."""
    (line,) = indented(MARKET_MAKER, "trade-engine")
    demo.env["MAKER"] = demo.env["ALICE"]
    printed = await demo.interrupted(line, "quotes  placed 10")
    assert re.search(r"^cancelled +\d+$", printed, re.MULTILINE), printed


async def backtest(demo: Demo) -> None:
    """The example prints what the guide says, everywhere."""
    (line,) = blocks(BACKTEST, "sh")
    (shown,) = blocks(BACKTEST, "text")
    words = line.partition("#")[0].split()
    assert words[0] == "python"
    assert await demo.run(sys.executable, str(ROOT / words[1]), *words[2:]) == shown


Sample = Callable[[Demo], Awaitable[None]]
#: In the order in which they are read.
SAMPLES: Final[dict[str, Sample]] = {
    "README.md, the tour": readme,
    "first-order.md, curl": first_order_with_curl,
    "first-order.md, Python": first_order_in_python,
    "first-order.md, JavaScript": first_order_in_javascript,
    "first-order.md, command line": first_order_from_the_command_line,
    "rest.md, curl": rest,
    "authentication.md, signing": authentication,
    "python-client.md": python_client,
    "backtest.md": backtest,
    "market-maker.md": market_maker,
}


async def orders_left(demo: Demo) -> str:
    """The open orders of alice and bob."""
    tokens = (demo.env["ALICE"], demo.env["BOB"])
    listed = [
        await demo.run("trade-engine", "order", "list", "--status", "open", "--json", "--token", t) for t in tokens
    ]
    return "".join(listed).replace('{"orders": []}\n', "")


async def main() -> None:
    """Run them all, a line each.

    Raises:
        AssertionError: a sample does not do what its document says.
    """
    folder = Path(tempfile.mkdtemp(prefix="te-samples-"))
    folder.chmod(0o755)
    demo = Demo(folder, None)
    try:
        await demo.start()
        for name, sample in SAMPLES.items():
            started_s = time.monotonic()
            await sample(demo)
            left = await orders_left(demo)
            assert not left, f"{name} leaves orders: {left}"
            print(f"{name:32} ok, {time.monotonic() - started_s:.1f} s")
    finally:
        await demo.stop()
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    asyncio.run(main())
