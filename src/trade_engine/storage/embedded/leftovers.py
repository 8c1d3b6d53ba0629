"""Clears what a server that was killed left behind, so that the next one can start.

PostgreSQL refuses to start beside files that name a process which lives, and cannot know that the number belongs to
another program by now, or to a zombie; and it refuses while processes of the killed server still use its memory.
Whoever calls here holds the data directory's lock and has found that no server runs on the cluster.
"""

import asyncio
import os
import shutil
import signal
import socket
import time
from contextlib import suppress
from pathlib import Path
from typing import Final

import structlog

from trade_engine.storage.embedded.account import Account
from trade_engine.storage.embedded.postmaster import SOCKET, last_socket_folder
from trade_engine.storage.embedded.processes import end_processes, server_processes
from trade_engine.storage.errors import EmbeddedError

log = structlog.get_logger(__name__)

#: What is done about processes of a dead server, and the seconds they then get: they end by themselves when they next
#: look; one in the middle of a long statement does not look.
_STEPS: Final = ((None, 2.0), (signal.SIGQUIT, 3.0), (signal.SIGKILL, 10.0))
_POLL_S: Final = 0.02
#: Room for new shared memory below which it is kept in files of the cluster instead.
_SHARED_MEMORY_MIN: Final = 32 * 1024 * 1024
_SHARED_MEMORY: Final = Path("/dev") / "shm"


async def end_orphans(cluster: Path, account: Account) -> None:
    """Wait until no process of a dead server works on ``cluster``; end those that stay.

    Raises:
        EmbeddedError: somebody works on the cluster by hand, or a process cannot be ended.
    """
    for how, patience_s in _STEPS:
        left = await asyncio.to_thread(server_processes, cluster, account.uid)
        if not left:
            return
        for process in left:
            # One without a command line is at its end already: its memory is gone, and whose it was cannot be told.
            if process.command and not (process.is_started_by_server or process.is_main(cluster)):
                raise EmbeddedError(f"process {process.pid} ({process.command[:100]}) works on {cluster}: end it first")
        if how is not None:
            log.warning("ending_orphans", processes=[process.pid for process in left], signal=how.name)
            await asyncio.to_thread(end_processes, cluster, account.uid, how)
        until = time.monotonic() + patience_s
        while left and time.monotonic() < until:
            await asyncio.sleep(_POLL_S)
            left = await asyncio.to_thread(server_processes, cluster, account.uid)
    if left:
        numbers = ", ".join(str(process.pid) for process in left)
        raise EmbeddedError(f"processes of a PostgreSQL that died cannot be ended: {numbers}")


def clear_files(home: Path, cluster: Path) -> None:
    """Remove the pid file, the socket and the socket's lock that nobody stands behind.

    Raises:
        EmbeddedError: somebody listens on the socket.
    """
    last = last_socket_folder(cluster)
    for folder in {home / "run", last or home / "run"}:
        address = folder / SOCKET
        if _is_listened_to(address):
            raise EmbeddedError(f"a server that is not the engine's listens on {address}")
        for file in (address, folder / f"{SOCKET}.lock"):
            if file.exists():
                log.info("stale_file_removed", file=str(file))
                file.unlink(missing_ok=True)
    (cluster / "postmaster.pid").unlink(missing_ok=True)


def clear_half_made(home: Path) -> None:
    """Remove clusters whose making was cut off, with the programs that may still be at it."""
    for folder in home.glob("cluster.new*"):
        end_processes(folder, folder.stat().st_uid, signal.SIGKILL)
        shutil.rmtree(folder, ignore_errors=True)


def shared_memory_type() -> str:
    """Where the server is to keep memory that its processes share for a while: files of its own if there is no room."""
    with suppress(OSError):
        room = os.statvfs(_SHARED_MEMORY)
        if room.f_bavail * room.f_frsize < _SHARED_MEMORY_MIN:
            log.warning("no_room_in_dev_shm", bytes=room.f_bavail * room.f_frsize)
            return "mmap"
    return "posix"


def _is_listened_to(address: Path) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(1)
        try:
            probe.connect(str(address))
        except (TimeoutError, BlockingIOError):
            return True
        except OSError:
            return False
        return True
