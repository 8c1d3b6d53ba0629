"""The route table of this face: every path, who may ask, what it weighs, and which parameters it takes."""

import re
from collections.abc import Callable
from typing import Final

from trade_engine.edge.binance import general, klines, tickers, trades
from trade_engine.edge.rest.call import Handler
from trade_engine.edge.rest.parameters import Parameter
from trade_engine.edge.rest.route import OPEN, Route
from trade_engine.edge.settings import PUBLIC

_V3: Final = "/api/v3"
_LIMIT: Final = re.compile(rb"(?:^|&)limit=([0-9]{1,6})(?:&|$)")

Weight = Callable[[bytes], int]


def _weighs(weight: int) -> Weight:
    return lambda _: weight


def _one_or_all(one: int, every: int) -> Weight:
    """One weight for a market, another for all."""

    def weight(query: bytes) -> int:
        return one if b"symbol=" in query else min(every, max(one, query.count(b"%22") + query.count(b'"') or every))

    return weight


def _depth(query: bytes) -> int:
    found = _LIMIT.search(query)
    levels = int(found[1]) if found else 100
    return 5 if levels <= 100 else 25 if levels <= 500 else 50 if levels <= 1_000 else 250


def takes(names: str) -> tuple[Parameter, ...]:
    """Parameters by their names."""
    return tuple(Parameter(name, {"type": "string"}, name) for name in names.split())


def _open(path: str, handler: Handler, names: str, weight: int | Weight, *, reads: bool = False) -> Route:
    """A route that is open to all."""
    name = path.strip("/").replace("/", "_")
    return Route(
        f"binance_get_{name}", "binance", "GET", path, handler, OPEN, PUBLIC,
        parameters=takes(names), reads=reads, weight=_weighs(weight) if isinstance(weight, int) else weight,
    )  # fmt: skip


_TIMES: Final = "startTime endTime"

PUBLIC_ROUTES: Final = (
    _open(f"{_V3}/ping", general.ping, "", 1),
    _open(f"{_V3}/time", general.server_time, "", 1),
    _open(
        f"{_V3}/exchangeInfo", general.exchange_info, "symbol symbols permissions showPermissionSets symbolStatus", 20
    ),
    _open(f"{_V3}/depth", tickers.depth, "symbol limit", _depth),
    _open(f"{_V3}/trades", trades.newest, "symbol limit", 25, reads=True),
    _open(f"{_V3}/historicalTrades", trades.older, "symbol limit fromId", 25, reads=True),
    _open(f"{_V3}/aggTrades", trades.aggregated, f"symbol limit fromId {_TIMES}", 4, reads=True),
    _open(f"{_V3}/klines", klines.klines, f"symbol interval limit {_TIMES}", 2, reads=True),
    _open(f"{_V3}/uiKlines", klines.klines, f"symbol interval limit {_TIMES}", 2, reads=True),
    _open(f"{_V3}/avgPrice", tickers.average, "symbol", 2),
    _open(f"{_V3}/ticker/24hr", tickers.day, "symbol symbols type", _one_or_all(2, 80), reads=True),
    _open(f"{_V3}/ticker/price", tickers.price, "symbol symbols", _one_or_all(2, 4)),
    _open(f"{_V3}/ticker/bookTicker", tickers.best, "symbol symbols", _one_or_all(2, 4)),
    _open(f"{_V3}/ticker", tickers.window, "symbol symbols windowSize type", _one_or_all(4, 200), reads=True),
)

BINANCE_ROUTES: Final = PUBLIC_ROUTES
