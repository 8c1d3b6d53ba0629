"""A book is rebuilt from what another one told; what contradicts itself is refused and leaves the book empty."""

from collections.abc import Callable

import pytest

from tests.unit.matching.desk import MARKET, Desk
from trade_engine.matching.books import BookKind, default_kind, new_book
from trade_engine.matching.protocol import MarketMemory, Resting
from trade_engine.matching.state_hash import (
    decode_memory,
    decode_resting,
    encode_memory,
    encode_resting,
)

EMPTY = new_book(MARKET, "reference").state_hash()


def _filled(desk: Desk) -> tuple[MarketMemory, list[Resting]]:
    desk.rules(band_ppm=900_000, max_open=9, max_fills=7)
    desk.place(1, "SELL LIMIT", 5, 100)
    desk.place(2, "SELL LIMIT", 9, 101, display=2)
    desk.place(3, "BUY LIMIT DAY", 9, 100, expires_us=5_000)
    desk.place(4, "BUY STOP", 2, stop_price=150)
    desk.place(5, "BUY STOP_LIMIT", 2, 120, stop_price=140)
    desk.place(6, "BUY LIMIT LIMITED_NOTIONAL", 3, 90, max_notional=400)
    desk.place(7, "BUY STOP", 3, stop_price=170, linked_number=6, user=106)
    return desk.book.memory(), desk.book.live_orders()


def test_a_restored_book_is_the_same_book(desk: Desk, kind: BookKind) -> None:
    memory, orders = _filled(desk)
    fresh = Desk(new_book(MARKET, kind))
    fresh.book.restore(memory, orders)
    fresh.book.check()
    assert fresh.book.state_hash() == desk.book.state_hash() != EMPTY
    assert (fresh.bids(), fresh.asks()) == (desk.bids(), desk.asks())
    assert fresh.book.next_expiry() == 5_000
    assert len(fresh.book) == 6
    assert fresh.place(8, "BUY LIMIT", 20, 200) == desk.place(8, "BUY LIMIT", 20, 200)
    assert fresh.book.state_hash() == desk.book.state_hash()


def test_every_number_of_the_memory_is_in_the_hash(kind: BookKind) -> None:
    memory = MarketMemory(70, 1, 9, 1, 2, 3, 4, 5, rules=1, reached_high=8, reached_low=6, next_high=12, next_low=9)
    others = [memory._replace(**{name: value + 1}) for name, value in memory._asdict().items() if name != "rules"]
    hashes = set()
    for told in (memory, memory._replace(rules=0), *others):
        book = new_book(MARKET, kind)
        book.restore(told, [])
        hashes.add(book.state_hash())
    assert len(hashes) == len(others) + 2


def test_stops_that_wait_are_in_the_hash_of_a_fixed_format(desk: Desk) -> None:
    """As ``test_the_hash_is_a_fixed_format``, of a market in which stops wait for their turn."""
    desk.rules(budget=1)
    desk.place(1, "SELL LIMIT", 9, 100)
    desk.place(2, "BUY STOP", 1, stop_price=100)
    desk.place(3, "BUY LIMIT", 1, 100)
    assert desk.book.triggers_due()
    assert desk.book.state_hash() == HASH_WITH_A_WAITING_STOP


def test_the_twins_have_one_hash(desk: Desk) -> None:
    memory, orders = _filled(desk)
    for kind in ("reference", default_kind()):
        twin = new_book(MARKET, kind)
        twin.restore(memory, orders)
        assert twin.state_hash() == desk.book.state_hash()


def _twice(orders: list[Resting]) -> list[Resting]:
    return [*orders, orders[0]._replace(priority=6)]


WRONG: dict[str, Callable[[list[Resting]], list[Resting]]] = {
    "comes twice": _twice,
    "out of order": lambda orders: orders[::-1],
    "crossed": lambda orders: [o._replace(price=95) if o.order_number == 2 else o for o in orders],
    "quantities": lambda orders: [orders[0]._replace(leaves=10), *orders[1:]],
    "out of range": lambda orders: [orders[0]._replace(user=0), *orders[1:]],
    "cannot rest": lambda orders: [orders[0]._replace(price=0), *orders[1:]],
    "visible part": lambda orders: [orders[0]._replace(display_remaining=3), *orders[1:]],
    "other leg": lambda orders: [o for o in orders if o.order_number != 7],
    "cannot wait": lambda orders: [o._replace(stop_price=0) if o.waiting else o for o in orders],
    "more than it may": lambda orders: [o._replace(max_notional=1) if o.order_number == 6 else o for o in orders],
    "enumeration": lambda orders: [orders[0]._replace(type=9), *orders[1:]],
}


@pytest.mark.parametrize("problem", WRONG)
def test_contradictions_are_refused(desk: Desk, kind: BookKind, problem: str) -> None:
    memory, orders = _filled(desk)
    fresh = new_book(MARKET, kind)
    with pytest.raises(ValueError, match=problem):
        fresh.restore(memory, WRONG[problem](orders))
    assert len(fresh) == 0
    assert fresh.state_hash() == EMPTY


def test_only_an_empty_book_is_restored(desk: Desk) -> None:
    memory, orders = _filled(desk)
    with pytest.raises(ValueError, match="empty"):
        desk.book.restore(memory, orders)


def test_memory_out_of_range_is_refused(kind: BookKind) -> None:
    fresh = new_book(MARKET, kind)
    with pytest.raises(ValueError, match="range"):
        fresh.restore(MarketMemory(-1, 0, 0, 0, 0, 0, 0, 0), [])
    with pytest.raises(ValueError, match="state"):
        fresh.restore(MarketMemory(0, 9, 0, 0, 0, 0, 0, 0), [])
    quiet = MarketMemory(0, 0, 0, 0, 0, 0, 0, 0)
    with pytest.raises(ValueError, match="range"):
        fresh.restore(quiet._replace(rules=2), [])
    for high, low, next_high, next_low in ((5, 0, 0, 0), (0, 5, 0, 0), (5, 6, 0, 0), (6, 5, 9, 0), (0, 0, 9, 9)):
        told = quiet._replace(reached_high=high, reached_low=low, next_high=next_high, next_low=next_low)
        with pytest.raises(ValueError, match="turn"):
            fresh.restore(told, [])


def test_records_round_trip(desk: Desk) -> None:
    memory, orders = _filled(desk)
    assert decode_memory(encode_memory(memory)) == memory
    assert [decode_resting(encode_resting(order)) for order in orders] == orders


def test_the_hash_is_a_fixed_format(kind: BookKind) -> None:
    """Changing a record or the hash breaks every journal: this number may change only with a format version."""
    book = new_book(1, kind)
    book.place(5, 1, 0, 50, 3)
    assert book.state_hash() == HASH_OF_ONE_ORDER


HASH_WITH_A_WAITING_STOP = 198716861100067825088370277874295556207
HASH_OF_ONE_ORDER = 62820346402340848543280463909503992668
