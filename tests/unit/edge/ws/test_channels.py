"""Market channels: what readers get, and that a book stitched from it is the book."""

import json
import random
import zlib
from typing import Any

import pytest

from trade_engine.domain.enums import Side
from trade_engine.domain.events import Event, EventKind
from trade_engine.domain.market import Market, default_markets
from trade_engine.domain.orders import Trade
from trade_engine.domain.scale import UNIT
from trade_engine.edge.ws import channels
from trade_engine.edge.ws.channels import BookGroup, BookImage, CandlesGroup, DepthGroup, LevelsGroup, Tape, TradesGroup
from trade_engine.sequencer.public_market import PublicMarket


def messages(frames: bytes) -> list[Any]:
    """The JSON of each frame (server frames are not masked)."""
    found, at = [], 0
    while at < len(frames):
        size, head = frames[at + 1], 2
        if size == 126:
            size, head = int.from_bytes(frames[at + 2 : at + 4], "big"), 4
        elif size == 127:
            size, head = int.from_bytes(frames[at + 2 : at + 10], "big"), 10
        found.append(json.loads(frames[at + head : at + head + size]))
        at += head + size
    return found


def rest(view: PublicMarket, side: Side, price: int, lots: int) -> None:
    empty = dict.fromkeys(Event._fields, 0)
    view.depth.fold(Event(**(empty | {"kind": EventKind.RESTED, "side": side, "price": price, "quantity": lots})))


def unchanged(view: PublicMarket, count: int) -> None:
    """So many events that change no level, as refused and immediately cancelled orders make."""
    empty = dict.fromkeys(Event._fields, 0)
    for _ in range(count):
        view.depth.fold(Event(**(empty | {"kind": EventKind.REJECTED})))


def group_at(view: PublicMarket, position: int) -> DepthGroup:
    """A group that has come so far and has no snapshot kept."""
    group = DepthGroup(lambda: view, BookImage())
    group.position = position
    return group


class Stitched:
    """A client's book: strings as they come."""

    def __init__(self) -> None:
        self.sides: dict[str, dict[str, str]] = {}
        self.sequence = -1

    def take_all(self, frames: bytes | None) -> None:
        for message in messages(frames or b""):
            self.take(message)

    def take(self, message: Any) -> None:
        if message.get("snapshot"):
            self.sides = {"bids": {}, "asks": {}}
        else:
            assert message["first_sequence"] == self.sequence + 1, message
        for side, levels in message["data"].items():
            for price, quantity in levels:
                if quantity == "0":
                    self.sides[side].pop(price, None)
                else:
                    self.sides[side][price] = quantity
        self.sequence = message["sequence"]
        assert message["checksum"] == self.checksum()

    def checksum(self) -> int:
        bids = sorted(self.sides["bids"].items(), key=lambda level: -float(level[0]))[:10]
        asks = sorted(self.sides["asks"].items(), key=lambda level: float(level[0]))[:10]
        parts = []
        for rank in range(10):
            parts += [":".join(side[rank]) for side in (bids, asks) if rank < len(side)]
        return zlib.crc32(":".join(parts).encode())


@pytest.fixture
def market() -> Market:
    return default_markets()[0]


@pytest.fixture
def view(market: Market) -> PublicMarket:
    return PublicMarket(market)


def shuffle(view: PublicMarket, chance: random.Random, steps: int) -> None:
    for _ in range(steps):
        side = Side(chance.randrange(2))
        price = chance.randrange(100, 140) if side is Side.BUY else chance.randrange(141, 180)
        known = {level[0]: level for level in view.depth.levels(side, 1000)}
        if price in known and chance.random() < 0.5:
            view.depth.sequence += 1
            view.depth.change(side, price, -known[price][1], -known[price][2])
        else:
            rest(view, side, price, chance.randrange(1, 9))


@pytest.mark.parametrize("seed", range(5))
def test_a_book_stitched_from_updates_is_the_book(view: PublicMarket, seed: int) -> None:
    chance = random.Random(seed)
    group = DepthGroup(lambda: view, BookImage())
    early, late = Stitched(), Stitched()
    left_at = 0
    for round_ in range(60):
        if round_ == 0:
            early.take_all(group.snapshot())
        if round_ == 20:
            late.take_all(group.snapshot())
        shuffle(view, chance, chance.randrange(4))
        early.take_all(group.update())
        if 20 <= round_ < 40:
            left_at = late.sequence
        if round_ == 59:
            late.take_all(group.catch_up(left_at))
    shown = Stitched()
    shown.take_all(DepthGroup(lambda: view, BookImage()).snapshot())
    assert early.sides == late.sides == shown.sides
    assert shown.sides["bids"]


def test_a_late_reader_of_a_deep_book_gets_the_kept_snapshot_and_the_changes(view: PublicMarket) -> None:
    for price in range(1, 101):
        rest(view, Side.BUY, price, 1)
    group = DepthGroup(lambda: view, BookImage())
    assert len(messages(group.snapshot())) == 1
    rest(view, Side.BUY, 50, 2)
    group.update()
    both = group.snapshot()
    assert [message.get("snapshot", False) for message in messages(both)] == [True, False]
    book = Stitched()
    book.take_all(both)
    assert book.sides["bids"]["0.50"] == "0.000003"
    shuffle(view, random.Random(1), 60)
    group.update()
    assert len(messages(group.snapshot())) == 1, "too much has changed: a new one"


def test_changes_that_are_no_longer_known_give_a_snapshot(view: PublicMarket, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trade_engine.marketdata.depth._CHANGES_MAX", 5)
    group = DepthGroup(lambda: view, BookImage())
    for price in range(1, 8):
        rest(view, Side.BUY, price, 1)
    assert messages(group.update() or b"")[0]["snapshot"] is True
    assert view.depth.changes_since(2) is not None
    assert view.depth.changes_since(1) is None


def test_memory_built_anew_gives_a_snapshot(view: PublicMarket, market: Market) -> None:
    views = [view]
    group = DepthGroup(lambda: views[0], BookImage())
    rest(view, Side.BUY, 5, 1)
    group.update()
    views[0] = PublicMarket(market)
    views[0].depth.change(Side.BUY, 6, 2, 1)
    views[0].depth.start_at(9)
    (message,) = messages(group.update() or b"")
    assert message["snapshot"] is True
    assert message["data"]["bids"] == [["0.06", "0.000002"]]


def test_states_are_told_when_they_change(view: PublicMarket) -> None:
    top, levels = BookGroup(lambda: view), LevelsGroup(lambda: view, 5)
    assert messages(top.snapshot())[0]["data"] == {"bid": None, "ask": None}
    rest(view, Side.BUY, 100, 1)
    position = top.position
    assert messages(top.update() or b"")[0]["data"] == {"bid": ["1.00", "0.000001"], "ask": None}
    assert messages(top.catch_up(position) or b"")[0]["data"]["bid"] == ["1.00", "0.000001"]
    assert messages(levels.update() or b"")[0]["levels"] == 5
    rest(view, Side.BUY, 90, 1)
    assert top.update() is None
    assert top.catch_up(top.position) is None
    assert messages(levels.update() or b"")[0]["snapshot"] is True


def trade(number: int, time_us: int = 0) -> Trade:
    return Trade(
        trade_id=f"t{number}", sequence=number, market_id=1, price=100 * UNIT, quantity=UNIT, notional=100 * UNIT,
        buyer_order_id="b", seller_order_id="s", buyer_user_id="u", seller_user_id="v", buyer_fee=0, seller_fee=0,
        buyer_fee_asset="USDT", seller_fee_asset="USDT", is_buyer_maker=False, executed_us=time_us,
    )  # fmt: skip


def test_trades_are_told_once_and_what_is_left_out_is_counted(view: PublicMarket) -> None:
    tape = Tape(keep=3, most=3)
    group = TradesGroup(lambda: view, tape)
    for number in (1, 2, 2, 1):
        tape.add(trade(number))
    assert [t["id"] for t in messages(group.update() or b"")[0]["data"]] == ["t1", "t2"]
    assert group.update() is None
    position = group.position
    for number in range(3, 8):
        tape.add(trade(number))
    (told,) = messages(group.update() or b"")
    assert [t["id"] for t in told["data"]] == ["t5", "t6", "t7"]
    assert told["dropped"] == 2
    assert messages(group.catch_up(position) or b"")[0]["dropped"] == 2
    assert channels.RECENT_TRADES >= 3
    assert "dropped" not in messages(group.snapshot())[0]


def test_a_candle_is_told_closed_before_the_next(view: PublicMarket) -> None:
    minute = 60_000_000
    group = CandlesGroup(lambda: view, "1m", 250, lambda: 0)
    view.add_trade(trade(1, minute))
    (first,) = messages(group.update() or b"")
    assert (first["interval"], first["data"]["trades"], first["data"]["closed"]) == ("1m", 1, False)
    view.add_trade(trade(2, minute + 1))
    view.add_trade(trade(3, 2 * minute))
    ended, running = (message["data"] for message in messages(group.update() or b""))
    assert (ended["trades"], ended["closed"]) == (2, True)
    assert (running["trades"], running["closed"]) == (1, False)


@pytest.mark.parametrize("image", ["none", "kept"])
def test_events_that_change_no_level_fit_who_came_before_and_after_them(view: PublicMarket, image: str) -> None:
    for price in range(1, 41):
        rest(view, Side.BUY, price, 1)
    group = DepthGroup(lambda: view, BookImage())
    early, late, lagging = Stitched(), Stitched(), Stitched()
    for book in (early, lagging):
        book.take_all(group.snapshot())
    rest(view, Side.BUY, 5, 1)
    early.take_all(group.update())
    unchanged(view, 2)
    assert group.update() is None
    if image == "none":
        group = group_at(view, group.position)
    late.take_all(group.snapshot())
    lagging.take_all(group.catch_up(lagging.sequence))
    rest(view, Side.BUY, 6, 1)
    frame = group.update()
    for book in (early, late, lagging):
        book.take_all(frame)
    assert early.sides == late.sides == lagging.sides
    assert early.sequence == view.depth.sequence


def test_a_kept_snapshot_leads_to_where_a_new_group_begins(view: PublicMarket) -> None:
    rest(view, Side.BUY, 1, 1)
    image, book = BookImage(), Stitched()
    DepthGroup(lambda: view, image).snapshot()
    unchanged(view, 3)
    group = DepthGroup(lambda: view, image)
    book.take_all(group.snapshot())
    rest(view, Side.BUY, 2, 1)
    book.take_all(group.update())
    assert book.sequence == view.depth.sequence
