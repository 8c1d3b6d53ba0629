"""The main process of a PostgreSQL server as its pid file tells: whether it lives, and where it listens."""

import os
import subprocess
from pathlib import Path
from typing import Final, NamedTuple

#: Longest path of a unix socket that every platform takes, in bytes.
SOCKET_PATH_MAX: Final = 103
PORT: Final = 5432

_PROC: Final = Path("/proc")


class Postmaster(NamedTuple):
    """A running server."""

    pid: int
    socket_folder: Path
    #: As PostgreSQL says: ``starting``, ``stopping``, ``ready``, ``standby``; empty when it has not said yet.
    status: str


def read_postmaster(cluster: Path) -> Postmaster | None:
    """The server that runs on ``cluster``; None if none does (a pid file may have been left behind)."""
    try:
        lines = (cluster / "postmaster.pid").read_text(encoding="utf-8").splitlines()
    except (FileNotFoundError, NotADirectoryError):
        return None
    if len(lines) < 5 or not lines[0].strip().isdigit():
        return None
    pid = int(lines[0])
    if str(cluster) not in _command_line(pid):
        return None
    return Postmaster(pid, Path(lines[4].strip()), lines[7].strip() if len(lines) > 7 else "")


def clear_stale_pid_file(cluster: Path) -> None:
    """Remove a pid file whose process is gone or is another program now; the caller holds the data directory's lock."""
    if read_postmaster(cluster) is None:
        (cluster / "postmaster.pid").unlink(missing_ok=True)


def is_alive(pid: int) -> bool:
    """Whether the process exists and is no zombie."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    try:
        return (_PROC / str(pid) / "stat").read_text(encoding="utf-8").rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return not _PROC.exists()


def socket_path_fits(folder: Path) -> bool:
    """Whether a socket in ``folder`` has a path short enough for the operating system."""
    return len(os.fsencode(folder / f".s.PGSQL.{PORT}")) <= SOCKET_PATH_MAX


def _command_line(pid: int) -> str:
    if not is_alive(pid):
        return ""
    if _PROC.exists():
        try:
            return (_PROC / str(pid) / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            return ""
    answer = subprocess.run(["ps", "-p", str(pid), "-o", "args="], capture_output=True, text=True, check=False)
    return answer.stdout
