"""The writer's clock never goes back, and its ids sort by time."""

import pytest

from trade_engine.domain.errors import Unavailable
from trade_engine.sequencer.clock import Clock


def test_time_never_goes_back() -> None:
    raw = iter([10, 12, 5, 20])
    clock = Clock(lambda: next(raw), lambda bits: 0)
    assert [clock.now_us() for _ in range(4)] == [10, 12, 12, 20]


def test_a_floor_holds() -> None:
    clock = Clock(lambda: 5, lambda bits: 0)
    clock.set_floor(100)
    assert clock.now_us() == 100


def test_order_ids_are_unique_and_sort_by_time() -> None:
    raw = iter(range(1_700_000_000_000_000, 1_700_000_001_000_000, 250))
    clock = Clock(lambda: next(raw))
    ids = [clock.order_id() for _ in range(1_000)]
    assert len(set(ids)) == 1_000
    assert ids == sorted(ids)


class Machine:
    """A machine whose two clocks the test holds, and a writer's clock on it that allows jumps of 5 s."""

    def __init__(self) -> None:
        self.wall_us = 1_700_000_000_000_000
        self.steady_us = 77_000_000
        self.clock = Clock(lambda: self.wall_us, steady_us=lambda: self.steady_us, jump_max_us=5_000_000)

    def trouble(self) -> str | None:
        return self.clock.trouble

    def pass_s(self, seconds: float) -> None:
        self.wall_us += round(seconds * 1e6)
        self.steady_us += round(seconds * 1e6)

    def set_s(self, seconds: float) -> None:
        """Somebody sets the wall clock."""
        self.wall_us += round(seconds * 1e6)


@pytest.fixture
def machine() -> Machine:
    return Machine()


@pytest.mark.parametrize("jump_s", [3 * 86_400, 5.1, -5.1, -3 * 86_400])
def test_while_the_clock_is_wrong_no_time_passes_and_when_it_is_right_again_all_goes_on(
    machine: Machine, jump_s: float
) -> None:
    clock = machine.clock
    machine.pass_s(10)
    before_us = clock.now_us()
    machine.set_s(jump_s)
    machine.pass_s(3)
    assert machine.trouble() == f"the machine's clock jumped by {jump_s:+.1f} s"
    with pytest.raises(Unavailable, match="clock jumped") as refused:
        clock.require()
    assert refused.value.code == "CLOCK_JUMPED"
    assert clock.now_us() == before_us
    assert clock.unbroken_us() == before_us + 3_000_000
    machine.set_s(-jump_s)
    assert machine.trouble() is None
    clock.require()
    assert clock.now_us() == before_us + 3_000_000


@pytest.mark.parametrize("jump_s", [4.9, -4.9])
def test_a_small_jump_is_none(machine: Machine, jump_s: float) -> None:
    machine.set_s(jump_s)
    assert machine.trouble() is None


def test_a_machine_that_slept_is_no_jump(machine: Machine) -> None:
    machine.pass_s(3 * 86_400)
    assert machine.trouble() is None
    assert machine.clock.now_us() == machine.wall_us


@pytest.mark.parametrize("ppm", [500, -500])
def test_slow_drift_never_counts_however_long_it_goes_on(machine: Machine, ppm: int) -> None:
    for _ in range(100_000):
        machine.pass_s(1)
        machine.wall_us += ppm
        assert machine.trouble() is None
    assert abs(machine.wall_us - machine.steady_us - (1_700_000_000_000_000 - 77_000_000)) > 45_000_000


def test_small_jumps_one_after_the_other_count(machine: Machine) -> None:
    for _ in range(2):
        machine.set_s(3)
        machine.pass_s(60)
        machine.clock.now_us()
    assert machine.trouble() is not None


def test_a_process_held_up_between_two_looks_sees_no_jump() -> None:
    reads = iter([0, 20_000_000] + [30_000_000] * 100)
    clock = Clock(lambda: 1_000_000_000, steady_us=lambda: next(reads, 30_000_000), jump_max_us=5_000_000)
    assert clock.trouble is None


def test_an_accepted_jump_goes_on_from_there(machine: Machine) -> None:
    clock = machine.clock
    machine.set_s(86_400)
    assert machine.trouble()
    clock.accept()
    assert machine.trouble() is None
    assert clock.now_us() == machine.wall_us
    machine.set_s(-86_400)
    assert machine.trouble()


def test_a_clock_behind_what_was_committed_is_trouble_until_it_has_caught_up_or_is_accepted(machine: Machine) -> None:
    committed_us = machine.wall_us + 60_000_000
    machine.clock.set_floor(committed_us)
    assert machine.trouble() == "the machine's clock is 60.0 s behind the last commit's time"
    machine.pass_s(54)
    assert machine.trouble()
    assert machine.clock.now_us() == committed_us
    machine.pass_s(2)
    assert machine.trouble() is None
    assert machine.clock.now_us() == committed_us
    other = Machine()
    other.clock.set_floor(committed_us)
    other.clock.accept_behind(committed_us)
    assert other.trouble() is None
    assert other.clock.now_us() == committed_us
    other.clock.set_floor(committed_us + 1)
    assert other.trouble(), "later commits were not accepted with the earlier ones"


def test_a_repeated_accept_covers_what_was_told_and_no_jump_to_come(machine: Machine) -> None:
    machine.clock.set_floor(machine.wall_us + 60_000_000)
    machine.clock.accept()
    assert machine.trouble() is None
    machine.set_s(-10)
    assert machine.trouble()
