"""How a server that was started by a command begins its log, and ends it when it has to."""

import contextlib
import os
import platform
import sys
from collections.abc import Iterator
from typing import NoReturn

import click
import structlog

from trade_engine import __version__
from trade_engine.bootstrap.reload import summary
from trade_engine.config import Config, Loaded
from trade_engine.ops.logging import configure_logging, take_everything

log = structlog.get_logger(__name__)


def begin_log(loaded: Loaded, role: str) -> Config:
    """Set the log up and write its first lines: version, role, what is not as by default, what is odd about that.

    Raises:
        click.ClickException: the log cannot be written.
    """
    config, options = loaded.config, loaded.config.logging
    try:
        configure_logging(options.level, options.format, options.repeat_s, options.output)
    except OSError as error:
        raise click.ClickException(f"logging.output: {options.output!r}: {error.strerror}") from error
    if options.format == "json":
        take_everything()
    log.info(
        "starting", version=__version__, role=role, environment=config.environment, process=os.getpid(),
        machine=platform.node(), python=platform.python_version(), options=summary(config),
    )  # fmt: skip
    for note in loaded.notes:
        if note.event == "usual_name_used":
            log.info("usual_name_used", name=note.name, option=note.option)
        else:
            log.warning("unknown_environment_name", name=note.name, meant=note.option or None)
    return config


@contextlib.contextmanager
def logged() -> Iterator[None]:
    """Have an error that ends the server be the log's last line, where nobody looks at a terminal."""
    try:
        yield
    except click.ClickException as error:
        fail(error.format_message(), 1)


def fail(reason: str, status: int) -> NoReturn:
    """End with an exit status, and say why: as a line for people on a terminal, else in the log."""
    if sys.stderr.isatty():
        click.echo(f"Error: {reason}", err=True)
    else:
        log.critical("ended", reason=reason, exit_status=status)
    sys.exit(status)
