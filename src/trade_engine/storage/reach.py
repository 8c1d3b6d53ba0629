"""Reaching a database: when that fails, whoever reads it must know which one, and which option names it."""

import contextlib
from collections.abc import Iterator
from typing import NamedTuple
from urllib.parse import parse_qs, unquote, urlsplit

import asyncpg

from trade_engine.storage.errors import DATABASE_ERRORS, StorageError


class Address(NamedTuple):
    """Where a database is, as far as may be shown: never its user's password."""

    host: str
    port: int
    name: str

    def __str__(self) -> str:
        """For messages."""
        return f"{self.host} port {self.port}, database {self.name}"


def address_of_url(url: str) -> Address:
    """Where a url leads to."""
    try:
        parts = urlsplit(url)
        given = parse_qs(parts.query)
        host = parts.hostname or given.get("host", ["local"])[0]
        port = parts.port or int(given.get("port", ["5432"])[0])
    except ValueError:
        return Address("unknown", 0, "unknown")
    return Address(host, port, unquote(parts.path.lstrip("/")) or parts.username or "unknown")


@contextlib.contextmanager
def reaching(url: str, option: str) -> Iterator[None]:
    """Say of a database that cannot be reached which one it is.

    Raises:
        StorageError: it cannot; with option, host, port and reason.
    """
    try:
        yield
    except (*DATABASE_ERRORS, asyncpg.ClientConfigurationError) as error:
        reason = str(error) or type(error).__name__
        raise StorageError(f"{option}: cannot use PostgreSQL at {address_of_url(url)}: {reason}") from error


async def connect(url: str, option: str = "database.url", *, statement_cache_size: int = 100) -> asyncpg.Connection:
    """One connection; ``option`` is what named the url.

    Raises:
        StorageError: the database cannot be reached.
    """
    with reaching(url, option):
        return await asyncpg.connect(url, statement_cache_size=statement_cache_size)
