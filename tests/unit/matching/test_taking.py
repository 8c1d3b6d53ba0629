"""What a taker gets, in tables: the orders before, the order, then the events that must follow (after ACCEPTED)."""

import pytest

from tests.unit.matching.desk import Desk
from trade_engine.domain.enums import Side

SELLS = [(1, "SELL LIMIT", 5, 100), (2, "SELL LIMIT", 5, 100), (3, "SELL LIMIT", 5, 102)]

TABLE = {
    "the maker's price, first in time first": (
        (4, "BUY LIMIT", 7, 101, {}),
        ["TRADE 4 with 1: 5 at 100, left 2 and 0", "TRADE 4 with 2: 2 at 100, left 0 and 3"],
    ),
    "the rest of a limit order rests": (
        (4, "BUY LIMIT", 12, 101, {}),
        [
            "TRADE 4 with 1: 5 at 100, left 7 and 0",
            "TRADE 4 with 2: 5 at 100, left 2 and 0",
            "RESTED 4 2 of 2 at 101",
        ],
    ),
    "the rest of an IOC order is cancelled": (
        (4, "BUY LIMIT IOC", 12, 100, {}),
        [
            "TRADE 4 with 1: 5 at 100, left 7 and 0",
            "TRADE 4 with 2: 5 at 100, left 2 and 0",
            "CANCELLED 4 2 IOC_REMAINDER",
        ],
    ),
    "a FOK order that fits is filled whole": (
        (4, "BUY LIMIT FOK", 10, 100, {}),
        ["TRADE 4 with 1: 5 at 100, left 5 and 0", "TRADE 4 with 2: 5 at 100, left 0 and 0"],
    ),
    "a FOK order that does not fit touches nothing": (
        (4, "BUY LIMIT FOK", 11, 101, {}),
        ["CANCELLED 4 11 FOK_REMAINDER"],
    ),
    "a market order walks the book": (
        (4, "BUY MARKET", 11, 0, {}),
        [
            "TRADE 4 with 1: 5 at 100, left 6 and 0",
            "TRADE 4 with 2: 5 at 100, left 1 and 0",
            "TRADE 4 with 3: 1 at 102, left 0 and 4",
        ],
    ),
    "a market order stops where its money ends": (
        (4, "BUY MARKET LIMITED_NOTIONAL", 11, 0, {"max_notional": 750}),
        [
            "TRADE 4 with 1: 5 at 100, left 6 and 0",
            "TRADE 4 with 2: 2 at 100, left 4 and 3",
            "CANCELLED 4 4 MAX_NOTIONAL_REACHED",
        ],
    ),
    "no money buys nothing": (
        (4, "BUY MARKET LIMITED_NOTIONAL", 11, 0, {"max_notional": 0}),
        ["CANCELLED 4 11 MAX_NOTIONAL_REACHED"],
    ),
    "a market order on an empty side": (
        (4, "SELL MARKET", 3, 0, {}),
        ["CANCELLED 4 3 NO_LIQUIDITY"],
    ),
    "a purchase by amount": (
        (4, "BUY MARKET LIMITED_NOTIONAL QUOTE_AMOUNT", 0, 0, {"max_notional": 750}),
        [
            "TRADE 4 with 1: 5 at 100, left 250 and 0",
            "TRADE 4 with 2: 2 at 100, left 50 and 3",
            "CANCELLED 4 0 MAX_NOTIONAL_REACHED",
        ],
    ),
    "a purchase by amount that comes out even": (
        (4, "BUY MARKET LIMITED_NOTIONAL QUOTE_AMOUNT", 0, 0, {"max_notional": 700}),
        ["TRADE 4 with 1: 5 at 100, left 200 and 0", "TRADE 4 with 2: 2 at 100, left 0 and 3"],
    ),
    "self-trade prevention: the newest goes": (
        (4, "BUY LIMIT", 7, 100, {"user": 102}),
        ["TRADE 4 with 1: 5 at 100, left 2 and 0", "CANCELLED 4 2 SELF_TRADE"],
    ),
    "self-trade prevention: the oldest goes": (
        (4, "BUY LIMIT CANCEL_OLDEST", 7, 100, {"user": 101}),
        [
            "CANCELLED 1 5 SELF_TRADE",
            "TRADE 4 with 2: 5 at 100, left 2 and 0",
            "RESTED 4 2 of 2 at 100",
        ],
    ),
    "self-trade prevention: both go": (
        (4, "BUY LIMIT CANCEL_BOTH", 7, 100, {"user": 102}),
        ["TRADE 4 with 1: 5 at 100, left 2 and 0", "CANCELLED 2 5 SELF_TRADE", "CANCELLED 4 2 SELF_TRADE"],
    ),
    "self-trade prevention: both shrink": (
        (4, "BUY LIMIT DECREMENT", 3, 100, {"user": 101}),
        ["REDUCED 1 by 3 to 2", "CANCELLED 4 3 SELF_TRADE"],
    ),
    "self-trade prevention: both shrink, and the taker goes on": (
        (4, "BUY LIMIT DECREMENT", 7, 100, {"user": 101}),
        ["CANCELLED 1 5 SELF_TRADE", "REDUCED 4 by 5 to 2", "TRADE 4 with 2: 2 at 100, left 0 and 3"],
    ),
    "self-trade prevention off: one trades with oneself": (
        (4, "BUY LIMIT NONE", 3, 100, {"user": 101}),
        ["TRADE 4 with 1: 3 at 100, left 0 and 2"],
    ),
    "a FOK order that would meet its own user does not fit": (
        (4, "BUY LIMIT FOK", 7, 100, {"user": 102}),
        ["CANCELLED 4 7 FOK_REMAINDER"],
    ),
    "post-only rests where it does not take": (
        (4, "BUY LIMIT POST_ONLY", 7, 99, {}),
        ["RESTED 4 7 of 7 at 99"],
    ),
}


@pytest.mark.parametrize("name", TABLE)
def test_taking(desk: Desk, name: str) -> None:
    for order in SELLS:
        desk.place(*order)
    (order_number, words, quantity, price, fields), expected = TABLE[name]
    assert desk.place(order_number, words, quantity, price, **fields) == [f"ACCEPTED {order_number}", *expected]


REFUSED = {
    "POST_ONLY_WOULD_TAKE": ("BUY LIMIT POST_ONLY", 5, 100, {}),
    "DUPLICATE_ORDER_ID": ("BUY LIMIT", 5, 90, {}),
    "INVALID_QUANTITY": ("BUY LIMIT", 0, 90, {}),
    "INVALID_PRICE": ("BUY MARKET", 5, 90, {}),
    "INVALID_STOP_PRICE": ("BUY STOP", 5, 0, {}),
    "NOTIONAL_OVERFLOW": ("BUY LIMIT", 4_000_000_000, 4_000_000_000, {}),
    "INVALID_FLAGS": ("SELL LIMIT LIMITED_NOTIONAL", 5, 190, {}),
    "INVALID_DISPLAY_QUANTITY": ("BUY LIMIT", 5, 90, {"display": 6}),
    "INVALID_EXPIRY": ("BUY LIMIT GTD", 5, 90, {}),
    "INVALID_LINK": ("BUY LIMIT", 5, 90, {"linked_number": 77}),
    "INVALID_COMMAND": ("BUY LIMIT", 5, 90, {"user": 0}),
}


@pytest.mark.parametrize("reason", REFUSED)
def test_a_refusal_changes_nothing(desk: Desk, reason: str) -> None:
    for order in SELLS:
        desk.place(*order)
    before = desk.book.state_hash()
    words, quantity, price, fields = REFUSED[reason]
    order_number = 1 if reason == "DUPLICATE_ORDER_ID" else 4
    assert desk.place(order_number, words, quantity, price, **fields) == [f"REJECTED {order_number} {reason}"]
    assert desk.book.state_hash() == before


def test_cancel_and_reduce(desk: Desk) -> None:
    for order in SELLS:
        desk.place(*order)
    assert desk.reduce(1, 2) == ["REDUCED 1 by 2 to 3"]
    assert desk.asks()[0] == (100, 8, [1, 2])
    assert desk.cancel(2) == ["CANCELLED 2 5 USER_REQUEST"]
    assert desk.cancel(2) == ["REJECTED 2 UNKNOWN_ORDER"]
    assert desk.reduce(1, 3) == ["CANCELLED 1 3 USER_REQUEST"]
    assert desk.asks() == [(102, 5, [3])]


def test_depth_and_walk(desk: Desk) -> None:
    for order in SELLS:
        desk.place(*order)
    desk.place(4, "BUY LIMIT", 3, 98)
    assert (desk.book.best_bid(), desk.book.best_ask()) == (98, 100)
    assert desk.book.walk(Side.BUY, 12) == (12, 10 * 100 + 2 * 102)
    assert desk.book.walk(Side.BUY, 12, 101) == (10, 1_000)
    assert desk.book.walk(Side.SELL, 12) == (3, 294)
    assert desk.book.walk(Side.BUY, 0) == (0, 0)
    assert desk.book.depth(Side.SELL, 1) == [(100, 10, 2)]
    assert desk.book.depth(Side.SELL, 0) == []


def test_a_level_of_more_than_64_bits(desk: Desk) -> None:
    most = 9_000_000_000_000_000_000
    for order_number in (1, 2, 3):
        desk.place(order_number, "SELL LIMIT", most, 1)
    assert desk.book.depth(Side.SELL, 1) == [(1, 3 * most, 3)]
    assert desk.book.walk(Side.BUY, most) == (most, most)
