"""The data directory as a mark: who holds its lock is the only engine on it, and the one before it is dead.

The lock is that of the embedded database (``embedded.server``); with a database of its own elsewhere the engine takes
it here.  It must never be waited for.
"""

import fcntl
import os
import platform
from pathlib import Path
from typing import Final

_BOOT: Final = Path("/proc/sys/kernel/random/boot_id")


def place_of(data_dir: Path) -> str | None:
    """The lock file of a data directory, told from every other one, copies on other machines included.

    None if there is none.
    """
    try:
        found = (data_dir / "lock").stat()
    except OSError:
        return None
    try:
        machine = _BOOT.read_text(encoding="ascii").strip()
    except OSError:
        machine = platform.node()
    return f"{machine}/{found.st_dev}/{found.st_ino}"


def take_lock(data_dir: Path) -> int | None:
    """Take the lock of a data directory until the descriptor is closed or the process ends; None: not to be had."""
    try:
        lock = os.open(data_dir / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except OSError:
        return None
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(lock)
        return None
    os.ftruncate(lock, 0)
    os.pwrite(lock, f"{os.getpid()}\n".encode(), 0)
    return lock
