"""What other processes may read of each market without asking the engine: book, ticker and latest trades, in Redis.

    commit -> committed: the market is marked, its trades are kept (bounded; this is all that the writer waits for)
           -> (every_s apart at least) one task: each marked market is shown as it is now, and written by one script

So a market that changes a thousand times a second is written ten times, and one that is behind is written once, as it
is.  The engine never reads any of it.  Keys expire: what is there was true within ``expire_s``.  Redis that is away
costs nothing but that; the task looks for it, and says so once.  An engine that another has taken over from writes
nothing more: the script compares epochs.
"""

import asyncio
import contextlib
import time
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final

import msgspec
import structlog

from trade_engine.cache.formats import CachedBook, CachedTicker, CachedTrades, Keys, spell
from trade_engine.cache.server import TROUBLE, RedisServer
from trade_engine.domain.errors import Unavailable
from trade_engine.domain.market import Market
from trade_engine.domain.orders import Trade
from trade_engine.edge.times import show_time
from trade_engine.edge.views import show_book, show_ticker, show_trade
from trade_engine.sequencer.ports import MarketReader
from trade_engine.sequencer.publish import CommittedBatch

log = structlog.get_logger(__name__)

#: KEYS: the writer's, then those to be written.  ARGV: stream id, epoch, life in ms, channel, message, then the values;
#: '' is none.  0: an engine of the same stream that took over later has written.
_SCRIPT: Final = """
local held = redis.call('GET', KEYS[1])
if held then
    local stream, epoch = string.match(held, '^(%S+) (%d+)$')
    if stream == ARGV[1] and tonumber(epoch) > tonumber(ARGV[2]) then
        return 0
    end
end
redis.call('SET', KEYS[1], ARGV[1] .. ' ' .. ARGV[2], 'PX', ARGV[3])
for number = 2, #KEYS do
    local value = ARGV[number + 4]
    if value == '' then
        redis.call('DEL', KEYS[number])
    else
        redis.call('SET', KEYS[number], value, 'PX', ARGV[3])
    end
end
redis.call('PUBLISH', ARGV[4], ARGV[5])
return 1
"""
#: Of its keys' life: after so much of it, a market is written although nothing happened.
_REFRESH: Final = 3
#: Between two looks at the database for what it did not tell.
_ASK_AGAIN_S: Final = 1.0

#: The newest trades of a market that the database has, newest first.
RecentTrades = Callable[[int, int], Awaitable[Sequence[Trade]]]


class MarketCacheSettings(msgspec.Struct, frozen=True, kw_only=True):
    """How often and how much."""

    #: Between two writes of one market, seconds.
    every_s: float = 0.1
    #: Life of a key, seconds.
    expire_s: float = 60.0
    #: Levels a side, and trades.
    levels: int = 100
    trades: int = 100
    #: Of the event loop's time, at most.
    share: float = 0.05


class CacheCounts:
    """What has happened since the start, for metrics."""

    def __init__(self) -> None:
        self.writes = 0
        #: Times that writing began to fail.
        self.failures = 0


class _Latest:
    """The latest trades of a market: those told since they were last shown, and those shown, oldest first."""

    __slots__ = ("is_complete", "shown", "told")

    def __init__(self, most: int) -> None:
        self.told: deque[Trade] = deque(maxlen=most)
        self.shown: deque[msgspec.Raw] = deque(maxlen=most)
        #: Whether the database was asked for those before the first one told.
        self.is_complete = False


class MarketCache:
    """A ``publish.Listener``; run ``keep_running`` as a task, and ``aclose`` it.

    Args:
        server: Redis; it is closed with this.
        reader: folds of committed batches.
        recent: asks the database, once a market and after each rebuild.
        stream_id: asks the database which stream this is.
        epoch: which the engine writes in.
        now_us: microseconds since 1970.
    """

    def __init__(
        self,
        server: RedisServer,
        reader: MarketReader,
        recent: RecentTrades,
        stream_id: Callable[[], Awaitable[str]],
        settings: MarketCacheSettings,
        *,
        epoch: int,
        now_us: Callable[[], int],
    ) -> None:
        self.counts = CacheCounts()
        self._server = server
        self._reader = reader
        self._recent = recent
        self._ask_stream_id = stream_id
        self._settings = settings
        self._epoch = epoch
        self._now_us = now_us
        self._keys = Keys(server.settings.key_prefix)
        self._script = server.redis.register_script(_SCRIPT)
        self._encoder = msgspec.json.Encoder()
        self._stream_id: str | None = None
        self._latest: dict[int, _Latest] = {}
        #: Markets to be written, and since when.
        self._changed: dict[int, float] = {}
        self._wake = asyncio.Event()
        self._refresh_at = 0.0
        self._ask_at = 0.0
        #: Markets whose trades the database has not told yet, because it was away.
        self._incomplete: set[int] = set()
        self._trouble: str | None = "not connected yet"
        #: Whether the log has heard of it.
        self._is_told = False
        #: Seconds of the event loop's time that the round under way took.
        self._spent_s = 0.0

    # ---- what others ask and tell

    def committed(self, batch: CommittedBatch) -> None:
        """A batch is in the database."""
        now_s = time.monotonic()
        for touched in batch.markets:
            self._changed.setdefault(touched.market.market_id, now_s)
        for trade in batch.trades:
            self._latest_of(trade.market_id).told.append(trade)
        self._wake.set()

    def rebuilt(self) -> None:
        """Something may have been committed that was not told: what is shown is taken anew."""
        for latest in self._latest.values():
            latest.is_complete = False
        self._stream_id, self._refresh_at, self._ask_at = None, 0.0, 0.0
        self._wake.set()

    def condition(self) -> str:
        """``ok``, or why nothing is written."""
        return "ok" if self._trouble is None else f"degraded: {self._trouble}"

    @property
    def lag_s(self) -> float:
        """How long the oldest change that is not written waits, seconds."""
        return max(0.0, time.monotonic() - min(self._changed.values())) if self._changed else 0.0

    # ---- the work

    async def keep_running(self) -> None:
        """Write until cancelled."""
        while True:
            try:
                await self._server.reach()
                while True:
                    await self._round()
            except TROUBLE as error:
                self._say(repr(error)[:200])
            await self._server.drop_connections()
            await asyncio.sleep(self._server.settings.retry_every_s)

    async def aclose(self) -> None:
        """Let Redis go."""
        await self._server.aclose()

    def _say(self, trouble: str) -> None:
        """Note what is wrong; the log hears of it when it begins, not at each attempt."""
        if self._trouble is None or not self._is_told:
            log.warning("market_cache_waits", why=trouble)
            self.counts.failures += 1
        self._trouble, self._is_told = trouble, True

    async def _round(self) -> None:
        """Write what has changed, then wait for more, and a while."""
        loop = asyncio.get_running_loop()
        self._spent_s = 0.0
        self._wake.clear()
        if loop.time() >= self._refresh_at:
            self._refresh_at = loop.time() + self._settings.expire_s / _REFRESH
            for market in self._reader.markets.values():
                self._changed.setdefault(market.market_id, time.monotonic())
        if self._incomplete and loop.time() >= self._ask_at:
            self._changed |= dict.fromkeys(self._incomplete - self._changed.keys(), time.monotonic())
            self._incomplete.clear()
        if await self._knows_stream():
            await self._write_changed()
        await asyncio.sleep(max(self._settings.every_s, self._spent_s / self._settings.share))
        is_owed = self._incomplete or self._stream_id is None
        until = min(self._refresh_at, self._ask_at) if is_owed else self._refresh_at
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(max(0.0, until - loop.time())):
                await self._wake.wait()

    async def _knows_stream(self) -> bool:
        if self._stream_id is None and asyncio.get_running_loop().time() >= self._ask_at:
            try:
                self._stream_id = await self._ask_stream_id()
            except Unavailable:
                self._ask_at = asyncio.get_running_loop().time() + _ASK_AGAIN_S
        return self._stream_id is not None

    async def _write_changed(self) -> None:
        written = True
        for market_id in list(self._changed):
            market, latest = self._reader.market(market_id), self._latest_of(market_id)
            await self._complete(market_id, latest)
            since = self._changed.pop(market_id)
            try:
                written = await self._write(market, latest) and written
            except BaseException:
                self._changed.setdefault(market_id, since)
                raise
            self.counts.writes += written
        if not written:
            self._say("another engine has taken over")
        elif self._trouble is not None:
            log.info("market_cache_writes", stream_id=self._stream_id, epoch=self._epoch)
            self._trouble = None

    async def _complete(self, market_id: int, latest: _Latest) -> None:
        """Ask the database for the trades that were not told; while it is away, those told are shown."""
        loop = asyncio.get_running_loop()
        if latest.is_complete:
            return
        if loop.time() < self._ask_at:
            self._incomplete.add(market_id)
            return
        try:
            stored = await self._recent(market_id, self._settings.trades)
        except Unavailable:
            self._ask_at = loop.time() + _ASK_AGAIN_S
            self._incomplete.add(market_id)
            return
        market, last = self._reader.market(market_id), stored[0].sequence if stored else 0
        latest.shown.clear()
        latest.shown.extend(self._encoded(trade, market) for trade in reversed(stored))
        told = [trade for trade in latest.told if trade.sequence > last]
        latest.told.clear()
        latest.told.extend(told)
        latest.is_complete = True

    async def _write(self, market: Market, latest: _Latest) -> bool:
        """Write a market as it is now; False: another engine has taken over."""
        began = time.perf_counter()
        values, sequence = self._show(market, latest)
        self._spent_s += time.perf_counter() - began
        keys, settings = self._keys, self._settings
        message = f"{spell(market.symbol)} {sequence}"
        head = (self._stream_id or "", self._epoch, round(settings.expire_s * 1000), keys.channel, message)
        async with asyncio.timeout(self._server.timeout_s):
            done = await self._script(keys=[keys.writer, *keys.of(market.symbol)], args=[*head, *values])
        return bool(done)

    def _show(self, market: Market, latest: _Latest) -> tuple[list[bytes], int]:
        """Book, ticker and trades as JSON; b'' is none.  All of one moment: nothing is awaited here."""
        while latest.told:
            latest.shown.append(self._encoded(latest.told.popleft(), market))
        depth = self._reader.depth(market.symbol, self._settings.levels)
        head: dict[str, Any] = {
            "stream_id": self._stream_id or "",
            "epoch": self._epoch,
            "symbol": market.symbol,
            "sequence": depth.sequence,
            "written_at": show_time(self._now_us()),
        }
        encode = self._encoder.encode
        try:
            ticker = encode(CachedTicker(**head, ticker=show_ticker(market, self._reader.ticker(market.symbol))))
        except Unavailable:
            ticker = b""
        book = encode(CachedBook(**head, book=show_book(market, depth)))
        return [book, ticker, encode(CachedTrades(**head, trades=list(reversed(latest.shown))))], depth.sequence

    def _encoded(self, trade: Trade, market: Market) -> msgspec.Raw:
        return msgspec.Raw(self._encoder.encode(show_trade(trade, market)))

    def _latest_of(self, market_id: int) -> _Latest:
        found = self._latest.get(market_id)
        if found is None:
            found = self._latest[market_id] = _Latest(self._settings.trades)
        return found
