"""Candles: folded across the edges of their intervals, and the same whatever parts they are folded from."""

import random
from collections.abc import Sequence

import pytest

from trade_engine.marketdata.candles import DAY_US, MINUTE_US, STORED, Candle, Candles

#: A midnight UTC.
MIDNIGHT = 19_700 * DAY_US
ALL = 1 << 62


def trade(time_us: int, price: int, quantity: int, sequence: int) -> Candle:
    return Candle(time_us, price, price, price, price, quantity, price * quantity, 1, sequence)


def folded(parts: Sequence[Candle]) -> Candles:
    candles = Candles()
    for part in parts:
        candles.fold(part)
    return candles


def held(candles: Candles, interval: str) -> list[Candle]:
    return candles.between(interval, 0, ALL, 1_000_000)


def expected(trades: Sequence[Candle], width_us: int) -> list[Candle]:
    """The candles of trades, the slow and obvious way."""
    starts = sorted({t.start_us // width_us * width_us for t in trades})
    groups = [[t for t in trades if t.start_us // width_us * width_us == start] for start in starts]
    return [
        Candle(
            start,
            group[0].open,
            max(t.open for t in group),
            min(t.open for t in group),
            group[-1].open,
            sum(t.volume for t in group),
            sum(t.quote_volume for t in group),
            len(group),
            group[-1].last_sequence,
        )
        for start, group in zip(starts, groups, strict=True)
    ]


def test_the_last_microsecond_of_a_day_and_the_first_of_the_next() -> None:
    candles = folded([trade(MIDNIGHT - 1, 10, 2, 1), trade(MIDNIGHT, 12, 3, 2)])
    for interval, width_us in STORED.items():
        before, after = held(candles, interval)
        assert (before.start_us, before.open, before.close, before.volume) == (MIDNIGHT - width_us, 10, 10, 2)
        assert (after.start_us, after.open, after.close, after.volume) == (MIDNIGHT, 12, 12, 3)


def test_each_interval_ends_where_it_should_and_a_gap_makes_no_candles() -> None:
    minutes = (0, 1, 4, 5, 14, 15, 59, 60, 239, 240, 24 * 60 - 1, 3 * 24 * 60 + 7)
    candles = folded([trade(MIDNIGHT + m * MINUTE_US + 59_999_999, 10 + m, 1, m + 1) for m in minutes])
    starts = {name: [(c.start_us - MIDNIGHT) // MINUTE_US for c in held(candles, name)] for name in STORED}
    assert starts == {
        "1m": list(minutes),
        "5m": [0, 5, 10, 15, 55, 60, 235, 240, 1435, 4325],
        "15m": [0, 15, 45, 60, 225, 240, 1425, 4320],
        "1h": [0, 60, 180, 240, 1380, 4320],
        "4h": [0, 240, 1200, 4320],
        "1d": [0, 4320],
    }
    assert [c.trades for c in held(candles, "1h")] == [7, 1, 1, 1, 1, 1]
    assert next((c.open, c.high, c.low, c.close) for c in held(candles, "1d")) == (10, 1449, 10, 1449)


@pytest.mark.parametrize("seed", range(5))
def test_random_trades_fold_to_what_they_add_up_to(seed: int) -> None:
    rng = random.Random(seed)
    now, trades = MIDNIGHT - 6 * 3600 * 1_000_000, []
    for sequence in range(1, 2_000):
        now += rng.choice((0, 1, 1_000_000, 20_000_000, 61_000_000, rng.choice((0, 3_600_000_000))))
        trades.append(trade(now, rng.randint(90, 110), rng.randint(1, 50), sequence))
    whole = folded(trades)
    for name, width_us in STORED.items():
        assert held(whole, name) == expected(trades, width_us)
    cut = rng.randrange(1, len(trades))
    restored = Candles()
    stored = folded(trades[:cut])
    for name in STORED:
        for candle in held(stored, name)[-3:]:
            restored.load(name, candle)
    for part in expected(trades[cut:], MINUTE_US):
        restored.fold(part)
    for name in STORED:
        ours = held(restored, name)
        assert ours == held(whole, name)[-len(ours) :]
    changed = restored.changed_since(cut)
    assert changed == whole.changed_since(cut)
    assert sorted((n, c.start_us) for n, c in changed) == sorted(
        (n, c.start_us) for n in STORED for c in held(whole, n) if c.last_sequence > cut
    )


def test_ranges_begin_included_and_end_excluded_newest_first_kept() -> None:
    candles = folded([trade(MIDNIGHT + n * MINUTE_US, 10, 1, n) for n in range(10)])

    def minutes(start: int, end: int, limit: int = 99) -> list[int]:
        found = candles.between("1m", MIDNIGHT + start * MINUTE_US, MIDNIGHT + end * MINUTE_US, limit)
        return [(candle.start_us - MIDNIGHT) // MINUTE_US for candle in found]

    assert minutes(2, 5) == [2, 3, 4]
    assert minutes(0, 99, 3) == [7, 8, 9]
    assert minutes(0, 5, 2) == [3, 4]
    assert minutes(5, 5) == []


def test_only_what_is_stored_is_forgotten() -> None:
    candles = folded([trade(MIDNIGHT + n * MINUTE_US, 10, 1, n + 1) for n in range(10)])
    candles.trim(4, stored=3)
    assert [c.last_sequence for c in held(candles, "1m")] == [4, 5, 6, 7, 8, 9, 10]
    assert candles.oldest_us("1m") == MIDNIGHT + 3 * MINUTE_US
    candles.trim(4, stored=10)
    assert [c.last_sequence for c in held(candles, "1m")] == [7, 8, 9, 10]
    assert held(candles, "1d")[0].trades == 10
    newest = candles.running("1m")
    assert newest is not None
    assert newest.last_sequence == 10
    assert Candles().running("1m") is None
    assert Candles().oldest_us("1m") is None
