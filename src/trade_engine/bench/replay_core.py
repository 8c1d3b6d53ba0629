"""A recorded order flow through the core alone: no server, no wallet, no market rules.

It tells which trades the core makes of a flow and how many of the real ones come out in the same order.  Prices and
quantities go in and out in units of 1e-8; inside they are ticks and lots, so nothing is ever rounded here.
"""

import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, Final, cast

from trade_engine.bench.recorded import read_lines
from trade_engine.domain.commands import Command, CommandKind, encode_commands
from trade_engine.domain.enums import SelfTradePrevention, Side
from trade_engine.domain.events import EventKind, decode_events
from trade_engine.domain.market import Market
from trade_engine.domain.scale import UNIT, parse_units
from trade_engine.matching.books import BookKind, new_book
from trade_engine.matching.protocol import Book

#: The grid of recorded flows, in units of 1e-8: prices of 0.01, quantities of 0.00000001.
FILE_TICK: Final = UNIT // 100
FILE_LOT: Final = 1

_BATCH: Final = 1_000
_MARKET: Final = 1

Trade = tuple[int, int]


def replay_file(path: Path, book_kind: str, progress: Callable[[int, int], None]) -> tuple[dict[str, Any], list[Trade]]:
    """Replay a commands file on an empty book; figures, and the trades as (price, quantity) in units of 1e-8.

    ``progress`` is told how many commands of how many are done.  Only matching is timed, not reading.

    Raises:
        RuntimeError: the native book was asked for and is not built.
        ValueError: a price or quantity of the file is no plain decimal.
    """
    orders = (
        (line.id, line.side, parse_units(line.px), 0 if line.op == "cancel" else parse_units(line.qty))
        for line in read_lines(path)
    )
    commands = _commands(orders, FILE_TICK, FILE_LOT)
    book = new_book(_MARKET, cast("BookKind", book_kind))
    batches = [encode_commands(commands[at : at + _BATCH]) for at in range(0, len(commands), _BATCH)]
    events = []
    took = 0
    for number, batch in enumerate(batches):
        started = time.perf_counter_ns()
        events.append(book.apply(batch))
        took += time.perf_counter_ns() - started
        progress(min((number + 1) * _BATCH, len(commands)), len(commands))
    trades = _trades(b"".join(events), FILE_TICK, FILE_LOT)
    figures = {
        "book": book.kind,
        "commands": len(commands),
        "trades": len(trades),
        "commands_per_s": round(len(commands) * 1e9 / took) if took else 0,
    }
    return figures, trades


def match_rounded(orders: Iterable[tuple[str, str, int, int]], market: Market) -> list[Trade]:
    """The core's trades, (price, quantity) in units of 1e-8, for orders that fit ``market``'s ticks and lots.

    Each order is (id, side, price, quantity) in units of 1e-8; quantity 0 cancels the order of that id, and it is no
    error if that is gone.  Of the market's rules only the maximum of fills applies: every other one refuses orders,
    and a server that refuses one ends the replay.
    """
    book: Book = new_book(_MARKET)
    rules = Command(CommandKind.CONFIGURE, 0, 0, _MARKET, max_notional=market.max_fills)
    commands = [rules, *_commands(orders, market.tick_size, market.lot_size)]
    return _trades(book.apply(encode_commands(commands)), market.tick_size, market.lot_size)


def longest_common_subsequence(a: Sequence[Trade], b: Sequence[Trade]) -> int:
    """How many entries of ``a`` and ``b`` agree in the same order, at most.

    Bit-parallel (Hyyrö 2004): one row of the table is one integer, so a few thousand entries take milliseconds.
    """
    places: dict[Trade, int] = {}
    for place, entry in enumerate(a):
        places[entry] = places.get(entry, 0) | 1 << place
    whole = (1 << len(a)) - 1
    row = whole
    for entry in b:
        met = row & places.get(entry, 0)
        row = ((row + met) | (row - met)) & whole
    return len(a) - row.bit_count()


def _commands(orders: Iterable[tuple[str, str, int, int]], tick: int, lot: int) -> list[Command]:
    """Limit orders and cancels (quantity 0) of one user, numbered by their first appearance."""
    numbers: dict[str, int] = {}
    commands = []
    for sequence, (order, side, price, quantity) in enumerate(orders, 1):
        number = numbers.setdefault(order, len(numbers) + 1)
        if not quantity:
            commands.append(Command(CommandKind.CANCEL, sequence, 0, _MARKET, number))
            continue
        commands.append(
            Command(
                CommandKind.PLACE, sequence, 0, _MARKET, number, user=1, side=Side.parse(side),
                stp=SelfTradePrevention.NONE, price=price // tick, quantity=quantity // lot,
            )
        )  # fmt: skip
    return commands


def _trades(events: bytes, tick: int, lot: int) -> list[Trade]:
    return [(e.price * tick, e.quantity * lot) for e in decode_events(events) if e.kind == EventKind.TRADE]
