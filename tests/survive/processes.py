"""Processes that die with the drill, and looking at those of others."""

import asyncio
import contextlib
import ctypes
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

_ROOT: Final = Path(__file__).parents[2]
_PR_SET_PDEATHSIG: Final = 1
_libc = ctypes.CDLL(None, use_errno=True)


def _die_with_parent() -> None:
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def spawn(
    arguments: Sequence[str], environment: Mapping[str, str] | None = None, log: Path | None = None
) -> "subprocess.Popen[bytes]":
    """Run ``python`` with these arguments in a group of its own; the kernel kills it if the drill dies."""
    path = os.pathsep.join((str(_ROOT), str(_ROOT / "src")))
    with log.open("ab") if log else open(os.devnull, "wb") as output:  # noqa: PTH123 - the null device is no path
        return subprocess.Popen(
            [sys.executable, *arguments],
            env=os.environ | dict(environment or {}) | {"PYTHONPATH": path},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
            preexec_fn=_die_with_parent,  # noqa: PLW1509 - started from the main thread, before threads matter
        )


async def end(process: "subprocess.Popen[bytes]", how: signal.Signals = signal.SIGTERM, within_s: float = 30.0) -> bool:
    """End a process of ours and wait for it; whether it did so in time, else it is killed."""
    send(process.pid, signal.SIGCONT)
    if process.poll() is None:
        process.send_signal(how)
    for _ in range(int(within_s / 0.02)):
        if process.poll() is not None:
            return True
        await asyncio.sleep(0.02)
    process.kill()
    process.wait()
    return False


def send(pid: int, number: signal.Signals) -> bool:
    """Signal a process; whether it was there."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)
        return True
    return False


def children(pid: int) -> list[int]:
    """Processes whose parent this one is."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError, IndexError):
                if int((entry / "stat").read_text().rpartition(")")[2].split()[1]) == pid:
                    found.append(int(entry.name))
    return found
