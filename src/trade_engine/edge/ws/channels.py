"""Market channels: for each, a snapshot, the update since the last one, and what a reader that lagged needs.

A group is one channel of one market (and interval, or number of levels) with at least one reader.  Its position is how
far its updates have come; ``update`` moves it on.  A group holds no reader's state: who lags keeps a position.
"""

import zlib
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from itertools import islice
from typing import Any, Final

from trade_engine.domain.enums import Side
from trade_engine.domain.errors import Unavailable
from trade_engine.domain.market import Market
from trade_engine.domain.orders import Trade
from trade_engine.domain.scale import format_price, format_units
from trade_engine.edge.views import show_candle, show_ticker, show_trade
from trade_engine.edge.ws.messages import channel_frame
from trade_engine.sequencer.ports import CommittedDepth, CommittedMarket, MarketReader, TickerView

#: Trades that a snapshot, or a reader that comes back, is shown.
RECENT_TRADES: Final = 50
#: Levels a side of a snapshot; deeper ones are told of as they change.
SNAPSHOT_LEVELS: Final = 10_000
_CHECKED_LEVELS: Final = 10


class Group(ABC):
    """One channel, as its readers see it."""

    #: Milliseconds that two updates are apart at least; None: as often as the hub hands out.
    pause_ms: float | None = None
    #: Where its updates have come to.
    position: int = 0
    #: When there is something to tell although nothing is committed, in microseconds since 1970; None: never.
    due_us: int | None = None

    @abstractmethod
    def snapshot(self) -> bytes | None:
        """The whole state, at ``position``; None: a new reader is told what happens from now on."""

    @abstractmethod
    def update(self) -> bytes | None:
        """What happened since ``position``, which moves on; None if nothing did."""

    @abstractmethod
    def catch_up(self, position: int) -> bytes | None:
        """What a reader who has all up to ``position`` lacks of what the group's position says."""

    def touch(self, symbols: Iterable[str]) -> None:  # noqa: B027 - most are of one market
        """Hear that something is committed in these markets; for channels of all markets."""


class MarketGroup(Group):
    """A channel of one market."""

    def __init__(self, channel: str, view: Callable[[], CommittedMarket]) -> None:
        self._view = view
        self._head: dict[str, Any] = {"type": channel, "symbol": view().market.symbol}

    @property
    def _market(self) -> Market:
        return self._view().market


class BookImage:
    """The last snapshot of a market's book, kept so that many new readers cost little: a late one gets the changes too.

    A snapshot of a deep book takes milliseconds, which the engine's loop cannot give for every subscription.
    """

    def __init__(self) -> None:
        self._frame = b""
        self._sequence = -1
        self._levels = 0

    def frames(self, group: "DepthGroup", depth: CommittedDepth) -> bytes:
        """A snapshot, and what changed since it was made, if that is little: together the book at the position."""
        changes = depth.changes_since(self._sequence)
        if changes is None or 4 * len(changes) > self._levels:
            self._frame, self._levels = group.render()
            self._sequence = group.position
        return self._frame + (group.catch_up(self._sequence) or b"")


class DepthGroup(MarketGroup):
    """The whole book: a snapshot, then changes of levels without a gap.

    The book may be a few events ahead of ``position`` when those changed no level: whatever is shown counts as the book
    at ``position``, so that the next update fits every reader, whenever it came.
    """

    def __init__(self, view: Callable[[], CommittedMarket], image: BookImage) -> None:
        super().__init__("depth", view)
        self._image = image
        self.position = view().depth.sequence

    def snapshot(self) -> bytes:
        """The book as it is at ``position``."""
        return self._image.frames(self, self._view().depth)

    def render(self) -> tuple[bytes, int]:
        """A snapshot, made anew, and how many levels it has."""
        depth = self._view().depth
        bids, asks = (
            [self._level(price, lots) for price, lots, _ in depth.levels(side, SNAPSHOT_LEVELS)]
            for side in (Side.BUY, Side.SELL)
        )
        head = {"first_sequence": self.position, "sequence": self.position, "checksum": self._checksum()}
        return channel_frame({**self._head, **head, "snapshot": True}, {"bids": bids, "asks": asks}), len(bids + asks)

    def update(self) -> bytes | None:
        """Changed levels since the last update.

        Events that changed no level wait for the next that does.
        """
        depth, before = self._view().depth, self.position
        if depth.sequence == before or depth.changes_since(before) == []:
            return None
        self.position = depth.sequence
        return self.catch_up(before)

    def catch_up(self, position: int) -> bytes | None:
        """Changed levels since ``position``, once each with its quantity now; the whole book if it is too long ago."""
        if position == self.position:
            return None
        changes = self._view().depth.changes_since(position)
        if changes is None:
            return self.render()[0]
        bids = [self._level(price, lots) for side, price, lots in changes if side == Side.BUY]
        asks = [self._level(price, lots) for side, price, lots in changes if side == Side.SELL]
        head = {"first_sequence": position + 1, "sequence": self.position, "checksum": self._checksum()}
        return channel_frame({**self._head, **head}, {"bids": bids, "asks": asks})

    def _level(self, price: int, lots: int) -> tuple[str, str]:
        market = self._market
        return format_price(price * market.tick_size, market.price_decimals), format_units(lots * market.lot_size)

    def _checksum(self) -> int:
        depth = self._view().depth
        bids, asks = (depth.levels(side, _CHECKED_LEVELS) for side in (Side.BUY, Side.SELL))
        parts: list[str] = []
        for rank in range(_CHECKED_LEVELS):
            for levels in (bids, asks):
                if rank < len(levels):
                    parts.extend(self._level(levels[rank][0], levels[rank][1]))
        return zlib.crc32(":".join(parts).encode())


class StateGroup(MarketGroup):
    """A channel whose messages each show the whole state: only the newest matters."""

    def __init__(self, channel: str, view: Callable[[], CommittedMarket]) -> None:
        super().__init__(channel, view)
        self._shown = self._state()

    @abstractmethod
    def _state(self) -> Any:
        """What to show now."""

    def snapshot(self) -> bytes:
        """The state now."""
        return self._frame({"snapshot": True})

    def update(self) -> bytes | None:
        """The state, if it is another than the last."""
        state = self._state()
        if state == self._shown:
            return None
        self._shown = state
        self.position += 1
        return self._frame({})

    def catch_up(self, position: int) -> bytes | None:
        """The newest state."""
        return self._frame({}) if position != self.position else None

    def _frame(self, more: dict[str, Any]) -> bytes:
        return channel_frame({**self._head, "sequence": self._view().depth.sequence, **more}, self._shown)


class LevelsGroup(StateGroup):
    """The best levels of the book, whole each time."""

    def __init__(self, view: Callable[[], CommittedMarket], levels: int) -> None:
        self._levels = levels
        super().__init__("depth", view)
        self._head["levels"] = levels

    def _state(self) -> Any:
        depth, market = self._view().depth, self._market
        decimals = market.price_decimals
        return {
            name: [
                (format_price(price * market.tick_size, decimals), format_units(lots * market.lot_size))
                for price, lots, _ in depth.levels(side, self._levels)
            ]
            for name, side in (("bids", Side.BUY), ("asks", Side.SELL))
        }

    def _frame(self, more: dict[str, Any]) -> bytes:
        return super()._frame({**more, "snapshot": True})


class BookGroup(StateGroup):
    """The top of the book."""

    def __init__(self, view: Callable[[], CommittedMarket]) -> None:
        super().__init__("book", view)

    def _state(self) -> Any:
        depth, market = self._view().depth, self._market
        best: dict[str, Any] = {}
        for name, side in (("bid", Side.BUY), ("ask", Side.SELL)):
            levels = depth.levels(side, 1)
            best[name] = levels and (
                format_price(levels[0][0] * market.tick_size, market.price_decimals),
                format_units(levels[0][1] * market.lot_size),
            )
        return {name: value or None for name, value in best.items()}


class TickerGroup(StateGroup):
    """The rolling day."""

    def __init__(
        self, view: Callable[[], CommittedMarket], ticker: Callable[[str], TickerView], pause_ms: float
    ) -> None:
        self._ticker = ticker
        self.pause_ms = pause_ms
        super().__init__("ticker", view)

    def _state(self) -> Any:
        market = self._market
        return show_ticker(market, self._ticker(market.symbol))


class EveryMarketGroup(Group):
    """A state of each market, of those that changed; ``position`` counts updates."""

    def __init__(self, pause_ms: float) -> None:
        self.pause_ms = pause_ms
        self._touched: set[str] = set()
        #: What was told last of each market, and at which position.
        self._told: dict[str, tuple[int, Any]] = {}

    @abstractmethod
    def _state(self, symbol: str) -> Any:
        """What to show of a market now."""

    @abstractmethod
    def _frame(self, states: list[Any], more: dict[str, Any]) -> bytes:
        """A message with these states."""

    def _compared(self, state: Any) -> Any:
        """What of a state is news when it changes."""
        return state

    def touch(self, symbols: Iterable[str]) -> None:
        """These markets may have changed."""
        self._touched.update(symbols)

    def update(self) -> bytes | None:
        """The states that are others than before."""
        before = self.position
        touched, self._touched = sorted(self._touched), set()
        for symbol in touched:
            try:
                state = self._state(symbol)
            except Unavailable:
                continue
            known = self._told.get(symbol)
            if known is None or self._compared(known[1]) != self._compared(state):
                self.position = before + 1
                self._told[symbol] = before + 1, state
        return self.catch_up(before)

    def catch_up(self, position: int) -> bytes | None:
        """The states that changed since."""
        changed = [state for at, state in self._told.values() if at > position]
        return self._frame(changed, {}) if changed else None


class TickersGroup(EveryMarketGroup):
    """The rolling days of all markets; the snapshot has every one."""

    def __init__(self, reader: MarketReader, pause_ms: float) -> None:
        super().__init__(pause_ms)
        self._reader = reader
        listed = sorted(reader.markets.values(), key=lambda market: market.market_id)
        self._told = {market.symbol: (0, self._state(market.symbol)) for market in listed}

    def snapshot(self) -> bytes:
        """All of them."""
        return self._frame([state for _, state in self._told.values()], {"snapshot": True})

    def _state(self, symbol: str) -> Any:
        return show_ticker(self._reader.markets[symbol], self._reader.ticker(symbol))

    def _frame(self, states: list[Any], more: dict[str, Any]) -> bytes:
        return channel_frame({"type": "tickers", "sequence": self.position, **more}, states)


class CandlesGroup(StateGroup):
    """The running candle of an interval; when the next one begins, first how it ended."""

    def __init__(
        self, view: Callable[[], CommittedMarket], interval: str, pause_ms: float, committed_us: Callable[[], int]
    ) -> None:
        self._interval = interval
        self._committed_us = committed_us
        self.pause_ms = pause_ms
        self._start_us = 0
        super().__init__("candles", view)
        self._head["interval"] = interval

    def _state(self) -> Any:
        candle = self._view().running(self._interval)
        if candle is None:
            return None
        self._start_us = candle.start_us
        return show_candle(candle, self._market, self._interval, self._committed_us())

    def update(self) -> bytes | None:
        """The running candle, if something traded; the end of the one before it, if it is new."""
        start_us, running = self._start_us, super().update()
        if running is None or start_us in (0, self._start_us):
            return running
        ended = self._view().between(self._interval, start_us, start_us + 1, 1)
        head = {**self._head, "sequence": self._view().depth.sequence}
        shown = [show_candle(candle, self._market, self._interval, self._start_us) for candle in ended]
        return b"".join(channel_frame(head, candle) for candle in shown) + running


class TradesGroup(MarketGroup):
    """Every trade; ``position`` counts those handed out."""

    def __init__(self, view: Callable[[], CommittedMarket], tape: "Tape") -> None:
        super().__init__("trades", view)
        self._tape = tape
        self.position = tape.count

    def snapshot(self) -> bytes:
        """The latest trades."""
        return self._frame(self._tape.latest(RECENT_TRADES), {"snapshot": True})

    def update(self) -> bytes | None:
        """The trades since the last update."""
        missing, self.position = self._tape.count - self.position, self._tape.count
        return self._tell(missing)

    def catch_up(self, position: int) -> bytes | None:
        """The latest of the missing trades, and how many were left out."""
        return self._tell(self.position - position)

    def _tell(self, missing: int) -> bytes | None:
        if not missing:
            return None
        trades = self._tape.latest(missing)
        dropped = missing - len(trades)
        return self._frame(trades, {"dropped": dropped} if dropped else {})

    def _frame(self, trades: Sequence[Trade], more: dict[str, Any]) -> bytes:
        market, sequence = self._market, self._view().depth.sequence
        shown = [show_trade(trade, market) for trade in trades]
        return channel_frame({**self._head, "sequence": sequence, **more}, shown)


class Tape:
    """The latest trades of a market, oldest first, and how many there have been.

    What is not handed out yet is kept beyond ``keep``, up to ``most``: one order may make a thousand trades.
    """

    def __init__(self, keep: int = 200, most: int = 4_000) -> None:
        self._trades: deque[Trade] = deque(maxlen=max(keep, most))
        self._keep = keep
        self.count = 0

    def add(self, trade: Trade) -> None:
        """Take in a committed trade; one that is known already changes nothing."""
        if not self._trades or trade.sequence > self._trades[-1].sequence:
            self._trades.append(trade)
            self.count += 1

    def trim(self) -> None:
        """Forget all but the newest: the others are handed out."""
        while len(self._trades) > self._keep:
            self._trades.popleft()

    def latest(self, count: int) -> list[Trade]:
        """The newest ``count``, or as many as are kept, oldest first."""
        return list(islice(self._trades, max(0, len(self._trades) - count), None))
