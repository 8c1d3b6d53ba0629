"""Options that change while the engine runs: log level, limits and markets; what else differs waits for a restart.

The configuration is read again from where it came from (file, environment, flags).  One that is wrong changes nothing.
"""

import asyncio
from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple

import msgspec
import structlog

from trade_engine.bootstrap.api import connection_settings, limit_settings
from trade_engine.config import Config, ConfigError, markets_of, shown
from trade_engine.domain.errors import EngineError, InvalidRequest, Unavailable
from trade_engine.edge.backoffice import Reloaded
from trade_engine.edge.caller import Callers
from trade_engine.edge.limits import RateLimits
from trade_engine.http.connections import Connections
from trade_engine.ops.logging import configure_logging
from trade_engine.ops.supervisor import Death, Supervisor
from trade_engine.sequencer.engine import Engine

log = structlog.get_logger(__name__)

#: Sections, and options, that need no restart.
_AT_ONCE: Final = ("rate_limit", "logging.level", "logging.output", "logging.repeat_s", "server.address_messages_per_s")
_MARKETS: Final = "matching.markets"
_TASK: Final = "reload"


class Reloadable(NamedTuple):
    """What takes new options while it runs."""

    limits: RateLimits
    connections: Connections
    callers: Callers
    engine: Engine


class Reloader:
    """Reads the configuration again and puts in force what can be, one time after the other.

    Args:
        config: as the engine was started.
        read: reads it again.
    """

    def __init__(self, config: Config, read: Callable[[], Config]) -> None:
        self._config = config
        self._read = read
        self._parts: Reloadable | None = None
        self._one = asyncio.Lock()

    def begin(self, parts: Reloadable) -> None:
        """From now on these take new options."""
        self._parts = parts

    async def reload(self) -> Reloaded:
        """Read it again.

        Raises:
            Unavailable: the engine is not up; InvalidRequest: CONFIG_INVALID.  Nothing was changed.
        """
        async with self._one:
            if self._parts is None:
                raise Unavailable("ENGINE_UNAVAILABLE", "the engine is not up yet")
            return await self._reload(self._parts)

    def reload_soon(self, supervisor: Supervisor) -> None:
        """As ``reload``, for a signal: what becomes of it is in the log."""
        if _TASK not in {task.name for task in supervisor.tasks}:
            supervisor.start(_TASK, self._try, Death.DONE)

    async def _try(self) -> None:
        try:
            await self.reload()
        except EngineError as error:
            log.error("reload_failed", code=error.code, reason=error.message)

    async def _reload(self, parts: Reloadable) -> Reloaded:
        try:
            config = self._read()
            markets = markets_of(config)
        except ConfigError as error:
            key = str(error).partition(": ")[0][:100]
            raise InvalidRequest("CONFIG_INVALID", str(error)[:500], field=key) from error
        changed = list(_changed(self._config, config))
        applied = [key for key in changed if key.startswith(_AT_ONCE)]
        restart = [key for key in changed if key not in applied and key != _MARKETS]
        refused: dict[str, str] = {}
        self._apply(config, parts)
        parts.engine.reconfigure(markets)
        for market in markets if config.matching.markets is not None or _MARKETS in changed else ():
            try:
                if await parts.engine.operations.configure_market(market):
                    applied.append(f"{_MARKETS} {market.symbol}")
            except EngineError as error:
                refused[market.symbol] = f"{error.code}: {error.message}"
        # What waits for a restart goes on to differ from what is in force.
        self._config = _kept(config, self._config, restart)
        log.info("configuration_reloaded", applied=applied, needs_restart=restart, refused=refused)
        return Reloaded(applied, restart, refused)

    def _apply(self, config: Config, parts: Reloadable) -> None:
        options = config.logging
        configure_logging(options.level, self._config.logging.format, options.repeat_s, options.output)
        parts.limits.set_limits(limit_settings(config))
        parts.callers.readings.set_most(config.rate_limit.queries_at_once)
        parts.callers.public_readings.set_most(config.rate_limit.public_at_once)
        parts.connections.messages.set_pace(connection_settings(config).address_messages)


def _changed(before: Config, after: Config) -> list[str]:
    """The options that differ."""
    old, new = _values(before), _values(after)
    return [key for key in new if new[key] != old[key]]


def _values(config: Config) -> dict[str, Any]:
    tree = msgspec.structs.asdict(config)
    found: dict[str, Any] = {}
    for name, section in tree.items():
        if isinstance(section, msgspec.Struct):
            found |= {f"{name}.{key}": value for key, value in msgspec.structs.asdict(section).items()}
        else:
            found[name] = section
    return found


def _kept(config: Config, before: Config, keys: list[str]) -> Config:
    """``config``, but for some options, which are as before."""
    for key in keys:
        section, _, name = key.partition(".")
        if not name:
            config = msgspec.structs.replace(config, **{section: getattr(before, section)})
            continue
        kept = msgspec.structs.replace(getattr(config, section), **{name: getattr(getattr(before, section), name)})
        config = msgspec.structs.replace(config, **{section: kept})
    return config


def summary(config: Config) -> Mapping[str, Any]:
    """The options that are not as by default, for a log line; secrets hidden."""
    usual, now = _values(Config()), shown(config)
    found: dict[str, Any] = {}
    for key, value in _values(config).items():
        if value != usual[key]:
            section, _, name = key.partition(".")
            found[key] = now[section][name] if name else now[section]
    if _MARKETS in found:
        found[_MARKETS] = len(found[_MARKETS] or ())
    return found


def session_end_us(config: Config) -> int:
    """When a day ends, in microseconds after 00:00 UTC."""
    hours, _, minutes = config.matching.session_end.partition(":")
    return (int(hours) * 60 + int(minutes)) * 60_000_000
