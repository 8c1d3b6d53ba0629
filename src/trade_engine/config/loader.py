"""Where options come from: defaults, then a YAML file, then the environment, then flags; each overrides the last.

A wrong option stops the start with a message that names its key, its value and what it must be.
"""

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import msgspec
import yaml

from trade_engine.config.schema import Config, MarketSection
from trade_engine.domain.enums import FeeAsset
from trade_engine.domain.market import Market, MarketError, default_markets
from trade_engine.domain.scale import ScaleError, parse_units

_PREFIX: Final = "TRADE_ENGINE__"
_VARIABLE: Final = re.compile(r"\$\{(?P<name>[A-Za-z_][A-Za-z0-9_]*)(?::(?P<default>[^}]*))?\}")
_SECRETS: Final = frozenset({"jwt_secret", "url", "direct_url"})


class ConfigError(ValueError):
    """An option is wrong; the message names key, value and reason."""


def load_config(
    file: Path | None = None,
    flags: Mapping[str, Any] | None = None,
    environment: Mapping[str, str] | None = None,
) -> Config:
    """Read all options.

    Args:
        file: YAML, with ``${VAR:default}`` anywhere in it.
        flags: dotted keys (``server.http_port``) and values; None values do not count.
        environment: ``TRADE_ENGINE__SECTION__KEY`` and what ``${VAR}`` names; default: the process's.

    Raises:
        ConfigError: the file cannot be read, or an option is unknown or wrong.
    """
    env = os.environ if environment is None else environment
    tree: dict[str, Any] = _read(file, env) if file else {}
    for name, text in env.items():
        if name.startswith(_PREFIX):
            _put(tree, name[len(_PREFIX) :].lower().split("__"), yaml.safe_load(text), name)
    for key, value in (flags or {}).items():
        if value is not None:
            _put(tree, key.split("."), value, key)
    try:
        config = msgspec.convert(tree, Config)
    except msgspec.ValidationError as error:
        raise ConfigError(_explain(error, tree)) from error
    return _with_secrets(config)


def markets_of(config: Config) -> tuple[Market, ...]:
    """The markets that the configuration lists, or the default ones.

    Raises:
        ConfigError: a market contradicts itself, or is listed twice.
    """
    listed = config.matching.markets
    if listed is None:
        return default_markets()
    markets: list[Market] = []
    for number, section in enumerate(listed, 1):
        key = f"matching.markets[{number - 1}]"
        if any(market.symbol == section.symbol for market in markets):
            raise ConfigError(f"{key}.symbol: {section.symbol} is listed twice")
        try:
            markets.append(_market(number, section))
        except (MarketError, ScaleError) as error:
            raise ConfigError(f"{key}: {error}") from error
    return tuple(markets)


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
        maker_fee=parse_units(section.maker_fee),
        taker_fee=parse_units(section.taker_fee),
        fee_asset=FeeAsset[section.fee_asset],
    )


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


def _read(file: Path, env: Mapping[str, str]) -> dict[str, Any]:
    try:
        tree = yaml.safe_load(_VARIABLE.sub(lambda match: _variable(match, env), file.read_text()))
    except OSError as error:
        raise ConfigError(f"{file}: cannot be read: {error.strerror}") from error
    except yaml.YAMLError as error:
        raise ConfigError(f"{file}: is not YAML: {error}") from error
    if not isinstance(tree, dict | None):
        raise ConfigError(f"{file}: must hold sections, as in `trade-engine config show`")
    return tree or {}


def _variable(match: re.Match[str], env: Mapping[str, str]) -> str:
    value = env.get(match["name"], match["default"])
    if value is None:
        raise ConfigError(f"${{{match['name']}}}: the variable is not set and has no default")
    return value


def _put(tree: dict[str, Any], path: list[str], value: Any, name: str) -> None:
    for key in path[:-1]:
        tree = tree.setdefault(key, {})
        if not isinstance(tree, dict):
            raise ConfigError(f"{name}: {key} is not a section")
    tree[path[-1]] = value


def _explain(error: msgspec.ValidationError, tree: Any) -> str:
    """``$.server.http_port`` out of the library's message, with the value that stands there."""
    message, _, path = str(error).partition(" - at `$")
    key = path.rstrip("`").lstrip(".")
    value = tree
    for part in re.findall(r"[^.\[\]]+", key):
        try:
            value = value[int(part)] if isinstance(value, list) else value[part]
        except (KeyError, IndexError, TypeError):
            return f"{key or 'configuration'}: {message}"
    return f"{key or 'configuration'}: {value!r}: {message}" if key else message


def _with_secrets(config: Config) -> Config:
    database, auth = config.database, config.auth
    if database.url_file:
        database = msgspec.structs.replace(database, url=_secret("database.url_file", database.url_file))
    if auth.jwt_secret_file:
        auth = msgspec.structs.replace(auth, jwt_secret=_secret("auth.jwt_secret_file", auth.jwt_secret_file))
    if auth.jwt_secret is not None and len(auth.jwt_secret.encode()) < 32:
        raise ConfigError("auth.jwt_secret: (hidden): must have at least 32 bytes")
    return msgspec.structs.replace(config, database=database, auth=auth)


def _secret(key: str, file: str) -> str:
    try:
        return Path(file).read_text().strip()
    except OSError as error:
        raise ConfigError(f"{key}: {file!r}: cannot be read: {error.strerror}") from error
