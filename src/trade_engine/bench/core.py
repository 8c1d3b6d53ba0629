"""How fast the core is: both books on one generated flow, in one run, medians of several rounds.

Flows and records are made before the clock starts.  The rounds of the two books alternate, so that whatever else the
machine does meets both.  What each figure means is said in ``bench/README.md``.
"""

import gc
import random
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from statistics import median
from time import perf_counter_ns
from typing import Any, Final

from trade_engine.bench.core_flow import LIVE_ORDERS, MARKET_ID, FlowMessage, encode_batches, lined_up, make_flow
from trade_engine.domain.enums import OrderType, Side, TimeInForce
from trade_engine.matching.books import BookKind, new_book
from trade_engine.matching.protocol import Book

_BATCH: Final = 1_000
#: How much of the flow the reference book is given: enough for a steady figure, little enough to wait for.
_REFERENCE_MESSAGES: Final = 100_000
_SWEPT_ORDERS: Final = 10_000
_SWEPT_LEVELS: Final = 500
_SWEEPS: Final = 5
_CHANGES: Final = 100_000
_MIDDLE: Final = 5_000_000


def run_core_benchmark(*, messages: int, seed: int, crowd: int = 1_000_000, rounds: int = 5) -> dict[str, Any]:
    """Measure both books on ``messages`` of the flow, and on books of up to ``crowd`` resting orders, so many rounds.

    Raises:
        RuntimeError: the native book is not built.
    """
    flow = make_flow(messages, seed)
    filling = encode_batches(flow.filling, _BATCH)
    batches = encode_batches(flow.messages, _BATCH, len(flow.filling) + 1)
    swept = encode_batches(_swept_orders(), _BATCH)
    calls = lined_up(flow.messages)
    part = calls[:_REFERENCE_MESSAGES]
    native, reference, batched, sweeps = [], [], [], []
    with _quiet_heap():
        for _ in range(rounds):
            native.append(_per_second(len(calls), _call_each(_filled("native", filling), calls)))
            batched.append(_per_second(len(calls), _apply_each(_filled("native", filling), batches)))
            sweeps += [_per_second(_SWEPT_ORDERS, _sweep(_filled("native", swept))) for _ in range(_SWEEPS)]
            reference.append(_per_second(len(part), _call_each(_filled("reference", filling), part)))
            gc.collect()  # the reference book's orders are rings of objects: not the next round's to clear away
        figures: dict[str, Any] = {
            "per_call_per_s": round(median(native)),
            "reference_per_call_per_s": round(median(reference)),
            "batch_per_s": round(median(batched)),
            "sweep_matches_per_s": round(median(sweeps)),
        }
        figures |= _latencies(_filled("native", filling), calls)
        figures |= _size_ratios(seed, crowd, rounds)
    return figures | {
        "messages": messages,
        "rounds": rounds,
        "live_orders": round(flow.live_orders),
        "load": f"one thread, seed {seed}, 55 % limits, 5 % IOC and market, 40 % cancels, "
        f"{LIVE_ORDERS} live orders, batches of {_BATCH}",
    }


@contextmanager
def _quiet_heap() -> Iterator[None]:
    """Keep the collector from walking the prepared messages, as a server does after its start."""
    gc.collect()
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()


def _per_second(count: int, nanoseconds: int) -> float:
    return count * 1e9 / nanoseconds


def _filled(kind: BookKind, batches: Sequence[bytes]) -> Book:
    book = new_book(MARKET_ID, kind)
    for batch in batches:
        book.apply(batch)
    return book


def _call_each(book: Book, messages: Sequence[tuple[int, ...]]) -> int:
    """Nanoseconds for one Python call a message."""
    place, cancel = book.place, book.cancel
    started = perf_counter_ns()
    for order_number, user, side, price, quantity, order_type, time_in_force in messages:
        if quantity:
            place(order_number, user, side, price, quantity, order_type, time_in_force)
        else:
            cancel(order_number)
    return perf_counter_ns() - started


def _apply_each(book: Book, batches: Sequence[bytes]) -> int:
    """Nanoseconds for one Python call a batch."""
    apply = book.apply
    started = perf_counter_ns()
    for batch in batches:
        apply(batch)
    return perf_counter_ns() - started


def _swept_orders() -> list[FlowMessage]:
    """Asks of one lot each, spread over levels in turn."""
    return [
        FlowMessage(number + 1, number % 100 + 2, Side.SELL, _MIDDLE + number % _SWEPT_LEVELS, 1)
        for number in range(_SWEPT_ORDERS)
    ]


def _sweep(book: Book) -> int:
    """Nanoseconds for one per-call order that takes every ask, its answer (one tuple a trade) included."""
    started = perf_counter_ns()
    trades = book.place(_SWEPT_ORDERS + 1, 1, Side.BUY, 0, _SWEPT_ORDERS, int(OrderType.MARKET), int(TimeInForce.IOC))
    took = perf_counter_ns() - started
    if len(trades) != _SWEPT_ORDERS or len(book):
        raise AssertionError(f"the sweep made {len(trades)} trades and left {len(book)} orders")
    return took


def _latencies(book: Book, messages: Sequence[tuple[int, ...]]) -> dict[str, float]:
    """Time of each single call, the clock's own reading included."""
    place, cancel, clock = book.place, book.cancel, perf_counter_ns
    times = [0] * len(messages)
    for index, (order_number, user, side, price, quantity, order_type, time_in_force) in enumerate(messages):
        if quantity:
            started = clock()
            place(order_number, user, side, price, quantity, order_type, time_in_force)
            times[index] = clock() - started
        else:
            started = clock()
            cancel(order_number)
            times[index] = clock() - started
    times.sort()
    last = len(times) - 1
    return {
        "p50_ns": times[last * 500 // 1_000],
        "p99_ns": times[last * 990 // 1_000],
        "p999_ns": times[last * 999 // 1_000],
        "max_ms": round(times[last] / 1e6, 3),
    }


def _size_ratios(seed: int, crowd: int, rounds: int) -> dict[str, float]:
    """What a message costs on large and wide books against small and narrow ones, and what an order weighs."""
    rng = random.Random(seed)
    small, large = _Crowd(rng, crowd // 1_000, levels=1_000), _Crowd(rng, crowd, levels=1_000)
    figures = {"cost_ratio_1m_vs_1k": _ratio(large, small, rounds), "bytes_per_resting_order": round(large.weight)}
    del small, large
    narrow, wide = _Crowd(rng, crowd // 5, levels=1_000), _Crowd(rng, crowd // 5, levels=crowd // 5)
    return figures | {"wide_book_ratio": _ratio(wide, narrow, rounds)}


def _ratio(dear: "_Crowd", cheap: "_Crowd", rounds: int) -> float:
    """Median of what a message costs on one book against the other, measured in turns."""
    return round(median(dear.cost() / cheap.cost() for _ in range(rounds)), 2)


class _Crowd:
    """A native book in which ``orders`` rest at ``levels`` prices, all through the measuring."""

    def __init__(self, rng: random.Random, orders: int, *, levels: int) -> None:
        from trade_engine.matching.native import NativeBook

        self._rng, self._levels = rng, levels
        self._book = NativeBook(MARKET_ID)
        self._live = list(range(1, orders + 1))
        self._next_id = orders + 1
        for at in range(0, orders, _BATCH):
            messages = [_scattered(rng, order_number, levels) for order_number in self._live[at : at + _BATCH]]
            for batch in encode_batches(messages, _BATCH, at + 1):
                self._book.apply(batch)
        #: Bytes an order.
        self.weight = self._book.memory_bytes() / orders

    def cost(self) -> float:
        """Nanoseconds a message; in pairs: cancel an order chosen at random, place one at a price chosen at random."""
        messages = []
        for _ in range(_CHANGES // 2):
            place = int(self._rng.random() * len(self._live))
            messages += [FlowMessage(self._live[place]), _scattered(self._rng, self._next_id, self._levels)]
            self._live[place] = self._next_id
            self._next_id += 1
        cost = _call_each(self._book, lined_up(messages)) / len(messages)
        if len(self._book) != len(self._live):
            raise AssertionError(f"{len(self._book)} orders are live instead of {len(self._live)}")
        return cost


def _scattered(rng: random.Random, order_number: int, levels: int) -> FlowMessage:
    """An order that rests at one of ``levels`` prices, half of them on each side."""
    side = order_number % 2
    distance = 1 + int(rng.random() * (levels // 2))
    price = _MIDDLE + distance if side == Side.SELL else _MIDDLE - distance
    return FlowMessage(order_number, order_number % 1_000 + 1, side, price, 1 + order_number % 50)
