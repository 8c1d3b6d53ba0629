"""What a load costs the machine: CPU time by who spent it, batches, flushes of the log, settlement left behind.

CPU times are those of Linux (``/proc/PID/task/*/schedstat``, nanoseconds); elsewhere they are 0.
"""

import asyncio
import os
from pathlib import Path
from typing import Any, Final

import asyncpg
import msgspec

_PROC: Final = Path("/proc")
_LEFT: Final = "SELECT count(*) FROM settlement_instructions WHERE status <> 'FAILED'"
_DRAIN_WITHIN_S: Final = 60.0
_AGAIN_S: Final = 0.02


class Spent(msgspec.Struct, frozen=True):
    """Readings at one moment; microseconds of CPU time since each process began."""

    server_us: float
    postgres_us: float
    generator_us: float
    batches: int
    flushes: int
    settled: int


class CostMeter:
    """Reads what server, database and this process have spent.

    Args:
        server: the server's process id.
        connection: to its database, on this machine.
    """

    def __init__(self, server: int, connection: "asyncpg.Connection[Any]") -> None:
        self._server = server
        self._connection = connection

    async def read(self) -> Spent:
        """The readings of now."""
        [row] = await self._connection.fetch(
            "SELECT (SELECT count(*) FROM journal) AS batches, (SELECT wal_sync FROM pg_stat_wal) AS flushes,"
            " (SELECT count(*) FROM trades WHERE settlement_status = 'SETTLED') AS settled, pg_backend_pid() AS pid"
        )
        postmaster = _parent(row["pid"])
        return Spent(
            server_us=cpu_us(self._server),
            postgres_us=sum(cpu_us(pid) for pid in (postmaster, *_children(postmaster))),
            generator_us=cpu_us(os.getpid()),
            batches=row["batches"],
            flushes=row["flushes"],
            settled=row["settled"],
        )

    async def drain(self) -> int:
        """Wait until settlement has nothing left; how many instructions it had.

        Raises:
            TimeoutError: it has some after a minute.
        """
        first: int = await self._connection.fetchval(_LEFT)
        async with asyncio.timeout(_DRAIN_WITHIN_S):
            while await self._connection.fetchval(_LEFT):
                await asyncio.sleep(_AGAIN_S)
        return first


def cpu_us(pid: int) -> float:
    """Microseconds of CPU time that a process has spent with all its threads; 0 if it is gone."""
    spent = 0
    try:
        for task in (_PROC / str(pid) / "task").iterdir():
            spent += int((task / "schedstat").read_text(encoding="ascii").split()[0])
    except OSError:
        return 0.0
    return spent / 1e3


def _parent(pid: int) -> int:
    # The name of the program, in brackets, may hold anything; the parent comes after it and the state.
    return int((_PROC / str(pid) / "stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()[1])


def _children(pid: int) -> list[int]:
    found = []
    for each in _PROC.iterdir():
        if each.name.isdecimal():
            try:
                parent = _parent(int(each.name))
            except OSError:
                continue
            if parent == pid:
                found.append(int(each.name))
    return found
