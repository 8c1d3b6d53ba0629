"""The rolling day: minutes fold trades, and fall out after 24 hours."""

import random

import pytest

from tests.unit.marketdata.test_candles import MIDNIGHT, trade
from trade_engine.marketdata.candles import DAY_US, MINUTE_US, Candle, Candles
from trade_engine.marketdata.ticker import Ticker

Day = tuple[int, int, int, int, int, int]


def day(ticker: Ticker, now_us: int) -> Day:
    ticker.advance(now_us)
    return ticker.open, ticker.high, ticker.low, ticker.volume, ticker.quote_volume, ticker.trades


def expected(trades: list[Candle], now_us: int) -> Day:
    first_us = now_us // MINUTE_US * MINUTE_US - DAY_US + MINUTE_US
    window = [t for t in trades if t.start_us >= first_us]
    prices = [t.open for t in window] or [0]
    volume, quote_volume = sum(t.volume for t in window), sum(t.quote_volume for t in window)
    return prices[0], max(prices), min(prices), volume, quote_volume, len(window)


class Market:
    """A ticker and the candles that feed it."""

    def __init__(self) -> None:
        self.candles = Candles()
        self.ticker = Ticker()

    def add(self, part: Candle) -> None:
        self.ticker.add(self.candles.fold(part), part)


def test_a_minute_folds_its_trades() -> None:
    market = Market()
    for n, (second, price) in enumerate(((0, 10), (5, 14), (59, 8))):
        market.add(trade(MIDNIGHT + second * 1_000_000, price, 2, n))
    assert day(market.ticker, MIDNIGHT + MINUTE_US) == (10, 14, 8, 6, 64, 3)
    assert market.ticker.last_price == 8


def test_what_is_older_than_a_day_falls_out_but_the_last_price_stays() -> None:
    market = Market()
    market.add(trade(MIDNIGHT + MINUTE_US - 1, 1, 1, 1))
    market.add(trade(MIDNIGHT + MINUTE_US, 5, 1, 2))
    assert day(market.ticker, MIDNIGHT + DAY_US - 1) == (1, 5, 1, 2, 6, 2)
    assert day(market.ticker, MIDNIGHT + DAY_US) == (5, 5, 5, 1, 5, 1)
    assert day(market.ticker, MIDNIGHT + DAY_US + MINUTE_US) == (0, 0, 0, 0, 0, 0)
    assert market.ticker.last_price == 5


@pytest.mark.parametrize("seed", range(5))
def test_the_rolling_day_is_what_its_trades_add_up_to(seed: int) -> None:
    rng = random.Random(seed)
    market, trades, now, price = Market(), [], MIDNIGHT, 1000
    for n in range(1_500):
        now += rng.choice((0, 1_000_000, 100_000_000, 700_000_000, rng.choice((0, 40_000_000_000))))
        price += rng.randint(-9, 9)
        trades.append(trade(now, price, rng.randint(1, 9), n))
        market.add(trades[-1])
        if n % 10 == 0:
            now += rng.choice((0, MINUTE_US, 3 * 3_600_000_000))
            assert day(market.ticker, now) == expected(trades, now)
    again = Ticker()
    for minute in market.candles.between("1m", 0, 1 << 62, 9_999):
        again.add(minute, minute)
    assert day(again, now) == day(market.ticker, now) == expected(trades, now)
