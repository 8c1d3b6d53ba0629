"""One supervisor for every long-lived task: who starts a task says what its death means.

A task that may be started again is, after a pause that grows; one without which nothing can be trusted ends the
engine, with an exit status for whoever supervises the process.  A task may also promise to get somewhere: one that is
alive but has not said so for too long counts as stuck, and readiness tells.
"""

import asyncio
import contextlib
import enum
import time
from collections.abc import Callable, Coroutine
from typing import Any, Final

import structlog

log = structlog.get_logger(__name__)

#: Exit statuses, after sysexits.h.
EXIT_DATABASE: Final = 69
EXIT_BROKEN: Final = 70
EXIT_SUPERSEDED: Final = 75

_BACKOFF_S: Final = 0.1
_BACKOFF_MAX_S: Final = 30.0
#: A task that lived so long starts its back-off anew.
_STEADY_S: Final = 60.0

Work = Callable[[], Coroutine[Any, Any, None]]


class Death(enum.Enum):
    """What the end of a task means."""

    #: Start it again, after a pause.
    RESTART = "restart"
    #: End the engine.
    EXIT = "exit"
    #: Nothing: it has done what it was for; only an exception ends the engine.
    DONE = "done"


class Supervised:
    """One task under supervision."""

    def __init__(self, name: str, work: Work, death: Death, stuck_after_s: float | None, status: int) -> None:
        self.name = name
        self.work = work
        self.death = death
        self.stuck_after_s = stuck_after_s
        self.status = status
        self.task: asyncio.Task[None] | None = None
        self.restarts = 0
        self.started_s = 0.0
        self.last_beat_s = 0.0
        #: What is wrong with it; None: it lives.
        self.trouble: str | None = None

    def beat(self) -> None:
        """Say that the task gets somewhere."""
        self.last_beat_s = time.monotonic()

    def condition(self) -> str:
        """``ok``, or what is wrong."""
        if self.trouble is not None:
            return self.trouble
        if self.stuck_after_s is not None:
            quiet_s = time.monotonic() - self.last_beat_s
            if quiet_s > self.stuck_after_s:
                return f"stuck for {quiet_s:.0f} s"
        return "ok"


class Supervisor:
    """Starts tasks, knows what their deaths mean, and ends them, last started first."""

    def __init__(self) -> None:
        self._tasks: dict[str, Supervised] = {}
        self._ending = False
        #: Set when the engine has to end.
        self.finished = asyncio.Event()
        #: Why, and with which exit status; None and 0 while it need not, or was asked to.
        self.reason: str | None = None
        self.status = 0

    @property
    def tasks(self) -> list[Supervised]:
        """All tasks, in the order in which they were started."""
        return list(self._tasks.values())

    def start(
        self,
        name: str,
        work: Work,
        death: Death = Death.RESTART,
        *,
        stuck_after_s: float | None = None,
        status: int = EXIT_BROKEN,
        stack: contextlib.AsyncExitStack | None = None,
    ) -> Supervised:
        """Run ``work`` as a task of that name, for as long as the engine lives.

        Args:
            name: what logs and readiness call it; no other task may have it.
            work: makes the coroutine, anew at each start.
            death: what its end means, whether by an exception or by coming to its end.
            stuck_after_s: the task promises a ``beat`` at least so often; None: it promises nothing.
            status: the exit status of the engine, if the death ends it.
            stack: ends the task when it is closed; None: ``end`` and ``stop`` do.
        """
        if name in self._tasks:
            raise ValueError(f"a task named {name} is running")
        supervised = self._tasks[name] = Supervised(name, work, death, stuck_after_s, status)
        supervised.beat()
        supervised.task = asyncio.create_task(self._keep(supervised), name=name)
        if stack is not None:
            stack.push_async_callback(self.end, name)
        return supervised

    def end_engine(self, reason: str, status: int = EXIT_BROKEN) -> None:
        """Have the engine end, with a reason and an exit status; the first reason counts."""
        if self.reason is None and not self._ending:
            self.reason, self.status = reason, status
            log.critical("engine_ends", reason=reason, exit_status=status)
        self.finished.set()

    def condition(self) -> dict[str, str]:
        """By name of each task that is not well, what is wrong; empty while all are."""
        return {task.name: said for task in self._tasks.values() if (said := task.condition()) != "ok"}

    async def end(self, name: str, *, timeout_s: float = 10.0) -> None:
        """End one task; it is cancelled, and waited for at most ``timeout_s``."""
        supervised = self._tasks.pop(name, None)
        if supervised is None or supervised.task is None:
            return
        supervised.task.cancel()
        _, pending = await asyncio.wait([supervised.task], timeout=timeout_s)
        if pending:
            log.error("task_does_not_end", task=name, seconds=timeout_s)

    async def stop(self) -> None:
        """End every task, last started first."""
        self._ending = True
        for name in reversed(list(self._tasks)):
            await self.end(name)

    async def _keep(self, supervised: Supervised) -> None:
        """Run a task, and do what its death means."""
        pause_s = _BACKOFF_S
        while True:
            supervised.started_s = time.monotonic()
            error: Exception | None = None
            try:
                await supervised.work()
            except Exception as caught:
                error = caught
                log.exception("task_died", task=supervised.name, means=supervised.death.value)
            if supervised.death is Death.DONE and error is None:
                self._tasks.pop(supervised.name, None)
                return
            said = repr(error) if error else "it came to its end"
            supervised.trouble = f"died: {said}"
            if supervised.death is not Death.RESTART:
                self.end_engine(f"{supervised.name}: {said}", supervised.status)
                return
            if time.monotonic() - supervised.started_s >= _STEADY_S:
                pause_s = _BACKOFF_S
            await asyncio.sleep(pause_s)
            pause_s = min(pause_s * 2, _BACKOFF_MAX_S)
            supervised.restarts += 1
            supervised.trouble = None
            supervised.beat()
