"""Other spellings of an option: a length of time with its unit (``shutdown_timeout: 30s``), and names of old.

An option that ends in ``_s``, ``_ms`` or ``_days`` may be written without that end, and then needs a unit.
"""

import re
from typing import Any, Final

from trade_engine.config.errors import ConfigError
from trade_engine.config.schema import section_of

#: What an option is called elsewhere.
_ALSO: Final = {"server.read_timeout": "server.request_timeout_s"}
_LENGTH: Final = re.compile(r"(?P<number>[0-9]+(?:\.[0-9]+)?)(?P<unit>ms|s|m|h|d)")
_MS: Final = {"ms": 1.0, "s": 1e3, "m": 60e3, "h": 3_600e3, "d": 86_400e3}
#: By the end of an option's name: milliseconds of its unit.
_ENDS: Final = {"_s": 1e3, "_ms": 1.0, "_days": 86_400e3}


def canonical(path: list[str], value: Any) -> tuple[str, Any]:
    """The name and the value of an option, as the schema has them.

    Raises:
        ConfigError: the length of time has no unit.
    """
    key, section = path[-1], ".".join(path[:-1])
    fields = section_of(section).__struct_fields__
    also = _ALSO.get(f"{section}.{key}")
    named = also.rpartition(".")[2] if also else key
    if named not in fields:
        named = next((f"{key}{end}" for end in _ENDS if f"{key}{end}" in fields), key)
    unit_ms = next((ms for end, ms in _ENDS.items() if named.endswith(end)), None)
    if unit_ms is None or named not in fields or not isinstance(value, str):
        return named, value
    found = _LENGTH.fullmatch(value.strip())
    if found is None:
        if named != key:
            raise ConfigError(f"{section}.{key}: {value!r}: needs a number and a unit, as 500ms, 30s, 5m, 1h or 7d")
        return named, value
    length = float(found["number"]) * _MS[found["unit"]] / unit_ms
    return named, str(int(length)) if length.is_integer() else str(length)
