"""The lease against a real database: who may take over from whom, and what a watch and the writer find out."""

import asyncio
import uuid
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import asyncpg
import pytest

from trade_engine.sequencer.journal import JournalBatch
from trade_engine.sequencer.lease import Holder, Identity, Lease, Observer, Watch
from trade_engine.sequencer.publish import CommittedBatch
from trade_engine.sequencer.store.commit import Writer
from trade_engine.sequencer.store.port import Fenced, StoreUnavailable

START = datetime(2026, 1, 1, tzinfo=UTC)


NOTHING = CommittedBatch(
    previous_sequence=0,
    time_us=1,
    trade_sequence=0,
    instruction_id=0,
    journal=JournalBatch(1, 1, b"", b"", b"", b"", b"", None),
    orders=[],
    new=frozenset(),
    trades=[],
    instructions=[],
    markets=[],
    events=[],
)


def identity(name: str = "one") -> Identity:
    return Identity(str(uuid.uuid4()), name)


@pytest.fixture
async def observer(database_url: str) -> AsyncIterator[Observer]:
    opened = Observer(database_url)
    yield opened
    await opened.close()


@pytest.fixture
async def writers(database_url: str) -> AsyncIterator[list[Writer]]:
    """Two engines' writers."""
    made = [Writer(database_url, identity(name)) for name in ("first", "second")]
    yield made
    for writer in made:
        await writer.close()


def holder(epoch: int = 1, beat_s: float | None = 0.0, age_s: float | None = 0.0) -> Holder:
    at = None if beat_s is None else START + timedelta(seconds=beat_s)
    return Holder(epoch, None, "x", None, at, age_s, 5_000)


#: What is seen, when by this process's clock, and how long there is still to wait: rows of one watch each.
WATCHES = {
    "it stopped in order": [(holder(beat_s=None, age_s=None), 0, 0)],
    "it was silent for longer than its lease": [(holder(age_s=7), 0, -2)],
    "it falls silent": [(holder(age_s=1), 0, 4), (holder(age_s=3), 2, 2), (holder(age_s=6), 5, -1)],
    "it lives": [(holder(age_s=4), 0, 1), (holder(beat_s=4.5, age_s=0.2), 1, 5), (holder(beat_s=9, age_s=0), 5, 5)],
    "a commit took longer than the lease": [(holder(age_s=4), 0, 1), (holder(beat_s=1, age_s=9), 10, 5)],
    "the database's clock is set on while it is watched": [(holder(age_s=1), 0, 4), (holder(age_s=999), 1, 3)],
    "the database's clock is set back": [(holder(age_s=-3_600), 0, 5), (holder(age_s=-3_595), 5, 0)],
    "another takes over": [(holder(age_s=1), 0, 4), (holder(epoch=2, age_s=1), 1, 5)],
}


@pytest.mark.parametrize("name", WATCHES)
def test_how_long_a_standby_waits(name: str) -> None:
    watch = Watch()
    for seen, now_s, wait_s in WATCHES[name]:
        assert watch.wait_s(seen, now_s) == pytest.approx(wait_s)


def test_a_standby_gives_the_writer_its_lease_after_the_database_was_away() -> None:
    watch = Watch()
    assert watch.wait_s(holder(age_s=4), 0) == pytest.approx(1)
    watch.lost_sight(100)
    assert watch.wait_s(holder(age_s=104), 100) == pytest.approx(5)
    assert watch.wait_s(holder(age_s=109), 105) <= 0


async def test_of_two_that_saw_the_same_one_takes_over(writers: list[Writer], observer: Observer) -> None:
    seen = await observer.holder()
    results = await asyncio.gather(*(writer.take_over(seen) for writer in writers), return_exceptions=True)
    assert sorted(isinstance(result, Fenced) for result in results) == [False, True]
    assert (await observer.holder()).epoch == seen.epoch + 1


async def test_a_sign_of_life_since_it_was_seen_prevents_a_take_over_unless_forced(
    database_url: str, observer: Observer, writers: list[Writer]
) -> None:
    me = identity("first")
    first = Writer(database_url, me)
    try:
        await first.take_over(await observer.holder())
        seen = await observer.holder()
        await observer.beat(me.writer_id, 5_000)
        with pytest.raises(Fenced):
            await writers[1].take_over(seen)
        await first.take_over()
        assert (await writers[1].take_over(seen, forced=True)).epoch == seen.epoch + 1
        with pytest.raises(Fenced):
            await first.take_over()
    finally:
        await first.close()


async def test_a_writer_anew_bumps_the_epoch_once_it_has_tried_a_commit(
    writers: list[Writer], observer: Observer
) -> None:
    writer = writers[0]
    await writer.take_over(await observer.holder())
    epoch = writer.epoch
    for _ in range(3):
        await writer.take_over()
    assert writer.epoch == epoch, "however often it fails to build its memory"
    await asyncio.gather(writer.commit(NOTHING), return_exceptions=True)
    await writer.take_over()
    assert writer.epoch == epoch + 1


async def test_a_commit_is_a_sign_of_life(database_url: str, observer: Observer) -> None:
    me = identity("me")
    writer = Writer(database_url, me)
    try:
        await writer.take_over(await observer.holder())
        await observer.hand_over(me.writer_id)
        assert (await observer.holder()).heartbeat_at is None
        await writer.commit(NOTHING)
        assert (await observer.holder()).heartbeat_at is not None
    finally:
        await writer.close()


async def test_only_the_writer_hands_the_lease_over(writers: list[Writer], database_url: str) -> None:
    observer, me = Observer(database_url), identity("me")
    writer = Writer(database_url, me)
    try:
        await writer.take_over(await observer.holder())
        await observer.hand_over(str(uuid.uuid4()))
        assert (await observer.holder()).heartbeat_at is not None
        await observer.hand_over(me.writer_id)
        assert (await observer.holder()).heartbeat_at is None
        await writers[1].take_over(await observer.holder())
        await observer.hand_over(me.writer_id)
        await observer.beat(me.writer_id, 1)
        found = await observer.holder()
        assert (found.name, found.heartbeat_at is None, found.lease_ms) == ("second", False, 60_000)
    finally:
        await writer.close()
        await observer.close()


class Kept:
    """A lease that is kept, and what it said when it was lost."""

    def __init__(self, observer: Observer, me: Identity, writer: Writer, *, works: bool = True) -> None:
        self.said: asyncio.Future[tuple[str, bool]] = asyncio.get_running_loop().create_future()
        self.works = works
        self.lease = Lease(
            observer, me, 0.6, lambda: writer.epoch, lambda: self.works, lambda *said: self.said.set_result(said)
        )
        self.task = asyncio.create_task(self.lease.keep_running())


@pytest.fixture
async def kept(database_url: str) -> AsyncIterator[Kept]:
    observer, me = Observer(database_url), identity("me")
    writer = Writer(database_url, me)
    await writer.take_over(await observer.holder())
    kept = Kept(observer, me, writer)
    yield kept
    kept.task.cancel()
    await observer.close()
    await writer.close()


async def test_the_writer_gives_signs_of_life_and_a_long_lease_while_it_recovers(
    kept: Kept, connection: asyncpg.Connection
) -> None:
    async def until(condition: str) -> None:
        async with asyncio.timeout(30):
            while not await connection.fetchval(f"SELECT {condition} FROM engine_state"):
                await asyncio.sleep(0.02)

    await until("lease_ms = 600")
    first = await connection.fetchval("SELECT heartbeat_at FROM engine_state")
    await until(f"heartbeat_at > '{first}'")
    kept.works = False
    await until("lease_ms = 60000")
    kept.works = True
    await until("lease_ms = 600")
    assert not kept.said.done()


async def test_the_writer_finds_out_that_another_took_over(
    kept: Kept, writers: list[Writer], observer: Observer
) -> None:
    await writers[1].take_over(await observer.holder(), forced=True)
    why, superseded = await asyncio.wait_for(kept.said, 30)
    assert superseded
    assert why == "superseded: writer second, epoch 2 took over from epoch 1"


async def test_a_doubt_without_another_writer_is_no_supersession(kept: Kept) -> None:
    kept.lease.doubt("the wallet refused")
    why, superseded = await asyncio.wait_for(kept.said, 30)
    assert not superseded
    assert why == "the wallet refused, and yet this engine is the writer of epoch 1"


async def test_a_database_that_went_back_is_no_supersession(kept: Kept, connection: asyncpg.Connection) -> None:
    await connection.execute("UPDATE engine_state SET epoch = 0, writer_id = gen_random_uuid(), writer_name = 'old'")
    why, superseded = await asyncio.wait_for(kept.said, 30)
    assert not superseded
    assert why == "the database went back from epoch 1 to writer old, epoch 0"


async def test_in_doubt_and_without_a_database_the_engine_ends() -> None:
    me = identity("me")
    away = Observer("postgresql://nobody@127.0.0.1:1/nothing", timeout_s=1)
    kept = Kept(away, me, Writer("postgresql://nobody@127.0.0.1:1/nothing", me))
    await asyncio.sleep(0.7)
    assert not kept.said.done(), "without a doubt it waits for the database"
    kept.lease.doubt("a commit was refused")
    why, superseded = await asyncio.wait_for(kept.said, 30)
    assert not superseded
    assert why.endswith("the database does not say who writes")
    kept.task.cancel()


async def test_a_writer_that_never_took_over_writes_nothing(writers: list[Writer]) -> None:
    with pytest.raises(StoreUnavailable):
        await writers[0].commit(NOTHING)
    with pytest.raises(Fenced):
        await writers[0].take_over()


async def test_the_usual_lease_counts_once_the_engine_has_its_memory(
    observer: Observer, writers: list[Writer], database_url: str
) -> None:
    ours = identity()
    writer = Writer(database_url, ours)
    writers.append(writer)
    await writer.take_over(await observer.holder())
    taken = await observer.holder()
    assert taken.lease_ms > 5_000, "while it builds its memory it may be silent for longer"
    lease = Lease(observer, ours, 5.0, lambda: writer.epoch, lambda: True, lambda *_: None)
    await lease.begin()
    assert (await observer.holder()).lease_ms == 5_000
