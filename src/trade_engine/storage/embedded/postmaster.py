"""The main process of a PostgreSQL server as its pid file tells: whether it lives, where it listens, and its end."""

import asyncio
import os
from pathlib import Path
from typing import Final, NamedTuple

from trade_engine.storage.embedded.processes import find_process, is_alive

#: Longest path of a unix socket that every platform takes, in bytes.
SOCKET_PATH_MAX: Final = 103
PORT: Final = 5432
SOCKET: Final = f".s.PGSQL.{PORT}"

_POLL_S: Final = 0.1


class Postmaster(NamedTuple):
    """A running server."""

    pid: int
    socket_folder: Path
    #: As PostgreSQL says: ``starting``, ``stopping``, ``ready``, ``standby``; empty when it has not said yet.
    status: str


def read_postmaster(cluster: Path) -> Postmaster | None:
    """The server that runs on ``cluster``; None if none does (a pid file may have been left behind)."""
    lines = _pid_file(cluster)
    if len(lines) < 5 or not lines[0].strip().isdigit():
        return None
    process = find_process(int(lines[0]))
    if process is None or not process.is_main(cluster):
        return None
    return Postmaster(process.pid, Path(lines[4].strip()), lines[7].strip() if len(lines) > 7 else "")


def last_socket_folder(cluster: Path) -> Path | None:
    """Where the server that wrote the pid file listened, alive or not; None if there is no telling."""
    lines = _pid_file(cluster)
    return Path(lines[4].strip()) if len(lines) > 4 and lines[4].startswith("/") else None


async def wait_for_death(pid: int, cluster: Path) -> None:
    """Return when the server's main process has ended, at once if it has already; whether it is our child or not."""
    try:
        handle = os.pidfd_open(pid)
    except (AttributeError, OSError):
        while is_alive(pid):
            await asyncio.sleep(_POLL_S)
        return
    try:
        process = find_process(pid)
        if process is None or not process.is_main(cluster):
            return
        ended = asyncio.Event()
        loop = asyncio.get_running_loop()
        loop.add_reader(handle, ended.set)
        try:
            await ended.wait()
        finally:
            loop.remove_reader(handle)
    finally:
        os.close(handle)


def socket_path_fits(folder: Path) -> bool:
    """Whether a socket in ``folder`` has a path short enough for the operating system."""
    return len(os.fsencode(folder / SOCKET)) <= SOCKET_PATH_MAX


def _pid_file(cluster: Path) -> list[str]:
    try:
        return (cluster / "postmaster.pid").read_text(encoding="utf-8", errors="replace").splitlines()
    except (FileNotFoundError, NotADirectoryError):
        return []
