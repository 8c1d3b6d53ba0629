"""Partitions that become files, and files that become partitions again (docs/adr/0017).

    attached -> detached, in schema archive -> a file, read back -> noted, chained -> dropped

A file is what COPY gives, as text, in order of the key, gzipped.  Nothing is dropped before its file was read from the
disk again and said the same.  Each step may be cut short: the next run goes on where it stopped.  Locks that the writer
could wait for are given up after 200 ms and asked for again.
"""

import asyncio
import gzip
import hashlib
import os
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Final, NamedTuple, TypeVar

import asyncpg

from trade_engine.storage.errors import ArchiveError
from trade_engine.storage.types import AnyConnection, Connection, Record

T = TypeVar("T")

_KEYS: Final = {"journal": "last_sequence", "orders": "order_id", "trades": "trade_id"}
_LOCK_TIMEOUT: Final = "200ms"
_ATTEMPTS_MAX: Final = 100
_PAUSE_S: Final = 0.25
_BLOCK: Final = 1 << 20
_LEVEL: Final = 6
_WAITING: Final = """
    SELECT c.relname AS name, s.* FROM pg_class c CROSS JOIN LATERAL partition_span(c.relname) s
    WHERE c.relnamespace = 'archive'::REGNAMESPACE AND c.relkind = 'r' AND s.parent IS NOT NULL
    ORDER BY s.low_at, s.parent"""
#: A client order id leads to its order for so long.
_LATELY: Final = "SELECT EXISTS (SELECT FROM {name} WHERE updated_at > now() - INTERVAL '90 days')"
_COLUMNS: Final = """
    SELECT array_agg(attname::TEXT ORDER BY attnum) FROM pg_attribute
    WHERE attrelid = $1::REGCLASS AND attnum > 0 AND NOT attisdropped"""
_REFERENCES: Final = """
    SELECT conname, pg_get_constraintdef(oid) FROM pg_constraint
    WHERE conrelid = $1::REGCLASS AND contype = 'f' AND conparentid = 0 ORDER BY conname"""
_NOTE: Final = """
    INSERT INTO archived_partitions (partition_name, table_name, low_at, high_at, row_count, file_name, file_bytes,
        file_sha256, content_sha256, columns)
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)
    ON CONFLICT (partition_name) DO UPDATE SET
        row_count = excluded.row_count, file_name = excluded.file_name, file_bytes = excluded.file_bytes,
        file_sha256 = excluded.file_sha256, content_sha256 = excluded.content_sha256, columns = excluded.columns,
        archived_at = now(), restored_at = NULL"""
_STATUS: Final = """
    SELECT coalesce(p.name, a.partition_name) AS partition, s.parent AS table_name, s.low_at, s.high_at,
        CASE WHEN p.state IS NOT NULL THEN p.state ELSE 'archived' END AS state, a.row_count, a.file_name, a.file_bytes,
        encode(a.file_sha256, 'hex') AS file_sha256
    FROM (
        SELECT c.relname::TEXT AS name, CASE WHEN n.nspname = 'archive' THEN 'detached' ELSE 'attached' END AS state
        FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
        WHERE c.relkind = 'r' AND (n.nspname = 'archive' OR (n.nspname = 'public' AND c.relispartition))
    ) p
    FULL JOIN archived_partitions a ON a.partition_name = p.name
    CROSS JOIN LATERAL partition_span(coalesce(p.name, a.partition_name)) s
    WHERE s.parent IS NOT NULL
    ORDER BY s.parent, s.low_at"""


class ArchivedFile(NamedTuple):
    """One partition in its file."""

    partition: str
    rows: int
    path: Path
    file_bytes: int
    #: SHA-256 of the file, and of what is in it, as hex.
    sha256: str
    content_sha256: str


async def archivable(connection: Connection, edge: datetime) -> list[Record]:
    """The partitions that may leave their tables: name, parent, low_at, high_at; in order."""
    return list(await connection.fetch("SELECT * FROM archivable_partitions($1)", edge))


async def early_default_rows(connection: Connection, edge: datetime) -> list[str]:
    """The tables whose DEFAULT partition holds rows from before an edge: these would be left behind."""
    found = []
    for table, key in (("journal", "stamped_at"), ("orders", "order_id"), ("trades", "trade_id")):
        bound = "$1" if table == "journal" else "uuid7_floor($1)"
        query = f"SELECT EXISTS (SELECT FROM {table}_default WHERE {key} < {bound})"
        if await connection.fetchval(query, edge):
            found.append(table)
    return found


async def detach(connection: Connection, name: str, parent: str) -> None:
    """Take a partition out of its table into schema archive; nothing if it is there already.

    Raises:
        ArchiveError: its tables stay locked, it holds open orders, or no anchor covers it.
    """
    copied = await connection.fetchval("SELECT to_regclass('archive.' || quote_ident($1)) IS NOT NULL", name)
    if parent == "orders" and await connection.fetchval(_LATELY.format(name=name)):
        raise ArchiveError(
            f"{name} holds orders that ended less than 90 days ago: their client order ids are still theirs"
        )
    try:
        # A copy beside its emptied partition is what an earlier run left.
        if not copied:
            await _patiently(connection, partial(connection.execute, "SELECT detach_partition($1)", name))
        if parent == "orders":
            await _patiently(connection, partial(connection.execute, "SELECT drop_emptied_partition($1)", name))
    except asyncpg.ObjectNotInPrerequisiteStateError as error:
        raise ArchiveError(str(error)) from error
    except asyncpg.InsufficientPrivilegeError as error:
        raise ArchiveError(f"{name}: {error}: grant SET ON PARAMETER session_replication_role to this user") from error


async def waiting(connection: Connection) -> list[Record]:
    """The partitions in schema archive: name, parent, low_at, high_at."""
    return list(await connection.fetch(_WAITING))


async def to_file(connection: Connection, part: Record, folder: Path) -> ArchivedFile:
    """Write a detached partition to its file, read that back, note it, and only then drop the partition.

    Raises:
        ArchiveError: what was read back is not what was written; the partition stays.
        OSError: the folder cannot be written.
    """
    name = part["name"]
    source = f"archive.{name}"
    columns = list(await connection.fetchval(_COLUMNS, source))
    rows = int(await connection.fetchval(f"SELECT count(*) FROM {source}"))
    path = folder / f"{name}.copy.gz"
    unfinished = folder / f".{name}.copy.gz.partial"
    await asyncio.to_thread(folder.mkdir, parents=True, exist_ok=True)
    writer = _FileWriter(unfinished)
    try:
        query = f"SELECT {', '.join(columns)} FROM {source} ORDER BY {_KEYS[part['parent']]}"
        await connection.copy_from_query(query, output=writer.write)
    finally:
        await asyncio.to_thread(writer.close)
    found = await asyncio.to_thread(read_back, unfinished)
    if (found.rows, found.content_sha256) != (rows, writer.content.hexdigest()):
        raise ArchiveError(f"{unfinished}: read back {found.rows} rows, {rows} were to be written: nothing was dropped")
    unfinished.replace(path)
    _sync_folder(folder)
    done = found._replace(partition=name, path=path)
    async with connection.transaction():
        await connection.execute(
            _NOTE, name, part["parent"], part["low_at"], part["high_at"], rows, path.name, done.file_bytes,
            bytes.fromhex(done.sha256), bytes.fromhex(done.content_sha256), columns,
        )  # fmt: skip
        fact = ["file", name, str(rows), done.sha256, done.content_sha256]
        await connection.execute("SELECT note_fact('archive', $1)", fact)
        await connection.execute(f"DROP TABLE {source}")
    return done


def read_back(path: Path) -> ArchivedFile:
    """What a file holds, read from the disk: rows and hashes.

    Raises:
        ArchiveError: it is no gzip file, or cut short.
    """
    content, whole = hashlib.sha256(), hashlib.sha256()
    rows, size = 0, 0
    try:
        with path.open("rb") as file:
            while block := file.read(_BLOCK):
                whole.update(block)
                size += len(block)
        with gzip.open(path, "rb") as file:
            while block := file.read(_BLOCK):
                content.update(block)
                rows += block.count(b"\n")
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise ArchiveError(f"{path}: {error}") from error
    return ArchivedFile("", rows, path, size, whole.hexdigest(), content.hexdigest())


async def check_file(row: Record, folder: Path) -> ArchivedFile:
    """Hold the file of an archived partition against what was noted of it.

    Raises:
        ArchiveError: it is not there, or another one.
    """
    path = folder / row["file_name"]
    if not path.exists():
        raise ArchiveError(f"{path} is not there")
    found = await asyncio.to_thread(read_back, path)
    noted = (row["row_count"], row["file_sha256"].hex(), row["content_sha256"].hex())
    if (found.rows, found.sha256, found.content_sha256) != noted:
        raise ArchiveError(f"{path}: {found.rows} rows, SHA-256 {found.sha256}; noted: {noted[0]} rows, {noted[1]}")
    return found._replace(partition=row["partition_name"])


async def archived(connection: AnyConnection, names: list[str] | None = None) -> list[Record]:
    """What is noted of partitions that are files now, in the order in which they may be restored."""
    return list(
        await connection.fetch(
            "SELECT * FROM archived_partitions WHERE restored_at IS NULL AND ($1::TEXT[] IS NULL"
            " OR partition_name = ANY ($1)) ORDER BY array_position(ARRAY['orders', 'journal', 'trades'], table_name),"
            " low_at",
            names,
        )
    )


async def restore(connection: Connection, row: Record, folder: Path) -> ArchivedFile:
    """Make a partition of its file again, with all its rows; the file stays.

    Raises:
        ArchiveError: the file is not what was noted, or trades refer to orders that are not there.
    """
    found = await check_file(row, folder)
    name, parent = row["partition_name"], row["table_name"]
    await connection.execute(f"DROP TABLE IF EXISTS archive.{name}")
    [(low, high, options)] = await connection.fetch(
        "SELECT p.low, p.high, t.options FROM partition_of($1, $2) p, partition_terms($1) t", parent, row["low_at"]
    )
    key = "stamped_at" if parent == "journal" else _KEYS[parent]
    await connection.execute(f"CREATE TABLE archive.{name} (LIKE public.{parent} INCLUDING ALL) {options}")
    await connection.copy_to_table(
        name, schema_name="archive", source=_blocks(found.path), columns=list(row["columns"])
    )
    # What attaching would look for under its lock is looked for before.
    await connection.execute(
        f"ALTER TABLE archive.{name} ADD CONSTRAINT within CHECK ({key} IS NOT NULL AND {key} >= '{low}'"
        f" AND {key} < '{high}')"
    )
    try:
        for constraint, definition in await connection.fetch(_REFERENCES, parent):
            add = f"ALTER TABLE archive.{name} ADD CONSTRAINT {constraint} {definition} NOT VALID"
            await _patiently(connection, partial(connection.execute, add))
            await connection.execute(f"ALTER TABLE archive.{name} VALIDATE CONSTRAINT {constraint}")
    except asyncpg.ForeignKeyViolationError as error:
        raise ArchiveError(f"{name}: restore the orders that it refers to first: {error.detail}") from error

    # Nobody reads it yet; afterwards plans are made for it at once.
    await connection.execute(f"ANALYZE archive.{name}")

    async def attach() -> None:
        if parent == "trades":
            await connection.execute("LOCK TABLE orders IN SHARE ROW EXCLUSIVE MODE")
        await connection.execute(f"LOCK TABLE ONLY {parent}, {parent}_default IN ACCESS EXCLUSIVE MODE")
        await connection.execute(f"ALTER TABLE archive.{name} SET SCHEMA public")
        await connection.execute(
            f"ALTER TABLE {parent} ATTACH PARTITION public.{name} FOR VALUES FROM ('{low}') TO ('{high}')"
        )
        await connection.execute(f"ALTER TABLE public.{name} DROP CONSTRAINT within")
        await connection.execute("UPDATE archived_partitions SET restored_at = now() WHERE partition_name = $1", name)

    await _patiently(connection, attach)
    return found


async def partition_status(connection: Connection) -> list[Record]:
    """Every partition: where it is (attached, detached, archived) and, if it was archived, its file."""
    return list(await connection.fetch(_STATUS))


class _FileWriter:
    """Takes COPY's output: gzipped to a file that is on the disk when it is closed, hashed as it came."""

    def __init__(self, path: Path) -> None:
        self._raw = path.open("wb")
        # No name and no time in it: the same rows make the same file.
        self._file = gzip.GzipFile("", "wb", _LEVEL, self._raw, mtime=0)
        self.content = hashlib.sha256()

    async def write(self, block: bytes) -> None:
        """Take a block."""
        await asyncio.to_thread(self._write, block)

    def _write(self, block: bytes) -> None:
        self.content.update(block)
        self._file.write(block)

    def close(self) -> None:
        """Have it on the disk."""
        self._file.close()
        self._raw.flush()
        os.fsync(self._raw.fileno())
        self._raw.close()


async def _blocks(path: Path) -> AsyncIterator[bytes]:
    """What is in a file, block by block."""
    with gzip.open(path, "rb") as file:
        while block := await asyncio.to_thread(file.read, _BLOCK):
            yield block


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


async def _patiently(connection: Connection, work: Callable[[], Awaitable[T]]) -> T:
    """Do something in a transaction that gives way to locks, again and again.

    Raises:
        ArchiveError: they stay locked.
    """
    for attempt in range(_ATTEMPTS_MAX):
        try:
            async with connection.transaction():
                await connection.execute(f"SET LOCAL lock_timeout = '{_LOCK_TIMEOUT}'")
                return await work()
        except (asyncpg.LockNotAvailableError, asyncpg.DeadlockDetectedError) as error:
            if attempt + 1 == _ATTEMPTS_MAX:
                raise ArchiveError(f"the tables stay locked: {error}") from error
        await asyncio.sleep(_PAUSE_S)
    raise AssertionError("the loop returns or raises")
