"""Archiving: anchors, files that are read back, restoring; verification and reconciliation with and without."""

import asyncio
import gzip
import json
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import asyncpg
import msgspec
import pytest
from click.testing import CliRunner

from tests.fixtures import flow, past
from tests.harness.postgres import TestServer, run_apart
from trade_engine.cli import main
from trade_engine.matching.books import new_book
from trade_engine.sequencer import archiving
from trade_engine.sequencer.archiving import ArchiveOutcome, archive_before, month_edge
from trade_engine.sequencer.verify import Report, check_files, verify
from trade_engine.settlement.comparison import compare
from trade_engine.storage.archive import archived, check_file, detach, partition_status, read_back, restore, waiting
from trade_engine.storage.errors import ArchiveError
from trade_engine.wallet.audit import PostgresLedger

#: Days ago: two times of trading that share open orders, one after they have expired, and today.
FIRST, SECOND, THIRD = 400, 340, 100


def edge_of(days: int) -> datetime:
    return (datetime.now(UTC) - timedelta(days=days)).replace(hour=0, minute=0, second=0, microsecond=0)


EARLY, LATE = edge_of(370), edge_of(60)


async def today(desk: flow.Desk) -> None:
    """A few trades, and something that stays open."""
    await desk.place(flow.ALICE, flow.QUOTED, "SELL", "1", "95.00")
    await desk.place(flow.CAROL, flow.QUOTED, "BUY", "0.25", "95.00")
    await desk.settled()
    await desk.candles_stored()


async def _years(url: str, folder: Path) -> None:
    async with past.desk(url, folder, FIRST) as desk:
        for user in (flow.ALICE, flow.BOB, flow.CAROL):
            await desk.fund(user, USDT="1000000", AAA="1000", RCV="1000", NEW="1000")
        await desk.fund(flow.DAVE, USDT="50")
        await flow._plain_orders(desk)
        await flow._stops_and_icebergs(desk)
        await flow._self_trades(desk)
    async with past.desk(url, folder, SECOND) as desk:
        await flow._amendments(desk)
        await desk.place(flow.CAROL, flow.QUOTED, "BUY", "3")
        await desk.place(flow.CAROL, flow.QUOTED, "SELL", "6")
    async with past.desk(url, folder, THIRD) as desk:
        await desk.place(flow.ALICE, flow.QUOTED, "SELL", "2", "100.00")
        await desk.place(flow.BOB, flow.QUOTED, "BUY", "1.5", "100.00", client_order_id="late")
    async with past.desk(url, folder, 0) as desk:
        await today(desk)
        await desk.place(flow.ALICE, flow.QUOTED, "SELL", "0.1", "100.00")


@pytest.fixture(scope="module")
def years_url(postgres: TestServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A database with more than a year behind it."""
    url = postgres.migrated()
    run_apart(_years(url, tmp_path_factory.mktemp("years")))
    yield url
    postgres.drop(url)


@pytest.fixture
async def old(postgres: TestServer, years_url: str) -> AsyncIterator[str]:
    """A copy of it."""
    copy = postgres.copy(years_url)
    yield copy
    postgres.drop(copy)


@pytest.fixture
async def connection(old: str) -> AsyncIterator[asyncpg.Connection]:
    opened = await asyncpg.connect(old)
    yield opened
    await opened.close()


async def verified(url: str, **how: Any) -> Report:
    connection = await asyncpg.connect(url)
    try:
        return await verify(connection, new_book, **how)
    finally:
        await connection.close()


async def reconciled(url: str) -> list[str]:
    async with asyncpg.create_pool(url, min_size=1, max_size=1) as pool:
        found = await compare(pool, PostgresLedger(pool, timeout_s=60))
    return [str(difference) for difference in found.differences]


async def verify_files(connection: Any, folder: Path) -> Report:
    report = Report()
    await check_files(connection, folder, report)
    return report


async def archive(connection: Any, edge: datetime, folder: Path) -> ArchiveOutcome:
    return await archive_before(connection, new_book, edge, folder, now=datetime.now(UTC))


async def counts(connection: Any) -> dict[str, int]:
    return {
        table: await connection.fetchval(f"SELECT count(*) FROM {table}") for table in ("journal", "orders", "trades")
    }


async def test_old_partitions_become_files_and_verification_starts_at_the_anchor(
    old: str, connection: Any, tmp_path: Path
) -> None:
    before = await verified(old)
    assert (before.differences, before.anchor) == ([], 0)
    whole = await counts(connection)
    first = await archive(connection, EARLY, tmp_path)
    assert first.kept == []
    assert first.anchor > 50
    assert {file.partition.partition("_y")[0] for file in first.files} >= {"journal", "trades"}
    report = await verified(old)
    assert (report.differences, report.anchor) == ([], first.anchor)
    assert report.journal_batches < before.journal_batches
    assert await reconciled(old) == []

    second = await archive(connection, LATE, tmp_path)
    assert second.kept == []
    assert {"journal", "orders", "trades"} <= {file.partition.partition("_y")[0] for file in second.files}
    report = await verified(old)
    assert (report.differences, report.anchor) == ([], second.anchor)
    left = await counts(connection)
    files = [*first.files, *second.files]
    for table in whole:
        moved = sum(file.rows for file in files if file.partition.startswith(table))
        assert left[table] + moved == whole[table]
        assert moved
    assert await reconciled(old) == []
    assert (await archive(connection, LATE, tmp_path)).files == []
    status = {row["partition"]: row["state"] for row in await partition_status(connection)}
    assert {status[file.partition] for file in files} == {"archived"}
    for row in await archived(connection):
        with gzip.open(tmp_path / row["file_name"]) as file:
            assert file.read().count(b"\n") == (await check_file(row, tmp_path)).rows

    checked = await verify_files(connection, tmp_path)
    assert (checked.differences, checked.files) == ([], len(files))

    # With a part of it back, what is in between is still known to be archived.
    trades = [row for row in await archived(connection) if row["table_name"] == "trades" and row["row_count"]]
    orders = [row for row in await archived(connection) if row["table_name"] == "orders"]
    for row in [*orders, trades[0]]:
        await restore(connection, row, tmp_path)
    assert await reconciled(old) == []
    assert (await verified(old)).differences == []

    # The other way: with everything back, the replay from the beginning says the same.
    for row in await archived(connection):
        await restore(connection, row, tmp_path)
    assert await counts(connection) == whole
    report = await verified(old, from_genesis=True)
    assert (report.differences, report.journal_batches) == ([], before.journal_batches)
    assert (await verified(old)).differences == []
    assert await reconciled(old) == []
    # And again into files.
    again = await archive(connection, LATE, tmp_path)
    assert {file.partition: file.content_sha256 for file in again.files} == {
        file.partition: file.content_sha256 for file in files
    }
    assert (await verified(old)).differences == []


async def test_what_was_archived_before_the_last_anchor_comes_back_and_goes_again(
    old: str, connection: Any, tmp_path: Path
) -> None:
    for edge in (EARLY, edge_of(200), LATE, edge_of(5)):
        await archive(connection, edge, tmp_path)
        assert (await verified(old)).differences == []
    for row in await archived(connection):
        await restore(connection, row, tmp_path)
        assert (await verified(old)).differences == [], row["partition_name"]
    assert (await verified(old, from_genesis=True)).differences == []
    assert await reconciled(old) == []


async def test_orders_stay_for_as_long_as_their_client_order_ids(connection: Any) -> None:
    for (name,) in await connection.fetch("SELECT DISTINCT tableoid::REGCLASS::TEXT FROM orders WHERE NOT is_open"):
        await connection.execute(f"UPDATE {name} SET updated_at = now() - INTERVAL '89 days' WHERE NOT is_open")
        with pytest.raises(ArchiveError, match="client order ids"):
            await detach(connection, name, "orders")


async def test_orders_stay_while_a_trade_may_refer_to_them(connection: Any) -> None:
    await archiving._anchor(connection, new_book, LATE, ledger=True)
    name = await connection.fetchval(
        "SELECT name FROM archivable_partitions($1) WHERE parent = 'orders' AND low_at > now() - INTERVAL '420 days'"
        " AND name IN (SELECT tableoid::REGCLASS::TEXT FROM orders) LIMIT 1", LATE
    )  # fmt: skip
    with pytest.raises(asyncpg.ObjectNotInPrerequisiteStateError, match="not archived yet"):
        await connection.execute("SELECT detach_partition($1)", name)


async def test_the_engine_starts_and_trades_on_what_is_left(old: str, connection: Any, tmp_path: Path) -> None:
    await archive(connection, LATE, tmp_path / "archive")
    async with flow.desk(flow.engine_of(old, tmp_path)) as desk:
        await today(desk)
        page = await desk.ask(flow.ALICE, "GET", "/orders?limit=500")
        assert page
    assert (await verified(old)).differences == []
    assert await reconciled(old) == []


#: What somebody may change behind the anchor, and what verify then says.
PLANTS: dict[str, tuple[str, str]] = {
    "a reserve's text": (
        """UPDATE wallet.ledger_entries SET description = 'x'
        WHERE entry_id = (SELECT min(entry_id) FROM wallet.ledger_entries WHERE line = 11)""",
        "reserves and releases before anchor",
    ),
    "a settlement's date": (
        """UPDATE wallet.ledger_entries SET created_at = created_at + INTERVAL '1 second'
        WHERE entry_id = (SELECT min(entry_id) FROM wallet.ledger_entries WHERE line = 2)""",
        "trades in the ledger before anchor",
    ),
    "a release that nobody told of": (
        """INSERT INTO wallet.ledger_entries (operation_id, line, type, user_id, asset, available_delta, reserved_delta,
            available_after, reserved_after, reference_id, description, created_at)
        SELECT gen_random_uuid(), 12, 'RELEASE', user_id, asset, 0.5, -0.5, available_after + 0.5,
            reserved_after - 0.5, reference_id, 'x', created_at
        FROM wallet.ledger_entries WHERE line = 11 ORDER BY entry_id LIMIT 1""",
        "reserves and releases before anchor",
    ),
    "a candle": (
        """UPDATE candles SET volume = volume + 1 WHERE (market_id, interval, start_at)
            = (SELECT market_id, interval, start_at FROM candles ORDER BY start_at LIMIT 1)""",
        "candles before anchor",
    ),
    "an order that ended": (
        """UPDATE orders SET institution_id = 'x' WHERE order_id = (
            SELECT order_id FROM orders WHERE NOT is_open AND type = 'MARKET' ORDER BY order_id LIMIT 1)""",
        "before anchor",
    ),
    "the anchor's state": ("UPDATE anchors SET snapshot = snapshot || '\\x00'", "the chain says"),
    "the anchor's place": ("UPDATE anchors SET sequence = sequence + 1", "the chain says"),
    "no anchor": ("DELETE FROM anchors", "should begin at 1"),
    "rows of a file": (
        """UPDATE archived_partitions SET row_count = row_count + 1
        WHERE partition_name = (SELECT min(partition_name) FROM archived_partitions)""",
        "row_count is",
    ),
    "a file's hash": (
        """UPDATE archived_partitions SET file_sha256 = '\\x00'
        WHERE partition_name = (SELECT min(partition_name) FROM archived_partitions)""",
        "file_sha256 is",
    ),
}


@pytest.mark.parametrize("name", PLANTS)
async def test_what_lies_before_the_anchor_is_not_changed_unnoticed(
    old: str, connection: Any, tmp_path: Path, name: str
) -> None:
    change, part = PLANTS[name]
    await archive(connection, EARLY, tmp_path)
    await connection.execute("SET session_replication_role = replica")
    assert not (await connection.execute(change)).endswith(" 0")
    found = (await verified(old)).differences
    assert any(part in text for text in found), found


async def test_nothing_is_dropped_before_its_file_says_the_same(
    connection: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from trade_engine.storage import archive as module

    whole = await counts(connection)
    real = module.read_back
    with monkeypatch.context() as broken:
        broken.setattr(module, "read_back", lambda path: real(path)._replace(content_sha256="00"))
        with pytest.raises(ArchiveError, match="nothing was dropped"):
            await archive(connection, EARLY, tmp_path)
    detached = [row["name"] for row in await waiting(connection)]
    assert detached
    rows = sum([await connection.fetchval(f"SELECT count(*) FROM archive.{name}") for name in detached])
    assert sum((await counts(connection)).values()) + rows == sum(whole.values())
    # The next run goes on where that one stopped.
    outcome = await archive(connection, EARLY, tmp_path)
    assert sorted(file.partition for file in outcome.files) == sorted(detached)
    assert await waiting(connection) == []
    victim = (await archived(connection))[0]
    path = tmp_path / victim["file_name"]
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(ArchiveError):
        await check_file(victim, tmp_path)
    with pytest.raises(ArchiveError):
        await restore(connection, victim, tmp_path)
    assert not (await verify_files(connection, tmp_path)).ok


async def test_a_journal_in_files_that_is_no_chain_is_told(connection: Any, tmp_path: Path) -> None:
    """Whoever changes a file and all that is noted of it still breaks the chain of batches."""
    await archive(connection, EARLY, tmp_path)
    (row,) = [row for row in await archived(connection) if row["table_name"] == "journal" and row["row_count"]]
    path = tmp_path / row["file_name"]
    lines = gzip.decompress(path.read_bytes()).splitlines(keepends=True)
    path.write_bytes(gzip.compress(b"".join(lines[:10] + lines[11:])))
    found = read_back(path)
    await connection.execute(
        "UPDATE archived_partitions SET row_count = $2, file_sha256 = $3, content_sha256 = $4"
        " WHERE partition_name = $1",
        row["partition_name"], found.rows, bytes.fromhex(found.sha256), bytes.fromhex(found.content_sha256),
    )  # fmt: skip
    report = await verify_files(connection, tmp_path)
    assert any("does not follow" in text for text in report.differences), report.differences


async def test_archiving_is_refused_where_something_is_wrong(old: str, connection: Any, tmp_path: Path) -> None:
    with pytest.raises(ArchiveError, match="begin of a day"):
        await archive(connection, EARLY + timedelta(hours=1), tmp_path)
    with pytest.raises(ArchiveError, match="a day ago"):
        await archive(connection, edge_of(0), tmp_path)
    async with asyncpg.create_pool(old, min_size=1, max_size=1) as pool, pool.acquire() as other:
        await other.execute("SELECT pg_advisory_lock($1)", 0x7472_6164_655F_6172)
        with pytest.raises(ArchiveError, match="another process"):
            await archive(connection, EARLY, tmp_path)
    await connection.execute("SET session_replication_role = replica")
    await connection.execute("UPDATE trades SET quantity = quantity + 1 WHERE sequence = 1")
    with pytest.raises(ArchiveError, match="verify` finds"):
        await archive(connection, EARLY, tmp_path)
    assert await waiting(connection) == []


async def test_nothing_leaves_that_the_relay_has_not_told(old: str, connection: Any, tmp_path: Path) -> None:
    await connection.execute("UPDATE event_relay SET begun_after = 0, sequence = 1")
    with pytest.raises(ArchiveError, match="wait to be published"):
        await archive_before(connection, new_book, EARLY, tmp_path, now=datetime.now(UTC))
    await connection.execute("UPDATE event_relay SET sequence = (SELECT sequence FROM engine_state)")
    early = await connection.fetchval("SELECT trade_id FROM trades ORDER BY trade_id LIMIT 1")
    note = "INSERT INTO settlement_outbox (number, trade_id, settled, happened_at) VALUES (9, $1, TRUE, now())"
    await connection.execute(note, early)
    with pytest.raises(ArchiveError, match="wait to be published"):
        await archive_before(connection, new_book, EARLY, tmp_path, now=datetime.now(UTC))
    await connection.execute("UPDATE event_relay SET outbox_number = 9")
    assert (await archive_before(connection, new_book, EARLY, tmp_path, now=datetime.now(UTC))).anchor


async def test_the_function_detaches_what_an_anchor_covers_and_nothing_else(
    old: str, connection: Any, tmp_path: Path
) -> None:
    async def detached() -> dict[str, int]:
        names = [row[0] for row in await connection.fetch("SELECT * FROM monitoring.archive_old_partitions(2)")]
        return {name: await connection.fetchval(f"SELECT count(*) FROM archive.{name}") for name in names}

    assert set((await detached()).values()) == {0}, "without an anchor only empty ones go"
    assert await archiving._anchor(connection, new_book, LATE, ledger=True)
    taken = await detached()
    assert {name.partition("_y")[0] for name, rows in taken.items() if rows} == {"journal", "orders", "trades"}
    assert (await verified(old)).differences == []
    assert await reconciled(old) == []
    files = (await archive(connection, LATE, tmp_path)).files
    assert taken.items() <= {file.partition: file.rows for file in files}.items()


async def test_the_engine_archives_on_its_schedule(old: str, connection: Any, tmp_path: Path) -> None:
    engine = flow.engine_of(old, tmp_path)
    database = msgspec.structs.replace(engine.config.database, archive_after_months=2)
    engine.config = msgspec.structs.replace(engine.config, database=database)
    async with flow.desk(engine) as desk:
        async with asyncio.timeout(90):
            while not await connection.fetchval("SELECT count(*) FROM anchors"):
                await desk.place(flow.ALICE, flow.QUOTED, "SELL", "0.1", "110.00")
                await asyncio.sleep(0.1)
            while await waiting(connection) or not await archived(connection):
                await desk.place(flow.ALICE, flow.QUOTED, "SELL", "0.1", "110.00")
                await asyncio.sleep(0.1)
    assert list((tmp_path / "archive").glob("trades_y*.copy.gz"))
    assert (await verified(old)).differences == []


def command(old: str, *arguments: str) -> Any:
    """What a command prints."""
    answer = CliRunner().invoke(main, [*arguments, "--json"], env={"TRADE_ENGINE__DATABASE__URL": old})
    assert answer.exit_code == 0, (answer.output, answer.exception)
    return json.loads(answer.output)


def test_the_commands_archive_list_check_and_restore(old: str, tmp_path: Path) -> None:
    folder = ("--folder", str(tmp_path / "files"))
    done = command(old, "partitions", "archive", "--before", f"{LATE:%Y-%m-%d}", *folder)
    assert done["kept"] == []
    assert done["rows"] == sum(file["rows"] for file in done["files"])
    listed = command(old, "partitions", "status", "--check", *folder)
    assert listed["anchored_before"] == LATE.isoformat()
    hashes = {row["partition"]: row["file_sha256"] for row in listed["partitions"] if row["state"] == "archived"}
    assert hashes == {file["partition"]: file["sha256"] for file in done["files"]}
    report = command(old, "verify", "--archive", *folder)
    assert (report["differences"], report["files"], report["anchor"]) == ([], len(hashes), done["anchor"])
    assert command(old, "partitions", "restore", "--all", *folder)["rows"] == done["rows"]
    assert command(old, "verify", "--from", "genesis")["differences"] == []
    assert command(old, "partitions", "ensure")["without_partition"] == []
    environment = {"TRADE_ENGINE__DATABASE__URL": old}
    answer = CliRunner().invoke(main, ["partitions", "restore", "orders_y2001m01"], env=environment)
    assert (answer.exit_code, "not archived" in answer.output) == (2, True)


def test_months_are_whole_ones() -> None:
    now = datetime(2026, 3, 31, 23, tzinfo=UTC)
    assert month_edge(now, 0) == datetime(2026, 3, 1, tzinfo=UTC)
    assert month_edge(now, 3) == datetime(2025, 12, 1, tzinfo=UTC)
    assert month_edge(now, 12) == datetime(2025, 3, 1, tzinfo=UTC)
