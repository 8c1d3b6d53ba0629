"""What commands print: JSON with ``--json``, else lines for people; progress on a terminal only, on standard error."""

import json
import os
import platform
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

_console = Console(stderr=True)


def show(result: dict[str, Any], *, as_json: bool) -> None:
    """Print a command's result."""
    if as_json:
        click.echo(json.dumps(result))
        return
    width = max((len(name) for name in result), default=0)
    for name, value in result.items():
        if isinstance(value, list):
            click.echo(f"{name:<{width}}  {len(value) or 'none'}")
            for row in value:
                click.echo(f"  {row}")
        else:
            click.echo(f"{name:<{width}}  {value}")


def table(headings: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Rows under headings, in columns as wide as they need; what is missing is a dash."""
    cells = [list(headings), *(["-" if cell is None else str(cell) for cell in row] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    return "\n".join("  ".join(map(str.ljust, line, widths)).rstrip() for line in cells)


class Meter:
    """Progress of one long command; silent where nobody looks."""

    def __init__(self, progress: Progress | None, label: str) -> None:
        self._progress = progress
        self._task = progress.add_task(label, total=None) if progress else None

    def update(self, done: int, total: int | None = None) -> None:
        """So much is done, of so much if that is known."""
        if self._progress is not None and self._task is not None:
            self._progress.update(self._task, completed=done, total=total)


@contextmanager
def progress(label: str) -> Iterator[Meter]:
    """Show progress while the block runs, if standard error is a terminal."""
    if not sys.stderr.isatty():
        yield Meter(None, label)
        return
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=_console, transient=True) as shown:
        yield Meter(shown, label)


def machine() -> str:
    """The machine a figure was measured on, in a line."""
    cpu = platform.processor() or platform.machine()
    try:
        with open("/proc/cpuinfo", encoding="ascii", errors="replace") as lines:  # noqa: PTH123
            cpu = next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), cpu)
    except OSError:
        pass
    load = f", load {os.getloadavg()[0]:.2f}" if hasattr(os, "getloadavg") else ""
    return f"{cpu}, {os.cpu_count()} cores, Python {platform.python_version()}, {platform.system()}{load}"


def command_line() -> str:
    """The command as it was given."""
    return " ".join(["trade-engine", *sys.argv[1:]])


def now() -> float:
    """Seconds of a clock for measuring."""
    return time.perf_counter()
