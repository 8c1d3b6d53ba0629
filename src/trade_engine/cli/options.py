"""Options that commands share, and how they become a configuration."""

import asyncio
from collections.abc import Callable, Coroutine
from functools import wraps
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

import click

from trade_engine.bench.errors import BenchError
from trade_engine.config import Config, ConfigError, Loaded, load
from trade_engine.demo.users import DemoRefused
from trade_engine.domain.errors import EngineError
from trade_engine.storage.errors import DATABASE_ERRORS, StorageError
from trade_engine.wallet.port import WalletUnavailable

P = ParamSpec("P")
R = TypeVar("R")

data_dir_option = click.option(
    "--data-dir",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("data"),
    show_default=True,
    envvar="TRADE_ENGINE_DATA_DIR",
    show_envvar=True,
    help="Where the embedded database and secrets live.",
)
config_option = click.option(
    "--config",
    "config_file",
    type=click.Path(path_type=Path, dir_okay=False),
    envvar="TRADE_ENGINE_CONFIG",
    show_envvar=True,
    help="YAML file with options.",
)
json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")

folder_option = click.option(
    "--folder", type=click.Path(path_type=Path, file_okay=False), help="Of the files; default: database.archive_folder."
)


def archive_folder(given: Path | None, config: Config, data_dir: Path) -> Path:
    """Where archived partitions are: as given, as configured, or in the data directory."""
    configured = config.database.archive_folder
    return given or (Path(configured) if configured else data_dir / "archive")


def configured(config_file: Path | None, **flags: Any) -> Loaded:
    """Read the configuration; flags with dots written as double underscores (``server__http_port``)."""
    return load(config_file, {key.replace("__", "."): value for key, value in flags.items()})


def configure(config_file: Path | None, **flags: Any) -> Config:
    """As ``configured``; what is odd about where it came from is said on standard error."""
    loaded = configured(config_file, **flags)
    for note in loaded.notes:
        click.echo(f"note: {note}", err=True)
    return loaded.config


def asynchronous(command: Callable[P, Coroutine[Any, Any, R]]) -> Callable[P, R]:
    """Make a click command of a coroutine, and one line of each error a user can do something about."""

    @wraps(command)
    def run(*args: P.args, **kwargs: P.kwargs) -> R:
        with explained():
            return asyncio.run(command(*args, **kwargs))

    return run


class explained:  # noqa: N801 - reads as a statement
    """Turns errors a user can do something about into one line and exit code 1."""

    def __enter__(self) -> None:
        """Nothing."""

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        """Explain what is known."""
        if isinstance(error, EngineError):
            raise click.ClickException(f"{error.code}: {error.message}") from error
        if isinstance(error, BenchError | ConfigError | DemoRefused | StorageError | WalletUnavailable):
            raise click.ClickException(str(error)) from error
        if isinstance(error, DATABASE_ERRORS):
            raise click.ClickException(f"{type(error).__name__}: {error}") from error
