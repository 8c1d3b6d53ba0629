"""Copies of a database as files, and databases made from them, by PostgreSQL's own ``pg_dump`` and ``pg_restore``.

A dump is one snapshot of everything, taken beside a working engine.  What is restored is for an engine that has not
been: its epoch is above the one of the backup, in the engine's state and in the wallet's fence, so that nobody who
wrote before can write there, and its stream of events is a new one.
"""

import asyncio
import hashlib
import os
from pathlib import Path
from typing import Final
from urllib.parse import quote, unquote, urlsplit, urlunsplit

import asyncpg

from trade_engine.storage.embedded.binaries import find_client_program
from trade_engine.storage.errors import BackupError
from trade_engine.storage.types import Connection

#: The file of a backup that holds the database.
DUMP: Final = "database.dump"
_PIECE_BYTES: Final = 1 << 20
_SAID_MAX: Final = 2_000
#: How long PostgreSQL's programs may take: a dump of hundreds of gigabytes takes hours.
_PROGRAM_TIMEOUT_S: Final = 12 * 3_600.0
_TABLES: Final = """
    SELECT count(*) FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE c.relkind IN ('r', 'p', 'm') AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
      AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.objid = c.oid AND d.deptype = 'e')"""
#: Nobody holds the lease, and every earlier writer is fenced out.
_NEW_EPOCH: Final = """
    UPDATE engine_state SET epoch = greatest(epoch, (SELECT f.epoch FROM wallet.fence f)) + 1, heartbeat_at = NULL
    RETURNING epoch"""


async def dump(url: str, target: Path, postgres_bin: Path | None) -> None:
    """Write everything in a database to ``target``, as of one moment; orders go on meanwhile.

    Raises:
        BackupError: there is no program for it, or it failed; the message says why.
    """
    program = await _program("pg_dump", url, postgres_bin)
    await _run(program, url, "--format=custom", "--no-owner", "--no-privileges", f"--file={target}")


async def load(url: str, source: Path, postgres_bin: Path | None) -> None:
    """Fill an empty database from a dump, in one transaction.

    Raises:
        BackupError: the database is not empty, there is no program for it, or it failed; then nothing was changed.
    """
    await require_empty(url)
    program = await _program("pg_restore", url, postgres_bin)
    await _run(program, url, "--single-transaction", "--no-owner", "--no-privileges", str(source))


async def require_empty(url: str) -> None:
    """Make sure that a database holds nothing that a restore could mix with.

    Raises:
        BackupError: it holds tables.
    """
    connection = await asyncpg.connect(url)
    try:
        tables = await connection.fetchval(_TABLES)
    finally:
        await connection.close()
    if tables:
        raise BackupError(f"the database is not empty ({tables} tables): a backup is restored into an empty one only")


async def begin_epoch(connection: Connection) -> int:
    """Fence out, in the engine's state, everybody who wrote before; the new epoch."""
    return int(await connection.fetchval(_NEW_EPOCH))


def digest(file: Path) -> str:
    """SHA-256 of a file, as hex digits."""
    found = hashlib.sha256()
    with file.open("rb") as content:
        while piece := content.read(_PIECE_BYTES):
            found.update(piece)
    return found.hexdigest()


async def _program(name: str, url: str, postgres_bin: Path | None) -> Path:
    connection = await asyncpg.connect(url)
    try:
        major = connection.get_server_version().major
    finally:
        await connection.close()
    return await asyncio.to_thread(find_client_program, name, major, postgres_bin)


async def _run(program: Path, url: str, *options: str) -> None:
    """Run one of PostgreSQL's programs on a database; the password goes by its environment, which others cannot see."""
    address, password = _without_password(url)
    environment = {"PATH": os.environ.get("PATH", "/usr/bin:/bin"), "LC_ALL": "C", "TZ": "UTC"}
    if password is not None:
        environment["PGPASSWORD"] = password
    running = await asyncio.create_subprocess_exec(
        str(program), f"--dbname={address}", "--no-password", *options,
        stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
        env=environment,
    )  # fmt: skip
    try:
        async with asyncio.timeout(_PROGRAM_TIMEOUT_S):
            said, _ = await running.communicate()
    except BaseException:
        running.kill()
        await running.wait()
        raise
    if running.returncode:
        told = said.decode(errors="replace").strip()[-_SAID_MAX:]
        raise BackupError(f"{program} failed with status {running.returncode}: {told}")


def _without_password(url: str) -> tuple[str, str | None]:
    parts = urlsplit(url)
    if parts.password is None:
        return url, None
    host = parts.netloc.rpartition("@")[2]
    user = quote(unquote(parts.username or ""), safe="")
    return urlunsplit(parts._replace(netloc=f"{user}@{host}")), unquote(parts.password)
