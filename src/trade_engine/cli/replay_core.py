"""`trade-engine replay --target core`: a recorded flow through one book, in the file's own grid."""

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

from trade_engine.cli.replay_server import FlowOrder, read_lines
from trade_engine.domain.commands import Command, CommandKind, encode_command
from trade_engine.domain.enums import SelfTradePrevention, Side
from trade_engine.domain.events import EventKind, decode_events
from trade_engine.domain.market import Market
from trade_engine.domain.scale import UNIT, parse_units
from trade_engine.matching.books import BookKind, new_book

#: The recording's own grid: prices of 0.01, quantities of 1e-8.
_TICK: Final = UNIT // 100
_LOT: Final = 1

TradeList = list[tuple[int, int]]


def replay_file(path: Path, kind: BookKind, progress: Callable[[int], None]) -> tuple[dict[str, Any], TradeList]:
    """Feed a file's commands to a book of ``kind``, without market rules.

    Returns:
        The figures (commands, trades, commands_per_s), and the trades as (price, quantity) in units of 1e-8.
    """
    orders = [
        FlowOrder(line.id)
        if line.op == "cancel"
        else FlowOrder(line.id, line.side.upper(), parse_units(line.px), parse_units(line.qty))
        for line in read_lines(path)
    ]
    records = _records(orders, _TICK, _LOT)
    book = new_book(1, kind)
    answers: list[bytes] = []
    started = time.perf_counter()
    for count, record in enumerate(records):
        answers.append(book.apply(record))
        if count % 5_000 == 0:
            progress(count)
    took = time.perf_counter() - started
    trades = _trades(answers, _TICK, _LOT)
    figures = {
        "commands": len(orders),
        "trades": len(trades),
        "commands_per_s": round(len(orders) / took),
        "book": book.kind,
    }
    return figures, trades


def match_rounded(orders: Sequence[FlowOrder], market: Market) -> TradeList:
    """The trades that a core makes of orders rounded to a market's grid; (price, quantity) in units of 1e-8."""
    book = new_book(market.market_id)
    answers = [book.apply(record) for record in _records(orders, market.tick_size, market.lot_size)]
    return _trades(answers, market.tick_size, market.lot_size)


def longest_common_subsequence(ours: Sequence[tuple[int, int]], real: Sequence[tuple[int, int]]) -> int:
    """How many trades of ``real`` come out in the same order (price and quantity), by bit-parallel dynamic programming.

    After Hyyroe, "Bit-parallel LCS-length computation revisited" (2004).
    """
    where: dict[tuple[int, int], int] = {}
    for index, trade in enumerate(ours):
        where[trade] = where.get(trade, 0) | 1 << index
    mask = (1 << len(ours)) - 1
    row = mask
    for trade in real:
        matches = row & where.get(trade, 0)
        row = ((row + matches) | (row - matches)) & mask
    return len(ours) - row.bit_count()


def _records(orders: Sequence[FlowOrder], tick: int, lot: int) -> list[bytes]:
    """Each order as a command; an order's number is its position, a cancel names that of its order."""
    numbers: dict[str, int] = {}
    records = []
    for sequence, order in enumerate(orders, 1):
        if not order.quantity:
            command = Command(CommandKind.CANCEL, sequence, sequence, 1, numbers.get(order.id, sequence))
        else:
            numbers[order.id] = sequence
            command = Command(
                CommandKind.PLACE,
                sequence,
                sequence,
                1,
                order_id=sequence,
                user=1,
                side=Side[order.side],
                stp=SelfTradePrevention.NONE,
                price=order.price // tick,
                quantity=order.quantity // lot,
            )
        records.append(encode_command(command))
    return records


def _trades(answers: Sequence[bytes], tick: int, lot: int) -> TradeList:
    return [
        (event.price * tick, event.quantity * lot)
        for answer in answers
        for event in decode_events(answer)
        if event.kind == EventKind.TRADE
    ]
