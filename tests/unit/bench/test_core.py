"""The core's benchmark: its flow is what it says, the same for everybody, and every figure comes out."""

from collections import Counter

import pytest

from trade_engine.bench.core import run_core_benchmark
from trade_engine.bench.core_flow import LIVE_ORDERS, MARKET_ID, CoreFlow, encode_batches, lined_up, make_flow
from trade_engine.domain.enums import OrderType, TimeInForce
from trade_engine.domain.events import EventKind, decode_events
from trade_engine.matching.books import native_available, new_book

_COUNT = 20_000


@pytest.fixture(scope="module")
def flow() -> CoreFlow:
    return make_flow(_COUNT, 7)


def test_the_flow_has_the_shares_it_names(flow: CoreFlow) -> None:
    kinds = Counter(
        "cancel" if not m.quantity
        else "at once" if m.order_type == OrderType.MARKET or m.time_in_force == TimeInForce.IOC
        else "limit"
        for m in flow.messages
    )  # fmt: skip
    assert kinds["limit"] / _COUNT == pytest.approx(0.55, abs=0.02)
    assert kinds["cancel"] / _COUNT == pytest.approx(0.40, abs=0.02)
    assert kinds["at once"] / _COUNT == pytest.approx(0.05, abs=0.01)


def test_the_book_stays_as_full_as_it_starts(flow: CoreFlow) -> None:
    assert len(flow.filling) == LIVE_ORDERS
    assert flow.live_orders == pytest.approx(LIVE_ORDERS, rel=0.02)


def test_some_orders_cross_and_every_cancel_finds_its_order(flow: CoreFlow) -> None:
    book = new_book(MARKET_ID)
    for batch in encode_batches(flow.filling, 1_000):
        book.apply(batch)
    kinds: Counter[int] = Counter()
    for batch in encode_batches(flow.messages, 1_000):
        kinds.update(event.kind for event in decode_events(book.apply(batch)))
    assert not kinds[EventKind.REJECTED]
    assert kinds[EventKind.TRADE] > _COUNT // 20


def test_a_seed_gives_one_flow(flow: CoreFlow) -> None:
    assert make_flow(500, 7).messages == flow.messages[:500]
    assert make_flow(500, 8).messages != flow.messages[:500]


def test_lining_up_changes_nothing(flow: CoreFlow) -> None:
    assert lined_up(flow.messages) == flow.messages


@pytest.mark.skipif(not native_available(), reason="the native book is not built")
def test_every_figure_comes_out() -> None:
    figures = run_core_benchmark(messages=2_000, seed=3, crowd=5_000, rounds=1)
    names = {
        "per_call_per_s", "reference_per_call_per_s", "batch_per_s", "sweep_matches_per_s", "cost_ratio_1m_vs_1k",
        "wide_book_ratio", "bytes_per_resting_order", "p50_ns", "p99_ns", "p999_ns", "max_ms",
    }  # fmt: skip
    assert all(figures[name] > 0 for name in names)
    assert figures["p50_ns"] <= figures["p99_ns"] <= figures["p999_ns"] <= figures["max_ms"] * 1e6 + 500
    assert figures["batch_per_s"] > figures["reference_per_call_per_s"]
