"""A file with every option, its default and what it is: made from the schema, so that it is never out of date."""

from typing import Annotated, Any, Final, get_args, get_origin, get_type_hints

import msgspec
import yaml

from trade_engine.config.schema import Config, MarketSection, Section

_HEAD: Final = """\
# Every option of the trade engine with its default; made by `trade-engine config example`.
#
# Take the sign # away from what you set. ${NAME} and ${NAME:default} stand for variables of the environment.
# Each option is also TRADE_ENGINE__SECTION__KEY in the environment, which wins over this file; flags win over both.
# A length of time may be written with its unit and without the end of its name: shutdown_timeout: 30s.
"""
_MARKET: Final = {"symbol": "BTC/USDT", "tick_size": "0.01", "lot_size": "0.000001"}


def example() -> str:
    """The file."""
    lines = [_HEAD]
    defaults = Config()
    for name, annotation in get_type_hints(Config, include_extras=True).items():
        kind = _kind(annotation)
        if not (isinstance(kind, type) and issubclass(kind, Section)):
            lines += [_line("", name, getattr(defaults, name), annotation), ""]
            continue
        title = (kind.__doc__ or "").partition(": ")[2]
        lines += [f"# {title}", f"{name}:"]
        for key, inner in get_type_hints(kind, include_extras=True).items():
            lines.append(_line("  ", key, getattr(getattr(defaults, name), key), inner))
            if key == "markets":
                lines += _market()
        lines.append("")
    return "\n".join(lines)


def _market() -> list[str]:
    """How a market is written."""
    lines: list[str] = []
    values = _MARKET | {
        field.name: field.default for field in msgspec.structs.fields(MarketSection) if field.name not in _MARKET
    }
    for key, annotation in get_type_hints(MarketSection, include_extras=True).items():
        text = _line("", key, values[key], annotation).removeprefix("# ")
        lines.append(f"  #   {' ' if lines else '-'} {text}")
    return lines


def _line(indent: str, key: str, value: Any, annotation: Any) -> str:
    text = yaml.safe_dump(value, default_flow_style=True, width=1_000).removesuffix("\n").removesuffix("\n...")
    start = f"{indent}# {key}: {text}"
    return f"{start:<50}  # {_description(annotation)}"


def _kind(annotation: Any) -> Any:
    return get_args(annotation)[0] if get_origin(annotation) is Annotated else annotation


def _description(annotation: Any) -> str:
    notes = [note.description for note in getattr(annotation, "__metadata__", ()) if isinstance(note, msgspec.Meta)]
    return next((note for note in reversed(notes) if note), "")
