"""What `trade-engine make-market` takes for a price, and which words it refuses."""

import os
from decimal import Decimal
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from trade_engine.cli.make_market import _market_price, _source, make_market
from trade_engine.client import Ticker

WORDS = ("--symbol", "BTC/USDT", "--spread", "0.002", "--size", "1", "--inventory-limit", "2")


def ticker(last: str | None, bid: str | None, ask: str | None) -> Ticker:
    prices = [None if text is None else Decimal(text) for text in (last, bid, ask)]
    zero = Decimal(0)
    return Ticker(
        symbol="BTC/USDT", last_price=prices[0], day_open=None, day_high=None, day_low=None, day_volume=zero,
        day_quote_volume=zero, day_trades=0, change=zero, change_percent=zero, best_bid=prices[1], best_ask=prices[2],
    )  # fmt: skip


def test_a_file_s_price_counts_while_it_is_fresh_and_a_price(tmp_path: Path) -> None:
    file = tmp_path / "price"
    source = _source(None, file)
    assert source is not None
    assert source() is None
    file.write_text("50000.5\n")
    assert source() == Decimal("50000.5")
    for text in ("", "-1", "0", "NaN", "much"):
        file.write_text(text)
        assert source() is None, text
    file.write_text("50000")
    os.utime(file, (0, file.stat().st_mtime - 61))
    assert source() is None, "nobody writes it any more"


def test_a_market_s_price_is_its_middle_else_its_last_trade() -> None:
    assert _market_price(ticker("90", "100", "102")) == 101
    assert _market_price(ticker("90", "100", None)) == 90
    with pytest.raises(click.UsageError, match="no price yet"):
        _market_price(ticker(None, None, None))


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (("--price", "1", "--price-file", "f"), "not both"),
        (("--price", "0"), "above 0"),
        (("--levels", "26"), "1<=x<=25"),
        (("--switch", "1"), "2<=x<=3600"),
    ],
)
def test_words_that_cannot_be_meant(more: tuple[str, ...], said: str) -> None:
    refused = CliRunner().invoke(make_market, [*WORDS, *more])
    assert refused.exit_code == 2
    assert said in refused.output
