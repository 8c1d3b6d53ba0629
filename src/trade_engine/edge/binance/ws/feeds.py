"""Market streams as groups of the hub: what happened since the last update, and what a reader that lagged needs.

A diff of the book says from which update to which it reaches (``U`` and ``u``), which are the book's ``lastUpdateId``:
merged diffs stitch as single ones do.
"""

from abc import abstractmethod
from collections.abc import Callable, Sequence
from typing import Any, Final

from trade_engine.domain.enums import Side
from trade_engine.domain.orders import Trade
from trade_engine.edge.binance.given import joined
from trade_engine.edge.binance.numbers import fixed, ms
from trade_engine.edge.binance.trades import one_by_taker, show_group
from trade_engine.edge.binance.ws.frames import event_frame
from trade_engine.edge.ws.channels import Group, Tape
from trade_engine.marketdata.candles import Candle
from trade_engine.marketdata.intervals import end_of, start_of
from trade_engine.sequencer.ports import CommittedMarket, MarketReader

#: Candles that ended and are told of late, at most.
_ENDED_MAX: Final = 10


class Feed(Group):
    """One stream of one market, in one rendering.

    Args:
        stream: its name.
        combined: events come with that name.
        now_us: microseconds since 1970, for the time of events.
    """

    def __init__(
        self, stream: str, *, combined: bool, view: Callable[[], CommittedMarket], now_us: Callable[[], int]
    ) -> None:
        self._stream = stream
        self._combined = combined
        self._view = view
        self._now_us = now_us
        self._symbol = joined(view().market)

    def _frame(self, event: Any) -> bytes:
        return event_frame(self._stream, event, combined=self._combined)

    def _head(self, kind: str) -> dict[str, Any]:
        return {"e": kind, "E": ms(self._now_us()), "s": self._symbol}


class TradeFeed(Feed):
    """Every trade, an event each; ``position`` counts those handed out."""

    def __init__(self, tape: Tape, stream: str, **more: Any) -> None:
        super().__init__(stream, **more)
        self._tape = tape
        self.position = tape.count

    def snapshot(self) -> None:
        """Nothing."""

    def update(self) -> bytes | None:
        """The trades since the last update."""
        before, self.position = self.position, self._tape.count
        return self.catch_up(before)

    def catch_up(self, position: int) -> bytes | None:
        """The latest of the missing trades."""
        missing = self.position - position
        return b"".join(map(self._frame, self._events(self._tape.latest(missing)))) if missing else None

    def _events(self, trades: Sequence[Trade]) -> list[dict[str, Any]]:
        return [
            self._head("trade")
            | {
                "t": trade.sequence,
                "p": fixed(trade.price),
                "q": fixed(trade.quantity),
                "T": ms(trade.executed_us),
                "m": trade.is_buyer_maker,
                "M": True,
            }
            for trade in trades
        ]


class AggregateFeed(TradeFeed):
    """The trades that one taker order made at one price in one go, as one."""

    def _events(self, trades: Sequence[Trade]) -> list[dict[str, Any]]:
        return [self._head("aggTrade") | show_group(group) for group in one_by_taker(trades)]


class DiffFeed(Feed):
    """Changes of the book's levels; ``position`` is the last update that was told."""

    def __init__(self, pause_ms: float, stream: str, **more: Any) -> None:
        super().__init__(stream, **more)
        self.pause_ms = pause_ms
        self.position = self._view().depth.sequence

    def snapshot(self) -> None:
        """Nothing: the book is asked for over REST."""

    def update(self) -> bytes | None:
        """Changed levels; events that changed none wait for the next that does."""
        depth, before = self._view().depth, self.position
        if depth.sequence == before or depth.changes_since(before) == []:
            return None
        self.position = depth.sequence
        return self.catch_up(before)

    def catch_up(self, position: int) -> bytes | None:
        """Changed levels since ``position``, as they are now; nothing if that is too long ago: ``U`` shows the gap."""
        view = self._view()
        changes = None if position == self.position else view.depth.changes_since(position)
        if changes is None:
            return None
        tick, lot = view.market.tick_size, view.market.lot_size
        bids, asks = (
            [(fixed(price * tick), fixed(lots * lot)) for of, price, lots in changes if of == side]
            for side in (Side.BUY, Side.SELL)
        )
        return self._frame(
            self._head("depthUpdate") | {"U": position + 1, "u": self.position, "b": bids, "a": asks}
        )  # fmt: skip


class StateFeed(Feed):
    """Events that each show the whole state: only the newest matters."""

    def __init__(self, pause_ms: float | None, stream: str, **more: Any) -> None:
        super().__init__(stream, **more)
        self.pause_ms = pause_ms
        self._shown: Any = self._state()

    @abstractmethod
    def _state(self) -> Any:
        """What to show now; None: nothing yet."""

    def _event(self, state: Any) -> Any:
        """The event that shows it."""
        return state

    def snapshot(self) -> bytes | None:
        """The state now, if there is one."""
        return None if self._shown is None else self._frame(self._event(self._shown))

    def update(self) -> bytes | None:
        """The state, if it is another than the last."""
        state = self._state()
        if state == self._shown:
            return None
        self._shown = state
        self.position += 1
        return self.snapshot()

    def catch_up(self, position: int) -> bytes | None:
        """The newest state."""
        return self.snapshot() if position != self.position else None


class LevelsFeed(StateFeed):
    """The best levels of the book."""

    def __init__(self, levels: int, pause_ms: float, stream: str, **more: Any) -> None:
        self._levels = levels
        super().__init__(pause_ms, stream, **more)

    def _state(self) -> Any:
        view = self._view()
        tick, lot = view.market.tick_size, view.market.lot_size
        return {
            name: [(fixed(price * tick), fixed(lots * lot)) for price, lots, _ in view.depth.levels(side, self._levels)]
            for name, side in (("bids", Side.BUY), ("asks", Side.SELL))
        }

    def _event(self, state: Any) -> Any:
        return {"lastUpdateId": self._view().depth.sequence} | state


class BestFeed(StateFeed):
    """The best prices, and what is offered at them."""

    def _state(self) -> Any:
        view = self._view()
        tick, lot = view.market.tick_size, view.market.lot_size
        bid, ask = ((view.depth.levels(side, 1) or [(0, 0, 0)])[0] for side in (Side.BUY, Side.SELL))
        return {
            "b": fixed(bid[0] * tick), "B": fixed(bid[1] * lot), "a": fixed(ask[0] * tick), "A": fixed(ask[1] * lot)
        }  # fmt: skip

    def _event(self, state: Any) -> Any:
        return {"u": self._view().depth.sequence, "s": self._symbol} | state


class CandleFeed(StateFeed):
    """The running candle of an interval, also where nothing trades; and how each ended, once that is sure."""

    def __init__(self, reader: MarketReader, interval: str, pause_ms: float, stream: str, **more: Any) -> None:
        self._reader = reader
        self._interval = interval
        #: Where the candle that is shown begins.
        self._start_us = start_of(interval, more["now_us"]())
        super().__init__(pause_ms, stream, **more)
        self._set_due()

    def _set_due(self) -> None:
        self.due_us = end_of(self._interval, self._start_us)

    def update(self) -> bytes | None:
        """The running candle, if something traded; the ends of those before it, if they are new."""
        ended = b""
        for _ in range(_ENDED_MAX):
            end_us = end_of(self._interval, self._start_us)
            # What traded before the end is committed only once the engine's time is past it.
            if min(self._reader.committed_us, self._now_us()) < end_us:
                break
            candle = self._candle()
            if candle is not None:
                self.position += 1
                ended += self._frame(self._show(candle, closed=True))
            self._start_us = end_us
        else:
            self._start_us = start_of(self._interval, self._now_us())
        self._set_due()
        running = super().update() or b""
        return ended + running or None

    def _state(self) -> Any:
        return self._candle()

    def _event(self, state: Any) -> Any:
        return self._show(state, closed=False)

    def _candle(self) -> Candle | None:
        """The candle shown; one without trades if nothing traded; None before the market's first trade."""
        start_us = self._start_us
        found = self._view().between(self._interval, start_us, end_of(self._interval, start_us), 1)
        if found:
            return found[0]
        close = self._before()
        return (
            None if close is None else Candle(start_us, close.close, close.close, close.close, close.close, 0, 0, 0, 0)
        )

    def _before(self) -> Candle | None:
        earlier = self._view().between(self._interval, 0, self._start_us, 1)
        return earlier[-1] if earlier else None

    def _show(self, candle: Candle, *, closed: bool) -> dict[str, Any]:
        before = self._before() if candle.trades else None
        first = -1 if not candle.trades else 1 if before is None else before.last_sequence + 1
        return self._head("kline") | {
            "k": {
                "t": ms(candle.start_us),
                "T": ms(end_of(self._interval, candle.start_us)) - 1,
                "s": self._symbol,
                "i": self._interval,
                "f": first,
                "L": candle.last_sequence if candle.trades else -1,
                "o": fixed(candle.open),
                "c": fixed(candle.close),
                "h": fixed(candle.high),
                "l": fixed(candle.low),
                "v": fixed(candle.volume),
                "n": candle.trades,
                "x": closed,
                "q": fixed(candle.quote_volume),
                # What takers bought is not counted.
                "V": fixed(0),
                "Q": fixed(0),
                "B": "0",
            }
        }
