"""What the relay reads and where it stands, in PostgreSQL: journal, trades, settlement outbox, and its own row.

One connection of its own, directly.  It commits without waiting for the disk: a place that a crash takes back means
that some messages are published again, under the ids they had.  A relay is fenced like the writer: it moves only under
its own epoch, and whoever takes over raises that.
"""

import asyncio
from collections.abc import Sequence
from typing import Final, NamedTuple

import asyncpg

from trade_engine.domain.commands import decode_commands
from trade_engine.domain.events import decode_events
from trade_engine.domain.market import Market
from trade_engine.domain.orders import Trade
from trade_engine.messaging.telling import SettlementNote, ToldBatch
from trade_engine.sequencer.facts import decode_facts
from trade_engine.storage.markets import market_from_row
from trade_engine.storage.order_rows import TRADE_COLUMNS, trade_from_row
from trade_engine.storage.types import Connection

_SETTINGS: Final = {"application_name": "trade-engine relay", "synchronous_commit": "off", "jit": "off"}
_TIMEOUT_S: Final = 30.0
_PLACE: Final = "epoch, stream_id::TEXT, begun_after, sequence, message_index, outbox_number, holder_id::TEXT"
_TAKE_OVER: Final = f"""
    UPDATE event_relay SET epoch = epoch + 1, holder_id = $1, holder_name = $2 WHERE id = 1 RETURNING {_PLACE}"""
#: Events are wanted from here on: nothing of what was committed before will be told.
_BEGIN: Final = f"""
    UPDATE event_relay SET begun_after = s.sequence, sequence = s.sequence, message_index = NULL
    FROM engine_state s WHERE event_relay.id = 1 AND begun_after IS NULL
    RETURNING {_PLACE.replace("epoch", "event_relay.epoch").replace(" sequence", " event_relay.sequence")}"""
_WANTED: Final = "UPDATE settlement_outbox_head SET wanted = TRUE WHERE NOT wanted"
_PAGE: Final = """
    SELECT first_sequence, last_sequence, (extract(epoch FROM stamped_at) * 1000000)::BIGINT, commands, events, facts,
        (SELECT epoch FROM event_relay)
    FROM journal WHERE last_sequence >= $1 AND stamped_at >= at_us($2) ORDER BY last_sequence LIMIT $3"""
_TRADES: Final = f"""
    SELECT {TRADE_COLUMNS} FROM trades
    WHERE trade_id = ANY ($1::UUID[]) AND trade_id >= $2::UUID AND trade_id <= $3::UUID"""
_OUTBOX: Final = f"""
    SELECT s.number, s.settled, (extract(epoch FROM s.happened_at) * 1000000)::BIGINT AS happened_us, s.reason,
        s.attempts, t.*
    FROM (SELECT * FROM settlement_outbox WHERE number > $1 ORDER BY number LIMIT $2) s
    LEFT JOIN LATERAL (SELECT {TRADE_COLUMNS} FROM trades x WHERE x.trade_id = s.trade_id OFFSET 0) t ON TRUE
    ORDER BY s.number"""
_MOVE: Final = """
    WITH moved AS (
        UPDATE event_relay SET sequence = $3, message_index = $4, outbox_number = $5, moved_at = clock_timestamp()
        WHERE id = 1 AND epoch = $1 AND holder_id = $2 RETURNING 1
    ), gone AS (
        DELETE FROM settlement_outbox WHERE number > $6 AND number <= $5 AND EXISTS (SELECT FROM moved)
    )
    SELECT count(*) FROM moved"""
_BACKLOG: Final = """
    SELECT sequence, (SELECT (extract(epoch FROM stamped_at) * 1000000)::BIGINT FROM journal WHERE last_sequence > $1
        ORDER BY last_sequence LIMIT 1)
    FROM engine_state"""
_NEW_STREAM: Final = "UPDATE event_relay SET stream_id = gen_random_uuid(), epoch = epoch + 1 RETURNING stream_id::TEXT"


class Superseded(Exception):
    """Another relay has taken over."""


class EpochMoved(Exception):
    """The relay's epoch was raised, by whomever: look anew, and start over from there."""


class MissingTrade(RuntimeError):
    """A trade that the journal tells of is in no table: it was archived before it was published."""


class RelayPlace(NamedTuple):
    """Where the relay stands."""

    epoch: int
    stream_id: str
    #: Nothing up to this command is ever told; None: events were never asked for.
    begun_after: int | None
    #: Published: every message of the commands up to this one ...
    sequence: int
    #: ... but for those of that very command above this index; None: all of them.
    message_index: int | None
    outbox_number: int
    holder_id: str | None

    def has_passed(self, sequence: int, index: int) -> bool:
        """Whether a message is published."""
        if sequence == self.sequence:
            return self.message_index is None or index <= self.message_index
        return sequence < self.sequence


class RelaySource:
    """The relay's side of the database.

    Args:
        url: of the database, directly.
        holder_id: who relays: a UUID, made anew at each start.
        name: for people.
    """

    def __init__(self, url: str, holder_id: str, name: str) -> None:
        self._url = url
        self._holder_id = holder_id
        self._name = name
        self._connection: Connection | None = None
        #: No batch after the place is older; prunes partitions.  Not 0, which is no time.
        self._since_us = 1
        self._place: RelayPlace | None = None

    @property
    def place(self) -> RelayPlace:
        """Where the relay stands, as far as it knows.

        Raises:
            Superseded: it never took over.
        """
        if self._place is None:
            raise Superseded("the relay has not taken over")
        return self._place

    @property
    def connection(self) -> Connection:
        """The connection, which ``open`` has opened.

        Raises:
            OSError: it is not open.
        """
        if self._connection is None or self._connection.is_closed():
            raise OSError("the relay's connection is closed")
        return self._connection

    async def take_over(self) -> RelayPlace:
        """Become the relay, whoever was; the first one ever begins where the journal ends now.

        Raises:
            OSError, TimeoutError, asyncpg.PostgresError: the database is not to be reached.
        """
        await self.open()
        async with self.connection.transaction():
            row = await self.connection.fetchrow(_TAKE_OVER, self._holder_id, self._name)
            row = await self.connection.fetchrow(_BEGIN) or row
            await self.connection.execute(_WANTED)
        self._place = RelayPlace(*(row or ()))
        return self._place

    async def stand_after(self, sequence: int) -> RelayPlace:
        """Stand somewhere only to read; nothing is taken over, and nothing can be moved."""
        await self.open()
        row = await self.connection.fetchrow(f"SELECT {_PLACE} FROM event_relay")
        self._place = RelayPlace(*(row or ()))._replace(sequence=sequence, message_index=None)
        return self._place

    def read_past(self, batch: ToldBatch) -> None:
        """Stand after a batch, only to read on."""
        self._since_us = batch.time_us
        self._place = self.place._replace(sequence=batch.last_sequence, message_index=None)

    async def open(self) -> None:
        """Connect, if there is no connection."""
        if self._connection is None or self._connection.is_closed():
            self._connection = await asyncpg.connect(
                self._url, timeout=_TIMEOUT_S, command_timeout=_TIMEOUT_S, server_settings=_SETTINGS
            )

    async def close(self) -> None:
        """Let the connection go; a second call does nothing."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.terminate()

    async def look(self) -> RelayPlace:
        """Read anew where this relay stands; another epoch is taken on if nobody else has taken over.

        Raises:
            Superseded: somebody has.
        """
        row = await self.connection.fetchrow(f"SELECT {_PLACE} FROM event_relay")
        found = RelayPlace(*(row or ()))
        if found.holder_id != self._holder_id:
            raise Superseded(f"relay of epoch {self.place.epoch}: epoch {found.epoch} has taken over")
        self._since_us, self._place = 1, found
        return found

    async def backlog(self) -> tuple[int, int]:
        """The last command committed, and when the oldest batch that waits was stamped (microseconds; 0: none)."""
        row = await self.connection.fetchrow(_BACKLOG, self.place.sequence)
        return (row[0], row[1] or 0) if row else (0, 0)

    async def markets(self) -> dict[int, Market]:
        """All markets by number."""
        rows = await self.connection.fetch("SELECT * FROM markets")
        return {row["market_id"]: market_from_row(row) for row in rows}

    async def page(self, limit: int) -> list[ToldBatch]:
        """The next batches after the relay's place, oldest first.

        Raises:
            EpochMoved: see there.
            ValueError, struct.error: a batch cannot be read.
        """
        place = self.place
        first = place.sequence if place.message_index is not None else place.sequence + 1
        rows = await self.connection.fetch(_PAGE, first, self._since_us, limit)
        batches = []
        for first_sequence, last, stamped_us, commands, events, facts, epoch in rows:
            if epoch != place.epoch:
                raise EpochMoved
            if facts is None:
                raise ValueError(f"batch {first_sequence} is of version 0.1 and has no facts")
            batches.append(
                ToldBatch(
                    first_sequence, last, stamped_us, list(decode_commands(commands)), list(decode_events(events)),
                    decode_facts(facts),
                )
            )  # fmt: skip
            # A page may be large, and the loop is the engine's.
            await asyncio.sleep(0)
        return batches

    async def trades(self, trade_ids: Sequence[str]) -> dict[str, Trade]:
        """These trades by id.

        Raises:
            MissingTrade: one is not there.
        """
        if not trade_ids:
            return {}
        rows = await self.connection.fetch(_TRADES, trade_ids, min(trade_ids), max(trade_ids))
        found = {row["trade_id"]: trade_from_row(row) for row in rows}
        if len(found) < len(trade_ids):
            missing = next(trade_id for trade_id in trade_ids if trade_id not in found)
            raise MissingTrade(f"trade {missing} is in no table")
        return found

    async def settlements(self, limit: int) -> list[SettlementNote]:
        """The next settlement events after the relay's place, oldest first.

        Raises:
            MissingTrade: the trade of one is not there.
        """
        notes = []
        for row in await self.connection.fetch(_OUTBOX, self.place.outbox_number, limit):
            if row["trade_id"] is None:
                raise MissingTrade(f"the trade of settlement event {row['number']} is in no table")
            notes.append(SettlementNote(row[0], row[1], row[2], row[3], row[4], trade_from_row(row)))
        return notes

    async def move(self, sequence: int, message_index: int | None, outbox_number: int, since_us: int) -> None:
        """Stand further on; what is published of the outbox is deleted.

        Args:
            sequence: as in ``RelayPlace``.
            message_index: as there.
            outbox_number: as there.
            since_us: when the batch of that command was stamped, microseconds since 1970; none after it is older.

        Raises:
            EpochMoved: it does not.
        """
        place = self.place
        moved = await self.connection.fetchval(
            _MOVE, place.epoch, self._holder_id, sequence, message_index, outbox_number, place.outbox_number
        )
        if not moved:
            raise EpochMoved
        self._since_us = since_us
        self._place = place._replace(sequence=sequence, message_index=message_index, outbox_number=outbox_number)


async def new_stream(connection: Connection) -> str:
    """Begin a new stream, as after a restored backup: ids of messages never meet those of before; its id."""
    return str(await connection.fetchval(_NEW_STREAM))
