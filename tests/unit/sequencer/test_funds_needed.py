"""What each kind of order reserves (SPEC 4.4)."""

import pytest

from trade_engine.domain.commands import Command, CommandKind, OrderFlag, encode_command
from trade_engine.domain.enums import FeeAsset, OrderType, Side
from trade_engine.domain.market import Market
from trade_engine.domain.orders import PlaceOrder
from trade_engine.domain.scale import UNIT, parse_units
from trade_engine.matching.books import new_book
from trade_engine.sequencer.new_order import funds_needed

MARKET = Market(
    market_id=1,
    symbol="BTC/USDT",
    base="BTC",
    quote="USDT",
    tick_size=UNIT // 100,
    lot_size=100,
    min_quantity=100,
    max_slippage_ppm=50_000,
)
RECEIVED = Market(
    market_id=1,
    symbol="BTC/USDT",
    base="BTC",
    quote="USDT",
    tick_size=UNIT // 100,
    lot_size=100,
    min_quantity=100,
    fee_asset=FeeAsset.RECEIVED,
)


def request(side: Side, kind: OrderType, **amounts: str) -> PlaceOrder:
    return PlaceOrder(
        user_id="u",
        symbol="BTC/USDT",
        side=side,
        type=kind,
        **{name: parse_units(text) for name, text in amounts.items()},  # type: ignore[arg-type]
    )


@pytest.mark.parametrize(
    ("market", "order", "reserved"),
    [
        (MARKET, request(Side.BUY, OrderType.LIMIT, quantity="2", price="50000"), "100100"),
        (RECEIVED, request(Side.BUY, OrderType.LIMIT, quantity="2", price="50000"), "100000"),
        (MARKET, request(Side.SELL, OrderType.LIMIT, quantity="2", price="50000"), "2"),
        (MARKET, request(Side.SELL, OrderType.MARKET, quantity="2"), "2"),
        (MARKET, request(Side.BUY, OrderType.STOP, quantity="1", stop_price="100"), "105.105"),
        (MARKET, request(Side.BUY, OrderType.STOP_LIMIT, quantity="1", stop_price="100", price="110"), "110.11"),
        (MARKET, request(Side.BUY, OrderType.MARKET, quote_amount="1000"), "1000"),
        (MARKET, request(Side.BUY, OrderType.MARKET, quantity="1"), "0"),
    ],
)
def test_what_an_order_reserves(market: Market, order: PlaceOrder, reserved: str) -> None:
    assert funds_needed(order, market, new_book(1))[2] == parse_units(reserved)


def test_a_market_buy_reserves_what_walking_the_book_costs() -> None:
    book = new_book(1)
    for sequence, price in ((1, 10_000), (2, 10_100)):
        book.apply(
            encode_command(
                Command(CommandKind.PLACE, sequence, 1, 1, sequence, 1, side=Side.SELL, price=price, quantity=1_000_000)
            )
        )
    order = request(Side.BUY, OrderType.MARKET, quantity="1.5")
    flags, limit, reserved = funds_needed(order, MARKET, book)
    assert flags == OrderFlag.LIMITED_NOTIONAL
    assert limit == parse_units("150.5")
    assert reserved == parse_units("150.6505")


def test_a_quote_amount_covers_notional_and_fee() -> None:
    flags, limit, reserved = funds_needed(request(Side.BUY, OrderType.MARKET, quote_amount="1000"), MARKET, new_book(1))
    assert flags == OrderFlag.LIMITED_NOTIONAL | OrderFlag.QUOTE_AMOUNT
    assert limit + -(-limit * MARKET.taker_fee // UNIT) <= reserved == 1000 * UNIT
    assert limit > parse_units("998.9")
