"""The survival drill, small: every kind of fault over four seeds; `make survive` runs many rounds of all of them."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import msgspec
import pytest

from tests.survive.drill import Drill
from tests.survive.faults import FAULTS
from tests.survive.record import Outcome
from tests.survive.world import World

#: Seed: faults, the sharpest first.
SHORT = {
    20_261_121: ("take_over", "nothing"),
    7: ("kill_writer", "terminate_writer", "kill_backend"),
    11: ("kill_both", "kill_postmaster", "hang_writer"),
    13: ("kill_engine", "hang_engine", "jump_clock", "hang_database"),
}


def test_every_kind_of_fault_is_in_a_short_drill() -> None:
    assert {fault for faults in SHORT.values() for fault in faults} == FAULTS.keys()
    assert SHORT.keys() == {20_261_121, 7, 11, 13}


@asynccontextmanager
async def drilled(seed: int) -> AsyncIterator[Drill]:
    """A drill about to begin."""
    world = World()
    drill = Drill(world, seed, print)
    try:
        await world.start()
        await drill.begin()
        yield drill
    finally:
        drill.close()
        await world.stop()


@pytest.mark.parametrize("seed", [20_261_121, 7, 11, 13])
async def test_an_engine_survives(seed: int) -> None:
    async with drilled(seed) as drill:
        await drill.rounds(SHORT[seed])
        score = await drill.conclude()
        assert score.good, "\n".join([*drill.findings, msgspec.json.encode(score).decode()])
        await loses_one(drill)
        assert await drill.check(), "an order's terms are not those acknowledged, and the drill did not see it"
        assert drill.score.lost == 1


async def loses_one(drill: Drill) -> None:
    """Change an acknowledged order behind the engine's back."""
    order = next(iter(drill.record.of(Outcome.ACKNOWLEDGED)))
    connection = await drill.world.connect()
    try:
        await connection.execute("UPDATE orders SET quantity = quantity + 1 WHERE order_id = $1", order.order_id)
    finally:
        await connection.close()
