"""A snapshot holds all of a book, is the same from both books, and is refused whole or taken whole."""

import random

import pytest

from tests.property.matching.random_flow import RandomFlow
from tests.unit.matching.desk import MARKET, Desk
from trade_engine.domain.commands import COMMAND_SIZE
from trade_engine.matching.books import BookKind, default_kind, new_book
from trade_engine.matching.protocol import Book
from trade_engine.matching.snapshot import seal_snapshot
from trade_engine.matching.state_hash import ORDER_RECORD_SIZE

SEEDS = (1, 2, 3)
#: Behind header and memory.
_ORDERS_AT = 124


def _played(kind: BookKind, flow: bytes) -> Book:
    book = new_book(MARKET, kind)
    book.apply(flow)
    return book


@pytest.mark.parametrize("seed", SEEDS)
def test_snapshot_and_tail_equal_the_replay_from_the_start(kind: BookKind, seed: int) -> None:
    flow = RandomFlow(seed).batch(4_000)
    whole = new_book(MARKET, kind)
    for cut in range(0, len(flow), 500 * COMMAND_SIZE):
        head = new_book(MARKET, kind)
        head.load(whole.dump())
        head.check()
        tail = flow[cut : cut + 500 * COMMAND_SIZE]
        assert head.apply(tail) == whole.apply(tail)
        assert head.state_hash() == whole.state_hash()
        assert head.dump() == whole.dump()


@pytest.mark.parametrize("seed", SEEDS)
def test_the_twins_give_the_same_bytes_and_read_each_other(kind: BookKind, seed: int) -> None:
    flow = RandomFlow(seed).batch(2_000)
    one, other = _played("reference", flow), _played(default_kind(), flow)
    assert one.dump() == other.dump() == one.dump()
    fresh = new_book(MARKET, kind)
    fresh.load(one.dump())
    assert (fresh.state_hash(), fresh.dump()) == (one.state_hash(), one.dump())


def test_an_empty_book_too(kind: BookKind) -> None:
    fresh = new_book(MARKET, kind)
    fresh.load(new_book(MARKET, "reference").dump())
    assert len(fresh) == 0


def test_any_damage_is_refused_and_changes_nothing(kind: BookKind) -> None:
    snapshot = _played("reference", RandomFlow(5).batch(300)).dump()
    fresh = new_book(MARKET, kind)
    fresh.apply(b"")
    before = fresh.dump()
    draw = random.Random(5)
    for place in [*range(120), *draw.sample(range(120, len(snapshot)), 200), len(snapshot) - 1]:
        damaged = bytearray(snapshot)
        damaged[place] ^= 1 << draw.randrange(8)
        with pytest.raises(ValueError, match="snapshot"):
            fresh.load(bytes(damaged))
    for size in [*range(120), *draw.sample(range(len(snapshot)), 50), len(snapshot) - 1]:
        with pytest.raises(ValueError, match="snapshot"):
            fresh.load(snapshot[:size])
    with pytest.raises(ValueError, match="orders"):
        fresh.load(snapshot + b"\0")
    assert fresh.dump() == before
    fresh.load(snapshot)
    assert fresh.dump() == snapshot


def test_another_version_and_another_market_are_refused(desk: Desk, kind: BookKind) -> None:
    desk.place(1, "SELL LIMIT", 5, 100)
    snapshot = desk.book.dump()
    with pytest.raises(ValueError, match="version 3"):
        new_book(MARKET, kind).load(snapshot[:6] + b"\3" + snapshot[7:])
    with pytest.raises(ValueError, match="of market 7, not 8"):
        new_book(MARKET + 1, kind).load(snapshot)


def test_only_an_empty_book_is_loaded(desk: Desk) -> None:
    desk.place(1, "SELL LIMIT", 5, 100)
    before = desk.book.dump()
    with pytest.raises(ValueError, match="empty"):
        desk.book.load(before)
    assert desk.book.dump() == before


def test_a_sound_seal_around_a_crossed_book_leaves_the_rules_that_were_set(desk: Desk, kind: BookKind) -> None:
    desk.place(1, "SELL LIMIT", 5, 100)
    sell = desk.book.dump()[_ORDERS_AT:-32]
    desk.cancel(1)
    desk.place(2, "BUY LIMIT", 5, 100)
    snapshot = desk.book.dump()
    crossed = seal_snapshot(MARKET, snapshot[20:_ORDERS_AT], sell + snapshot[_ORDERS_AT:-32])
    assert len(sell) == ORDER_RECORD_SIZE
    fresh = Desk(new_book(MARKET, kind))
    fresh.rules(max_open=3)
    before = fresh.book.dump()
    with pytest.raises(ValueError, match="crossed"):
        fresh.book.load(crossed)
    assert fresh.book.dump() == before


def test_the_layout_is_a_fixed_format(kind: BookKind) -> None:
    """Snapshots outlive versions of the program: these bytes may change only with the format's version."""
    snapshot = new_book(1, kind).dump()
    assert snapshot[:20].hex() == "5445534e41500200010000000000000000000000"
    assert snapshot[20:_ORDERS_AT] == bytes(104)
    assert snapshot[_ORDERS_AT:].hex() == CHECKSUM_OF_AN_EMPTY_BOOK


def test_a_snapshot_of_version_1_is_still_read(kind: BookKind) -> None:
    fresh = new_book(1, kind)
    fresh.load(
        bytes.fromhex("5445534e41500100010000000000000000000000") + bytes(64) + bytes.fromhex(VERSION_1_CHECKSUM)
    )
    assert fresh.dump() == new_book(1, kind).dump()


CHECKSUM_OF_AN_EMPTY_BOOK = "c0733d32fee3dd30750dc84d21a95e061ad64ae7e1c00deb337a88444984e6c9"
VERSION_1_CHECKSUM = "a17e0f17f89ffb9587db74d0c2915f31e5fd1e044e4b26919ff6b73c04c7ed58"
