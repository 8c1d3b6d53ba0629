"""A book kept from depth messages: compared with a plain dict, and refusing what does not follow."""

import random
import zlib
from decimal import Decimal

import pytest

from trade_engine.client import DepthMessage, LocalBook, OutOfStep, PriceLevel
from trade_engine.client.messages import DepthLevels, decoder

Rows = dict[str, str]


def levels(rows: Rows) -> list[PriceLevel]:
    return [PriceLevel(Decimal(price), Decimal(quantity)) for price, quantity in rows.items()]


def message(
    first: int, last: int, bids: Rows, asks: Rows, *, snapshot: bool = False, checksum: int | None = None
) -> DepthMessage:
    return DepthMessage(
        sequence=last, snapshot=snapshot, symbol="BTC/USDT", first_sequence=None if snapshot else first,
        data=DepthLevels(levels(bids), levels(asks)), checksum=checksum,
    )  # fmt: skip


def plain_checksum(bids: Rows, asks: Rows) -> int:
    """By the words of the protocol, from the texts of the messages."""
    best_bids = sorted(bids.items(), key=lambda row: -Decimal(row[0]))[:10]
    best_asks = sorted(asks.items(), key=lambda row: Decimal(row[0]))[:10]
    parts = []
    for place in range(10):
        for side in (best_bids, best_asks):
            parts += [":".join(row) for row in side[place : place + 1]]
    return zlib.crc32(":".join(parts).encode())


def test_random_changes_give_the_same_book() -> None:
    seed = random.randrange(2**32)
    print("seed", seed)
    dice = random.Random(seed)
    bids: Rows = {"99.00": "1"}
    asks: Rows = {"101.00": "0.00000001"}
    book, sequence = LocalBook("BTC/USDT"), 7
    book.apply(message(0, sequence, bids, asks, snapshot=True, checksum=plain_checksum(bids, asks)))
    for _ in range(2_000):
        changes: tuple[Rows, Rows] = ({}, {})
        for side, rows, start in ((0, bids, 80), (1, asks, 101)):
            for _ in range(dice.randrange(3)):
                price = f"{start + dice.randrange(20)}.{dice.randrange(2)}0"
                quantity = dice.choice(["0", "1.5", "2", "0.00000001"])
                changes[side][price] = quantity
                rows.pop(price, None) if quantity == "0" else rows.__setitem__(price, quantity)
        first, sequence = sequence + 1, sequence + dice.randrange(1, 4)
        book.apply(message(first, sequence, *changes, checksum=plain_checksum(bids, asks)))
    assert book.bids() == sorted(levels(bids), reverse=True)
    assert book.asks() == sorted(levels(asks))
    assert (book.best_bid, book.best_ask) == (max(levels(bids)), min(levels(asks)))
    assert (book.sequence, book.synced, book.resyncs) == (sequence, True, 0)
    assert len(book.bids(3)) == 3


def test_a_gap_a_repeat_and_a_wrong_checksum_are_noticed() -> None:
    start = message(0, 5, {"1.00": "1"}, {"2.00": "1"}, snapshot=True)
    wrong = [
        message(7, 8, {}, {}),
        message(5, 6, {}, {}),
        message(6, 6, {"1.00": "2"}, {}, checksum=plain_checksum({"1.00": "1"}, {"2.00": "1"})),
    ]
    book = LocalBook("BTC/USDT")
    with pytest.raises(OutOfStep, match="before the snapshot"):
        book.apply(message(1, 1, {}, {}))
    for count, bad in enumerate(wrong, 1):
        book.apply(start)
        assert book.synced
        with pytest.raises(OutOfStep, match="BTC/USDT"):
            book.apply(bad)
        assert (book.synced, book.resyncs) == (False, count)
        with pytest.raises(OutOfStep):
            book.apply(message(6, 6, {}, {}))
    book.apply(start)
    assert book.bids() == levels({"1.00": "1"})
    assert book.best_ask == PriceLevel(Decimal(2), Decimal(1))


def test_a_snapshot_replaces_everything() -> None:
    book = LocalBook("BTC/USDT")
    book.apply(message(0, 5, {"1.00": "1", "0.90": "1"}, {"2.00": "1", "2.10": "1"}, snapshot=True))
    book.apply(message(0, 9, {"1.10": "3"}, {"1.90": "4"}, snapshot=True))
    assert (book.bids(), book.asks()) == (levels({"1.10": "3"}), levels({"1.90": "4"}))
    assert book.sequence == 9


def test_an_empty_book() -> None:
    frame = b'{"type":"depth","symbol":"X","sequence":0,"snapshot":true,"checksum":0,"data":{"bids":[],"asks":[]}}'
    empty = decoder.decode(frame)
    assert isinstance(empty, DepthMessage)
    book = LocalBook("X")
    book.apply(empty)
    assert (book.synced, book.best_bid, book.best_ask, book.bids()) == (True, None, None, [])
