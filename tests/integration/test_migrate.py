"""The migration runner, against a real server."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import asyncpg
import pytest

from tests.fixtures import flow
from trade_engine.matching.books import new_book
from trade_engine.sequencer.verify import verify
from trade_engine.storage.errors import SchemaError
from trade_engine.storage.migrate import (
    Migration,
    down,
    load_migrations,
    migrations_of_wallet,
    require_current,
    status,
    up,
)
from trade_engine.storage.types import Connection

FIRST = Migration(1, "first", "CREATE TABLE a (x INT); CREATE TABLE b (y INT);", "DROP TABLE b; DROP TABLE a;")
SECOND = Migration(2, "second", "INSERT INTO a VALUES (1);", "DELETE FROM a;")
THIRD = Migration(3, "third", "CREATE TABLE c (z INT);", "DROP TABLE c;")


@pytest.fixture
async def empty(empty_database_url: str) -> AsyncIterator[Connection]:
    opened = await asyncpg.connect(empty_database_url)
    yield opened
    await opened.close()


async def tables(connection: Connection) -> set[str]:
    rows = await connection.fetch("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
    return {row["tablename"] for row in rows} - {"schema_migrations"}


async def test_up_carries_out_what_is_missing_and_only_that(empty: Connection) -> None:
    assert await up(empty, [FIRST, SECOND]) == (FIRST, SECOND)
    assert await up(empty, [FIRST, SECOND, THIRD]) == (THIRD,)
    assert await up(empty, [FIRST, SECOND, THIRD]) == ()
    assert await tables(empty) == {"a", "b", "c"}
    assert await empty.fetchval("SELECT count(*) FROM a") == 1


async def test_up_and_down_stop_at_their_target(empty: Connection) -> None:
    steps = [FIRST, SECOND, THIRD]
    assert await up(empty, steps, target=1) == (FIRST,)
    await up(empty, steps)
    assert await down(empty, steps, target=2) == (THIRD,)
    assert await down(empty, steps, target=0) == (SECOND, FIRST)
    assert await tables(empty) == set()


async def test_a_failing_migration_leaves_no_trace_and_those_before_it_stay(empty: Connection) -> None:
    broken = Migration(2, "broken", "CREATE TABLE d (x INT); SELECT no_such_column;", "DROP TABLE d;")
    with pytest.raises(asyncpg.UndefinedColumnError):
        await up(empty, [FIRST, broken])
    assert await tables(empty) == {"a", "b"}
    assert [step.applied_at is None for step in await status(empty, [FIRST, broken])] == [False, True]


async def test_a_schema_of_another_version_is_refused(empty: Connection) -> None:
    with pytest.raises(SchemaError, match="lacks 0001_first, 0002_second"):
        await require_current(empty, [FIRST, SECOND])
    await up(empty, [FIRST, SECOND])
    await require_current(empty, [FIRST, SECOND])
    with pytest.raises(SchemaError, match="0002_second, which this program does not know"):
        await require_current(empty, [FIRST])
    with pytest.raises(SchemaError, match="0001_first was changed after it ran"):
        await require_current(empty, [FIRST._replace(up_sql="CREATE TABLE a (x TEXT)"), SECOND])


async def test_a_migration_below_one_that_ran_is_refused(empty: Connection) -> None:
    await up(empty, [FIRST, THIRD])
    with pytest.raises(SchemaError, match="0002_second is new, but a later one has already run"):
        await up(empty, [FIRST, SECOND, THIRD])


async def test_two_programs_may_migrate_at_once(empty_database_url: str) -> None:
    connections = [await asyncpg.connect(empty_database_url) for _ in range(4)]
    done = await asyncio.gather(*(up(connection, [FIRST, SECOND, THIRD]) for connection in connections))
    assert sorted(step.version for steps in done for step in steps) == [1, 2, 3]
    for connection in connections:
        await connection.close()


async def test_the_engines_migrations_go_up_and_down_and_up_again(empty: Connection) -> None:
    steps = load_migrations()
    await up(empty, steps)
    await require_current(empty, steps)
    await down(empty, steps, target=0)
    assert await tables(empty) == set()
    left = "SELECT count(*) FROM pg_proc p JOIN pg_namespace n ON n.oid = pronamespace WHERE nspname = 'public'"
    assert await empty.fetchval(left) == 0
    assert await empty.fetchval("SELECT count(*) FROM pg_type WHERE typtype = 'e'") == 0
    assert await up(empty, steps) == steps


async def test_a_filled_database_goes_down_and_up_again(database_url: str, tmp_path: Path) -> None:
    """What is newer than version 0.2 is taken back and made again under orders and trades; nothing of them is lost."""
    async with flow.desk(flow.engine_of(database_url, tmp_path)) as desk:
        for user in (flow.ALICE, flow.BOB):
            await desk.fund(user, USDT="100000", AAA="1000")
        for number in range(10):
            await desk.place(flow.ALICE, flow.QUOTED, "SELL", "1", f"{100 + number}.00", client_order_id=f"a{number}")
            await desk.place(flow.BOB, flow.QUOTED, "BUY", "0.7", f"{100 + number}.00")
        await desk.settled()
        await desk.candles_stored()
    connection = await asyncpg.connect(database_url)
    steps = load_migrations()
    rows = "SELECT (SELECT count(*) FROM orders), (SELECT count(*) FROM trades), (SELECT count(*) FROM journal)"
    before = await connection.fetchrow(rows)
    released = next(step.version for step in steps if step.name == "history")
    for target in (released, *(step.version - 1 for step in steps if step.version > released)):
        assert await down(connection, steps, target)
        await up(connection, steps)
        assert (await verify(connection, new_book)).differences == []
    assert await connection.fetchrow(rows) == before
    await connection.close()
    async with flow.desk(flow.engine_of(database_url, tmp_path)) as desk:
        await desk.place(flow.BOB, flow.QUOTED, "BUY", "0.1", "109.00")
    connection = await asyncpg.connect(database_url)
    assert (await verify(connection, new_book)).differences == []
    await down(connection, steps, 0)
    assert await up(connection, steps) == steps
    await connection.close()


_WALLET_SCHEMA = """
    SELECT 'function ' || p.oid::REGPROCEDURE, pg_get_functiondef(p.oid) FROM pg_proc p
    WHERE p.pronamespace = 'wallet'::REGNAMESPACE
    UNION ALL SELECT 'column ' || a.attrelid::REGCLASS || '.' || a.attname, format_type(a.atttypid, a.atttypmod)
        || a.attnotnull || coalesce(pg_get_expr(d.adbin, d.adrelid), '')
    FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid LEFT JOIN pg_attrdef d ON (d.adrelid, d.adnum)
        = (a.attrelid, a.attnum)
    WHERE c.relnamespace = 'wallet'::REGNAMESPACE AND a.attnum > 0
    UNION ALL SELECT 'constraint ' || conname, pg_get_constraintdef(oid) FROM pg_constraint
    WHERE connamespace = 'wallet'::REGNAMESPACE
    UNION ALL SELECT 'index ' || indexname, indexdef FROM pg_indexes WHERE schemaname = 'wallet'
    UNION ALL SELECT 'trigger ' || tgname || tgrelid::REGCLASS, pg_get_triggerdef(t.oid) FROM pg_trigger t
    JOIN pg_class c ON c.oid = tgrelid WHERE c.relnamespace = 'wallet'::REGNAMESPACE AND NOT tgisinternal"""


async def test_a_wallets_own_database_has_its_schema_and_nothing_else(
    empty_database_url: str, connection: Connection
) -> None:
    whole = {row[0]: row[1] for row in await connection.fetch(_WALLET_SCHEMA)}
    own = await asyncpg.connect(empty_database_url)
    try:
        steps = await migrations_of_wallet(own)
        assert "0001_engine" not in {step.label for step in steps}
        await up(own, steps)
        await require_current(own, steps)
        assert {row[0]: row[1] for row in await own.fetch(_WALLET_SCHEMA)} == whole
        assert await tables(own) == {"admin_audit"}
        assert await migrations_of_wallet(own) == steps
        with pytest.raises(SchemaError, match="a wallet's own"):
            await up(own, load_migrations())
        await down(own, steps, target=0)
        assert await tables(own) == set()
        assert await up(own, steps) == steps
    finally:
        await own.close()
    assert await migrations_of_wallet(connection) == load_migrations(), "one that has both keeps both"


CONCURRENT = Migration(
    2,
    "concurrent",
    """-- outside a transaction
-- An index that a failed attempt left is not valid.
DROP INDEX CONCURRENTLY IF EXISTS a_x;
CREATE INDEX CONCURRENTLY a_x ON a (x);
""",
    "-- outside a transaction\nDROP INDEX CONCURRENTLY IF EXISTS a_x;\n",
)


async def test_an_index_is_built_beside_writers(empty_database_url: str, empty: Connection) -> None:
    await up(empty, [FIRST])
    stop = asyncio.Event()

    async def write() -> int:
        writer = await asyncpg.connect(empty_database_url)
        written = 0
        while not stop.is_set():
            await writer.execute("INSERT INTO a VALUES ($1)", written)
            written += 1
        await writer.close()
        return written

    writing = asyncio.create_task(write())
    others = [await asyncpg.connect(empty_database_url) for _ in range(3)]
    done = await asyncio.gather(*(up(other, [FIRST, CONCURRENT, THIRD]) for other in others))
    stop.set()
    assert sorted(step.version for steps in done for step in steps) == [2, 3]
    assert await writing > 0
    assert await empty.fetchval("SELECT indisvalid FROM pg_index WHERE indexrelid = 'a_x'::REGCLASS")
    assert [step.version for step in await down(empty, [FIRST, CONCURRENT, THIRD], 1)] == [3, 2]
    assert await empty.fetchval("SELECT to_regclass('a_x')") is None
    for other in others:
        await other.close()


async def test_a_concurrent_migration_that_failed_half_way_is_run_again(empty: Connection) -> None:
    await up(empty, [FIRST])
    await empty.execute("INSERT INTO a VALUES (1), (1)")
    unique = CONCURRENT._replace(up_sql=CONCURRENT.up_sql.replace("CREATE INDEX", "CREATE UNIQUE INDEX"))
    with pytest.raises(asyncpg.UniqueViolationError):
        await up(empty, [FIRST, unique])
    assert not await empty.fetchval("SELECT indisvalid FROM pg_index WHERE indexrelid = 'a_x'::REGCLASS")
    assert not await empty.fetchval("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'")
    await empty.execute("DELETE FROM a")
    assert await up(empty, [FIRST, unique]) == (unique,)
    assert await empty.fetchval("SELECT indisvalid FROM pg_index WHERE indexrelid = 'a_x'::REGCLASS")


def test_every_migration_belongs_to_a_set(tmp_path: Path) -> None:
    for way in ("up", "down"):
        (tmp_path / f"0001_a.{way}.sql").write_text("SELECT 1;")
    (tmp_path / "sets.toml").write_text('0001_a = ["engine"]\n0002_b = ["wallet"]\n')
    with pytest.raises(SchemaError, match="0002_b"):
        load_migrations(tmp_path)


@pytest.mark.parametrize(
    ("files", "reason"),
    [
        ({"1_a.up.sql": ""}, "the name must be"),
        ({"0001_a.up.sql": ""}, "both a way up and a way down"),
        ({f"0001_{name}.{way}.sql": "" for name in "ab" for way in ("up", "down")}, "the same number"),
        ({"0001_a.up.sql": "CREATE TABLE a ();\nCOMMIT;", "0001_a.down.sql": ""}, "must not begin or end"),
    ],
)
def test_malformed_migrations_are_refused(tmp_path: Path, files: dict[str, str], reason: str) -> None:
    for name, sql in files.items():
        (tmp_path / name).write_text(sql)
    with pytest.raises(SchemaError, match=reason):
        load_migrations(tmp_path)


def test_migrations_are_read_in_order_and_line_ends_do_not_count(tmp_path: Path) -> None:
    for version in ("0002_b", "0001_a"):
        (tmp_path / f"{version}.up.sql").write_bytes(b"SELECT 1;\nBEGIN_NOT;")
        (tmp_path / f"{version}.down.sql").write_text("SELECT 2;")
    (tmp_path / "README.md").write_text("not a migration")
    first, second = load_migrations(tmp_path)
    assert (first.label, second.label) == ("0001_a", "0002_b")
    assert first._replace(up_sql=first.up_sql.replace("\n", "\r\n")).checksum == first.checksum


async def test_a_database_of_somebody_else_is_refused(empty: Connection) -> None:
    await empty.execute("CREATE TABLE theirs (x INT); CREATE EXTENSION pg_stat_statements")
    with pytest.raises(SchemaError, match="is not empty and has no schema of the engine's: 1 tables"):
        await up(empty, [FIRST])
    assert await tables(empty) == {"theirs"}
    assert await up(empty, [FIRST], beside=True) == (FIRST,)
    assert await up(empty, [FIRST, SECOND]) == (SECOND,)
    await down(empty, [FIRST, SECOND], target=0)
    assert await up(empty, [FIRST]) == (FIRST,)


async def test_another_program_s_table_of_migrations_is_not_taken_for_ours(empty: Connection) -> None:
    await empty.execute("CREATE TABLE schema_migrations (version TEXT PRIMARY KEY, dirty BOOLEAN)")
    with pytest.raises(SchemaError, match="schema_migrations is another program's"):
        await up(empty, [FIRST], beside=True)
