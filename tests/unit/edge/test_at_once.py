"""So many things of one caller at once: one more is refused, or waits for its turn."""

import asyncio
import contextlib

import pytest

from trade_engine.edge.at_once import AtOnce
from trade_engine.edge.problems import TooMany, status_of


def test_one_too_many_is_refused_and_others_are_not() -> None:
    at_once = AtOnce(2)
    with at_once.one("a"), at_once.one("a"):
        with pytest.raises(TooMany) as refused, at_once.one("a"):
            pass
        assert (refused.value.code, status_of(refused.value), refused.value.details) == (
            "TOO_MANY_QUERIES", 429, {"limit": 2},
        )  # fmt: skip
        with at_once.one("b"):
            pass
    assert len(at_once) == 0
    with pytest.raises(ZeroDivisionError), at_once.one("a"):
        raise ZeroDivisionError
    with at_once.one("a"), at_once.one("a"):
        pass
    assert len(at_once) == 0


async def test_those_who_wait_get_their_turn_and_one_who_gives_up_holds_up_nobody() -> None:
    at_once, running, most, done = AtOnce(2), 0, 0, 0

    async def work() -> None:
        nonlocal running, most, done
        async with at_once.in_turn("a"):
            running += 1
            most = max(most, running)
            await asyncio.sleep(0.001)
            running -= 1
            done += 1

    tasks = [asyncio.create_task(work()) for _ in range(40)]
    await asyncio.sleep(0.002)
    for task in tasks[5:40:3]:
        task.cancel()
    for task in tasks:
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.wait_for(task, 20)
    assert most == 2
    assert done >= 28
    assert len(at_once) == 0
    assert not at_once._waiting
