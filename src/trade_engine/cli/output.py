"""What commands print: JSON with ``--json``, else lines for people; progress on a terminal only, on standard error."""

import json
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from io import StringIO
from typing import Any, Final

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

_console = Console(stderr=True)
#: Columns no line of ours ever has.
_WIDE: Final = 1_000_000


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


def show_table(headings: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Print rows under headings, in columns as wide as they need; what is missing is a dash.

    Nothing is ever wrapped or cut, so that an id can be copied and a program can read a line; but for the headings'
    weight a terminal gets what a file gets.
    """
    on_screen = sys.stdout.isatty()
    shown = Table(*headings, box=None, pad_edge=False, header_style="bold" if on_screen else "")
    for row in rows:
        shown.add_row(*(Text("-" if cell is None else str(cell)) for cell in row))
    drawn = StringIO()
    # Both sizes are given, else the environment would have a say.
    Console(file=drawn, force_terminal=on_screen, width=_WIDE, height=_WIDE).print(shown)
    click.echo("\n".join(line.rstrip() for line in drawn.getvalue().splitlines()))


class ProgressMeter:
    """Progress of one long command; silent where nobody looks."""

    def __init__(self, progress: Progress | None, label: str) -> None:
        self._progress = progress
        self._task = progress.add_task(label, total=None) if progress else None

    def update(self, done: int, total: int | None = None) -> None:
        """So much is done, of so much if that is known."""
        if self._progress is not None and self._task is not None:
            self._progress.update(self._task, completed=done, total=total)


@contextmanager
def progress(label: str) -> Iterator[ProgressMeter]:
    """Show progress while the block runs, if standard error is a terminal."""
    if not sys.stderr.isatty():
        yield ProgressMeter(None, label)
        return
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=_console, transient=True) as shown:
        yield ProgressMeter(shown, label)


def command_line() -> str:
    """The command as it was given."""
    return " ".join(["trade-engine", *sys.argv[1:]])
