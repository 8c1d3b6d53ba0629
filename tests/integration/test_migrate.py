"""The migration runner, against a real server."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import asyncpg
import pytest

from trade_engine.storage.errors import SchemaError
from trade_engine.storage.migrate import Migration, down, load_migrations, require_current, status, up
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
