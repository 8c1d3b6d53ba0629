"""Recorded order flows: how their files are read, and what playing them at a server takes.

A commands file has one JSON object a line (``op``, ``id``, ``side``, ``px``, ``qty``), gzipped or plain.
"""

import csv
import gzip
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec

from trade_engine.domain.scale import UNIT, parse_units


class RecordedLine(msgspec.Struct, kw_only=True):
    """One line of a commands file."""

    op: str
    id: str
    side: str = ""
    px: str = "0"
    qty: str = "0"


class FlowOrder(msgspec.Struct, frozen=True):
    """One rounded command: a limit order, or a cancel if ``quantity`` is 0 (units of 1e-8)."""

    id: str
    side: str = ""
    price: int = 0
    quantity: int = 0


def read_lines(path: Path) -> Iterator[RecordedLine]:
    """The lines of a commands file, in order; gzip or plain."""
    decoder = msgspec.json.Decoder(RecordedLine)
    opener: Any = gzip.open if path.suffix == ".gz" else open
    with opener(path, "rb") as lines:
        for line in lines:
            if line.strip():
                yield decoder.decode(line)


def rounded(lines: Iterator[RecordedLine], lot: int) -> Iterator[FlowOrder]:
    """Round quantities to the nearest lot (half up); what becomes nothing is dropped, and so are its cancels."""
    dropped: set[str] = set()
    for line in lines:
        if line.op == "cancel":
            if line.id not in dropped:
                yield FlowOrder(line.id)
            continue
        quantity = (parse_units(line.qty) + lot // 2) // lot * lot
        if quantity:
            yield FlowOrder(line.id, line.side.upper(), parse_units(line.px), quantity)
        else:
            dropped.add(line.id)


def funds_for(orders: Sequence[FlowOrder], users: int, user_of: Callable[[str], int]) -> list[tuple[int, int]]:
    """What each user needs at most for the whole flow: (base, quote) units, with a tenth to spare for fees."""
    needs = [[0, 0] for _ in range(users)]
    for order in orders:
        if order.quantity:
            user = needs[user_of(order.id)]
            if order.side == "SELL":
                user[0] += order.quantity
            else:
                user[1] += order.price * order.quantity // UNIT
    return [(base * 11 // 10 + UNIT, quote * 11 // 10 + UNIT) for base, quote in needs]


def read_trades(file: Path) -> list[tuple[int, int]]:
    """Real trades from a CSV file with the columns ``price`` and ``qty``: (price, quantity) in units of 1e-8."""
    with file.open(newline="") as lines:
        return [(parse_units(row["price"]), parse_units(row["qty"])) for row in csv.DictReader(lines)]
