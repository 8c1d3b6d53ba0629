"""Who starts a task says what its death means; a loop that stands still is told of."""

import asyncio
import time
from collections.abc import AsyncIterator

import pytest
from structlog.testing import capture_logs

from trade_engine.ops.supervisor import EXIT_SUPERSEDED, Death, Supervisor
from trade_engine.ops.watchdog import Watchdog


@pytest.fixture
async def supervisor() -> AsyncIterator[Supervisor]:
    made = Supervisor()
    yield made
    await made.stop()


async def _wait(condition: "asyncio.Event", seconds: float = 10) -> None:
    async with asyncio.timeout(seconds):
        await condition.wait()


async def test_a_task_that_dies_is_started_again(supervisor: Supervisor) -> None:
    lives, third = [0], asyncio.Event()

    async def work() -> None:
        lives[0] += 1
        if lives[0] < 3:
            raise RuntimeError("broken")
        third.set()
        await asyncio.Event().wait()

    task = supervisor.start("fragile", work)
    with capture_logs() as lines:
        await _wait(third)
    assert task.restarts == 2
    assert [line["event"] for line in lines] == ["task_died", "task_died"]
    assert supervisor.condition() == {}
    assert not supervisor.finished.is_set()


async def test_a_task_that_comes_to_its_end_has_died_too(supervisor: Supervisor) -> None:
    async def work() -> None:
        return

    supervisor.start("writer", work, Death.EXIT, status=EXIT_SUPERSEDED)
    await _wait(supervisor.finished)
    assert supervisor.status == EXIT_SUPERSEDED
    assert supervisor.reason == "writer: it came to its end"
    assert "writer" in supervisor.condition()


async def test_a_task_that_has_done_its_work_is_gone(supervisor: Supervisor) -> None:
    async def work() -> None:
        return

    task = supervisor.start("once", work, Death.DONE)
    assert task.task is not None
    await task.task
    assert not supervisor.finished.is_set()
    assert supervisor.tasks == []


async def test_the_first_reason_counts(supervisor: Supervisor) -> None:
    supervisor.end_engine("first", 75)
    supervisor.end_engine("second", 1)
    assert (supervisor.reason, supervisor.status) == ("first", 75)


async def test_a_task_that_gets_nowhere_is_stuck(supervisor: Supervisor) -> None:
    async def work() -> None:
        await asyncio.Event().wait()

    task = supervisor.start("slow", work, stuck_after_s=0.05)
    async with asyncio.timeout(10):
        while "slow" not in supervisor.condition():
            await asyncio.sleep(0.01)
    task.beat()
    assert supervisor.condition() == {}


async def test_a_task_is_ended_by_name_and_may_begin_again(supervisor: Supervisor) -> None:
    async def work() -> None:
        await asyncio.Event().wait()

    supervisor.start("one", work)
    with pytest.raises(ValueError, match="one"):
        supervisor.start("one", work)
    await supervisor.end("one")
    supervisor.start("one", work)
    assert [task.name for task in supervisor.tasks] == ["one"]


async def test_a_loop_that_stands_still_is_told_of_with_its_stack() -> None:
    watchdog = Watchdog(stalled_after_s=0.3, quiet_s=60)
    task = asyncio.create_task(watchdog.keep_running())
    await asyncio.sleep(0.2)
    assert watchdog.condition() == "ok"
    with capture_logs() as lines:
        until = time.monotonic() + 20
        while not watchdog.stalls and time.monotonic() < until:
            time.sleep(0.05)  # noqa: ASYNC251 - the loop is to stand still
        await asyncio.sleep(0.2)
    assert watchdog.stalls == 1
    (line,) = [line for line in lines if line["event"] == "event_loop_stalled"]
    assert "test_a_loop_that_stands_still" in line["stacks"]["event loop"]
    assert "stood still" in watchdog.condition()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
