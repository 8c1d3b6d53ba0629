"""The rolling day: minutes fold trades, and fall out after 24 hours."""

from trade_engine.marketdata.ticker import DAY_US, MINUTE_US, Minute, Ticker

START = 1_700_000_000 * 1_000_000 // MINUTE_US * MINUTE_US


def test_a_minute_folds_its_trades() -> None:
    ticker = Ticker()
    for second, price in ((0, 10), (5, 14), (59, 8)):
        ticker.add(START + second * 1_000_000, price, 2, 2 * price)
    (minute,) = ticker.window(START + MINUTE_US)
    assert (minute.open, minute.high, minute.low, minute.close) == (10, 14, 8, 8)
    assert (minute.volume, minute.quote_volume, minute.trades) == (6, 64, 3)
    assert ticker.last_price == 8


def test_what_is_older_than_a_day_falls_out_but_the_last_price_stays() -> None:
    ticker = Ticker()
    ticker.add_minute(Minute(START, 1, 1, 1, 1, 1, 1, 1))
    ticker.add(START + MINUTE_US, 5, 1, 5)
    assert len(ticker.window(START + DAY_US - 1)) == 2
    assert [m.open for m in ticker.window(START + DAY_US)] == [5]
    assert ticker.window(START + DAY_US + MINUTE_US) == []
    assert ticker.last_price == 5
