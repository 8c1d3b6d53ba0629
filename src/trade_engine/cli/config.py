"""`trade-engine config show|check|schema|example`."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import yaml

from trade_engine.cli.options import config_option, configured, explained, json_option
from trade_engine.cli.output import show_table
from trade_engine.config import ConfigError, Loaded, example, markets_of, schema, shown


@click.group()
def config() -> None:
    """Show and check the configuration."""


@config.command("show")
@config_option
@click.option("--origin", is_flag=True, help="Say of each option where it came from.")
@json_option
def show_command(config_file: Path | None, *, origin: bool, as_json: bool) -> None:
    """Print every option as it is in force; secrets are hidden."""
    with explained():
        loaded = configured(config_file)
    tree = shown(loaded.config)
    if not origin:
        click.echo(json.dumps(tree) if as_json else yaml.safe_dump(tree, sort_keys=False), nl=as_json)
    elif as_json:
        rows = {key: {"value": value, "origin": loaded.origin(key)} for key, value in _flat(tree)}
        click.echo(json.dumps(rows))
    else:
        show_table(
            ("option", "value", "origin"), [(key, json.dumps(value), loaded.origin(key)) for key, value in _flat(tree)]
        )


def _flat(tree: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    """Every option by its whole name."""
    for name, section in tree.items():
        if isinstance(section, dict):
            yield from ((f"{name}.{key}", value) for key, value in section.items())
        else:
            yield name, section


@config.command("check")
@config_option
@json_option
def check_command(config_file: Path | None, *, as_json: bool) -> None:
    """Say whether the configuration is right, and if not, which key is wrong and why; exit 1 if it is not."""
    with explained():
        try:
            loaded = configured(config_file)
            markets = markets_of(loaded.config)
        except ConfigError as error:
            if not as_json:
                raise
            message = str(error)
            click.echo(json.dumps({"ok": False, "key": message.partition(": ")[0], "message": message}))
            raise SystemExit(1) from error
    _say_right(loaded, len(markets), as_json=as_json)


def _say_right(loaded: Loaded, markets: int, *, as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps({"ok": True, "markets": markets, "notes": [str(note) for note in loaded.notes]}))
        return
    for note in loaded.notes:
        click.echo(f"note: {note}", err=True)
    click.echo(f"ok: {markets} markets")


@config.command("schema")
def schema_command() -> None:
    """Print the JSON schema of all options, with defaults and descriptions."""
    click.echo(json.dumps(schema(), indent=2))


@config.command("example")
def example_command() -> None:
    """Print a configuration file with every option, its default and what it is."""
    click.echo(example(), nl=False)
