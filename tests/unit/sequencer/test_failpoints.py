"""Failpoints: off by default, armed by name, refused when misspelt."""

import asyncio

import pytest

from trade_engine.sequencer.failpoints import FailpointError, Failpoints


async def test_an_unarmed_step_is_passed() -> None:
    await Failpoints().reach("before_commit")


async def test_error_at_a_visit() -> None:
    failpoints = Failpoints("before_commit=error@2")
    await failpoints.reach("before_commit")
    with pytest.raises(FailpointError):
        await failpoints.reach("before_commit")
    await failpoints.reach("before_commit")


async def test_a_stalled_visitor_goes_on_when_disarmed() -> None:
    failpoints = Failpoints("after_commit=stall")
    waiting = asyncio.create_task(failpoints.reach("after_commit"))
    await asyncio.sleep(0.02)
    assert not waiting.done()
    failpoints.disarm("after_commit")
    await asyncio.wait_for(waiting, 1)


@pytest.mark.parametrize("armed", ["nowhere=error", "before_commit=explode", "before_commit"])
def test_a_misspelt_failpoint_is_refused(armed: str) -> None:
    with pytest.raises(ValueError, match="failpoint"):
        Failpoints(armed)
