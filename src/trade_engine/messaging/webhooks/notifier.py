"""Sends what waits: lane by lane, several at a time, each endpoint apart from the others.

    take over (or stand by) -> endpoints known -> intake, lanes, counting side by side -> taken over: start anew

One process sends.  A lane that fails waits for its next attempt and nothing else does; an endpoint has so many lanes at
a time and no more, so one that hangs costs the others nothing.  Killed after a receiver took an event and before that
was noted, it sends it again, under the same id.
"""

import asyncio
import contextlib
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, NamedTuple

import asyncpg
import structlog

from trade_engine.messaging.consumer import ConsumerSettings, keep_consuming
from trade_engine.messaging.webhooks.intake import Intake
from trade_engine.messaging.webhooks.sender import Sender, SenderSettings
from trade_engine.messaging.webhooks.signing import signature_headers
from trade_engine.storage.webhook_queue import LEASE_S, EndpointQueue, Lane, NotifierTaken, Waiting, WebhookQueue
from trade_engine.storage.webhooks import WebhookEndpoint, WebhookStore

log = structlog.get_logger(__name__)

_RENEW_EVERY_S: Final = LEASE_S / 5
_STAND_BY_S: Final = 1.0
_ENDPOINTS_EVERY_S: Final = 1.0
_LOOK_EVERY_S: Final = 0.5
_COUNT_EVERY_S: Final = 5.0
#: Events of a lane read at a time.
_PAGE: Final = 20
#: A pause is shortened by up to so much of it, so that endpoints that failed together are not tried together.
_SPREAD: Final = 0.1
_AWAY: Final = (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError)


class NotifierSettings(NamedTuple):
    """How webhooks are sent and tried again; seconds."""

    sender: SenderSettings
    #: Tries of an event; after the last one it is dead, and its endpoint paused.
    tries: int
    first_pause_s: float
    longest_pause_s: float
    #: Events that may wait for an endpoint.
    queue: int
    #: Markets of an endpoint at a time.
    lanes: int

    def pause_s(self, failed: int, chance: float) -> float:
        """How long to wait after so many failures."""
        pause_s = min(self.first_pause_s * 2.0 ** (failed - 1), self.longest_pause_s)
        return pause_s * (1 - _SPREAD * chance)


class NotifierCounts:
    """What was done since the start, for metrics."""

    def __init__(self) -> None:
        self.delivered = 0
        self.failed = 0
        self.dead = 0


class _Endpoint(NamedTuple):
    known: WebhookEndpoint
    keys: Sequence[bytes]
    sender: Sender


class Notifier:
    """Sends webhooks; ``run`` as a task, ``stop`` when it has ended.

    Args:
        wall_s: seconds since 1970.
        chance: a number from 0 to 1 that spreads waits.
    """

    def __init__(
        self,
        store: WebhookStore,
        queue: WebhookQueue,
        consumer: ConsumerSettings,
        settings: NotifierSettings,
        *,
        wall_s: Callable[[], float],
        chance: Callable[[], float],
    ) -> None:
        self.counts = NotifierCounts()
        self.queues: Sequence[EndpointQueue] = ()
        self.dropped: dict[str, int] = {}
        self.is_active = False
        self._store = store
        self._queue = queue
        self._consumer = consumer
        self._settings = settings
        self._wall_s = wall_s
        self._chance = chance
        self._wake = asyncio.Event()
        self._endpoints: dict[str, _Endpoint] = {}
        self._lanes: dict[Lane, asyncio.Task[None]] = {}
        self._reading = asyncio.Lock()
        self.intake = Intake(queue, self._known_endpoints, self._wake.set)

    def condition(self) -> str:
        """``ok``, or why this process sends nothing."""
        return "ok" if self.is_active else "standing by"

    async def run(self) -> None:
        """Send until cancelled."""
        while True:
            if not await self._taken_over():
                await asyncio.sleep(_STAND_BY_S)
                continue
            log.info("notifier_begins")
            try:
                await self._read_endpoints()
                self.is_active = True
                async with asyncio.TaskGroup() as group:
                    group.create_task(self._keep(_RENEW_EVERY_S, self._renew()))
                    group.create_task(self._keep(_ENDPOINTS_EVERY_S, self._read_endpoints))
                    group.create_task(self._keep(_LOOK_EVERY_S, self._start_lanes, self._wake))
                    group.create_task(self._keep(_COUNT_EVERY_S, self._count))
                    group.create_task(keep_consuming(self._consumer, self.intake.work, self._chance))
            except* (NotifierTaken, *_AWAY) as errors:
                log.warning("notifier_ends", why=str(errors.exceptions[0])[:200])
            finally:
                self.is_active = False
                await self._end_lanes()
            await asyncio.sleep(_STAND_BY_S)

    async def stop(self) -> None:
        """Let all connections go, and another process send at once; ``run`` has ended."""
        for endpoint in self._endpoints.values():
            await endpoint.sender.close()
        self._endpoints = {}
        with contextlib.suppress(*_AWAY):
            await self._queue.let_go()

    async def _taken_over(self) -> bool:
        try:
            return await self._queue.take_over()
        except _AWAY as error:
            log.warning("notifier_waits", why=str(error)[:200])
            return False

    async def _keep(
        self, every_s: float, work: Callable[[], Awaitable[None]], wake: asyncio.Event | None = None
    ) -> None:
        """Do something again and again, sooner if it is woken; while the database is away it is only tried."""
        while True:
            try:
                await work()
            except _AWAY as error:
                log.warning("notifier_waits", why=str(error)[:200])
            if wake is None:
                await asyncio.sleep(every_s)
                continue
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(every_s):
                    await wake.wait()
            wake.clear()

    def _renew(self) -> Callable[[], Awaitable[None]]:
        """What renews the lease, and gives up once it may be another's."""
        loop = asyncio.get_running_loop()
        until_s = loop.time() + LEASE_S

        async def renew() -> None:
            nonlocal until_s
            try:
                async with asyncio.timeout(_RENEW_EVERY_S):
                    await self._queue.renew()
            except _AWAY:
                if loop.time() >= until_s - _RENEW_EVERY_S:
                    raise NotifierTaken("the database has been away for as long as the lease") from None
                raise
            until_s = loop.time() + LEASE_S

        return renew

    # ---- endpoints

    async def _known_endpoints(self) -> list[WebhookEndpoint]:
        await self._read_endpoints()
        return [each.known for each in self._endpoints.values()]

    async def _read_endpoints(self) -> None:
        """Know the endpoints as they are now."""
        async with self._reading:
            await self._look_at_endpoints()

    async def _look_at_endpoints(self) -> None:
        found: dict[str, _Endpoint] = {}
        for known, keys in await self._store.keys():
            old = self._endpoints.get(known.endpoint_id)
            if not keys and known.paused_us is None:
                log.error("webhook_secret_unreadable", endpoint_id=known.endpoint_id)
                await self._store.pause(known.endpoint_id, "its secret cannot be read: rotate it")
            try:
                sender = old.sender if old is not None else Sender(known.url, self._settings.sender)
            except ValueError as error:
                if known.paused_us is None:
                    await self._store.pause(known.endpoint_id, f"its URL is refused: {error}"[:200])
                continue
            found[known.endpoint_id] = _Endpoint(known, keys, sender)
        gone = [each for endpoint_id, each in self._endpoints.items() if endpoint_id not in found]
        self._endpoints = found
        self.dropped = {each.known.endpoint_id: each.known.dropped for each in found.values()}
        for each in gone:
            await each.sender.close()

    async def _count(self) -> None:
        """Count what waits; where it is too much, drop the oldest.  Forget what was delivered long ago."""
        self.queues = await self._queue.waiting()
        for queue in self.queues:
            excess = queue.waiting - self._settings.queue
            if excess > 0:
                await self._queue.drop(queue.endpoint_id, excess)
                log.error("webhooks_dropped", endpoint_id=queue.endpoint_id, count=excess)
        await self._queue.forget()

    # ---- lanes

    async def _start_lanes(self) -> None:
        """Begin on each lane that is due, has nobody on it, and whose endpoint has room."""
        busy = Counter(lane.endpoint_id for lane in self._lanes)
        for lane in await self._queue.due():
            endpoint = self._endpoints.get(lane.endpoint_id)
            if endpoint is None or not endpoint.keys or lane in self._lanes:
                continue
            if busy[lane.endpoint_id] < self._settings.lanes:
                busy[lane.endpoint_id] += 1
                self._lanes[lane] = asyncio.create_task(self._send_lane(lane), name=f"webhooks {lane.symbol}")

    async def _send_lane(self, lane: Lane) -> None:
        """Send some of a lane, oldest first, up to one that is not taken."""
        try:
            for event in await self._queue.first(lane, _PAGE):
                endpoint = self._endpoints.get(lane.endpoint_id)
                if endpoint is None or endpoint.known.paused_us is not None or not await self._send(endpoint, event):
                    return
            self._wake.set()
        except _AWAY as error:
            log.warning("notifier_waits", why=str(error)[:200])
        except Exception:
            log.exception("webhook_lane_died", endpoint_id=lane.endpoint_id, symbol=lane.symbol)
        finally:
            self._lanes.pop(lane, None)

    async def _send(self, endpoint: _Endpoint, event: Waiting) -> bool:
        """One attempt, noted; whether the lane may go on."""
        headers = signature_headers(endpoint.keys, event.message_id, int(self._wall_s()), event.body)
        attempt = await endpoint.sender.send(event.body, headers)
        failed, endpoint_id = event.attempts + 1, endpoint.known.endpoint_id
        if attempt.is_delivered:
            self.counts.delivered += 1
            return await self._queue.delivered(event, attempt.outcome)
        self.counts.failed += 1
        if failed < self._settings.tries:
            await self._queue.again(event, attempt.outcome, self._settings.pause_s(failed, self._chance()))
            if failed == 1:
                log.warning("webhook_failed", endpoint_id=endpoint_id, outcome=attempt.outcome)
            return False
        why = f"{failed} tries of {event.message_id} failed: {attempt.outcome}"
        if await self._queue.dead(event, attempt.outcome, why[:400]):
            self.counts.dead += 1
            log.error(
                "webhook_dead", endpoint_id=endpoint_id, message_id=event.message_id, tries=failed,
                outcome=attempt.outcome,
            )  # fmt: skip
        return False

    async def _end_lanes(self) -> None:
        lanes = list(self._lanes.values())
        for task in lanes:
            task.cancel()
        await asyncio.gather(*lanes, return_exceptions=True)
        self._lanes.clear()
