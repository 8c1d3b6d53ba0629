"""Streams of the rolling day: of one market, or of all that changed."""

import time
from collections.abc import Callable, Iterable
from typing import Any, Final

from trade_engine.domain.errors import Unavailable
from trade_engine.edge.binance.given import joined
from trade_engine.edge.binance.numbers import fixed, ms
from trade_engine.edge.binance.tickers import changes, day_start_us
from trade_engine.edge.binance.ws.feeds import StateFeed
from trade_engine.edge.binance.ws.frames import event_frame
from trade_engine.edge.ws.channels import Group, Tape
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


class EveryDayFeed(Group):
    """The days of all markets that changed; ``position`` counts updates."""

    def __init__(self, show: Callable[[str], dict[str, Any]], pause_ms: float, stream: str, *, combined: bool) -> None:
        self._show = show
        self._stream = stream
        self._combined = combined
        self.pause_ms = pause_ms
        self._touched: set[str] = set()
        #: What was told last of each market, and at which position.
        self._told: dict[str, tuple[int, dict[str, Any]]] = {}

    def touch(self, symbols: Iterable[str]) -> None:
        """These markets may have changed."""
        self._touched.update(symbols)

    def snapshot(self) -> None:
        """Nothing."""

    def update(self) -> bytes | None:
        """The days that are others than before."""
        before = self.position
        touched, self._touched = sorted(self._touched), set()
        for symbol in touched:
            try:
                state = self._show(symbol)
            except Unavailable:
                continue
            known = self._told.get(symbol)
            if known is None or _untimed(known[1]) != _untimed(state):
                self.position = before + 1
                self._told[symbol] = before + 1, state
        return self.catch_up(before)

    def catch_up(self, position: int) -> bytes | None:
        """The days that changed since."""
        changed = [state for at, state in self._told.values() if at > position]
        return event_frame(self._stream, changed, combined=self._combined) if changed else None
