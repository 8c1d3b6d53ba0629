"""A group whose commands are imported when they are called, so that ``--version`` and ``--help`` answer at once.

Each command is known by its name, its first line of help and where it is.  A stand-in with the name and the line is
what lists, suggestions and completion see; the command itself takes its place when it is to be carried out.
"""

from importlib import import_module
from typing import Any, NamedTuple

import click


class LazyCommand(NamedTuple):
    """A command that has not been imported yet."""

    name: str
    #: ``module:attribute``.
    place: str
    #: The first sentence of its help.
    summary: str

    def load(self) -> click.Command:
        """Import it.

        Raises:
            TypeError: what is there is no command.
        """
        module, _, attribute = self.place.partition(":")
        command = getattr(import_module(module), attribute)
        if not isinstance(command, click.Command):
            raise TypeError(f"{self.place} is no command")
        return command


class LazyGroup(click.Group):
    """A group of lazily imported commands."""

    def __init__(self, *args: Any, lazy: tuple[LazyCommand, ...] = (), **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._lazy = {command.name: command for command in lazy}
        for command in lazy:
            self.add_command(click.Command(command.name, help=command.summary))

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """The command that ``args`` name, imported."""
        name, command, rest = super().resolve_command(ctx, args)
        lazy = self._lazy.get(name or "")
        return name, lazy.load() if lazy else command, rest
