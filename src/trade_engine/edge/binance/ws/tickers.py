"""Streams of the rolling day: of one market, or of all that changed."""

import time
from collections.abc import Callable
from typing import Any, Final

from trade_engine.edge.binance.given import joined
from trade_engine.edge.binance.numbers import fixed, ms
from trade_engine.edge.binance.tickers import changes, day_start_us
from trade_engine.edge.binance.ws.feeds import StateFeed
from trade_engine.edge.binance.ws.frames import event_frame
from trade_engine.edge.ws.channels import EveryMarketGroup, Tape
from trade_engine.sequencer.ports import MarketReader

#: What both streams call their times, which are no change of the state.
_TIMES: Final = ("E", "O", "C")


class Days:
    """What the rolling day of any market looks like.

    Args:
        tape: the latest trades of a market.
    """

    def __init__(self, reader: MarketReader, tape: Callable[[str], Tape]) -> None:
        self.reader = reader
        self._tape = tape

    def mini(self, symbol: str) -> dict[str, Any]:
        """Prices and volumes."""
        view = self.reader.ticker(symbol)
        return {
            "e": "24hrMiniTicker",
            "E": time.time_ns() // 1_000_000,
            "s": joined(self.reader.markets[symbol]),
            "c": fixed(view.last_price),
            "o": fixed(view.open),
            "h": fixed(view.high),
            "l": fixed(view.low),
            "v": fixed(view.volume),
            "q": fixed(view.quote_volume),
        }

    def full(self, symbol: str) -> dict[str, Any]:
        """The same, changes, the best prices, and the trades counted."""
        view, committed, start_us = self.reader.ticker(symbol), self.reader.view(symbol), day_start_us()
        earlier, newest = committed.between("1m", 0, start_us, 1), self._tape(symbol).latest(1)
        changed = changes(view.open, view.last_price, view.volume, view.quote_volume)
        book = self.reader.depth(symbol, 1)
        bid, ask = (side[0] if side else (0, 0, 0) for side in (book.bids, book.asks))
        first = earlier[-1].last_sequence + 1 if earlier else 1
        return self.mini(symbol) | {
            "e": "24hrTicker",
            "p": changed["priceChange"],
            "P": changed["priceChangePercent"],
            "w": changed["weightedAvgPrice"],
            "x": fixed(earlier[-1].close if earlier else view.open),
            "Q": fixed(newest[-1].quantity if newest else 0),
            "b": fixed(bid[0]),
            "B": fixed(bid[1]),
            "a": fixed(ask[0]),
            "A": fixed(ask[1]),
            "O": ms(start_us),
            "C": time.time_ns() // 1_000_000,
            "F": first if view.trades else -1,
            "L": newest[-1].sequence if view.trades and newest else -1,
            "n": view.trades,
        }


def _untimed(state: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in state.items() if name not in _TIMES}


class DayFeed(StateFeed):
    """The day of one market."""

    def __init__(self, show: Callable[[str], dict[str, Any]], pause_ms: float, stream: str, **more: Any) -> None:
        self._show = show
        super().__init__(pause_ms, stream, **more)

    def _state(self) -> Any:
        return _untimed(self._show(self._view().market.symbol))

    def _event(self, state: Any) -> Any:  # noqa: ARG002 - the times are those of now
        return self._show(self._view().market.symbol)


class EveryDayFeed(EveryMarketGroup):
    """The days of all markets that changed; there is no snapshot."""

    def __init__(self, show: Callable[[str], dict[str, Any]], pause_ms: float, stream: str, *, combined: bool) -> None:
        super().__init__(pause_ms)
        self._show = show
        self._stream = stream
        self._combined = combined

    def snapshot(self) -> None:
        """Nothing."""

    def _state(self, symbol: str) -> dict[str, Any]:
        return self._show(symbol)

    def _compared(self, state: dict[str, Any]) -> Any:
        return _untimed(state)

    def _frame(self, states: list[Any], more: dict[str, Any]) -> bytes:  # noqa: ARG002 - without a snapshot there is none
        return event_frame(self._stream, states, combined=self._combined)
