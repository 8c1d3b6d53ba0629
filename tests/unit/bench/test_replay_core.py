"""Replays through the core alone: which trades come out, and how many are the real ones."""

import csv
import gzip
import json
import os
import random
from pathlib import Path

import pytest

from trade_engine.bench.replay_core import longest_common_subsequence, match_rounded, replay_file
from trade_engine.domain.market import default_markets
from trade_engine.domain.scale import UNIT, parse_units

_FLOW = """
{"op":"seed","id":"a","side":"sell","px":"100.02","qty":"1.00000001"}
{"op":"seed","id":"b","side":"sell","px":"100.01","qty":"0.5"}
{"op":"place","id":"c","side":"buy","px":"100.02","qty":"0.7"}
{"op":"cancel","id":"a"}
{"op":"cancel","id":"a"}
{"op":"place","id":"d","side":"buy","px":"100.02","qty":"1"}
{"op":"place","id":"e","side":"sell","px":"100.00","qty":"0.25"}
"""
_TRADES = [(10_001 * UNIT // 100, UNIT // 2), (10_002 * UNIT // 100, UNIT // 5), (10_002 * UNIT // 100, UNIT // 4)]


@pytest.mark.parametrize("book", ["reference", "auto"])
@pytest.mark.parametrize("packed", [False, True])
def test_a_file_gives_its_trades_in_its_own_grid(tmp_path: Path, book: str, *, packed: bool) -> None:
    file = tmp_path / ("flow.jsonl.gz" if packed else "flow.jsonl")
    file.write_bytes(gzip.compress(_FLOW.encode()) if packed else _FLOW.encode())
    told: list[tuple[int, int]] = []
    figures, trades = replay_file(file, book, lambda done, total: told.append((done, total)))
    assert trades == _TRADES
    assert (figures["commands"], figures["trades"]) == (7, 3)
    assert figures["commands_per_s"] > 0
    assert told == [(7, 7)]


def test_rounded_orders_match_in_the_grid_of_the_market() -> None:
    market = default_markets()[0]
    orders = [
        ("1", "SELL", 100 * UNIT, 2 * UNIT),
        ("2", "BUY", 99 * UNIT, UNIT),
        ("2", "", 0, 0),
        ("2", "", 0, 0),
        ("3", "BUY", 101 * UNIT, UNIT // 2),
        ("4", "SELL", 98 * UNIT, UNIT),
    ]
    assert match_rounded(orders, market) == [(100 * UNIT, UNIT // 2)]


@pytest.mark.parametrize("seed", range(20))
def test_the_longest_common_subsequence_is_the_table_s(seed: int) -> None:
    rng = random.Random(seed)
    a, b = ([(rng.randrange(4), 1) for _ in range(rng.randrange(40))] for _ in range(2))
    row = [0] * (len(b) + 1)
    for x in a:
        above = row
        row = [0]
        for n, y in enumerate(b):
            row.append(above[n] + 1 if x == y else max(above[n + 1], row[n]))
    assert longest_common_subsequence(a, b) == row[-1]


def test_thousands_of_trades_are_compared_at_once() -> None:
    rng = random.Random(1)
    a = [(rng.randrange(50), rng.randrange(3)) for _ in range(5_000)]
    assert longest_common_subsequence(a, a) == len(a)


def _plain_engine(path: Path) -> list[tuple[int, int]]:
    """The flow through a price-time engine of twenty lines that shares no code with ours, in hundredths and 1e-8."""
    books: dict[str, dict[str, list[int]]] = {"buy": {}, "sell": {}}
    trades = []
    for line in gzip.decompress(path.read_bytes()).splitlines():
        order = json.loads(line)
        if order["op"] == "cancel":
            for book in books.values():
                book.pop(order["id"], None)
            continue
        price, left = int(order["px"].replace(".", "")), int(order["qty"].replace(".", ""))
        sign = 1 if order["side"] == "buy" else -1
        makers = books["sell" if sign > 0 else "buy"]
        for maker in sorted(makers, key=lambda m: sign * makers[m][0]):
            if not left or sign * makers[maker][0] > sign * price:
                break
            quantity = min(left, makers[maker][1])
            left -= quantity
            makers[maker][1] -= quantity
            trades.append((makers[maker][0], quantity))
            if not makers[maker][1]:
                del makers[maker]
        if left:
            books[order["side"]][order["id"]] = [price, left]
    return trades


@pytest.mark.parametrize("book", ["reference", "auto"])
def test_a_real_flow_gives_what_a_plain_engine_gives(book: str) -> None:
    """Every trade of five hours on a real exchange equals that of the plain engine above.

    How many of them the exchange really made is a property of the recording: its order prices are those of entry, and
    orders that were moved later, and market orders, are not in it.
    """
    shared = Path(os.environ.get("TRADE_ENGINE_SHARED_DATA", Path(__file__).parents[4] / "shared" / "data"))
    flow = shared / "bitstamp"
    if not flow.is_dir():
        pytest.skip(f"the recorded flow is not at {flow}: set TRADE_ENGINE_SHARED_DATA")
    with (flow / "real_trades.csv").open(newline="") as lines:
        real = [(parse_units(row["price"]), parse_units(row["qty"])) for row in csv.DictReader(lines)]
    figures, trades = replay_file(flow / "commands.jsonl.gz", book, lambda *_: None)
    assert figures["commands"] == 49_389
    assert trades == [(price * 1_000_000, quantity) for price, quantity in _plain_engine(flow / "commands.jsonl.gz")]
    assert longest_common_subsequence(trades, real) >= 428
