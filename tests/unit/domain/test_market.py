"""Markets: their scales must keep every notional exact, and a wrong definition names its key."""

from typing import Any

import msgspec
import pytest

from trade_engine.domain.market import Market, MarketError, default_markets, symbol_keys
from trade_engine.domain.scale import UNIT, parse_units

BTC = default_markets()[0]


def test_the_default_markets_are_those_of_the_specification() -> None:
    assert [m.base for m in default_markets()] == [
        "BTC",
        "ETH",
        "BNB",
        "XRP",
        "SOL",
        "ADA",
        "DOGE",
        "TRX",
        "LTC",
        "AVAX",
    ]
    assert {m.quote for m in default_markets()} == {"USDT"}
    eth, xrp = default_markets()[1], default_markets()[3]
    assert (BTC.tick_size, BTC.lot_size, BTC.min_quantity) == (UNIT // 100, 100, UNIT // 10_000)
    assert (eth.tick_size, eth.min_quantity) == (UNIT // 100, UNIT // 1_000)
    assert (xrp.tick_size, xrp.min_quantity) == (UNIT // 10_000, 10 * UNIT)
    assert (BTC.maker_fee, BTC.taker_fee) == (parse_units("0.0005"), parse_units("0.001"))


def test_a_notional_is_exact() -> None:
    ticks, lots = 5_000_001, 3
    assert ticks * lots * BTC.notional_unit == ticks * BTC.tick_size * lots * BTC.lot_size // UNIT
    assert BTC.price_decimals == 2
    assert BTC.min_notional_ticks * BTC.notional_unit >= BTC.min_notional


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"lot_size": 1}, "tick_size x lot_size"),
        ({"tick_size": 0}, "tick_size"),
        ({"symbol": "BTC-USDT"}, "symbol"),
        ({"quote": "BTC", "symbol": "BTC/BTC"}, "symbol"),
        ({"min_quantity": 150}, "min_quantity"),
        ({"min_quantity": 200, "max_quantity": 100}, "min_quantity"),
        ({"maker_fee": UNIT}, "maker_fee"),
        ({"taker_fee": -1}, "taker_fee"),
        ({"price_band_ppm": -1}, "price_band_ppm"),
        ({"min_display_ppm": 1_000_001}, "min_display_share"),
    ],
)
def test_a_contradiction_is_refused_by_name(change: dict[str, Any], named: str) -> None:
    with pytest.raises(MarketError, match=named):
        Market(**(msgspec.structs.asdict(BTC) | change))


def test_every_spelling_of_a_symbol() -> None:
    assert symbol_keys("BTC/USDT") == ("BTC/USDT", "BTC%2FUSDT", "BTC-USDT", "BTCUSDT")
