"""The multibit Gherkin scenarios: orders in; trades, a two-sided book and a quote out.  Prices are ticks of 1e-8."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.unit.matching.desk import Desk
from trade_engine.domain.scale import format_units, parse_units

_FEATURES = {
    "Exchange.Quote.feature": 36,
    "OrderBook.LimitOrder.Matching.feature": 5,
    "OrderBook.MarketOrder.Matching.feature": 4,
}
Table = list[list[str]]
#: A step's words and the table below it.
Step = tuple[str, Table]


def _cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip().strip("|").split("|")]


def _parse(text: str) -> Iterator[list[Step]]:
    """Every scenario of a feature as steps, background first and outlines written out."""
    background: list[Step] = []
    steps: list[Step] = []
    examples: Table | None = None
    scenarios: list[tuple[list[Step], Table | None]] = []
    for line in (raw.strip() for raw in text.splitlines()):
        word = line.split(" ", 1)[0].rstrip(":")
        if line.startswith(("Scenario", "Background")):
            steps, examples = ([], None) if word != "Background" else (background, None)
            if word != "Background":
                scenarios.append((steps, None))
        elif line.startswith("Examples"):
            examples = []
            scenarios[-1] = (steps, examples)
        elif word in ("Given", "When", "Then", "And"):
            steps.append((line.split(" ", 1)[1].rstrip(":"), []))
        elif line.startswith("|"):
            (examples if examples is not None else steps[-1][1]).append(_cells(line))
    for body, table in scenarios:
        for values in table[1:] if table else [[]]:
            names = [f"<{name}>" for name in table[0]] if table else []
            yield background + [_fill(step, dict(zip(names, values, strict=True))) for step in body]


def _fill(step: Step, values: dict[str, str]) -> Step:
    return step[0], [[values.get(cell, cell) for cell in row] for row in step[1]]


class _Exchange:
    """Plays the steps."""

    def __init__(self, desk: Desk) -> None:
        self.desk = desk
        self.brokers: dict[int, str] = {}
        self.trades: list[list[str]] = []

    def play(self, step: Step) -> None:
        words, table = step
        if words == "the following orders are submitted":
            self.trades = []
            for broker, side, quantity, price in table[1:]:
                self._submit(broker, side.upper(), quantity, price)
        elif words == "no trades are generated":
            assert self.trades == []
        elif words == "the following trades are generated":
            assert self.trades == [[buyer, seller, quantity, price] for buyer, seller, quantity, price in table[1:]]
        elif words == "market order book looks like":
            self._see_book(table[1:])
        else:
            assert words == "the quote looks like"
            bid, ask = self.desk.book.best_bid(), self.desk.book.best_ask()
            assert [format_units(bid), format_units(ask), format_units(ask - bid)] == table[1]

    def _submit(self, broker: str, side: str, quantity: str, price: str) -> None:
        order_number = len(self.brokers) + 1
        self.brokers[order_number] = broker
        if price == "M":
            self.desk.place(order_number, f"{side} MARKET", int(quantity))
        else:
            self.desk.place(order_number, f"{side} LIMIT", int(quantity), parse_units(price))
        for trade in self.desk.trades():
            pair = [self.brokers[trade.taker], self.brokers[trade.maker]]
            self.trades.append(
                [*(pair if side == "BUY" else pair[::-1]), str(trade.quantity), format_units(trade.price)]
            )

    def _see_book(self, rows: Table) -> None:
        bids = [row[:3] for row in rows if row[0]]
        asks = [[row[5], row[4], row[3]] for row in rows if row[5]]
        assert (self._side(self.desk.bids()), self._side(self.desk.asks())) == (bids, asks)

    def _side(self, levels: list[tuple[int, int, list[int]]]) -> Table:
        rows = []
        for price, _, order_numbers in levels:
            for order_number in order_numbers:
                order = self.desk.book.order(order_number)
                assert order is not None
                rows.append([self.brokers[order_number], str(order.leaves), format_units(price)])
        return rows


@pytest.mark.parametrize(("feature", "number"), [(name, n) for name, count in _FEATURES.items() for n in range(count)])
def test_scenario(desk: Desk, scenarios: Path, feature: str, number: int) -> None:
    steps = list(_parse((scenarios / "multibit" / feature).read_text()))
    assert len(steps) == _FEATURES[feature]
    exchange = _Exchange(desk)
    for step in steps[number]:
        exchange.play(step)
