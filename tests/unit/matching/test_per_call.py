"""The per-call interface does what ``apply`` does: same book, same outcomes."""

import random

import pytest

from tests.unit.matching.desk import MARKET, Desk
from trade_engine.domain.commands import Command, CommandKind, encode_command
from trade_engine.domain.enums import OrderType, Reason, Side, TimeInForce
from trade_engine.domain.events import EventKind, decode_events
from trade_engine.matching.books import BookKind, new_book
from trade_engine.matching.protocol import Book

_SILENT = {EventKind.ACCEPTED, EventKind.RESTED, EventKind.PENDING}


def test_an_order_that_rests_answers_with_the_shared_empty_tuple(book: Book) -> None:
    assert book.place(1, 1, Side.SELL, 100, 5) is book.place(2, 1, Side.SELL, 101, 5) == ()
    assert book.cancel(1) == ()
    assert book.reduce(2, 1) == ()
    assert book.reduce(2, 9) == ()
    assert len(book) == 0


def test_fills_and_remainders_are_told(book: Book) -> None:
    book.place(1, 1, Side.SELL, 100, 5)
    book.place(2, 2, Side.SELL, 101, 5)
    assert book.place(3, 3, Side.BUY, 0, 12, OrderType.MARKET) == (
        (EventKind.TRADE, 0, 1, 100, 5),
        (EventKind.TRADE, 0, 2, 101, 5),
        (EventKind.CANCELLED, Reason.MARKET_REMAINDER, 3, 0, 2),
    )


def test_refusals_are_told(book: Book) -> None:
    assert book.cancel(9) == ((EventKind.REJECTED, Reason.UNKNOWN_ORDER, 9, 0, 0),)
    assert book.reduce(9, 1) == ((EventKind.REJECTED, Reason.UNKNOWN_ORDER, 9, 0, 0),)
    assert book.place(1, 1, Side.BUY, 0, 5) == ((EventKind.REJECTED, Reason.INVALID_PRICE, 1, 0, 0),)
    book.place(2, 1, Side.BUY, 10, 5)
    assert book.place(2, 1, Side.BUY, 10, 5) == ((EventKind.REJECTED, Reason.DUPLICATE_ORDER_ID, 2, 0, 0),)


@pytest.mark.parametrize("seed", range(3))
def test_it_does_what_apply_does(kind: BookKind, seed: int) -> None:
    draw = random.Random(seed)
    called, applied = new_book(MARKET, kind), new_book(MARKET, kind)
    for order_number in range(1, 1_500):
        what, target = draw.random(), draw.randint(1, order_number)
        if what < 0.6:
            user, side, price = draw.randint(1, 5), draw.getrandbits(1), draw.randint(95, 105)
            quantity, tif, stp = draw.randint(1, 20), draw.choice((0, 0, 0, 1, 2)), draw.randint(0, 4)
            answer = called.place(order_number, user, side, price, quantity, 0, tif, stp)
            command = Command(
                CommandKind.PLACE, 0, 0, MARKET, order_number, user, side, 0, tif, stp, price=price, quantity=quantity
            )
        elif what < 0.85:
            answer = called.cancel(target)
            command = Command(CommandKind.CANCEL, 0, 0, MARKET, target)
        else:
            answer = called.reduce(target, 3)
            command = Command(CommandKind.REDUCE, 0, 0, MARKET, target, quantity=3)
        assert answer == _outcomes(applied, command)
        assert called.state_hash() == applied.state_hash()


def _outcomes(book: Book, command: Command) -> tuple[tuple[int, int, int, int, int], ...]:
    plain = {EventKind.CANCELLED, EventKind.REDUCED} if command.kind != CommandKind.PLACE else set()
    return tuple(
        (e.kind, e.reason, e.other_number if e.kind == EventKind.TRADE else e.order_number, e.price, e.quantity)
        for e in decode_events(book.apply(encode_command(command)))
        if e.kind not in _SILENT and not (e.kind in plain and e.order_number == command.order_number)
    )


def test_a_batch_is_the_same_as_its_commands_one_by_one(kind: BookKind) -> None:
    """Also a batch so large that the native book lets other threads run meanwhile."""
    commands = [
        encode_command(
            Command(CommandKind.PLACE, n, n, MARKET, n, n % 7 + 1, n % 2, price=90 + n * 7 % 20, quantity=n % 13 + 1)
        )
        for n in range(1, 400)
    ]
    one, many = new_book(MARKET, kind), new_book(MARKET, kind)
    assert b"".join(map(one.apply, commands)) == many.apply(b"".join(commands))
    assert one.state_hash() == many.state_hash()


def test_half_a_record_is_refused_and_changes_nothing(desk: Desk) -> None:
    whole = encode_command(Command(CommandKind.PLACE, 1, 1, MARKET, 1, 1, price=5, quantity=5))
    with pytest.raises(ValueError, match="whole records"):
        desk.book.apply(whole + whole[:50])
    assert len(desk.book) == 0
    assert desk.book.apply(b"") == b""


def test_time_in_force_by_number(book: Book) -> None:
    assert book.place(1, 1, Side.BUY, 10, 5, 0, TimeInForce.FOK)[0][:2] == (EventKind.CANCELLED, Reason.FOK_REMAINDER)
