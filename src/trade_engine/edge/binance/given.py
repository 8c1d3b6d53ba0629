"""The parameters of a request: from the query, the body or both; each of them once, and none empty."""

import json
import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Final
from urllib.parse import unquote_to_bytes

from starlette.requests import Request

from trade_engine.domain.market import Market
from trade_engine.edge.binance.numbers import us_of
from trade_engine.edge.binance.refusals import Numbered, combination, illegal, invalid, missing
from trade_engine.edge.markets import Markets
from trade_engine.edge.rest.route import Route
from trade_engine.edge.times import LATEST_US

_WHOLE: Final = re.compile(r"[0-9]{1,19}")
_MOST_PARAMETERS: Final = 100
_MOST_SYMBOLS: Final = 1_000
_KEPT: Final = 64
#: The names of each route's parameters, by its operation.
_names: dict[str, frozenset[str]] = {}


@lru_cache(_KEPT)
def pairs(raw: bytes) -> tuple[tuple[str, str, bytes], ...]:
    """Name, value and the part as sent of each parameter of a query or a form.

    The latest are kept, because a request's login reads them and then its route.

    Raises:
        Numbered: -1100, a part is no text; -1101, there are too many.
    """
    parts = raw.split(b"&") if raw else []
    if len(parts) > _MOST_PARAMETERS:
        raise Numbered(-1101, "Too many parameters sent for this endpoint.")
    split = [part.partition(b"=") for part in parts]
    return tuple((_text(name), _text(value), part) for (name, _, value), part in zip(split, parts, strict=True))


def _text(raw: bytes) -> str:
    if raw.isalnum():
        return raw.decode()
    try:
        text = (unquote_to_bytes(raw.replace(b"+", b" ")) if b"%" in raw or b"+" in raw else raw).decode()
    except UnicodeDecodeError as error:
        raise Numbered(-1100, "Illegal characters found in a parameter.") from error
    if not text.isprintable():
        raise Numbered(-1100, "Illegal characters found in a parameter.")
    return text


def read_parameters(request: Request, route: Route, body: bytes) -> Mapping[str, str]:
    """The parameters of a request, all known to its route.

    Raises:
        Numbered: -1101 one comes twice; -1104 one is unknown; -1105 one is empty; -1100.
    """
    found: dict[str, str] = {}
    for raw in (request.scope["query_string"], body):
        for name, value, part in pairs(raw):
            if not part:
                continue
            if name in found:
                raise Numbered(-1101, "Duplicate values for a parameter detected.")
            if not value:
                raise Numbered(-1105, f"Parameter '{name[:50]}' was empty.")
            found[name] = value
    names = _names.get(route.operation)
    if names is None:
        names = _names[route.operation] = frozenset(parameter.name for parameter in route.parameters)
    known = found.keys() & names
    if len(known) < len(found):
        message = f"read '{len(known)}' parameter(s) but was sent '{len(found)}'"
        raise Numbered(-1104, f"Not all sent parameters were read; {message}.")
    return found


def need(given: Mapping[str, str], name: str) -> str:
    """A parameter that must be there.

    Raises:
        Numbered: -1102.
    """
    text = given.get(name)
    if text is None:
        raise missing(name)
    return text


def whole(given: Mapping[str, str], name: str) -> int | None:
    """A whole number, None if it is not given.

    Raises:
        Numbered: -1100.
    """
    text = given.get(name)
    if text is None:
        return None
    if _WHOLE.fullmatch(text) is None:
        raise illegal(name, "^[0-9]{1,20}$")
    return int(text)


def limit_of(given: Mapping[str, str], default: int, most: int) -> int:
    """How many rows; more than there may be are as many as there may be.

    Raises:
        Numbered: -1100; -1130 for none.
    """
    number = whole(given, "limit")
    if number == 0:
        raise invalid("limit")
    return default if number is None else min(number, most)


def span(given: Mapping[str, str]) -> tuple[int | None, int | None]:
    """``startTime`` and ``endTime`` in microseconds, both included; None where one is not given.

    Raises:
        Numbered: -1100; -1127 if the end is before the start.
    """
    times = [whole(given, name) for name in ("startTime", "endTime")]
    start, end = (None if time is None else min(us_of(time), LATEST_US) for time in times)
    if end is not None:
        # To the end of its millisecond.
        end = end + 999 if end % 1000 == 0 else end
    if start is not None and end is not None and end < start:
        raise Numbered(-1127, "Lookup interval is invalid: endTime is before startTime.")
    return start, end


def choice(given: Mapping[str, str], name: str, words: tuple[str, ...]) -> str:
    """One word of several, the first if it is not given.

    Raises:
        Numbered: -1130.
    """
    word = given.get(name, words[0])
    if word not in words:
        raise invalid(name)
    return word


def joined(market: Market) -> str:
    """A market's symbol as this face writes it: ``BTCUSDT``."""
    return market.base + market.quote


def market_of(markets: Markets, symbol: str) -> Market:
    """The market of a symbol such as ``BTCUSDT``, exactly so.

    Raises:
        Numbered: -1121 or -1100.
    """
    if not (symbol.isascii() and symbol.isalnum() and len(symbol) <= 40):
        raise illegal("symbol", "^[A-Z0-9-_.]{1,20}$")
    if symbol != symbol.upper():
        raise Numbered(-1121, "Invalid symbol.")
    return markets.named(symbol)


def need_market(given: Mapping[str, str], markets: Markets) -> Market:
    """The market that must be given.

    Raises:
        Numbered: -1102, -1121, -1100.
    """
    return market_of(markets, need(given, "symbol"))


def markets_of(given: Mapping[str, str], markets: Markets) -> list[Market] | None:
    """The markets of ``symbols``, None if it is not given.

    Raises:
        Numbered: -1100, -1121, -1128 (``symbol`` as well), -1151 (one is there twice).
    """
    text = given.get("symbols")
    if text is None:
        return None
    if "symbol" in given:
        raise combination("symbol", "symbols")
    try:
        names = json.loads(text)
    except (ValueError, RecursionError):
        names = None
    if not isinstance(names, list) or not 0 < len(names) <= _MOST_SYMBOLS:
        raise illegal("symbols", r"^\[(\"[A-Z0-9-_.]{1,20}\"(,\"[A-Z0-9-_.]{1,20}\"){0,}){0,1}\]$")
    if not all(isinstance(name, str) for name in names):
        raise illegal("symbols", r"^\[(\"[A-Z0-9-_.]{1,20}\"(,\"[A-Z0-9-_.]{1,20}\"){0,}){0,1}\]$")
    if len(set(names)) < len(names):
        raise Numbered(-1151, "Symbol is present multiple times in the list.")
    return [market_of(markets, name) for name in names]
