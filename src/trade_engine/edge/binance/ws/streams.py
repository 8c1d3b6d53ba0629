"""The market streams of a server: which group of the hub a stream's name leads to, and how it is made."""

import time
from typing import Any, Final

from trade_engine.edge.binance.given import joined
from trade_engine.edge.binance.ws.feeds import (
    AggregateFeed,
    BestFeed,
    CandleFeed,
    DiffFeed,
    LevelsFeed,
    TradeFeed,
)
from trade_engine.edge.binance.ws.frames import COMBINED, RAW
from trade_engine.edge.binance.ws.names import Named
from trade_engine.edge.binance.ws.tickers import DayFeed, Days, EveryDayFeed
from trade_engine.edge.settings import StreamSettings
from trade_engine.edge.ws.channels import Group
from trade_engine.edge.ws.hub import EVERY, Hub, Topic
from trade_engine.sequencer.ports import MarketReader

#: What the book's streams wait between events, by the end of their names, in milliseconds.
_PACES: Final = {"": 1_000.0, "@1000ms": 1_000.0, "@100ms": 100.0}


def topic_of(named: Named, *, combined: bool) -> Topic:
    """The hub's topic of a stream."""
    return (COMBINED if combined else RAW, *named)


class MarketStreams:
    """Makes the groups; enters itself at the hub."""

    def __init__(self, hub: Hub, reader: MarketReader, settings: StreamSettings) -> None:
        self._hub = hub
        self._reader = reader
        self._settings = settings
        self._days = Days(reader, hub.tape)
        for channel in (RAW, COMBINED):
            hub.add_channel(channel, self._make)

    def _make(self, topic: Topic) -> Group:
        channel, symbol, kind = topic
        kind, combined, pause_ms = str(kind), channel == COMBINED, self._settings.statistics_ms
        if symbol == EVERY:
            show = self._days.full if kind == "!ticker@arr" else self._days.mini
            return EveryDayFeed(show, pause_ms, kind, combined=combined)
        stream = f"{joined(self._reader.markets[symbol]).lower()}@{kind}"
        more: dict[str, Any] = {"combined": combined, "view": lambda: self._reader.view(symbol), "now_us": _now_us}
        if kind in ("ticker", "miniTicker"):
            return DayFeed(self._days.full if kind == "ticker" else self._days.mini, pause_ms, stream, **more)
        if kind.startswith("kline_"):
            return CandleFeed(self._reader, kind.removeprefix("kline_"), pause_ms, stream, **more)
        if kind.startswith("depth"):
            levels, at, pace = kind.removeprefix("depth").partition("@")
            pause_ms = _PACES[at + pace]
            return LevelsFeed(int(levels), pause_ms, stream, **more) if levels else DiffFeed(pause_ms, stream, **more)
        if kind == "bookTicker":
            return BestFeed(None, stream, **more)
        tape = self._hub.tape(symbol)
        return AggregateFeed(tape, stream, **more) if kind == "aggTrade" else TradeFeed(tape, stream, **more)


def _now_us() -> int:
    return time.time_ns() // 1000
