"""The environment's usual names (``DATABASE_URL``), and connections given in parts (host, port, name, user, password).

Usual names rank below everything of ours, because nobody knows whom they were meant for; that one is used is noted, so
that it can be logged.  ``TRADE_ENGINE_USUAL_NAMES=off`` has them ignored.
"""

from collections.abc import Mapping
from typing import Any, Final, NamedTuple
from urllib.parse import quote, urlsplit, urlunsplit

from trade_engine.config.errors import ConfigError
from trade_engine.config.schema import section_of
from trade_engine.config.sources import PREFIX, Layers

SWITCH: Final = "TRADE_ENGINE_USUAL_NAMES"
_PARTS: Final = ("port", "name", "user", "password", "tls", "tls_ca_file")
_YES: Final = ("1", "true")
#: Sections with a connection: the scheme of its url, its port, and its usual name and user.
_CONNECTIONS: Final = {
    "database": ("postgresql", 5432, "trade_engine", "trade_engine"),
    "redis": ("redis", 6379, "0", None),
    "rabbitmq": ("amqp", 5672, "/", "guest"),
}
_SIMPLE: Final = {"LOG_LEVEL": "logging.level", "SERVER_PORT": "server.http_port"}
_LEVELS: Final = {"warn": "warning", "fatal": "error", "critical": "error", "trace": "debug"}
#: What begins like ours, is no option, and is known all the same.
_KNOWN: Final = frozenset(
    f"TRADE_ENGINE_{name}" for name in (
        "CONFIG", "DATA_DIR", "USUAL_NAMES", "FAILPOINTS", "URL", "TOKEN", "API_KEY", "API_SECRET", "ATTACK_TOKENS",
        "SHARED_DATA", "CLOCK_OFFSET_FILE",
    )
)  # fmt: skip
_TESTS: Final = "TRADE_ENGINE_TEST_"


class Note(NamedTuple):
    """Something that is worth a line at the start: an event's name, and what it is about."""

    event: str
    name: str
    option: str

    def __str__(self) -> str:
        """For people."""
        if self.event == "usual_name_used":
            return f"{self.option} is taken from {self.name}"
        return f"{self.name} is no option of the engine's" + (f"; did you mean {self.option}?" if self.option else "")


def put_usual(layers: Layers, env: Mapping[str, str]) -> list[Note]:
    """Put what usual names say where nothing of ours does; to be called last.  Which were used."""
    if env.get(SWITCH, "").lower() in ("off", "0", "false", "no"):
        return []
    used = []
    for name, option in _SIMPLE.items():
        if env.get(name) and not layers.has(option):
            value: Any = env[name].lower() if name == "LOG_LEVEL" else env[name]
            layers.put(option.split("."), _LEVELS.get(value, value), f"environment {name}")
            used.append(Note("usual_name_used", name, option))
    for section in _connections():
        if any(layers.has(f"{section}.{key}") for key in ("url", "url_file", "host")):
            continue
        url, host = (f"{section.upper()}_{part}" for part in ("URL", "HOST"))
        names = [url] if env.get(url) else []
        if not names and env.get(host) and "host" in section_of(section).__struct_fields__:
            parts = [part for part in _PARTS if part in section_of(section).__struct_fields__]
            names = [host, *(f"{section.upper()}_{part.upper()}" for part in parts)]
        for name in names:
            option = f"{section}.{name.partition('_')[2].lower()}"
            # What a cluster's service links say is no port: tcp://10.0.0.1:5432.
            if env.get(name) and not layers.has(option) and not env[name].startswith("tcp://"):
                layers.put(option.split("."), env[name], f"environment {name}")
                used.append(Note("usual_name_used", name, option))
    return used


def strangers(env: Mapping[str, str]) -> list[Note]:
    """Names of the environment that look like ours and are none."""
    found = []
    for name in sorted(env):
        if not name.startswith("TRADE_ENGINE_") or name.startswith((PREFIX, _TESTS)) or name in _KNOWN:
            continue
        rest = name.removeprefix("TRADE_ENGINE_")
        section, _, key = rest.lower().partition("__") if "__" in rest else rest.lower().partition("_")
        fields = section_of(section).__struct_fields__
        found.append(
            Note("unknown_environment_name", name, f"{PREFIX}{section}__{key}".upper() if key in fields else "")
        )
    return found


def join_connections(layers: Layers) -> None:
    """Make one url of each connection's parts, or put its password into its url.

    Raises:
        ConfigError: url and parts are given side by side, or parts without a host.
    """
    for section in _connections():
        tree = layers.tree.get(section)
        if not isinstance(tree, dict) or "host" not in section_of(section).__struct_fields__:
            continue
        url, host = layers.rank(f"{section}.url", f"{section}.url_file"), layers.rank(f"{section}.host")
        if url and url == host:
            raise ConfigError(f"{section}.host: {tree['host']!r}: {section}.url is set as well; set one of the two")
        if host > url:
            layers.drop(f"{section}.url")
            layers.drop(f"{section}.url_file")
            tree["url"] = _url(section, tree)
            layers.note(f"{section}.url", f"made of {section}.host and its other parts")
            continue
        for part in ("host", *_PARTS):
            # A connection of a higher layer replaces all of a lower one.
            if layers.rank(f"{section}.{part}", f"{section}.{part}_file") < url:
                layers.drop(f"{section}.{part}")
                layers.drop(f"{section}.{part}_file")
        left = [part for part in _PARTS if tree.get(part) is not None and (part != "tls" or _is_tls(tree))]
        if left and not (url and left == ["password"]):
            also = "beside a url only a password may stand" if url else f"{section}.host is missing"
            raise ConfigError(f"{section}.{left[0]}: {_shown(left[0], tree)}: {also}")
        if left and isinstance(tree.get("url"), str):
            tree["url"] = _with_password(section, tree["url"], str(tree["password"]))


def _connections() -> list[str]:
    return [section for section in _CONNECTIONS if "url" in section_of(section).__struct_fields__]


def _is_tls(tree: dict[str, Any]) -> bool:
    return str(tree.get("tls")).lower() in _YES


def _shown(part: str, tree: dict[str, Any]) -> str:
    return "(hidden)" if part == "password" else repr(tree[part])


def _url(section: str, tree: dict[str, Any]) -> str:
    """The url that the parts of a connection make."""
    scheme, port, name, user = _CONNECTIONS[section]
    host, at = str(tree["host"]), str(tree.get("port") or port)
    if not at.isdigit() or int(at) > 65_535:
        raise ConfigError(f"{section}.port: {at!r}: must be a port, from 0 to 65535")
    login = quote(str(tree.get("user") or user or ""), safe="")
    password = tree.get("password")
    if password is not None:
        login += ":" + quote(str(password), safe="")
    path = quote(str(tree.get("name") or name), safe="")
    if host.startswith("/"):
        return f"{scheme}://{login}@/{path}?host={quote(host)}&port={at}"
    host = f"[{host}]" if ":" in host and not host.startswith("[") else host
    is_tls, trusted = _is_tls(tree), tree.get("tls_ca_file")
    if trusted and not is_tls:
        raise ConfigError(f"{section}.tls_ca_file: {trusted!r}: {section}.tls is not set")
    query = f"?ssl_ca_certs={quote(str(trusted), safe='/')}" if trusted else ""
    return f"{scheme}{'s' if is_tls else ''}://{login}{'@' if login else ''}{host}:{at}/{path}{query}"


def _with_password(section: str, url: str, password: str) -> str:
    parts = urlsplit(url)
    if parts.password is not None:
        raise ConfigError(f"{section}.password: (hidden): {section}.url has one already")
    login, at, place = parts.netloc.rpartition("@")
    return urlunsplit(parts._replace(netloc=f"{login if at else ''}:{quote(password, safe='')}@{place}"))
