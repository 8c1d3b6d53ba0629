"""All options: gathered from where they come from, checked, and shown.

A wrong option stops the start with a message that names its key, its value, what it must be and where it came from; a
secret's value is never shown.
"""

import difflib
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from trade_engine.config.checks import check_together
from trade_engine.config.errors import ConfigError
from trade_engine.config.schema import Config, MarketSection, section_of
from trade_engine.config.sources import SECRETS, Layers, Tree, put_environment, put_file, put_flags
from trade_engine.config.usual import Note, join_connections, put_usual, strangers


class Loaded(NamedTuple):
    """All options, and how they came to be."""

    config: Config
    layers: Layers
    #: What is worth a line at the start.
    notes: list[Note]

    def origin(self, key: str) -> str:
        """Where an option (``server.http_port``) came from."""
        return self.layers.origin(key)


def load_config(
    file: Path | None = None,
    flags: Mapping[str, Any] | None = None,
    environment: Mapping[str, str] | None = None,
) -> Config:
    """Read all options; see ``load``."""
    return load(file, flags, environment).config


def load(
    file: Path | None = None,
    flags: Mapping[str, Any] | None = None,
    environment: Mapping[str, str] | None = None,
) -> Loaded:
    """Read all options, and where each came from.

    Args:
        file: YAML, with ``${VAR:default}`` in any value.
        flags: dotted keys (``server.http_port``) and values; None values do not count.
        environment: ``TRADE_ENGINE__SECTION__KEY``, usual names, and what ``${VAR}`` names; default: the process's.

    Raises:
        ConfigError: the file cannot be read, or an option is unknown or wrong.
    """
    env = os.environ if environment is None else environment
    layers = Layers()
    layers.begin()
    if file is not None:
        put_file(layers, file, env)
    layers.begin()
    put_environment(layers, env)
    layers.begin()
    put_flags(layers, flags or {})
    notes = strangers(env) + put_usual(layers, env)
    _read_secret_files(layers.tree)
    join_connections(layers)
    try:
        config = msgspec.convert(layers.tree, Config, strict=False)
    except msgspec.ValidationError as error:
        raise ConfigError(_explain(error, layers)) from error
    check_together(config)
    return Loaded(config, layers, notes)


def shown(config: Config) -> dict[str, Any]:
    """All options as they are in force, secrets hidden."""
    tree: dict[str, Any] = msgspec.to_builtins(config)
    for section in tree.values():
        if isinstance(section, dict):
            for key in SECRETS & section.keys():
                if section[key]:
                    section[key] = "(set)"
    return tree


def schema() -> dict[str, Any]:
    """All options as a JSON schema, with defaults, bounds and descriptions."""
    return msgspec.json.schema(Config)


def _read_secret_files(tree: Tree) -> None:
    """Replace ``key_file`` by ``key`` with what stands in the file."""
    for name, section in tree.items():
        if not isinstance(section, dict):
            continue
        for secret in SECRETS:
            file = section.get(f"{secret}_file")
            if file is None:
                continue
            key = f"{name}.{secret}"
            if section.get(secret) is not None:
                raise ConfigError(f"{key}_file: {file!r}: {key} is set as well; set one of the two")
            try:
                section[secret] = Path(str(file)).read_text(encoding="utf-8").strip()
            except (OSError, UnicodeDecodeError) as error:
                raise ConfigError(f"{key}_file: {file!r}: cannot be read: {error}") from error


def _explain(error: msgspec.ValidationError, layers: Layers) -> str:
    """``server.http_port: '0x': Expected `int` (its description), from flag`` out of the library's message."""
    message, _, path = str(error).partition(" - at `$")
    parts = re.findall(r"[^.\[\]]+", path.rstrip("`"))
    key = path.rstrip("`").lstrip(".")
    unknown = re.search(r"unknown field `(?P<field>[^`]*)`", message)
    if unknown is not None:
        field = unknown["field"]
        near = difflib.get_close_matches(field, _known(parts), n=1)
        full = f"{key}{'.' if key else ''}{field}"
        meant = f"; did you mean {near[0]}?" if near else ""
        return f"{full}: unknown option{meant}{_from(layers, full)}"
    value: Any = layers.tree
    for part in parts:
        try:
            value = value[int(part)] if isinstance(value, list) else value[part]
        except (KeyError, IndexError, TypeError, ValueError):
            return f"{key}: {message}"
    is_secret = bool(parts) and (parts[-1] in SECRETS or bool(SECRETS & set(section_of(key).__struct_fields__)))
    shown_value = "(hidden)" if is_secret else repr(value)
    description = _described(parts)
    return f"{key}: {shown_value}: {message}" + (f" ({description})" if description else "") + _from(layers, key)


def _from(layers: Layers, key: str) -> str:
    """Where a wrong option came from; of flags, whoever typed them knows."""
    origin = layers.origin(key.partition("[")[0])
    return "" if origin == "default" or origin.startswith("flag") else f"; from {origin}"


def _section(parts: list[str]) -> type[msgspec.Struct]:
    if parts[:2] == ["matching", "markets"] and len(parts) > 2:
        return MarketSection
    return section_of(parts[0]) if parts else Config


def _known(parts: list[str]) -> tuple[str, ...]:
    return _section(parts).__struct_fields__


def _described(parts: list[str]) -> str | None:
    annotation = _section(parts).__annotations__.get(parts[-1]) if parts else None
    notes = [note.description for note in getattr(annotation, "__metadata__", ()) if isinstance(note, msgspec.Meta)]
    return next((note for note in reversed(notes) if note), None)
