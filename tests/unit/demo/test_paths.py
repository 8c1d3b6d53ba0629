"""Where prices of a demo go."""

import random

import pytest

from trade_engine.demo.paths import RandomWalk, RecordedPath


def test_a_walk_stays_near_and_is_the_same_again() -> None:
    walk, again = (RandomWalk(random.Random(7), 120, 400) for _ in range(2))
    steps = [walk.step() for _ in range(20_000)]
    assert steps[:100] == [again.step() for _ in range(100)]
    assert all(1_000_000 - 1_200 <= step <= 1_000_000 + 1_200 for step in steps)
    assert min(steps) < 999_600 < 1_000_400 < max(steps)


def test_a_recorded_path_goes_there_and_back() -> None:
    path = RecordedPath([100, 150, 50], 1)
    assert [path.step() for _ in range(6)] == [333_333, 1_000_000, 666_666, 1_000_000, 333_333, 1_000_000]
    with pytest.raises(ValueError, match="two"):
        RecordedPath([100])
