"""The hub: who listens to which market channel, and handing out what was committed.

    committed -> marked -> (at most each ``flush_ms``) one frame a group -> readers' outboxes -> sockets, in slices

A frame is encoded once for all its readers.  Everything runs in the engine's loop, so it is bounded: a slice writes to
so many connections and then lets others run, and handing out pauses for as long as it took.  A reader whose buffer is
full is skipped; it keeps only its place, and gets what it lacks, merged, when it reads on.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Collection, Iterable
from typing import Final, Protocol

from trade_engine.domain.errors import Unavailable
from trade_engine.domain.orders import Trade
from trade_engine.edge.settings import StreamSettings
from trade_engine.edge.ws.channels import (
    BookGroup,
    BookImage,
    CandlesGroup,
    DepthGroup,
    Group,
    LevelsGroup,
    Tape,
    TickerGroup,
    TickersGroup,
    TradesGroup,
)
from trade_engine.sequencer.ports import CommittedMarket, MarketReader

#: Connections written to before the loop's other work has its turn.
_SLICE: Final = 64

_NOTHING: Final[set["Topic"]] = set()

#: Channel, symbol, and the interval or number of levels (0: none).
Topic = tuple[str, str, str | int]
#: The symbol of channels of all markets.
EVERY: Final = ""
#: Channels whose time has come that are looked at in one go.
_DUE_AT_ONCE: Final = 200


def paced(levels: str | int, pause_ms: int) -> str:
    """The last part of a topic whose updates are so far apart at least."""
    return f"{levels}@{pause_ms}"


class Reader(Protocol):
    """What the hub needs of a connection."""

    #: Whether its buffer is full: it gets nothing more until it has read.
    full: bool

    def put(self, frame: bytes) -> bool:
        """Add to its outbox; whether the outbox was empty."""

    def flush(self) -> None:
        """Write the outbox to the socket."""

    def send(self, frame: bytes) -> None:
        """Give it a frame of its own, after those that wait for it."""


class HubCounts:
    """What was handed out, for metrics."""

    def __init__(self) -> None:
        self.frames = 0
        self.conflated = 0
        self.slow_closed = 0


class Hub:
    """Market channels and their readers."""

    def __init__(self, reader: MarketReader, settings: StreamSettings) -> None:
        self._reader = reader
        self._settings = settings
        self._loop = asyncio.get_running_loop()
        self._groups: dict[Topic, Group] = {}
        self._readers: dict[Topic, dict[Reader, None]] = {}
        #: Where readers with full buffers were left; None: they have not had a snapshot.
        self._behind: dict[Reader, dict[Topic, int | None]] = {}
        self._by_symbol: dict[str, set[Topic]] = {}
        self._tapes: dict[str, Tape] = {}
        self._images: dict[str, BookImage] = {}
        #: Channels of other faces: what makes their groups.
        self._makers: dict[str, Callable[[Topic], Group]] = {}
        #: Trades that were not handed out yet are on these.
        self._untrimmed: set[Tape] = set()
        self._marked: set[Topic] = set()
        #: When channels with a pause may be updated again, and those of them that something happened to.
        self._not_before: dict[Topic, float] = {}
        self._paused: set[Topic] = set()
        self._outgoing: deque[Reader] = deque()
        self._timer: asyncio.Handle | None = None
        self._pause_timer: asyncio.Handle | None = None
        self._sending: asyncio.Handle | None = None
        self._last_s = 0.0
        self._busy_s = 0.0
        self.counts = HubCounts()

    # ---- what is handed out

    def committed(self, symbols: Collection[str], trades: Iterable[Trade]) -> None:
        """Take in what a batch changed, or what was missed: these markets, and these trades, oldest first."""
        for trade in trades:
            tape = self.tape(self._reader.market(trade.market_id).symbol)
            tape.add(trade)
            self._untrimmed.add(tape)
        for symbol in symbols:
            self._marked |= self._by_symbol.get(symbol, _NOTHING)
        for topic in self._by_symbol.get(EVERY, _NOTHING):
            self._groups[topic].touch(symbols)
            self._marked.add(topic)
        if not self._marked:
            self._trim()
        self._wake()

    def _trim(self) -> None:
        for tape in self._untrimmed:
            tape.trim()
        self._untrimmed.clear()

    def _wake(self) -> None:
        if self._marked and self._timer is None and not self._outgoing:
            self._schedule()

    def look_after(self, now_us: int) -> None:
        """Tell what falls due without a commit: candles end."""
        due = [topic for topic, group in self._groups.items() if group.due_us is not None and group.due_us <= now_us]
        self._marked.update(due[:_DUE_AT_ONCE])
        self._wake()

    # ---- who reads

    def add_channel(self, channel: str, make: Callable[[Topic], Group]) -> None:
        """Have a channel of another face, whose groups are made so."""
        self._makers[channel] = make

    def subscribe(self, topic: Topic, reader: Reader) -> None:
        """Let a reader have a channel: a snapshot now, then updates.  Again: a new snapshot."""
        self._join(topic)[reader] = None
        group = self._groups[topic]
        if reader.full:
            self._behind.setdefault(reader, {})[topic] = None
            return
        if reader in self._behind:
            self._behind[reader].pop(topic, None)
        snapshot = group.snapshot()
        if snapshot is not None:
            self._queue(reader, snapshot)
            self._send()

    def move(self, old: Topic, new: Topic, reader: Reader) -> None:
        """Let a reader have another rendering of a channel that it has, from where it is."""
        self._update(old)
        place = self._behind.get(reader, {}).get(old, self._groups[old].position)
        self.unsubscribe(old, reader)
        self._join(new)[reader] = None
        if reader.full or (place is not None and place != self._groups[new].position):
            self._behind.setdefault(reader, {})[new] = place
            self._catch_up(new, reader)
            self._send()

    def _join(self, topic: Topic) -> dict[Reader, None]:
        """The readers of a channel, which has all its updates now and is made if it is new."""
        if topic in self._groups:
            self._update(topic)
        else:
            self._groups[topic] = self._make(topic)
            self._readers[topic] = {}
            self._by_symbol.setdefault(topic[1], set()).add(topic)
        return self._readers[topic]

    def unsubscribe(self, topic: Topic, reader: Reader) -> None:
        """Let a reader have a channel no longer."""
        readers = self._readers.get(topic)
        if readers is None or reader not in readers:
            return
        del readers[reader]
        if reader in self._behind:
            self._behind[reader].pop(topic, None)
        if not readers:
            del self._readers[topic], self._groups[topic]
            self._by_symbol[topic[1]].discard(topic)
            self._marked.discard(topic)
            self._paused.discard(topic)
            self._not_before.pop(topic, None)

    def leave(self, topics: Iterable[Topic], reader: Reader) -> None:
        """Forget a reader who is gone."""
        for topic in list(topics):
            self.unsubscribe(topic, reader)
        self._behind.pop(reader, None)

    def resume(self, reader: Reader) -> None:
        """Give a reader whose buffer has room again what it lacks."""
        for topic in tuple(self._behind.get(reader, ())):
            # Gives the news to all, and to this reader, which is late, all it lacks.
            self._update(topic)
            if topic in self._behind.get(reader, ()):
                self._catch_up(topic, reader)
        self._send()

    def _catch_up(self, topic: Topic, reader: Reader) -> None:
        """Take a reader that was left behind to where the others are, if it has room and the engine is there."""
        behind = self._behind[reader]
        if reader.full:
            return
        group, position = self._groups[topic], behind[topic]
        try:
            frame = group.snapshot() if position is None else group.catch_up(position)
        except Unavailable:
            return
        del behind[topic]
        if not behind:
            del self._behind[reader]
        if frame is not None:
            self._queue(reader, frame)

    def close(self) -> None:
        """Hand out nothing more."""
        for timer in (self._timer, self._pause_timer, self._sending):
            if timer is not None:
                timer.cancel()
        self._by_symbol.clear()

    # ---- handing out

    def _make(self, topic: Topic) -> Group:
        channel, symbol, detail = topic
        if channel in self._makers:
            return self._makers[channel](topic)
        view = lambda: self._reader.view(symbol)  # noqa: E731
        pause_ms = self._settings.statistics_ms
        if channel not in ("ticker", "tickers", "candles"):
            detail, _, apart_ms = str(detail).partition("@")
            group = self._make_paced(channel, symbol, view, int(detail))
            group.pause_ms = float(apart_ms) if apart_ms else None
            return group
        if channel == "ticker":
            return TickerGroup(view, self._reader.ticker, pause_ms)
        if channel == "tickers":
            return TickersGroup(self._reader, pause_ms)
        return CandlesGroup(view, str(detail), pause_ms, lambda: self._reader.committed_us)

    def _make_paced(self, channel: str, symbol: str, view: Callable[[], CommittedMarket], levels: int) -> Group:
        if channel == "depth":
            image = self._images.setdefault(symbol, BookImage())
            return LevelsGroup(view, levels) if levels else DepthGroup(view, image)
        return BookGroup(view) if channel == "book" else TradesGroup(view, self.tape(symbol))

    def tape(self, symbol: str) -> Tape:
        """The latest trades of a market."""
        tape = self._tapes.get(symbol)
        if tape is None:
            tape = self._tapes[symbol] = Tape()
        return tape

    def _schedule(self) -> None:
        """Flush as soon as the last time is long enough ago; at least half of the time is the engine's."""
        due_s = self._last_s + max(self._settings.flush_ms / 1000, 2 * self._busy_s)
        if due_s <= self._loop.time():
            self._timer = self._loop.call_soon(self._flush)
        else:
            self._timer = self._loop.call_at(due_s, self._flush)

    def _flush(self) -> None:
        self._timer = None
        self._last_s = now_s = self._loop.time()
        marked, self._marked = self._marked, set()
        for topic in marked:
            pause_ms = self._groups[topic].pause_ms
            if pause_ms is None:
                self._update(topic)
            elif self._not_before.get(topic, 0.0) <= now_s:
                self._not_before[topic] = now_s + pause_ms / 1000
                self._update(topic)
            else:
                self._paused.add(topic)
        self._trim()
        self._wait_for_paused()
        self._busy_s = self._loop.time() - now_s
        self._send()

    def _wait_for_paused(self) -> None:
        """Come back when the first channel that has a pause may be updated."""
        if self._paused:
            first_s = min(self._not_before[topic] for topic in self._paused)
            if self._pause_timer is not None:
                self._pause_timer.cancel()
            self._pause_timer = self._loop.call_at(first_s, self._end_pause)

    def _end_pause(self) -> None:
        self._pause_timer = None
        now_s = self._loop.time()
        ready = {topic for topic in self._paused if self._not_before[topic] <= now_s}
        self._paused -= ready
        self._marked |= ready
        self._wait_for_paused()
        self._wake()

    def _update(self, topic: Topic) -> None:
        """Tell all readers of a channel what is new; who was left behind gets all it lacks, if it has room."""
        group = self._groups[topic]
        position = group.position
        try:
            frame = group.update()
        except Unavailable:
            # The engine builds its memory anew; it says so when that is done.
            return
        if frame is not None:
            self._give(topic, frame, position)

    def _give(self, topic: Topic, frame: bytes, position: int) -> None:
        """Put a frame into the outboxes of all readers who have room; ``position`` is where the others stay."""
        given, late = 0, []
        for reader in self._readers[topic]:
            if reader.full:
                self.counts.conflated += 1
                self._behind.setdefault(reader, {}).setdefault(topic, position)
            elif topic in self._behind.get(reader, ()):
                late.append(reader)
            else:
                given += 1
                if reader.put(frame):
                    self._outgoing.append(reader)
        self.counts.frames += given
        for reader in late:
            self._catch_up(topic, reader)

    def send(self, reader: Reader, frame: bytes) -> None:
        """Give one reader a frame of its own, after those that wait for it."""
        self._queue(reader, frame)
        self._send()

    def _queue(self, reader: Reader, frame: bytes) -> None:
        self.counts.frames += 1
        if reader.put(frame):
            self._outgoing.append(reader)

    def _send(self) -> None:
        """Write a slice of the outboxes, then let the loop's other work have its turn."""
        if self._sending is None and self._outgoing:
            self._slice()

    def _slice(self) -> None:
        self._sending = None
        started_s = self._loop.time()
        outgoing = self._outgoing
        for _ in range(min(_SLICE, len(outgoing))):
            outgoing.popleft().flush()
        self._busy_s += self._loop.time() - started_s
        if outgoing:
            self._sending = self._loop.call_soon(self._slice)
        elif self._marked and self._timer is None:
            self._schedule()
