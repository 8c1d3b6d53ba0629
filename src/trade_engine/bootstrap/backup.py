"""A whole engine as a folder of files, and an engine made from one: the database, the secrets that were made for it.

    manifest.json     what this is, of when, and the SHA-256 of each other file
    database.dump     for pg_restore
    jwt.secret, api-keys.secret    where no option replaces them: whoever has these can be anybody

What options name (keys in other files, the archive's folder, a wallet's own database) is not in it; ``left_out``
says so.
"""

import asyncio
import contextlib
import os
import secrets
import shutil
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Final, NamedTuple

import asyncpg
import msgspec

from trade_engine import __version__
from trade_engine.bootstrap.attached import attached_url, embedded_settings
from trade_engine.bootstrap.keys import ENCRYPTION_FILE, SECRET_FILE
from trade_engine.config import Config
from trade_engine.edge.times import show_time
from trade_engine.messaging.source import new_stream
from trade_engine.storage.backup import DUMP, begin_epoch, digest, dump, load, require_empty
from trade_engine.storage.embedded import EmbeddedPostgres
from trade_engine.storage.errors import BackupError
from trade_engine.storage.migrate import load_migrations, up
from trade_engine.wallet.fence import set_fence

MANIFEST: Final = "manifest.json"
_FORMAT: Final = 1
_SECRETS: Final = (SECRET_FILE, ENCRYPTION_FILE)
_ACTOR: Final = "command line"
_HEAD: Final = "SELECT sequence || ' ' || encode(journal_hash, 'hex') FROM engine_state"


class Manifest(msgspec.Struct, kw_only=True):
    """What a backup is."""

    format: int
    version: str
    taken_at: str
    #: The journal's end shortly before the dump, which holds at least that: ``<sequence> <hash>``.
    journal_head: str
    #: Digests by file.
    sha256: dict[str, str]
    #: What this engine needs and the backup has not.
    left_out: list[str]


class Restored(NamedTuple):
    """What a restore began anew."""

    epoch: int
    stream_id: str
    secrets: list[str]


async def take_backup(config: Config, data_dir: Path, target: Path) -> Manifest:
    """Write a backup to the folder ``target``, which must not be there: it appears when it is whole.

    Raises:
        BackupError: it could not be made; nothing is left behind.
    """
    partial = _begin_folder(target)
    try:
        async with attached_url(config, data_dir) as url:
            connection = await asyncpg.connect(url)
            try:
                head = str(await connection.fetchval(_HEAD))
            finally:
                await connection.close()
            taken_us = time.time_ns() // 1000
            await dump(url, partial / DUMP, embedded_settings(config).postgres_bin)
        for name in _secrets_of(config, data_dir):
            shutil.copyfile(data_dir / name, partial / name)
        files = sorted(partial.iterdir())
        for file in files:
            file.chmod(0o600)
        manifest = Manifest(
            format=_FORMAT,
            version=__version__,
            taken_at=show_time(taken_us),
            journal_head=head,
            sha256={file.name: digest(file) for file in files},
            left_out=_left_out(config, data_dir),
        )
        (partial / MANIFEST).touch(mode=0o600)
        (partial / MANIFEST).write_bytes(msgspec.json.format(msgspec.json.encode(manifest)) + b"\n")
        _sync(partial)
        partial.rename(target)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    return manifest


def _begin_folder(target: Path) -> Path:
    if target.exists():
        raise BackupError(f"{target} is there already: a backup gets a folder of its own")
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_name(f"{target.name}.{secrets.token_hex(4)}.partial")
    partial.mkdir(mode=0o700)
    return partial


def read_backup(source: Path) -> Manifest:
    """What a backup says it is, every file of it read and found whole.

    Raises:
        BackupError: it is no backup, of a later format, or a file was changed or is missing.
    """
    try:
        manifest = msgspec.json.decode((source / MANIFEST).read_bytes(), type=Manifest)
    except (OSError, msgspec.MsgspecError) as error:
        raise BackupError(f"{source} is no backup: {error}") from error
    if manifest.format > _FORMAT:
        raise BackupError(f"{source} was made by version {manifest.version}, in a format that this one does not know")
    if DUMP not in manifest.sha256:
        raise BackupError(f"{source / MANIFEST} names no {DUMP}")
    for name, expected in manifest.sha256.items():
        if name != DUMP and name not in _SECRETS:
            raise BackupError(f"{source / MANIFEST} names {name!r}, which is no part of a backup")
        try:
            found = digest(source / name)
        except OSError as error:
            raise BackupError(f"{source / name} cannot be read: {error.strerror}") from error
        if found != expected:
            raise BackupError(f"{source / name} is not what was written: SHA-256 {found}, and {expected} was")
    return manifest


@contextlib.asynccontextmanager
async def restored(config: Config, data_dir: Path, source: Path, reason: str) -> AsyncIterator[tuple[str, Restored]]:
    """Restore a backup into an empty database, and have it up for a while: its URL, and what began anew.

    Raises:
        BackupError: the backup is not whole, or there is something already where it is to go; nothing was changed.
    """
    manifest = read_backup(source)
    names = [name for name in manifest.sha256 if name != DUMP]
    for name in names:
        there = data_dir / name
        if there.exists() and digest(there) != manifest.sha256[name]:
            raise BackupError(f"{there} is another one than the backup's: restore into an empty folder")
    async with _empty_database(config, data_dir) as url:
        await load(url, source / DUMP, embedded_settings(config).postgres_bin)
        for name in names:
            (data_dir / name).touch(mode=0o600)
            shutil.copyfile(source / name, data_dir / name)
        yield url, await _begin_anew(url, names, reason)


async def _begin_anew(url: str, names: list[str], reason: str) -> Restored:
    connection = await asyncpg.connect(url)
    try:
        await up(connection, load_migrations())
        async with connection.transaction():
            epoch = await begin_epoch(connection)
            await set_fence(connection, epoch, _ACTOR, reason)
            stream_id = await new_stream(connection)
        await connection.execute("ANALYZE")
    finally:
        await connection.close()
    return Restored(epoch, stream_id, names)


@contextlib.asynccontextmanager
async def _empty_database(config: Config, data_dir: Path) -> AsyncIterator[str]:
    url = config.database.direct_url or config.database.url
    if url is not None:
        await require_empty(url)
        await asyncio.to_thread(data_dir.mkdir, parents=True, exist_ok=True)
        yield url
        return
    server = EmbeddedPostgres(data_dir, embedded_settings(config))
    if server.exists:
        raise BackupError(f"there is a database in {data_dir} already: restore into an empty folder")
    async with server:
        yield server.url


def _secrets_of(config: Config, data_dir: Path) -> list[str]:
    configured = (config.auth.jwt_secret, config.auth.encryption_key)
    return [
        name for name, value in zip(_SECRETS, configured, strict=True) if value is None and (data_dir / name).exists()
    ]


def _left_out(config: Config, data_dir: Path) -> list[str]:
    left = []
    if config.auth.jwt_secret is not None:
        left.append("auth.jwt_secret: it comes from an option; without it tokens given out so far are refused")
    if config.auth.encryption_key is not None:
        left.append("auth.encryption_key: it comes from an option; without it no API key made so far can be used")
    folder = Path(config.database.archive_folder or data_dir / "archive")
    if folder.is_dir() and any(folder.iterdir()):
        left.append(f"{folder}: archived partitions; copy the folder")
    if config.wallet.mode == "http":
        left.append("the wallet: it has a database of its own, to be backed up beside this one, after it")
    return left


def _sync(folder: Path) -> None:
    """Have a folder and its files on the disk before anybody relies on them."""
    for path in (*folder.iterdir(), folder):
        opened = os.open(path, os.O_RDONLY)
        try:
            os.fsync(opened)
        finally:
            os.close(opened)
