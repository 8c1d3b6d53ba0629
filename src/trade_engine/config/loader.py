"""Where options come from: defaults, then a YAML file, then the environment, then flags; each overrides the last.

A wrong option stops the start with a message that names its key, its value and what it must be; a secret's value is
never shown.  Numbers in YAML stay the text that was written, so that ``tick_size: 0.01`` is exact.
"""

import difflib
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import msgspec
import yaml

from trade_engine.config.schema import Config, MarketSection
from trade_engine.domain.enums import FeeAsset
from trade_engine.domain.market import Market, MarketError, default_markets, namesake
from trade_engine.domain.scale import ScaleError, parse_units

_PREFIX: Final = "TRADE_ENGINE__"
_VARIABLE: Final = re.compile(r"\$\{(?P<name>[A-Za-z_][A-Za-z0-9_]*)(?::(?P<default>[^}]*))?\}")
#: Never shown; each also comes from a file, by a key that ends in ``_file``.
_SECRETS: Final = frozenset({"jwt_secret", "encryption_key", "url", "direct_url", "token", "database_url"})
_JWT_SECRET_BYTES_MIN: Final = 32
#: Of its 100 connections; the rest are for the writer, probes, commands beside the engine and the superuser.
_EMBEDDED_CONNS_MAX: Final = 80


class ConfigError(ValueError):
    """An option is wrong; the message names key, value and reason."""


class _TextLoader(yaml.SafeLoader):
    """YAML whose numbers and dates stay text."""


_TextLoader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag.endswith((":bool", ":null", ":merge"))]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


def load_config(
    file: Path | None = None,
    flags: Mapping[str, Any] | None = None,
    environment: Mapping[str, str] | None = None,
) -> Config:
    """Read all options.

    Args:
        file: YAML, with ``${VAR:default}`` in any value.
        flags: dotted keys (``server.http_port``) and values; None values do not count.
        environment: ``TRADE_ENGINE__SECTION__KEY`` and what ``${VAR}`` names; default: the process's.

    Raises:
        ConfigError: the file cannot be read, or an option is unknown or wrong.
    """
    env = os.environ if environment is None else environment
    tree: dict[str, Any] = _read(file, env) if file else {}
    for name, text in sorted(env.items()):
        if name.startswith(_PREFIX):
            _put(tree, name[len(_PREFIX) :].lower().split("__"), _from_text(text, name), name)
    for key, value in (flags or {}).items():
        if value is not None:
            _put(tree, key.split("."), value, key)
    _read_secret_files(tree)
    try:
        config = msgspec.convert(tree, Config, strict=False)
    except msgspec.ValidationError as error:
        raise ConfigError(_explain(error, tree)) from error
    _check_secrets(config)
    return config


def markets_of(config: Config) -> tuple[Market, ...]:
    """The markets that the configuration lists, or the default ones.

    Raises:
        ConfigError: a market contradicts itself, or is listed twice, or none is listed.
    """
    listed = config.matching.markets
    if listed is None:
        return default_markets()
    if not listed:
        raise ConfigError("matching.markets: []: list a market, or leave the key out for the default ones")
    markets: list[Market] = []
    for number, section in enumerate(listed, 1):
        key = f"matching.markets[{number - 1}]"
        if any(market.symbol == section.symbol for market in markets):
            raise ConfigError(f"{key}.symbol: {section.symbol!r}: is listed twice")
        other = namesake(section.symbol, (market.symbol for market in markets))
        if other is not None:
            raise ConfigError(f"{key}.symbol: {section.symbol!r}: cannot be told from {other} without its slash")
        try:
            markets.append(_market(number, section))
        except (MarketError, ScaleError) as error:
            raise ConfigError(f"{key}: {error}") from error
    return tuple(markets)


def shown(config: Config) -> dict[str, Any]:
    """All options as they are in force, secrets hidden."""
    tree: dict[str, Any] = msgspec.to_builtins(config)
    for section in tree.values():
        if isinstance(section, dict):
            for key in _SECRETS & section.keys():
                if section[key]:
                    section[key] = "(set)"
    return tree


def schema() -> dict[str, Any]:
    """All options as a JSON schema, with defaults, bounds and descriptions."""
    return msgspec.json.schema(Config)


def _market(number: int, section: MarketSection) -> Market:
    base, _, quote = section.symbol.partition("/")
    lot = parse_units(section.lot_size)
    return Market(
        market_id=number,
        symbol=section.symbol,
        base=base,
        quote=quote,
        tick_size=parse_units(section.tick_size),
        lot_size=lot,
        min_quantity=lot if section.min_quantity is None else parse_units(section.min_quantity),
        max_quantity=parse_units(section.max_quantity),
        min_notional=parse_units(section.min_notional),
        price_band_ppm=parse_units(section.price_band) // 100,
        max_slippage_ppm=parse_units(section.max_slippage) // 100,
        max_open_orders=section.max_open_orders,
        max_fills=section.max_fills,
        min_display_ppm=parse_units(section.min_display_share) // 100,
        maker_fee=parse_units(section.maker_fee),
        taker_fee=parse_units(section.taker_fee),
        fee_asset=FeeAsset[section.fee_asset],
    )


def _read(file: Path, env: Mapping[str, str]) -> dict[str, Any]:
    try:
        tree = yaml.load(file.read_text(encoding="utf-8"), _TextLoader)  # noqa: S506 - a SafeLoader
    except OSError as error:
        raise ConfigError(f"{file}: cannot be read: {error.strerror}") from error
    except (UnicodeDecodeError, yaml.YAMLError) as error:
        raise ConfigError(f"{file}: is not YAML: {error}") from error
    if not isinstance(tree, dict | None):
        raise ConfigError(f"{file}: must hold sections, as `trade-engine config show` prints them")
    filled = _fill(tree or {}, env)
    return {key: value for key, value in filled.items() if value is not None}


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
        raise ConfigError(f"{name}: {text!r}: is not YAML") from error


def _put(tree: dict[str, Any], path: list[str], value: Any, name: str) -> None:
    for key in path[:-1]:
        tree = tree.setdefault(key, {})
        if not isinstance(tree, dict):
            raise ConfigError(f"{name}: {key} is not a section")
    tree[path[-1]] = value


def _read_secret_files(tree: dict[str, Any]) -> None:
    """Replace ``key_file`` by ``key`` with what stands in the file."""
    for name, section in tree.items():
        if not isinstance(section, dict):
            continue
        for secret in _SECRETS:
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


def _check_secrets(config: Config) -> None:
    secret = config.auth.jwt_secret
    if secret is not None and len(secret.encode()) < _JWT_SECRET_BYTES_MIN:
        raise ConfigError(f"auth.jwt_secret: (hidden): must have at least {_JWT_SECRET_BYTES_MIN} bytes")
    if config.auth.jwks_file and config.auth.jwks_url:
        raise ConfigError(f"auth.jwks_url: {config.auth.jwks_url!r}: auth.jwks_file is set as well; set one of the two")
    for key in ("url", "direct_url"):
        url = getattr(config.database, key)
        if url and not url.startswith(("postgresql://", "postgres://")):
            raise ConfigError(f"database.{key}: (hidden): must start with postgresql://")
    wallet = config.wallet
    if wallet.database_url and not wallet.database_url.startswith(("postgresql://", "postgres://")):
        raise ConfigError("wallet.database_url: (hidden): must start with postgresql://")
    if wallet.mode == "http" and not (wallet.url or "").startswith(("http://", "https://")):
        raise ConfigError("wallet.url: (hidden): mode http needs it, and it must start with http:// or https://")
    pools = ("max_open_conns", "wallet_conns", "history_conns")
    wanted = sum(getattr(config.database, name) for name in pools)
    if config.database.url is None and wanted > _EMBEDDED_CONNS_MAX:
        names = " + ".join(pools)
        raise ConfigError(f"database.{names}: {wanted}: the embedded database has room for {_EMBEDDED_CONNS_MAX}")
    if config.database.direct_url and not config.database.url:
        raise ConfigError("database.direct_url: (hidden): needs database.url beside it")


def _explain(error: msgspec.ValidationError, tree: dict[str, Any]) -> str:
    """``server.http_port: '0x': Expected `int` (its description)`` out of the library's message."""
    message, _, path = str(error).partition(" - at `$")
    parts = re.findall(r"[^.\[\]]+", path.rstrip("`"))
    key = path.rstrip("`").lstrip(".")
    unknown = re.search(r"unknown field `(?P<field>[^`]*)`", message)
    if unknown is not None:
        field = unknown["field"]
        near = difflib.get_close_matches(field, _known(parts), n=1)
        return f"{key}{'.' if key else ''}{field}: unknown option" + (f"; did you mean {near[0]}?" if near else "")
    value: Any = tree
    for part in parts:
        try:
            value = value[int(part)] if isinstance(value, list) else value[part]
        except (KeyError, IndexError, TypeError, ValueError):
            return f"{key}: {message}"
    shown_value = "(hidden)" if parts and parts[-1] in _SECRETS else repr(value)
    description = _described(parts)
    return f"{key}: {shown_value}: {message}" + (f" ({description})" if description else "")


def _section(parts: list[str]) -> type[msgspec.Struct]:
    if parts[:2] == ["matching", "markets"] and len(parts) > 2:
        return MarketSection
    kind = Config.__annotations__.get(parts[0]) if parts else None
    return kind if isinstance(kind, type) and issubclass(kind, msgspec.Struct) else Config


def _known(parts: list[str]) -> tuple[str, ...]:
    return _section(parts).__struct_fields__


def _described(parts: list[str]) -> str | None:
    annotation = _section(parts).__annotations__.get(parts[-1]) if parts else None
    notes = [note.description for note in getattr(annotation, "__metadata__", ()) if isinstance(note, msgspec.Meta)]
    return next((note for note in reversed(notes) if note), None)
