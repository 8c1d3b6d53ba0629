"""The rules of a market and of an order's own terms, one row a case."""

from typing import Any

import msgspec
import pytest

from trade_engine.domain.enums import FeeAsset, OrderType, Side, TimeInForce
from trade_engine.domain.errors import EngineError, InvalidRequest, Refused
from trade_engine.domain.market import default_markets
from trade_engine.domain.orders import PlaceOrder
from trade_engine.domain.rules import check_order, show_average
from trade_engine.domain.scale import MAX_UNITS, UNIT, format_units, parse_units
from trade_engine.matching.books import new_book
from trade_engine.sequencer.new_order import funds_needed

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
    {"display_quantity": parse_units("0.025")},
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
    ({"display_quantity": parse_units("0.024999")}, "INVALID_DISPLAY_QUANTITY"),
    ({"display_quantity": BTC.lot_size}, "INVALID_DISPLAY_QUANTITY"),
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
    missing = change.get(refused.value.details["field"]) == 0
    assert ("provided" in refused.value.details) == (not missing)


def test_the_average_price_is_cut_not_rounded() -> None:
    assert show_average(parse_units("100"), parse_units("3"), 2) == "33.33333333"
    assert show_average(parse_units("200"), parse_units("3"), 2) == "66.66666666"
    assert show_average(parse_units("100"), parse_units("2"), 2) == "50.00"
    assert show_average(parse_units("100"), parse_units("2"), 0) == "50"


def test_an_iceberg_shows_its_share_and_the_least_is_named() -> None:
    odd = msgspec.structs.replace(BASE, quantity=parse_units("0.333333"), display_quantity=parse_units("0.016666"))
    with pytest.raises(InvalidRequest) as refused:
        check_order(odd, BTC)
    assert refused.value.code == "INVALID_DISPLAY_QUANTITY"
    least = refused.value.details["limit"]
    assert (refused.value.details["field"], least) == ("display_quantity", "0.016667")
    check_order(msgspec.structs.replace(odd, display_quantity=parse_units(least)), BTC)
    check_order(odd, msgspec.structs.replace(BTC, min_display_ppm=0))


@pytest.mark.parametrize("taker_fee", [0, 1, 100_000, UNIT - 1])
@pytest.mark.parametrize("fee_asset", FeeAsset)
@pytest.mark.parametrize("scales", [(UNIT // 100, 100), (1, UNIT), (10_000, 100_000), (UNIT, 1)])
def test_the_least_quote_amount_pays_for_one_lot_at_one_tick(
    taker_fee: int, fee_asset: FeeAsset, scales: tuple[int, int]
) -> None:
    tick, lot = scales
    market = msgspec.structs.replace(
        BTC, tick_size=tick, lot_size=lot, min_quantity=lot, min_notional=0, taker_fee=taker_fee, fee_asset=fee_asset
    )
    least = market.least_quote_amount
    order = msgspec.structs.replace(BASE, **BY_AMOUNT | {"quote_amount": least})
    check_order(order, market)
    book = new_book(1, "reference")
    assert funds_needed(order, market, book)[1] == market.notional_unit
    if least == 1:
        return
    with pytest.raises(InvalidRequest) as refused:
        check_order(msgspec.structs.replace(order, quote_amount=least - 1), market)
    assert (refused.value.code, refused.value.details["limit"]) == ("INVALID_QUOTE_AMOUNT", format_units(least))
