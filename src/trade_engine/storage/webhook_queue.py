"""What waits for webhook endpoints, and who sends it.  Only the process that holds the notifier's epoch changes it.

A *lane* is an endpoint and a market: its oldest event is sent first, and the next one only when that is delivered or
dead.  Every write names the epoch; one that was taken over changes nothing, and learns it.
"""

from collections.abc import Sequence
from itertools import takewhile
from typing import Final, NamedTuple

from trade_engine.storage.types import Pool

#: Who was seen so long ago, seconds, is taken over.
LEASE_S: Final = 15.0
#: Those delivered are known for longer than RabbitMQ keeps a message: a repetition is none.
_KNOWN_H: Final = 25
_AT_ONCE: Final = 5_000

_TAKE_OVER: Final = """
    UPDATE webhook_notifier SET epoch = epoch + 1, holder_id = $1, holder_name = $2, renewed_at = clock_timestamp()
    WHERE holder_id IS NULL OR holder_id = $1 OR renewed_at < clock_timestamp() - make_interval(secs => $3)
    RETURNING epoch"""
_RENEW: Final = "UPDATE webhook_notifier SET renewed_at = clock_timestamp() WHERE epoch = $1 RETURNING epoch"
_LET_GO: Final = "UPDATE webhook_notifier SET holder_id = NULL WHERE epoch = $1"
_HELD: Final = "EXISTS (SELECT FROM webhook_notifier WHERE epoch = $1)"
_PUT: Final = f"""
    WITH put AS (
        INSERT INTO webhook_deliveries (endpoint_id, symbol, message_id, event_type, body)
        SELECT e.endpoint_id, n.symbol, n.message_id, n.event_type, n.body
        FROM unnest($2::TEXT[], $3::TEXT[], $4::TEXT[], $5::TEXT[], $6::BYTEA[])
            WITH ORDINALITY AS n(endpoint_id, symbol, message_id, event_type, body, place)
        JOIN webhook_endpoints e USING (endpoint_id)
        WHERE {_HELD} ORDER BY n.place
        ON CONFLICT (endpoint_id, message_id) DO NOTHING
        RETURNING 1
    )
    SELECT (SELECT count(*) FROM put), {_HELD}"""
#: Lane by lane along the index: what it costs goes by the number of lanes, not of what waits in them.
_LANES: Final = """
    WITH RECURSIVE lanes AS (
        (SELECT endpoint_id, symbol FROM webhook_deliveries WHERE state = 'WAITING'
            ORDER BY endpoint_id, symbol LIMIT 1)
        UNION ALL
        SELECT next.endpoint_id, next.symbol FROM lanes CROSS JOIN LATERAL (
            SELECT d.endpoint_id, d.symbol FROM webhook_deliveries d
            WHERE d.state = 'WAITING' AND (d.endpoint_id, d.symbol) > (lanes.endpoint_id, lanes.symbol)
            ORDER BY d.endpoint_id, d.symbol LIMIT 1
        ) next
    )
    SELECT lanes.endpoint_id, lanes.symbol FROM lanes
    JOIN webhook_endpoints e ON e.endpoint_id = lanes.endpoint_id AND e.paused_at IS NULL
    CROSS JOIN LATERAL (
        SELECT next_attempt_at FROM webhook_deliveries d
        WHERE d.endpoint_id = lanes.endpoint_id AND d.symbol = lanes.symbol AND d.state = 'WAITING'
        ORDER BY delivery_id LIMIT 1
    ) first
    WHERE first.next_attempt_at <= now()"""
_FIRST: Final = """
    SELECT delivery_id, message_id, body, attempts, next_attempt_at <= now() FROM webhook_deliveries
    WHERE endpoint_id = $1 AND symbol = $2 AND state = 'WAITING' ORDER BY delivery_id LIMIT $3"""
_DELIVERED: Final = f"""
    UPDATE webhook_deliveries SET state = 'DELIVERED', body = NULL, attempts = attempts + 1, ended_at = now(),
        last_outcome = $3
    WHERE delivery_id = $2 AND state = 'WAITING' AND {_HELD} RETURNING TRUE"""
_AGAIN: Final = f"""
    UPDATE webhook_deliveries SET attempts = attempts + 1, last_outcome = $3,
        next_attempt_at = now() + make_interval(secs => $4)
    WHERE delivery_id = $2 AND state = 'WAITING' AND {_HELD} RETURNING TRUE"""
_DEAD: Final = f"""
    WITH dead AS (
        UPDATE webhook_deliveries SET state = 'DEAD', attempts = attempts + 1, last_outcome = $3, ended_at = now()
        WHERE delivery_id = $2 AND state = 'WAITING' AND {_HELD} RETURNING endpoint_id
    )
    UPDATE webhook_endpoints SET paused_at = coalesce(paused_at, now()), paused_why = coalesce(paused_why, $4)
    WHERE endpoint_id = (SELECT endpoint_id FROM dead) RETURNING TRUE"""
_WAITING: Final = """
    SELECT e.endpoint_id, w.waiting, w.oldest_s, d.dead FROM webhook_endpoints e
    CROSS JOIN LATERAL (
        SELECT count(*) AS waiting, coalesce(extract(epoch FROM now() - min(queued_at)), 0)::FLOAT8 AS oldest_s
        FROM webhook_deliveries WHERE endpoint_id = e.endpoint_id AND state = 'WAITING'
    ) w
    CROSS JOIN LATERAL (
        SELECT count(*) AS dead FROM webhook_deliveries WHERE endpoint_id = e.endpoint_id AND state = 'DEAD'
    ) d"""
_DROP: Final = f"""
    WITH dropped AS (
        DELETE FROM webhook_deliveries WHERE delivery_id IN (
            SELECT delivery_id FROM webhook_deliveries WHERE endpoint_id = $2 AND state = 'WAITING'
            ORDER BY delivery_id LIMIT $3
        ) AND {_HELD} RETURNING 1
    )
    UPDATE webhook_endpoints SET dropped = dropped + (SELECT count(*) FROM dropped)
    WHERE endpoint_id = $2"""
_FORGET: Final = f"""
    DELETE FROM webhook_deliveries WHERE delivery_id IN (
        SELECT delivery_id FROM webhook_deliveries
        WHERE state = 'DELIVERED' AND ended_at < now() - make_interval(hours => {_KNOWN_H})
        ORDER BY ended_at LIMIT {_AT_ONCE}
    )"""


class NotifierTaken(Exception):
    """Another process sends webhooks now."""


class Wanted(NamedTuple):
    """An event that an endpoint wants."""

    endpoint_id: str
    symbol: str
    message_id: str
    event_type: str
    body: bytes


class Lane(NamedTuple):
    """An endpoint and a market."""

    endpoint_id: str
    symbol: str


class Waiting(NamedTuple):
    """An event that is due."""

    delivery_id: int
    message_id: str
    body: bytes
    #: Attempts that failed.
    attempts: int


class EndpointQueue(NamedTuple):
    """How much waits for an endpoint, for how long the oldest, and how much is dead."""

    endpoint_id: str
    waiting: int
    oldest_s: float
    dead: int


class WebhookQueue:
    """Reads and writes what waits.

    Args:
        pool: of the engine's database.
        holder_id: who sends: a UUID, made anew at each start.
        name: for people.
    """

    def __init__(self, pool: Pool, holder_id: str, name: str) -> None:
        self._pool = pool
        self._holder_id = holder_id
        self._name = name
        self._epoch = -1

    async def take_over(self) -> bool:
        """Become who sends, unless another one does."""
        epoch = await self._pool.fetchval(_TAKE_OVER, self._holder_id, self._name, LEASE_S)
        self._epoch = -1 if epoch is None else epoch
        return epoch is not None

    async def renew(self) -> None:
        """Go on being it.

        Raises:
            NotifierTaken: another one is.
        """
        self._held(await self._pool.fetchval(_RENEW, self._epoch) is not None)

    async def let_go(self) -> None:
        """Let another one send at once."""
        await self._pool.execute(_LET_GO, self._epoch)

    async def put(self, wanted: Sequence[Wanted]) -> int:
        """Have events wait, in this order; how many of them were not known.

        Raises:
            NotifierTaken: nothing is put.
        """
        columns = [list(column) for column in zip(*wanted, strict=True)]
        row = await self._pool.fetchrow(_PUT, self._epoch, *columns)
        assert row is not None
        self._held(row[1])
        return int(row[0])

    async def due(self) -> list[Lane]:
        """The lanes whose first event may be sent now."""
        return [Lane(*row) for row in await self._pool.fetch(_LANES)]

    async def first(self, lane: Lane, limit: int) -> list[Waiting]:
        """The first events of a lane, up to one that waits for its next attempt."""
        rows = await self._pool.fetch(_FIRST, *lane, limit)
        return [Waiting(*row[:4]) for row in takewhile(lambda row: row[4], rows)]

    async def delivered(self, event: Waiting, outcome: str) -> bool:
        """Note that it is delivered; False: it is not ours to note any more."""
        return bool(await self._pool.fetchval(_DELIVERED, self._epoch, event.delivery_id, outcome))

    async def again(self, event: Waiting, outcome: str, pause_s: float) -> None:
        """Note that an attempt failed, and try again later."""
        await self._pool.execute(_AGAIN, self._epoch, event.delivery_id, outcome, pause_s)

    async def dead(self, event: Waiting, outcome: str, why: str) -> bool:
        """Note that the last attempt failed, and pause the endpoint; False: it is not ours to note any more."""
        return bool(await self._pool.fetchval(_DEAD, self._epoch, event.delivery_id, outcome, why))

    async def waiting(self) -> list[EndpointQueue]:
        """How much waits for each endpoint."""
        return [EndpointQueue(*row) for row in await self._pool.fetch(_WAITING)]

    async def drop(self, endpoint_id: str, count: int) -> None:
        """Drop the oldest that wait for an endpoint, and count them."""
        await self._pool.execute(_DROP, self._epoch, endpoint_id, count)

    async def forget(self) -> None:
        """Forget some of what was delivered longer ago than it can come again."""
        await self._pool.execute(_FORGET)

    def _held(self, is_held: bool) -> None:
        if not is_held:
            raise NotifierTaken(f"epoch {self._epoch} of the notifier is over")
