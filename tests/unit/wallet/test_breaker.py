"""The circuit breaker, step by step, on a clock that stands still until it is moved."""

import pytest

from trade_engine.wallet.breaker import BreakerSettings, CircuitBreaker
from trade_engine.wallet.port import BreakerState


class Clock:
    def __init__(self) -> None:
        self.now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def changes() -> list[tuple[str, str]]:
    return []


@pytest.fixture
def breaker(clock: Clock, changes: list[tuple[str, str]]) -> CircuitBreaker:
    return CircuitBreaker(BreakerSettings(), clock, lambda before, after: changes.append((before.value, after.value)))


def fail(breaker: CircuitBreaker, times: int) -> None:
    for _ in range(times):
        assert breaker.allows()
        breaker.failed()


def test_it_opens_after_more_than_five_failures_in_a_row(breaker: CircuitBreaker) -> None:
    fail(breaker, 5)
    assert breaker.state.value == "CLOSED"
    fail(breaker, 1)
    assert breaker.state.value == "OPEN"
    assert not breaker.allows()


def test_a_success_in_between_starts_the_count_again(breaker: CircuitBreaker) -> None:
    fail(breaker, 5)
    breaker.succeeded()
    fail(breaker, 5)
    assert breaker.state is BreakerState.CLOSED


def test_failures_older_than_a_minute_do_not_count(breaker: CircuitBreaker, clock: Clock) -> None:
    fail(breaker, 3)
    clock.now_s += 61
    fail(breaker, 5)
    assert breaker.state.value == "CLOSED"
    fail(breaker, 1)
    assert breaker.state.value == "OPEN"


def test_it_half_opens_after_thirty_seconds_for_three_calls_and_closes(
    breaker: CircuitBreaker, clock: Clock, changes: list[tuple[str, str]]
) -> None:
    fail(breaker, 6)
    clock.now_s += 29.9
    assert not breaker.allows()
    clock.now_s += 0.1
    assert [breaker.allows() for _ in range(4)] == [True, True, True, False]
    breaker.succeeded()
    assert not breaker.allows()
    breaker.succeeded()
    breaker.succeeded()
    assert breaker.state is BreakerState.CLOSED
    assert breaker.allows()
    assert changes == [("CLOSED", "OPEN"), ("OPEN", "HALF_OPEN"), ("HALF_OPEN", "CLOSED")]


def test_a_failed_trial_opens_it_again_for_thirty_seconds(breaker: CircuitBreaker, clock: Clock) -> None:
    fail(breaker, 6)
    clock.now_s += 30
    assert breaker.allows()
    breaker.failed()
    clock.now_s += 29
    assert not breaker.allows()
    clock.now_s += 1
    assert breaker.allows()


def test_an_abandoned_trial_makes_room_for_another(breaker: CircuitBreaker, clock: Clock) -> None:
    fail(breaker, 6)
    clock.now_s += 30
    assert [breaker.allows() for _ in range(4)] == [True, True, True, False]
    breaker.abandoned()
    assert breaker.allows()
