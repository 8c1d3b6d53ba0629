"""Migrations in plain SQL: ``NNNN_name.up.sql`` and ``NNNN_name.down.sql``, carried out in order of number.

Each runs in one transaction that first takes an advisory lock and reads again what has been done, so that two
programs may start at once, also behind a pooler in transaction mode.  What ran is written down with a checksum;
a file changed afterwards is refused.  This module never guesses: a schema it does not know, it does not touch.

A file whose first line is ``-- outside a transaction`` runs statement by statement, each by itself (each ends at the
end of a line): for an index that is built CONCURRENTLY on a table in use.  It may be cut short, so each of its
statements must bear being run again.

``sets.toml`` says which migrations make the wallet's schema, for a wallet that has a database of its own.
"""

import asyncio
import hashlib
import re
import time
import tomllib
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from importlib.resources import files
from importlib.resources.abc import Traversable
from typing import Final, Literal, NamedTuple

import asyncpg

from trade_engine.storage.errors import SchemaError

#: Any number will do, as long as nothing else in this database takes the same one.
_LOCK: Final = 0x7472_6164_655F_656E
_NAME: Final = re.compile(r"(?P<version>[0-9]{4})_(?P<name>[a-z0-9_]+)\.(?P<way>up|down)\.sql")
_TRANSACTION: Final = re.compile(
    r"^\s*(?:BEGIN|START\s+TRANSACTION|COMMIT|ROLLBACK)(?:\s+TRANSACTION|\s+WORK)?\s*;", re.IGNORECASE | re.MULTILINE
)
_OUTSIDE: Final = "-- outside a transaction"
_STATEMENT_END: Final = re.compile(r";[ \t]*(?:\n|\Z)")
_SETS: Final = "sets.toml"
_WALLET_ONLY: Final = "wallet_only"
#: Another program may build an index for so long.
_WAIT_S: Final = 3600.0
_LOOK_EVERY_S: Final = 0.05
_LEDGER: Final = """
    CREATE TABLE IF NOT EXISTS schema_migrations (
        version INTEGER PRIMARY KEY,
        name TEXT NOT NULL,
        checksum TEXT NOT NULL,
        applied_at TIMESTAMPTZ NOT NULL DEFAULT now()
    )
"""

_COLUMNS: Final = (
    "SELECT attname::TEXT FROM pg_attribute WHERE attrelid = to_regclass('schema_migrations') AND attnum > 0"
)
#: Tables and views that belong to no extension.
_FOREIGN: Final = """
    SELECT c.oid::REGCLASS::TEXT FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f') AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
      AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.objid = c.oid AND d.deptype = 'e')
    ORDER BY 1
"""

Connection = asyncpg.Connection
#: What a database is for; None: everything.
SchemaSet = Literal["wallet"]


class Migration(NamedTuple):
    """One step of the schema, both ways."""

    version: int
    name: str
    up_sql: str
    down_sql: str

    @property
    def checksum(self) -> str:
        """SHA-256 of the way up, line ends normalised."""
        return hashlib.sha256(self.up_sql.replace("\r\n", "\n").encode()).hexdigest()

    @property
    def label(self) -> str:
        """As its files are called: ``0001_engine``."""
        return f"{self.version:04d}_{self.name}"


class MigrationStatus(NamedTuple):
    """One migration and when it ran; None: not yet."""

    migration: Migration
    applied_at: datetime | None


class _Applied(NamedTuple):
    name: str
    checksum: str
    applied_at: datetime


def default_folder() -> Traversable:
    """Where the engine's own migrations are."""
    return files("trade_engine.storage") / "migrations"


def load_migrations(folder: Traversable | None = None, only: SchemaSet | None = None) -> tuple[Migration, ...]:
    """Read the migrations of ``folder`` (default: the engine's own), in order.

    Args:
        folder: where they are, with ``sets.toml`` if there are sets.
        only: those of one set; default: all.

    Raises:
        SchemaError: a file name is not understood, a number is there twice, a way up or down is missing, a file
            ends its own transaction, or belongs to no set.
    """
    place = default_folder() if folder is None else folder
    migrations = _read(place)
    sets = _sets(place, migrations)
    if only is None:
        return migrations
    parts = {part.version: part for part in _read(place / _WALLET_ONLY)}
    return tuple(parts.get(step.version, step) for step in migrations if only in sets[step.label])


def _sets(folder: Traversable, migrations: Sequence[Migration]) -> dict[str, list[str]]:
    """Which sets each migration belongs to, by its label; all must be named."""
    manifest = folder / _SETS
    if not manifest.is_file():
        return {step.label: ["engine", "wallet"] for step in migrations}
    sets: dict[str, list[str]] = tomllib.loads(manifest.read_text(encoding="utf-8"))
    wrong = sets.keys() ^ {step.label for step in migrations}
    if wrong:
        raise SchemaError(f"{_SETS} must name every migration and nothing else: {', '.join(sorted(wrong))}")
    return sets


async def migrations_of_wallet(connection: Connection) -> tuple[Migration, ...]:
    """Those of a wallet's own database: the wallet's alone, unless it has the engine's, too, as it had once."""
    everything = load_migrations()
    if everything[0].version in await _applied(connection):
        return everything
    return load_migrations(only="wallet")


def _read(folder: Traversable) -> tuple[Migration, ...]:
    """The migrations in a folder, in order."""
    found: dict[tuple[int, str], dict[str, str]] = {}
    for file in folder.iterdir():
        if not file.name.endswith(".sql"):
            continue
        match = _NAME.fullmatch(file.name)
        if match is None:
            raise SchemaError(f"migration {file.name}: the name must be NNNN_name.up.sql or NNNN_name.down.sql")
        sql = file.read_text(encoding="utf-8")
        if _TRANSACTION.search(sql):
            raise SchemaError(f"migration {file.name}: it must not begin or end a transaction, it runs inside one")
        found.setdefault((int(match["version"]), match["name"]), {})[match["way"]] = sql
    migrations: list[Migration] = []
    for (version, name), ways in sorted(found.items()):
        if ways.keys() != {"up", "down"}:
            raise SchemaError(f"migration {version:04d}_{name}: it needs both a way up and a way down")
        if migrations and migrations[-1].version == version:
            raise SchemaError(f"migration {version:04d}_{name}: {migrations[-1].label} has the same number")
        migrations.append(Migration(version, name, ways["up"], ways["down"]))
    return tuple(migrations)


async def up(
    connection: Connection, migrations: Sequence[Migration], target: int | None = None, *, beside: bool = False
) -> tuple[Migration, ...]:
    """Carry out what is missing, up to number ``target`` (default: all); what was carried out now.

    Args:
        connection: to the database.
        migrations: all of them, in order.
        target: the last to be carried out.
        beside: go on where tables of others are, and none of the engine's.

    Raises:
        SchemaError: what ran before is not what these migrations say, or the database is somebody else's.
        asyncpg.PostgresError: a migration failed; it left no trace, those before it stay.
    """
    done: list[Migration] = []
    for migration in migrations:
        if target is not None and migration.version > target:
            break
        async with _locked(connection, migration.up_sql):
            await _require_ours(connection, beside=beside)
            applied = await _known(connection, migrations)
            if migration.version in applied:
                continue
            if applied and migration.version < max(applied):
                raise SchemaError(f"migration {migration.label} is new, but a later one has already run")
            await _carry_out(connection, migration.up_sql)
            await connection.execute(
                "INSERT INTO schema_migrations (version, name, checksum) VALUES ($1, $2, $3)",
                migration.version,
                migration.name,
                migration.checksum,
            )
        done.append(migration)
    return tuple(done)


async def down(connection: Connection, migrations: Sequence[Migration], target: int) -> tuple[Migration, ...]:
    """Take back, newest first, every migration numbered above ``target`` (0: all); what was taken back.

    Data in what is dropped is lost.  Raises as ``up`` does.
    """
    done: list[Migration] = []
    for migration in reversed(migrations):
        if migration.version <= target:
            break
        async with _locked(connection, migration.down_sql):
            if migration.version not in await _known(connection, migrations):
                continue
            await _carry_out(connection, migration.down_sql)
            await connection.execute("DELETE FROM schema_migrations WHERE version = $1", migration.version)
        done.append(migration)
    return tuple(done)


async def status(connection: Connection, migrations: Sequence[Migration]) -> tuple[MigrationStatus, ...]:
    """When each migration ran.

    Raises:
        SchemaError: what ran is not what these migrations say.
    """
    applied = await _applied(connection)
    _compare(applied, migrations)
    return tuple(
        MigrationStatus(migration, applied[migration.version].applied_at if migration.version in applied else None)
        for migration in migrations
    )


async def require_current(connection: Connection, migrations: Sequence[Migration]) -> None:
    """Refuse a schema of another version.

    Raises:
        SchemaError: older, newer, or made of other migrations than these.
    """
    missing = [step.migration.label for step in await status(connection, migrations) if step.applied_at is None]
    if missing:
        raise SchemaError(f"the database lacks {', '.join(missing)}: run `trade-engine migrate up`")


def _is_outside(sql: str) -> bool:
    """Whether a file runs outside a transaction."""
    return sql.startswith(_OUTSIDE)


async def _carry_out(connection: Connection, sql: str) -> None:
    """Run a file; one outside a transaction statement by statement."""
    if not _is_outside(sql):
        await connection.execute(sql)
        return
    for statement in _STATEMENT_END.split(sql.removeprefix(_OUTSIDE)):
        if statement.strip():
            await connection.execute(statement)


@asynccontextmanager
async def _locked(connection: Connection, sql: str) -> AsyncIterator[None]:
    """Hold the lock, in a transaction unless the file runs outside one.

    Who waits looks again and again: in between it holds nothing that an index built CONCURRENTLY would wait for.

    Raises:
        SchemaError: somebody else migrates for an hour.
    """
    until = time.monotonic() + _WAIT_S
    while time.monotonic() < until:
        if _is_outside(sql):
            if await connection.fetchval("SELECT pg_try_advisory_lock($1)", _LOCK):
                try:
                    yield
                finally:
                    await connection.execute("SELECT pg_advisory_unlock($1)", _LOCK)
                return
        else:
            async with connection.transaction():
                if await connection.fetchval("SELECT pg_try_advisory_xact_lock($1)", _LOCK):
                    yield
                    return
        await asyncio.sleep(_LOOK_EVERY_S)
    raise SchemaError("another program migrates this database for an hour")


async def _known(connection: Connection, migrations: Sequence[Migration]) -> dict[int, _Applied]:
    """What has run, held against what is to run; under the lock."""
    await connection.execute(_LEDGER)
    applied = await _applied(connection)
    _compare(applied, migrations)
    return applied


async def _require_ours(connection: Connection, *, beside: bool) -> None:
    """Refuse a database that holds something, and nothing of the engine's: it may be somebody else's."""
    columns = {row[0] for row in await connection.fetch(_COLUMNS)}
    if columns >= {"version", "name", "checksum", "applied_at"}:
        return
    if columns:
        raise SchemaError("table schema_migrations is another program's: give the engine a database of its own")
    found = [] if beside else await connection.fetch(_FOREIGN)
    if found:
        name = await connection.fetchval("SELECT current_database()")
        raise SchemaError(
            f"the database {name} is not empty and has no schema of the engine's: {len(found)} tables and views, such"
            f" as {found[0][0]}; give the engine a database of its own (`migrate up --beside` goes on all the same)"
        )


async def _applied(connection: Connection) -> dict[int, _Applied]:
    if await connection.fetchval("SELECT to_regclass('schema_migrations')") is None:
        return {}
    rows = await connection.fetch("SELECT version, name, checksum, applied_at FROM schema_migrations ORDER BY version")
    return {row["version"]: _Applied(row["name"], row["checksum"], row["applied_at"]) for row in rows}


def _compare(applied: dict[int, _Applied], migrations: Sequence[Migration]) -> None:
    if applied and migrations and min(applied) > migrations[0].version:
        raise SchemaError(
            f"the database lacks {migrations[0].label} and has later ones: it is a wallet's own (wallet.database_url), "
            "the engine needs another"
        )
    known = {migration.version: migration for migration in migrations}
    for version, row in applied.items():
        migration = known.get(version)
        if migration is None:
            raise SchemaError(
                f"the database has migration {version:04d}_{row.name}, which this program does not know: "
                "it belongs to another version"
            )
        if row.checksum != migration.checksum:
            raise SchemaError(f"migration {migration.label} was changed after it ran on this database")
