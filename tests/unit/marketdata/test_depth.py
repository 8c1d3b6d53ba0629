"""The committed depth: folded from events, never below zero."""

import pytest

from trade_engine.domain.enums import Side
from trade_engine.domain.events import Event, EventFlag, EventKind
from trade_engine.marketdata.depth import Depth, DepthError


def event(kind: EventKind, **fields: int) -> Event:
    empty = dict.fromkeys(Event._fields, 0)
    return Event(**(empty | {"kind": kind} | fields))


def rested(side: Side, price: int, quantity: int) -> Event:
    return event(EventKind.RESTED, side=side, price=price, quantity=quantity, leaves=quantity)


def test_levels_come_and_go() -> None:
    depth = Depth()
    for side, price, lots in ((0, 99, 5), (0, 98, 1), (0, 99, 2), (1, 101, 4), (1, 103, 1)):
        depth.fold(rested(Side(side), price, lots))
    assert depth.levels(Side.BUY, 10) == [(99, 7, 2), (98, 1, 1)]
    assert depth.levels(Side.SELL, 1) == [(101, 4, 1)]
    assert (depth.best(Side.BUY), depth.best(Side.SELL)) == (99, 101)
    depth.fold(event(EventKind.TRADE, side=Side.SELL, price=99, quantity=5, other_leaves=0))
    depth.fold(event(EventKind.TRADE, side=Side.SELL, price=99, quantity=1, other_leaves=1))
    assert depth.levels(Side.BUY, 10) == [(99, 1, 1), (98, 1, 1)]
    gone = event(EventKind.CANCELLED, side=Side.BUY, price=99, quantity=1, other_leaves=1, flags=EventFlag.RESTING)
    depth.fold(gone)
    assert depth.levels(Side.BUY, 10) == [(98, 1, 1)]
    assert depth.sequence == 8
    with pytest.raises(DepthError):
        depth.fold(gone)


def test_an_iceberg_shows_its_visible_part() -> None:
    depth = Depth()
    depth.fold(event(EventKind.RESTED, side=Side.SELL, price=10, quantity=3, leaves=10))
    depth.fold(event(EventKind.TRADE, side=Side.BUY, price=10, quantity=3, other_leaves=7))
    depth.fold(event(EventKind.REFILLED, side=Side.SELL, price=10, quantity=3, leaves=7))
    assert depth.levels(Side.SELL, 5) == [(10, 3, 1)]


def test_changes_in_place_and_moves() -> None:
    depth = Depth()
    depth.fold(rested(Side.BUY, 10, 8))
    depth.fold(
        event(EventKind.REDUCED, side=Side.BUY, price=10, other_number=8, other_leaves=5, flags=EventFlag.RESTING)
    )
    assert depth.levels(Side.BUY, 5) == [(10, 5, 1)]
    depth.fold(
        event(EventKind.AMENDED, side=Side.BUY, price=10, other_number=5, other_leaves=4, flags=EventFlag.RESTING)
    )
    assert depth.levels(Side.BUY, 5) == [(10, 4, 1)]
    depth.fold(event(EventKind.PULLED, side=Side.BUY, price=10, other_leaves=4))
    depth.fold(event(EventKind.AMENDED, side=Side.BUY, price=11))
    depth.fold(rested(Side.BUY, 11, 4))
    assert depth.levels(Side.BUY, 5) == [(11, 4, 1)]
    depth.fold(event(EventKind.CANCELLED, side=Side.BUY, price=9, quantity=1))
    assert depth.best(Side.SELL) == 0
