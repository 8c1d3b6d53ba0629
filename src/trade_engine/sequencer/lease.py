"""The lease: one engine writes, told by a heartbeat in ``engine_state``; another takes over only when that has stopped.

The lease decides who *should* write, so that engines do not throw one another out; it is the epoch, checked in every
commit and by the wallet, that decides who *can*.  Ages come from the database's clock, and what is watched for longer
from this process's own: a clock that is set while an engine waits makes nobody dead.

    stand by -> take over (``Writer.take_over``) -> keep: a heartbeat when commits leave none, and a look who writes
                                                  -> lost: another writes, or nobody can tell; the engine ends
"""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Final, NamedTuple, TypeVar

import asyncpg
import structlog

from trade_engine.sequencer.store.port import Fenced
from trade_engine.storage.errors import DATABASE_ERRORS, RecoveryError
from trade_engine.storage.types import Connection

log = structlog.get_logger(__name__)
T = TypeVar("T")

_SETTINGS: Final = {"application_name": "trade-engine lease"}
_HOLDER: Final = """
    SELECT epoch, writer_id::TEXT, writer_name, writer_place, heartbeat_at,
        extract(epoch FROM clock_timestamp() - heartbeat_at)::FLOAT8 AS age_s, lease_ms
    FROM engine_state WHERE id = 1"""
_BEAT: Final = """
    UPDATE engine_state SET heartbeat_at = clock_timestamp(), lease_ms = $2 WHERE id = 1 AND writer_id = $1"""
_HAND_OVER: Final = "UPDATE engine_state SET heartbeat_at = NULL WHERE id = 1 AND writer_id = $1"
#: A writer that rebuilds a large memory may be silent for so long.
_RECOVERY_S: Final = 60.0
#: How often the writer looks whether it still is, at least.
_LOOK_S: Final = 1.0


class Identity(NamedTuple):
    """Who a writer is."""

    #: A UUID, made anew at each start.
    writer_id: str
    #: For people: machine and process.
    name: str
    #: The data directory whose lock it holds, as nobody else can hold it meanwhile; None: it holds none.
    place: str | None = None


class Holder(NamedTuple):
    """Who wrote last, as the database has it."""

    epoch: int
    writer_id: str | None
    name: str | None
    place: str | None
    #: Its last sign of life; None: it stopped in order.
    heartbeat_at: datetime | None
    age_s: float | None
    lease_ms: int

    def __str__(self) -> str:
        """In words."""
        return f"writer {self.name or 'unknown'}, epoch {self.epoch}"


async def read_holder(connection: Connection, timeout_s: float = 5.0) -> Holder:
    """Who wrote last.

    Raises:
        RecoveryError: the row that says it is not there.
        OSError, asyncpg.PostgresError: the database is not to be reached.
    """
    row = await connection.fetchrow(_HOLDER, timeout=timeout_s)
    if row is None:
        raise RecoveryError("engine_state is empty: run `trade-engine migrate up`")
    return Holder(*row)


class Observer:
    """A connection of its own to look at the lease through: no flood of requests takes it away."""

    def __init__(self, url: str, timeout_s: float = 5.0) -> None:
        self._url = url
        self._timeout_s = timeout_s
        self._connection: Connection | None = None

    async def holder(self) -> Holder:
        """Who wrote last; raises as ``read_holder``, and connects anew the next time."""
        return await self._try(lambda connection: read_holder(connection, self._timeout_s))

    async def beat(self, writer_id: str, lease_ms: int) -> None:
        """Give a sign of life, if that is the writer still."""
        await self._try(lambda connection: connection.execute(_BEAT, writer_id, lease_ms, timeout=self._timeout_s))

    async def hand_over(self, writer_id: str) -> None:
        """Say that the writer has stopped in order, so that nobody waits for it."""
        await self._try(lambda connection: connection.execute(_HAND_OVER, writer_id, timeout=self._timeout_s))

    async def close(self) -> None:
        """Let the connection go; a second call does nothing."""
        if self._connection is not None:
            self._connection.terminate()
            self._connection = None

    async def _try(self, work: Callable[[Connection], Awaitable[T]]) -> T:
        try:
            if self._connection is None or self._connection.is_closed():
                self._connection = await asyncpg.connect(self._url, timeout=self._timeout_s, server_settings=_SETTINGS)
            return await work(self._connection)
        except BaseException:
            await self.close()
            raise


class Watch:
    """How long a standby has to go on waiting for a writer.

    A heartbeat that is seen for the first time is as old as the database says; one that changed while it was watched
    has the whole lease ahead, by this process's clock.
    """

    def __init__(self) -> None:
        self._seen: tuple[int, datetime | None] | None = None
        self._until_s = 0.0

    def wait_s(self, holder: Holder, now_s: float) -> float:
        """Seconds until that writer's lease ends, if it gives no sign of life until then; 0 or less: it has ended."""
        seen = (holder.epoch, holder.heartbeat_at)
        if holder.heartbeat_at is None:
            return 0.0
        if seen != self._seen:
            lease_s = holder.lease_ms / 1000
            age_s = max(0.0, holder.age_s or 0.0) if self._seen is None else 0.0
            self._seen, self._until_s = seen, now_s + lease_s - age_s
        return self._until_s - now_s

    def lost_sight(self, now_s: float) -> None:
        """The database was away: a writer could not give a sign of life either."""
        if self._seen is not None:
            self._seen = (-1, None)
        self._until_s = now_s


async def stand_by(
    observer: Observer,
    identity: Identity,
    take_over: Callable[[Holder, bool], Awaitable[object]],
    tell: Callable[[Holder], Awaitable[None]],
    *,
    forced: bool = False,
    poll_s: float = 0.5,
) -> None:
    """Wait until the writer's lease ends, then take over.

    There is no wait for one that stopped in order, for one whose data directory's lock this process holds now (it is
    dead), and none if ``forced``.

    Args:
        observer: looks who writes.
        identity: this engine's.
        take_over: becomes the writer after the one given, whatever that one does meanwhile if so told.
        tell: of whom this engine stands by for; at each look.
        forced: do not wait.
        poll_s: how far looks are apart.

    Raises:
        RecoveryError, OSError, asyncpg.PostgresError: the first look failed; or what ``take_over`` raises.
    """
    watch, loop, looked = Watch(), asyncio.get_running_loop(), False
    while True:
        try:
            holder = await observer.holder()
        except DATABASE_ERRORS as error:
            if not looked:
                raise
            log.warning("standing_by_without_database", error=repr(error))
            watch.lost_sight(loop.time())
            await asyncio.sleep(poll_s)
            continue
        looked = True
        wait_s = watch.wait_s(holder, loop.time())
        is_dead = identity.place is not None and identity.place == holder.place
        if forced or is_dead or wait_s <= 0:
            try:
                await take_over(holder, forced)
            except Fenced:
                log.warning("standing_by_still", holder=str(holder))
            else:
                return
        await tell(holder)
        await asyncio.sleep(min(poll_s, max(wait_s, 0.01)))


class Lease:
    """Keeps the lease of the engine that writes, and says when it is lost.

    Args:
        epoch: the writer's.
        works: whether the engine has its memory; while it builds it, it may be silent for longer.
        on_lost: told once: why, and whether another engine writes now.
    """

    def __init__(
        self,
        observer: Observer,
        identity: Identity,
        lease_s: float,
        epoch: Callable[[], int],
        works: Callable[[], bool],
        on_lost: Callable[[str, bool], None],
    ) -> None:
        self._observer = observer
        self._identity = identity
        self._lease_s = lease_s
        self._epoch = epoch
        self._works = works
        self._on_lost = on_lost
        self._doubt: str | None = None
        self._doubted_s = 0.0
        self._wake = asyncio.Event()
        self._looking = asyncio.Lock()
        self.lost = False

    def doubt(self, why: str) -> None:
        """The wallet or a commit took this engine for superseded: find out at once."""
        if self._doubt is None:
            log.warning("lease_in_doubt", why=why)
            self._doubt, self._doubted_s = why, asyncio.get_running_loop().time()
        self._wake.set()

    async def begin(self) -> None:
        """The engine has its memory: the usual lease counts before anybody is told that it is ready."""
        try:
            await self._look()
        except DATABASE_ERRORS as error:
            log.warning("lease_not_read", error=repr(error))

    async def keep_running(self) -> None:
        """Give signs of life and look who writes, until cancelled or the lease is lost."""
        while not self.lost:
            try:
                await self._look()
            except DATABASE_ERRORS as error:
                log.warning("lease_not_read", error=repr(error))
                self._despair(asyncio.get_running_loop().time())
            self._wake.clear()
            try:
                async with asyncio.timeout(min(_LOOK_S, self._lease_s / 3)):
                    await self._wake.wait()
            except TimeoutError:
                continue
        await asyncio.Event().wait()

    async def hand_over(self) -> None:
        """The engine has stopped in order: the next one need not wait."""
        if not self.lost:
            try:
                await self._observer.hand_over(self._identity.writer_id)
            except DATABASE_ERRORS as error:
                log.warning("lease_not_handed_over", error=repr(error))
        await self._observer.close()

    async def _look(self) -> None:
        async with self._looking:
            await self._look_alone()

    async def _look_alone(self) -> None:
        holder = await self._observer.holder()
        epoch = self._epoch()
        if holder.writer_id != self._identity.writer_id:
            if holder.epoch < epoch:
                self._lose(f"the database went back from epoch {epoch} to {holder}", superseded=False)
            else:
                self._lose(f"superseded: {holder} took over from epoch {epoch}", superseded=True)
        elif self._doubt is not None:
            self._lose(f"{self._doubt}, and yet this engine is the writer of epoch {epoch}", superseded=False)
        else:
            lease_ms = round(1000 * (self._lease_s if self._works() else max(self._lease_s, _RECOVERY_S)))
            if lease_ms != holder.lease_ms or holder.age_s is None or holder.age_s > self._lease_s / 3:
                await self._observer.beat(self._identity.writer_id, lease_ms)

    def _despair(self, now_s: float) -> None:
        """In doubt and without a database for a whole lease: end, so that whoever supervises starts anew."""
        if self._doubt is not None and now_s - self._doubted_s > self._lease_s:
            self._lose(f"{self._doubt}, and the database does not say who writes", superseded=False)

    def _lose(self, why: str, *, superseded: bool) -> None:
        self.lost = True
        self._on_lost(why, superseded)


def recovery_lease_ms(lease_s: float) -> int:
    """The lease of a writer that takes over and has its memory still to build."""
    return round(1000 * max(lease_s, _RECOVERY_S))
