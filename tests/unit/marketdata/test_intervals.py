"""Intervals: where they begin and end, and that wider candles are those that the trades themselves would make."""

import random
from datetime import UTC, datetime

import pytest

from trade_engine.marketdata.candles import DAY_US, MINUTE_US, STORED, Candle, Candles
from trade_engine.marketdata.intervals import INTERVALS, WIDER, combine, covered, end_of, named, start_of

ALL = 1 << 62


def us(text: str) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()) * 1_000_000


def test_a_month_is_no_minute() -> None:
    words = {"1m": "1m", "1M": "1M", "5M": None, "1H": "1h", "1W": "1w", "3D": "3d", "12H": "12h", "2m": None, "": None}
    assert {word: named(word) for word in words} == words


@pytest.mark.parametrize(
    ("interval", "time", "start", "end"),
    [
        ("1M", "2024-02-29T23:59:59", "2024-02-01", "2024-03-01"),
        ("1M", "2025-12-31T23:59:59", "2025-12-01", "2026-01-01"),
        ("1M", "9999-12-05T00:00:00", "9999-12-01", None),
        ("1w", "2026-11-22T23:59:59", "2026-11-16", "2026-11-23"),
        ("1w", "2026-11-23T00:00:00", "2026-11-23", "2026-11-30"),
        ("3d", "1970-01-06T12:00:00", "1970-01-04", "1970-01-07"),
        ("12h", "2026-01-01T12:00:00", "2026-01-01T12:00", "2026-01-02"),
        ("3m", "2026-01-01T00:05:59", "2026-01-01T00:03", "2026-01-01T00:06"),
    ],
)
def test_where_an_interval_begins_and_ends(interval: str, time: str, start: str, end: str | None) -> None:
    assert start_of(interval, us(time)) == us(start)
    assert end_of(interval, us(start)) == (us(end) if end else us("9999-12-31T23:59:59") + 1_000_000)


@pytest.mark.parametrize("interval", INTERVALS)
def test_a_range_covers_whole_intervals_that_begin_in_it(interval: str) -> None:
    pick = random.Random(interval)
    for _ in range(200):
        start = pick.randrange(0, 60 * 365 * DAY_US)
        end = start + pick.choice((0, 1, MINUTE_US, pick.randrange(200 * DAY_US)))
        first, last = covered(interval, start, end)
        assert start <= first == start_of(interval, first)
        if first < end:
            assert last == end_of(interval, start_of(interval, end - 1))
        else:
            assert last == first
    assert covered(interval, 0, ALL)[1] >= us("9999-12-31")


def folded(trades: list[Candle]) -> Candles:
    candles = Candles()
    for trade in trades:
        candles.fold(trade)
    return candles


@pytest.mark.parametrize("interval", WIDER)
def test_wider_candles_are_those_that_the_trades_make(interval: str) -> None:
    pick, time_us, trades = random.Random(f"{interval} 1"), us("2025-11-27T13:14:15"), []
    for number in range(2_000):
        time_us += pick.choice((1, MINUTE_US // 3, 7 * MINUTE_US, pick.randrange(2 * DAY_US)))
        price, lots = pick.randrange(1, 100), pick.randrange(1, 9)
        trades.append(Candle(time_us, price, price, price, price, lots, price * lots, 1, number))
    held = folded(trades)
    combined = combine(held.between(WIDER[interval].base, 0, ALL, 1_000_000), interval)
    groups: dict[int, list[Candle]] = {}
    for trade in trades:
        groups.setdefault(start_of(interval, trade.start_us), []).append(trade)
    assert len(groups) > 12
    assert combined == [
        Candle(
            start, group[0].open, max(t.open for t in group), min(t.open for t in group), group[-1].open,
            sum(t.volume for t in group), sum(t.quote_volume for t in group), len(group), group[-1].last_sequence,
        )
        for start, group in groups.items()
    ]  # fmt: skip


def test_what_is_combined_is_not_changed() -> None:
    trades = [Candle(n * MINUTE_US, 5 + n, 5 + n, 5 + n, 5 + n, 1, 5, 1, n) for n in range(3)]
    before = [(c.close, c.high, c.volume) for c in trades]
    assert len(combine(trades, "3m")) == 1
    assert [(c.close, c.high, c.volume) for c in trades] == before
    assert set(STORED) | set(WIDER) == set(INTERVALS)
