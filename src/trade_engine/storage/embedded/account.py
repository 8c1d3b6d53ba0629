"""Under whose account the private PostgreSQL runs, and where that account can reach its files.

PostgreSQL refuses to run as root.  Started as root, the engine runs it as an unprivileged user instead, who often can
enter neither the data directory (below a home) nor the virtual environment: both then get a place under
``/var/lib/trade-engine``.  Started as anybody else, everything stays in the data directory.
"""

import os
import pwd
import secrets
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Final

import msgspec

from trade_engine.storage.embedded.binaries import Binaries
from trade_engine.storage.errors import EmbeddedError

SHARED_HOME: Final = Path("/var/lib/trade-engine")
_NAMES: Final = ("postgres", "nobody")
_POINTER: Final = "postgres.path"


class Account(msgspec.Struct, frozen=True):
    """Who runs the server; ``switched`` if that is not who runs the engine."""

    uid: int
    gid: int
    switched: bool

    def run(self, command: list[str], environment: Mapping[str, str]) -> "subprocess.CompletedProcess[str]":
        """Run a program to its end as this account; what it printed, both streams in one."""
        return subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
            env=dict(environment),
            cwd="/",
            user=self.uid if self.switched else None,
            group=self.gid if self.switched else None,
            extra_groups=[] if self.switched else None,
        )

    def spawn(self, command: list[str], environment: Mapping[str, str], output: IO[bytes]) -> "subprocess.Popen[bytes]":
        """Start a program as this account in a session of its own, so that a terminal's Ctrl-C does not reach it."""
        return subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=dict(environment),
            cwd="/",
            start_new_session=True,
            user=self.uid if self.switched else None,
            group=self.gid if self.switched else None,
            extra_groups=[] if self.switched else None,
        )

    def reaches(self, path: Path) -> bool:
        """Whether this account can enter the folder, or run the program, ``path``."""
        if not self.switched:
            return os.access(path, os.X_OK)
        return self.run(["/bin/sh", "-c", 'test -x "$1"', "sh", str(path)], {}).returncode == 0

    def own_folder(self, path: Path) -> None:
        """Make ``path`` (its parent exists) a folder that only this account, and root, can enter."""
        path.mkdir(mode=0o700, exist_ok=True)
        path.chmod(0o700)
        if self.switched:
            os.chown(path, self.uid, self.gid)


def choose_account() -> Account:
    """Whoever runs the engine; for root, the user ``postgres`` or ``nobody``.

    Raises:
        EmbeddedError: root, and neither of the two exists.
    """
    if os.geteuid() != 0:
        return Account(os.geteuid(), os.getegid(), switched=False)
    for name in _NAMES:
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            continue
        return Account(entry.pw_uid, entry.pw_gid, switched=True)
    raise EmbeddedError("PostgreSQL does not run as root, and there is no user postgres or nobody to run it as")


def find_home(data_dir: Path) -> Path | None:
    """Where the server of ``data_dir`` keeps its files; None if it never had one."""
    pointer = data_dir / _POINTER
    if pointer.exists():
        return Path(pointer.read_text(encoding="utf-8").strip())
    home = data_dir / "postgres"
    return home if home.exists() else None


def make_home(data_dir: Path, account: Account) -> Path:
    """As ``find_home``; if there is none yet, make one that ``account`` can reach.

    Raises:
        EmbeddedError: its place is gone.
    """
    known = find_home(data_dir)
    if known is not None:
        if not known.exists():
            raise EmbeddedError(
                f"{data_dir / _POINTER} says that the database is in {known}, which is gone: "
                "bring it back, or remove that file to start with an empty database"
            )
        return known
    if account.reaches(data_dir):
        home = data_dir / "postgres"
        account.own_folder(home)
        return home
    home = _shared_home() / secrets.token_hex(8)
    account.own_folder(home)
    pointer = data_dir / f"{_POINTER}.new"
    pointer.write_text(f"{home}\n", encoding="utf-8")
    pointer.rename(data_dir / _POINTER)
    return home


def reachable_binaries(binaries: Binaries, account: Account) -> Binaries:
    """``binaries`` as they are, or copied once to where ``account`` can run them."""
    if account.reaches(binaries.folder / "postgres"):
        return binaries
    installation = binaries.folder.parent
    stamp = int((binaries.folder / "postgres").stat().st_mtime)
    copy = _shared_home() / f"postgresql-{binaries.major}-{stamp}"
    if not copy.exists():
        partial = copy.with_name(f"{copy.name}.{secrets.token_hex(4)}")
        shutil.copytree(installation, partial, symlinks=True)
        partial.chmod(0o755)
        try:
            partial.rename(copy)
        except OSError:
            shutil.rmtree(partial)
            if not copy.exists():
                raise
    return Binaries(copy / binaries.folder.name, binaries.major)


def _shared_home() -> Path:
    SHARED_HOME.mkdir(mode=0o755, parents=True, exist_ok=True)
    return SHARED_HOME
