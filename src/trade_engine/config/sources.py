"""Where options come from, and which wins: usual names, a YAML file, the environment, flags; each overrides the last.

Every option remembers its origin, for messages and ``config show --origin``.  Numbers in YAML stay the text that was
written, so that ``tick_size: 0.01`` is exact.
"""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import yaml

from trade_engine.config.errors import ConfigError
from trade_engine.config.schema import Config, section_of
from trade_engine.config.spelling import canonical

PREFIX: Final = "TRADE_ENGINE__"
_VARIABLE: Final = re.compile(r"\$\{(?P<name>[A-Za-z_][A-Za-z0-9_]*)(?::(?P<default>[^}]*))?\}")

#: Never shown; each also comes from a file, by a key that ends in ``_file``.
SECRETS: Final = frozenset({"jwt_secret", "encryption_key", "url", "direct_url", "token", "database_url", "password"})

Tree = dict[str, Any]


class _TextLoader(yaml.SafeLoader):
    """YAML whose numbers and dates stay text."""


_TextLoader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag.endswith((":bool", ":null", ":merge"))]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


class Layers:
    """Options put on top of each other, each with its origin and the rank of the layer that it came with."""

    def __init__(self) -> None:
        self.tree: Tree = {}
        self._origins: dict[str, tuple[str, int]] = {}
        self._rank = 0

    def begin(self) -> None:
        """What is put from now on belongs to the next layer."""
        self._rank += 1

    def put(self, path: list[str], value: Any, origin: str) -> None:
        """Set one option.

        Raises:
            ConfigError: a part of the path is no section, or the value is no length of time.
        """
        tree = self.tree
        for key in path[:-1]:
            tree = tree.setdefault(key, {})
            if not isinstance(tree, dict):
                raise ConfigError(f"{origin.rpartition(' ')[2]}: {key} is not a section")
        key, value = canonical(path, value)
        tree[key] = value
        self._origins[".".join([*path[:-1], key])] = origin, self._rank

    def drop(self, key: str) -> None:
        """Forget an option."""
        section, _, name = key.partition(".")
        self.tree.get(section, {}).pop(name, None)
        self._origins.pop(key, None)

    def has(self, key: str) -> bool:
        """Whether an option was set."""
        return key in self._origins

    def rank(self, *keys: str) -> int:
        """The highest layer that set one of these to something; 0: none did."""
        section, _, _ = keys[0].partition(".")
        tree = self.tree.get(section)
        found = tree if isinstance(tree, dict) else {}
        set_here = [key for key in keys if found.get(key.partition(".")[2]) is not None]
        return max((self._origins[key][1] for key in set_here if key in self._origins), default=0)

    def origin(self, key: str) -> str:
        """Where an option came from."""
        while key:
            if key in self._origins:
                return self._origins[key][0]
            key = key.rpartition(".")[0]
        return "default"

    def note(self, key: str, origin: str) -> None:
        """An option was made of others."""
        self._origins[key] = origin, self._rank


def put_file(layers: Layers, file: Path, env: Mapping[str, str]) -> None:
    """Put a YAML file's options.

    Raises:
        ConfigError: it cannot be read, is no YAML or holds no sections, or a variable is not set.
    """
    try:
        text = file.read_text(encoding="utf-8")
        tree = yaml.load(text, _TextLoader)  # noqa: S506 - a SafeLoader
        lines = dict(_lines(yaml.compose(text, _TextLoader), ()))
    except OSError as error:
        raise ConfigError(f"{file}: cannot be read: {error.strerror}") from error
    except (UnicodeDecodeError, yaml.YAMLError) as error:
        raise ConfigError(f"{file}: is not YAML: {error}") from error
    if not isinstance(tree, dict | None):
        raise ConfigError(f"{file}: must hold sections, as `trade-engine config show` prints them")
    for name, section in _fill(tree or {}, env).items():
        if isinstance(section, dict) and section_of(name) is not Config:
            for key, value in section.items():
                layers.put([name, key], value, f"file {file}:{lines.get((name, key), '?')}")
        elif section is not None:
            layers.put([name], section, f"file {file}:{lines.get((name,), '?')}")


def put_environment(layers: Layers, env: Mapping[str, str]) -> None:
    """Put what ``TRADE_ENGINE__SECTION__KEY`` says.

    Raises:
        ConfigError: a list is no YAML, or a name goes through what is no section.
    """
    for name, text in sorted(env.items()):
        if name.startswith(PREFIX):
            path = name[len(PREFIX) :].lower().split("__")
            layers.put(path, _from_text(text, name), f"environment {name}")


def put_flags(layers: Layers, flags: Mapping[str, Any]) -> None:
    """Put what the command line says; None is nothing."""
    for key, value in flags.items():
        if value is not None:
            layers.put(key.split("."), value, f"flag {key}")


def _lines(node: yaml.Node | None, path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], int]]:
    """At which line each option of a file is."""
    if isinstance(node, yaml.MappingNode) and len(path) < 2:
        for key, value in node.value:
            here = (*path, str(key.value))
            yield here, key.start_mark.line + 1
            yield from _lines(value, here)


def _fill(value: Any, env: Mapping[str, str]) -> Any:
    """Put variables into every text of a tree; a text that becomes empty by it is no value."""
    if isinstance(value, dict):
        return {str(key): _fill(inner, env) for key, inner in value.items()}
    if isinstance(value, list):
        return [_fill(inner, env) for inner in value]
    if isinstance(value, str) and _VARIABLE.search(value):
        return _VARIABLE.sub(lambda match: _variable(match, env), value) or None
    return value


def _variable(match: re.Match[str], env: Mapping[str, str]) -> str:
    value = env.get(match["name"], match["default"])
    if value is None:
        raise ConfigError(f"${{{match['name']}}}: the variable is not set and has no default")
    return value


def _from_text(text: str, name: str) -> Any:
    """A variable's value: lists and sections are written as YAML, all else is taken as it stands."""
    if not text.startswith(("[", "{")):
        return text or None
    try:
        return yaml.load(text, _TextLoader)  # noqa: S506 - a SafeLoader
    except yaml.YAMLError as error:
        shown = "(hidden)" if name.lower().rpartition("__")[2] in SECRETS else repr(text)
        raise ConfigError(f"{name}: {shown}: is not YAML") from error
