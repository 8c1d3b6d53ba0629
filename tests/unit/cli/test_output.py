"""Tables: plain and whole wherever they go, whatever the terminal or the environment says."""

import contextlib
import io
import os
import pty
import subprocess
import sys

import pytest

from trade_engine.cli.output import show_table

HEADINGS = ("id", "symbol", "price")
ID = "0199c1d0-0000-7000-8000-00000000000a" * 8
ROWS = ((ID, "BTC/USDT", None), ("[red]7[/red]", ":smile:", "1.50"))
PLAIN = [
    f"id{'':{len(ID)}}symbol    price",
    f"{ID}  BTC/USDT  -",
    f"[red]7[/red]{'':{len(ID) - 10}}:smile:   1.50",
]
PROGRAM = f"from trade_engine.cli.output import show_table; show_table({HEADINGS!r}, {ROWS!r})"


def printed(headings: tuple[str, ...], rows: tuple[tuple[object, ...], ...]) -> list[str]:
    with contextlib.redirect_stdout(io.StringIO()) as out:
        show_table(headings, rows)
    return out.getvalue().splitlines()


def test_columns_are_as_wide_as_they_need() -> None:
    assert printed(HEADINGS, ROWS) == PLAIN
    assert printed(HEADINGS, ()) == ["id  symbol  price"]


@pytest.mark.parametrize(
    "environment",
    [{"COLUMNS": "20"}, {"TERM": "dumb"}, {"FORCE_COLOR": "1"}, {"TTY_COMPATIBLE": "1"}, {"NO_COLOR": "1"}],
    ids=str,
)
def test_a_pipe_gets_plain_whole_lines(environment: dict[str, str]) -> None:
    answer = subprocess.run(
        [sys.executable, "-c", PROGRAM], env=os.environ | environment, capture_output=True, text=True, check=True
    )
    assert answer.stdout.splitlines() == PLAIN


@pytest.mark.parametrize(("terminal", "heading"), [("xterm", "\x1b[1mid"), ("dumb", "id")])
def test_a_terminal_gets_the_same_lines_and_strong_headings(terminal: str, heading: str) -> None:
    """On a terminal of 40 columns: nothing is folded or cut."""
    ours, theirs = pty.openpty()
    environment = os.environ | {"TERM": terminal, "COLUMNS": "40"}
    environment.pop("NO_COLOR", None)
    with subprocess.Popen([sys.executable, "-c", PROGRAM], env=environment, stdout=theirs) as shown:
        os.close(theirs)
        text = b""
        with contextlib.suppress(OSError):  # the end of a terminal
            while part := os.read(ours, 65_536):
                text += part
        assert shown.wait(30) == 0
    os.close(ours)
    first, *rest = text.decode().splitlines()
    assert first.startswith(heading)
    assert rest == PLAIN[1:]
