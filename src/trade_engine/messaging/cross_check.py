"""An independent look at the wallet: every trade that was told must be in its ledger within a minute.

It hears of trades from ``wallet.service.trades`` as any other service would, and asks the ledger, not the engine.  A
trade that is there is acknowledged; one that is not there in time is an error in the log, is counted, and its message
goes to the dead letters (``events requeue`` has it looked for again).  While the ledger cannot be asked, nothing is
said of any trade.  Several may consume the queue: each trade is looked for by one of them.
"""

from collections.abc import Awaitable, Callable, Iterator, Sequence
from typing import Final, NamedTuple

import msgspec
import structlog

from trade_engine.domain.ids import canonical_uuid
from trade_engine.messaging.consumer import Link, Received

log = structlog.get_logger(__name__)

WITHIN_S: Final = 60.0
#: Messages held at a time: so many trades may wait for their settlement.
PREFETCH: Final = 2_000
_AT_ONCE: Final = 500
#: How often the ledger is asked for trades that it did not have yet.
_ASK_EVERY_S: Final = 1.0
#: Messages that were found, remembered so that a second delivery is one.
_REMEMBERED: Final = 100_000


class _TradeTold(msgspec.Struct):
    """What is read of a trade's event."""

    event: str
    event_id: str
    trade_id: str
    symbol: str


_decoder = msgspec.json.Decoder(_TradeTold)


class CrossCheckCounts:
    """What was found since the start, for metrics."""

    def __init__(self) -> None:
        self.found = 0
        self.missing = 0
        #: Delivered again after they were found.
        self.repeated = 0
        self.unreadable = 0


class _Sought(NamedTuple):
    received: Received
    told: _TradeTold
    due_s: float


class CrossCheck:
    """Looks for trades; ``work`` on a link.

    Args:
        known: which of some trades the ledger has; raises if it does not answer.
        clock: seconds, steady.
        within_s: how long a trade may take from when it was heard of.
    """

    def __init__(
        self,
        known: Callable[[Sequence[str]], Awaitable[set[str]]],
        clock: Callable[[], float],
        within_s: float = WITHIN_S,
    ) -> None:
        self.counts = CrossCheckCounts()
        self._known = known
        self._clock = clock
        self._within_s = within_s
        self._seen: dict[str, None] = {}
        self._waiting: list[_Sought] = []

    @property
    def waiting(self) -> int:
        """Trades that the ledger does not have yet."""
        return len(self._waiting)

    async def work(self, link: Link) -> None:
        """Take and look, until something is away; what is held then is delivered again."""
        self._waiting = []
        ask_s = 0.0
        while True:
            fresh = await self._readable(link, await link.batch(_AT_ONCE, _ASK_EVERY_S))
            if fresh:
                self._waiting += await self._look(link, fresh)
            if self._waiting and self._clock() >= ask_s:
                ask_s = self._clock() + _ASK_EVERY_S
                self._waiting = [left for part in _parts(self._waiting) for left in await self._look(link, part)]

    async def _readable(self, link: Link, batch: Sequence[Received]) -> list[_Sought]:
        """What is to be looked for; what cannot be understood is buried, what was found before is acknowledged."""
        fresh, over = [], []
        due_s = self._clock() + self._within_s
        for received in batch:
            told = _read(received.body)
            if told is None:
                self.counts.unreadable += 1
                await link.bury(received, "no event of a trade")
                over.append(received)
            elif told.event_id in self._seen:
                self.counts.repeated += 1
                over.append(received)
            else:
                fresh.append(_Sought(received, told, due_s))
        await link.done(over)
        return fresh

    async def _look(self, link: Link, waiting: Sequence[_Sought]) -> list[_Sought]:
        """Ask the ledger; those that it does not have yet, and may still get."""
        now_s = self._clock()
        known = await self._known([each.told.trade_id for each in waiting])
        left, found = [], []
        for each in waiting:
            if each.told.trade_id in known:
                found.append(each.received)
                self._remember(each.told.event_id)
            elif now_s < each.due_s:
                left.append(each)
            else:
                self.counts.missing += 1
                log.error(
                    "trade_not_in_ledger", trade_id=each.told.trade_id, symbol=each.told.symbol,
                    message_id=each.told.event_id, within_s=self._within_s,
                )  # fmt: skip
                await link.give_up(each.received)
        await link.done(found)
        return left

    def _remember(self, message_id: str) -> None:
        self.counts.found += 1
        self._seen[message_id] = None
        if len(self._seen) > _REMEMBERED:
            del self._seen[next(iter(self._seen))]


def _read(body: bytes) -> _TradeTold | None:
    """A trade's event; None if it is none."""
    try:
        told = _decoder.decode(body)
    except (msgspec.DecodeError, RecursionError):
        return None
    trade_id = canonical_uuid(told.trade_id)
    if told.event != "trade.executed" or trade_id is None or not told.event_id:
        return None
    told.trade_id = trade_id
    return told


def _parts(waiting: Sequence[_Sought]) -> Iterator[Sequence[_Sought]]:
    return (waiting[start : start + _AT_ONCE] for start in range(0, len(waiting), _AT_ONCE))
