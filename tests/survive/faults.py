"""What a drill does to an engine and its database.  Each fault ends by itself: what it stopped goes on."""

import asyncio
import random
import signal
from collections.abc import Awaitable, Callable
from typing import Final, NamedTuple

from tests.survive.processes import children, end, send
from tests.survive.world import COMMIT_S, World

#: Seconds a standby may take to become ready, and a fenced engine to say that it is not.
_TAKE_OVER_S: Final = 40.0
_FENCED_S: Final = 20.0


class Fault(NamedTuple):
    """One kind of fault."""

    do: Callable[[World, random.Random], Awaitable[list[str]]]
    #: Whether engine or database are away meanwhile, so that strangers have to wait.
    outage: bool = True


async def _backends(world: World, which: str) -> list[int]:
    """Processes of the database's sessions."""
    connection = await world.connect()
    try:
        rows = await connection.fetch(
            f"SELECT pid FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND {which} ORDER BY pid"
        )
    finally:
        await connection.close()
    return [row["pid"] for row in rows]


_WRITER: Final = "application_name = 'trade-engine writer'"
_OTHERS: Final = "application_name LIKE 'trade-engine%' AND application_name <> 'trade-engine writer'"


async def kill_engine(world: World, _: random.Random) -> list[str]:
    """kill -9 the engine."""
    world.cut_off()
    return []


async def kill_postmaster(world: World, _: random.Random) -> list[str]:
    """kill -9 PostgreSQL's main process; its children notice and end."""
    send(world.postmaster, signal.SIGKILL)
    return []


async def kill_both(world: World, rng: random.Random) -> list[str]:
    """kill -9 the engine and PostgreSQL, one right after the other."""
    for pid in rng.sample((world.engine.pid, world.postmaster), 2):
        send(pid, signal.SIGKILL)
        await asyncio.sleep(rng.random() * 0.1)
    return []


async def kill_writer(world: World, _: random.Random) -> list[str]:
    """kill -9 the writer's backend, as the out-of-memory killer may: PostgreSQL goes through crash recovery."""
    for pid in await _backends(world, _WRITER):
        send(pid, signal.SIGKILL)
    return []


async def kill_backend(world: World, rng: random.Random) -> list[str]:
    """kill -9 some other backend."""
    if others := await _backends(world, _OTHERS):
        send(rng.choice(others), signal.SIGKILL)
    return []


async def terminate_writer(world: World, rng: random.Random) -> list[str]:
    """Have PostgreSQL end the writer's session, or all of the engine's, a few times."""
    which = rng.choice((_WRITER, f"({_WRITER} OR {_OTHERS})"))
    for _ in range(rng.randint(1, 3)):
        connection = await world.connect()
        try:
            await connection.execute(
                f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND {which}"
            )
        finally:
            await connection.close()
        await asyncio.sleep(rng.random())
    return []


async def _hang(pids: list[int], seconds: float) -> None:
    for pid in pids:
        send(pid, signal.SIGSTOP)
    try:
        await asyncio.sleep(seconds)
    finally:
        for pid in pids:
            send(pid, signal.SIGCONT)


async def hang_writer(world: World, rng: random.Random) -> list[str]:
    """The writer's backend stands still, for less or more than a commit may take."""
    await _hang(await _backends(world, _WRITER), rng.uniform(0.5, 2.2 * COMMIT_S))
    return []


async def hang_database(world: World, rng: random.Random) -> list[str]:
    """All of PostgreSQL stands still."""
    postmaster = world.postmaster
    await _hang([*children(postmaster), postmaster], rng.uniform(0.5, 2.2 * COMMIT_S))
    return []


async def hang_engine(world: World, rng: random.Random) -> list[str]:
    """The engine's process stands still and goes on, as in a virtual machine that is moved."""
    await _hang([world.engine.pid], rng.uniform(0.2, 4.0))
    return []


async def jump_clock(world: World, rng: random.Random) -> list[str]:
    """The wall clock is set, twice, and back."""
    for _ in range(2):
        world.shift_file.write_text(str(rng.choice((-3600, -120, -2, 2, 90, 3600, 90_000))))
        await asyncio.sleep(rng.uniform(0.3, 1.0))
    world.shift_file.write_text("0")
    return []


async def take_over(world: World, rng: random.Random) -> list[str]:
    """The engine stands still, another takes over, then the first goes on: it must see that it is out."""
    wrong: list[str] = []
    first = world.engine
    stopped, starts = first.pid, first.starts
    second = world.start_second()
    world.cut_off(signal.SIGSTOP)
    try:
        world.ports[:] = [second.port]
        if await world.ready(_TAKE_OVER_S) is None:
            wrong.append(f"a second engine did not take over in {_TAKE_OVER_S:.0f} s: {second.last_words()}")
        await asyncio.sleep(rng.uniform(0.2, 1.0))
        world.ports[:] = [second.port, first.port]
        send(stopped, signal.SIGCONT)
        if not wrong and not await _fenced(world, starts):
            wrong.append("an engine that was taken over from goes on saying that it is ready")
    finally:
        send(stopped, signal.SIGCONT)
        world.ports[:] = [first.port]
        assert second.process is not None
        await end(second.process, rng.choice((signal.SIGTERM, signal.SIGKILL)))
        world.second = None
    # The one that is left starts anew, as it would after its service manager has seen it end.
    if first.alive and first.starts == starts:
        world.cut_off()
    return wrong


async def _fenced(world: World, starts: int) -> bool:
    """Whether the first engine ended, or says that it is not ready, in time."""
    for _ in range(int(_FENCED_S / 0.2)):
        if world.engine.starts > starts or not world.engine.alive:
            return True
        answer = await world.health(world.engine.port)
        if answer is not None and answer.status != 200:
            return True
        await asyncio.sleep(0.2)
    return False


async def nothing(_: World, rng: random.Random) -> list[str]:
    """Only strangers and poison."""
    await asyncio.sleep(rng.uniform(1.0, 2.0))
    return []


FAULTS: Final = {
    "nothing": Fault(nothing, outage=False),
    "kill_engine": Fault(kill_engine),
    "kill_postmaster": Fault(kill_postmaster),
    "kill_both": Fault(kill_both),
    "kill_writer": Fault(kill_writer),
    "kill_backend": Fault(kill_backend),
    "terminate_writer": Fault(terminate_writer),
    "hang_writer": Fault(hang_writer),
    "hang_database": Fault(hang_database),
    "hang_engine": Fault(hang_engine),
    "jump_clock": Fault(jump_clock, outage=False),
    "take_over": Fault(take_over),
}
