"""Takes events out of ``notification.service.trades`` and has them wait for the endpoints that want them.

They are in the database before they are acknowledged.  One that comes again is known by its id.
"""

from collections.abc import Awaitable, Callable, Sequence
from typing import Final

import msgspec

from trade_engine.messaging.consumer import Link, Received
from trade_engine.storage.webhook_queue import Wanted, WebhookQueue
from trade_engine.storage.webhooks import ENDPOINTS_MAX, EVENT_TYPE, SYMBOL, WebhookEndpoint

#: Messages held at a time, and put into the database at a time.
PREFETCH: Final = 1_000
_AT_ONCE: Final = 500
#: Of an event; ours have a twentieth of it.
_BODY_MAX: Final = 65_536
_ID_MAX: Final = 200
#: Rows of one statement.
_ROWS_AT_ONCE: Final = 2_000


class _EventTold(msgspec.Struct):
    """What is read of an event."""

    event: str
    event_id: str
    symbol: str


_decoder = msgspec.json.Decoder(_EventTold)


class IntakeCounts:
    """What came since the start, for metrics."""

    def __init__(self) -> None:
        self.taken = 0
        self.queued = 0
        self.repeated = 0
        self.unreadable = 0


class Intake:
    """Takes events in; ``work`` on a link.

    Args:
        queue: where they wait.
        endpoints: reads those there are now, the paused too: for them events wait.  Asked for each batch, so that an
            endpoint gets every event that is committed after it was added.
        wake: called when something waits.
    """

    def __init__(
        self,
        queue: WebhookQueue,
        endpoints: Callable[[], Awaitable[Sequence[WebhookEndpoint]]],
        wake: Callable[[], None],
    ) -> None:
        self.counts = IntakeCounts()
        self._queue = queue
        self._endpoints = endpoints
        self._wake = wake

    async def work(self, link: Link) -> None:
        """Take until something is away; what is not acknowledged then comes again."""
        while True:
            batch = await link.batch(_AT_ONCE)
            if not batch:
                continue
            endpoints = (await self._endpoints())[:ENDPOINTS_MAX]
            wanted = [each for received in batch for each in await self._wanted(link, received, endpoints)]
            for start in range(0, len(wanted), _ROWS_AT_ONCE):
                part = wanted[start : start + _ROWS_AT_ONCE]
                queued = await self._queue.put(part)
                self.counts.queued += queued
                self.counts.repeated += len(part) - queued
            await link.done(batch, up_to=True)
            self.counts.taken += len(batch)
            if wanted:
                self._wake()

    async def _wanted(self, link: Link, received: Received, endpoints: Sequence[WebhookEndpoint]) -> list[Wanted]:
        """Who wants an event; what cannot be understood is buried."""
        told = _read(received.body)
        if told is None:
            self.counts.unreadable += 1
            await link.bury(received, "no event")
            return []
        return [
            Wanted(endpoint.endpoint_id, told.symbol, told.event_id, told.event, received.body)
            for endpoint in endpoints
            if (not endpoint.event_types or told.event in endpoint.event_types)
            and (not endpoint.symbols or told.symbol in endpoint.symbols)
        ]


def _read(body: bytes) -> _EventTold | None:
    """An event; None if it is none that a receiver could be sent."""
    if len(body) > _BODY_MAX:
        return None
    try:
        told = _decoder.decode(body)
    except (msgspec.DecodeError, RecursionError):
        return None
    is_sound = EVENT_TYPE.fullmatch(told.event) and SYMBOL.fullmatch(told.symbol)
    is_named = 0 < len(told.event_id) <= _ID_MAX and told.event_id.isascii() and told.event_id.isprintable()
    return told if is_sound and is_named else None
