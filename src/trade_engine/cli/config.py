"""`trade-engine config show|check|schema`."""

import json
from pathlib import Path

import click
import yaml

from trade_engine.cli.options import config_option, configure, explained, json_option
from trade_engine.config import ConfigError, markets_of, schema, shown


@click.group()
def config() -> None:
    """Show and check the configuration."""


@config.command("show")
@config_option
@json_option
def show_command(config_file: Path | None, *, as_json: bool) -> None:
    """Print every option as it is in force; secrets are hidden."""
    with explained():
        tree = shown(configure(config_file))
    click.echo(json.dumps(tree) if as_json else yaml.safe_dump(tree, sort_keys=False), nl=as_json)


@config.command("check")
@config_option
@json_option
def check_command(config_file: Path | None, *, as_json: bool) -> None:
    """Say whether the configuration is right, and if not, which key is wrong and why; exit 1 if it is not."""
    with explained():
        try:
            markets = markets_of(configure(config_file))
        except ConfigError as error:
            if not as_json:
                raise
            message = str(error)
            click.echo(json.dumps({"ok": False, "key": message.partition(": ")[0], "message": message}))
            raise SystemExit(1) from error
    click.echo(json.dumps({"ok": True, "markets": len(markets)}) if as_json else f"ok: {len(markets)} markets")


@config.command("schema")
def schema_command() -> None:
    """Print the JSON schema of all options, with defaults and descriptions."""
    click.echo(json.dumps(schema(), indent=2))
