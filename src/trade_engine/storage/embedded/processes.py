"""Which processes there are, and which of them belong to the server of a cluster.

Nothing is signalled on the strength of a process number alone: a number is given out again.  A process counts as one of
a cluster's server if it is called ``postgres``, runs under the server's account and works in the cluster's folder;
where that folder cannot be looked up, its title must bear the cluster's label.
"""

import contextlib
import hashlib
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

_PROC: Final = Path("/proc")


class Process(NamedTuple):
    """A process that lives; ``command`` is its title or command line, with spaces between the words."""

    pid: int
    uid: int
    command: str

    @property
    def is_started_by_server(self) -> bool:
        """Whether it serves a connection, or does some other work for the server's main process."""
        return self.command.startswith("postgres: ")

    def is_main(self, cluster: Path) -> bool:
        """Whether it is the main process of a server on ``cluster``."""
        program, _, arguments = self.command.strip().partition(" ")
        return Path(program).name == "postgres" and arguments == f"-D {cluster}"


def cluster_label(cluster: Path) -> str:
    """What the titles of a server's processes say of its cluster."""
    return f"trade-engine-{hashlib.sha256(os.fsencode(cluster)).hexdigest()[:16]}"


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


def find_process(pid: int) -> Process | None:
    """A process by its number; None if there is none, or it is a zombie."""
    if not is_alive(pid):
        return None
    if not _PROC.exists():
        return next((process for process in _listed(["-p", str(pid)]) if process.pid == pid), None)
    try:
        command = (_PROC / str(pid) / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
        return Process(pid, (_PROC / str(pid)).stat().st_uid, command)
    except OSError:
        return None


def server_processes(cluster: Path, uid: int) -> list[Process]:
    """Every process of a server on ``cluster`` that runs as ``uid``, its main one or what that started."""
    return [process for process in _all() if process.uid == uid and _works_on(process, cluster)]


def end_processes(cluster: Path, uid: int, how: signal.Signals) -> None:
    """Signal every process of a server on ``cluster``; each is looked at again once its number cannot change hands."""
    for process in server_processes(cluster, uid):
        with contextlib.suppress(OSError), _held(process.pid) as handle:
            now = find_process(process.pid)
            if now is None or now.uid != uid or not _works_on(now, cluster):
                continue
            if handle is None:
                os.kill(process.pid, how)
            else:
                signal.pidfd_send_signal(handle, how)


@contextlib.contextmanager
def _held(pid: int) -> Iterator[int | None]:
    """A handle on a process, which no later one can have; None where there are no such handles."""
    if not hasattr(os, "pidfd_open"):
        yield None
        return
    handle = os.pidfd_open(pid)
    try:
        yield handle
    finally:
        os.close(handle)


def _works_on(process: Process, cluster: Path) -> bool:
    try:
        return (_PROC / str(process.pid) / "cwd").samefile(cluster)
    except PermissionError:
        pass
    except OSError:
        if _PROC.exists():
            return False
    return process.is_main(cluster) or process.command.startswith(f"postgres: {cluster_label(cluster)}: ")


def _all() -> Iterator[Process]:
    """Every process called postgres."""
    if not _PROC.exists():
        yield from (process for process in _listed(["-ax"]) if "postgres" in process.command)
        return
    for entry in _PROC.iterdir():
        if not entry.name.isdigit():
            continue
        try:
            if (entry / "comm").read_text(encoding="utf-8", errors="replace").strip() != "postgres":
                continue
        except OSError:
            continue
        process = find_process(int(entry.name))
        if process is not None:
            yield process


def _listed(which: list[str]) -> Iterator[Process]:
    """As ``ps`` tells, where there is no /proc."""
    answer = subprocess.run(
        ["ps", *which, "-o", "pid=,uid=,args="], capture_output=True, text=True, timeout=10, check=False
    )
    for line in answer.stdout.splitlines():
        pid, uid, *command = line.split(maxsplit=2)
        yield Process(int(pid), int(uid), "".join(command))
