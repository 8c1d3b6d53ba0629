"""The rules of a market and of an order's own terms, one row a case."""

from typing import Any

import msgspec
import pytest

from trade_engine.domain.enums import OrderType, Side, TimeInForce
from trade_engine.domain.errors import EngineError, InvalidRequest, Refused
from trade_engine.domain.market import default_markets
from trade_engine.domain.orders import PlaceOrder
from trade_engine.domain.rules import check_order, show_average
from trade_engine.domain.scale import MAX_UNITS, UNIT, parse_units

BTC = default_markets()[0]
BASE = PlaceOrder(
    user_id="u",
    symbol="BTC/USDT",
    side=Side.BUY,
    type=OrderType.LIMIT,
    quantity=parse_units("0.5"),
    price=parse_units("50000"),
)
MARKET: dict[str, Any] = {"type": OrderType.MARKET, "price": 0}
STOP: dict[str, Any] = {"type": OrderType.STOP, "price": 0, "stop_price": parse_units("51000")}
STOP_LIMIT: dict[str, Any] = {"type": OrderType.STOP_LIMIT, "stop_price": parse_units("51000")}
BY_AMOUNT: dict[str, Any] = MARKET | {"quantity": 0, "quote_amount": parse_units("100")}

GOOD: list[dict[str, Any]] = [
    {},
    MARKET,
    STOP,
    STOP_LIMIT,
    BY_AMOUNT,
    {"quantity": BTC.min_quantity},
    {"post_only": True},
    {"display_quantity": parse_units("0.1")},
    {"time_in_force": TimeInForce.GTD, "expires_us": 1},
    {"time_in_force": TimeInForce.FOK},
    {"price": parse_units("1"), "quantity": UNIT},
]

BAD: list[tuple[dict[str, Any], str]] = [
    ({"price": 0}, "INVALID_PRICE"),
    ({"price": parse_units("50000.001")}, "INVALID_PRICE"),
    ({"price": MAX_UNITS + BTC.tick_size}, "INVALID_PRICE"),
    (MARKET | {"price": UNIT}, "INVALID_PRICE"),
    (STOP | {"price": UNIT}, "INVALID_PRICE"),
    (STOP | {"stop_price": 0}, "INVALID_STOP_PRICE"),
    (STOP | {"stop_price": 1}, "INVALID_STOP_PRICE"),
    (STOP_LIMIT | {"stop_price": 0}, "INVALID_STOP_PRICE"),
    ({"stop_price": UNIT}, "INVALID_STOP_PRICE"),
    ({"quantity": 0}, "INVALID_QUANTITY"),
    ({"quantity": BTC.min_quantity - BTC.lot_size}, "INVALID_QUANTITY"),
    ({"quantity": BTC.min_quantity + 1}, "INVALID_QUANTITY"),
    ({"quantity": MAX_UNITS + BTC.lot_size}, "INVALID_QUANTITY"),
    ({"quantity": MAX_UNITS}, "NOTIONAL_OVERFLOW"),
    ({"price": parse_units("1"), "quantity": parse_units("0.999")}, "MIN_NOTIONAL"),
    (BY_AMOUNT | {"side": Side.SELL}, "INVALID_QUOTE_AMOUNT"),
    (BY_AMOUNT | {"type": OrderType.LIMIT, "price": UNIT}, "INVALID_QUOTE_AMOUNT"),
    (BY_AMOUNT | {"quantity": UNIT}, "INVALID_QUOTE_AMOUNT"),
    (BY_AMOUNT | {"quote_amount": MAX_UNITS + 1}, "INVALID_QUOTE_AMOUNT"),
    (BY_AMOUNT | {"quote_amount": UNIT - 1}, "MIN_NOTIONAL"),
    ({"post_only": True, "time_in_force": TimeInForce.IOC}, "INVALID_FLAGS"),
    (MARKET | {"post_only": True}, "INVALID_FLAGS"),
    ({"time_in_force": TimeInForce.GTD}, "INVALID_EXPIRY"),
    ({"expires_us": 1}, "INVALID_EXPIRY"),
    (MARKET | {"display_quantity": UNIT}, "INVALID_DISPLAY_QUANTITY"),
    ({"display_quantity": UNIT, "time_in_force": TimeInForce.IOC}, "INVALID_DISPLAY_QUANTITY"),
    ({"display_quantity": 1}, "INVALID_DISPLAY_QUANTITY"),
    ({"display_quantity": UNIT}, "INVALID_DISPLAY_QUANTITY"),
]


@pytest.mark.parametrize("change", GOOD, ids=str)
def test_an_order_within_the_rules_passes(change: dict[str, Any]) -> None:
    check_order(msgspec.structs.replace(BASE, **change), BTC)


@pytest.mark.parametrize(("change", "code"), BAD, ids=str)
def test_an_order_outside_the_rules_is_refused(change: dict[str, Any], code: str) -> None:
    with pytest.raises(EngineError) as refused:
        check_order(msgspec.structs.replace(BASE, **change), BTC)
    assert refused.value.code == code
    assert isinstance(refused.value, Refused if code == "MIN_NOTIONAL" else InvalidRequest)
    assert refused.value.details["field"]
    assert "provided" in refused.value.details


def test_the_average_price_is_cut_not_rounded() -> None:
    assert show_average(parse_units("100"), parse_units("3"), 2) == "33.33333333"
    assert show_average(parse_units("200"), parse_units("3"), 2) == "66.66666666"
    assert show_average(parse_units("100"), parse_units("2"), 2) == "50.00"
    assert show_average(parse_units("100"), parse_units("2"), 0) == "50"
