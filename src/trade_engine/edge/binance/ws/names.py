"""What a stream's name asks for: ``btcusdt@depth@100ms`` is a market, what is shown of it, and how often."""

import re
from typing import Final

from trade_engine.domain.errors import InvalidRequest
from trade_engine.domain.market import Market
from trade_engine.edge.binance.refusals import Numbered
from trade_engine.edge.markets import Markets
from trade_engine.edge.ws.hub import EVERY
from trade_engine.marketdata.intervals import INTERVALS

NAME_MAX: Final = 100
_SYMBOL: Final = re.compile(r"[a-z0-9]{1,40}")
#: Streams of all markets.
OF_ALL: Final = ("!miniTicker@arr", "!ticker@arr")
KINDS: Final = frozenset(
    (
        "trade", "aggTrade", "miniTicker", "ticker", "bookTicker",
        *(f"kline_{interval}" for interval in INTERVALS),
        *(f"depth{levels}{pace}" for levels in ("", 5, 10, 20) for pace in ("", "@100ms", "@1000ms")),
    )
)  # fmt: skip
#: Our symbol of the market (``EVERY`` for all) and the kind of stream.
Named = tuple[str, str]


def read_name(name: str, markets: Markets) -> Named | None:
    """What a stream's name asks for; None if it is not of the form that market streams have.

    Raises:
        Numbered: -1121 there is no such market, -1120 there are no such candles, -1130 there is no such stream.
    """
    if name in OF_ALL:
        return EVERY, name
    symbol, at, kind = name.partition("@")
    if not at:
        return None
    if _SYMBOL.fullmatch(symbol) is None:
        raise Numbered(-1121, "Invalid symbol.")
    market = _market(symbol, markets)
    if kind in KINDS:
        return market.symbol, kind
    if kind.startswith("kline_"):
        raise Numbered(-1120, "Invalid interval.")
    raise Numbered(-1130, "Data sent for parameter 'stream' is not valid.")


def _market(symbol: str, markets: Markets) -> Market:
    try:
        return markets.named(symbol.upper())
    except InvalidRequest as error:
        raise Numbered(-1121, "Invalid symbol.") from error
