"""The writer's clock never goes back, and its ids sort by time."""

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
