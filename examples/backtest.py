"""A backtest on the engine's own matching core, driven from Python: no server, no database, no network.

    python examples/backtest.py            # 200,000 orders of others, seed 1
    python examples/backtest.py 50000 7    # so many, and another seed

A strategy quotes both sides of the price in a book in which others trade.  Its orders queue, are filled in part and pay
fees as they would in the engine, because it is the same book: price and time decide.  Prices are ticks, quantities
lots, so nothing is rounded; the same seed gives the same result everywhere.
"""

import random
import sys
from collections.abc import Iterator
from typing import Final, NamedTuple

from trade_engine.domain.enums import OrderType, SelfTradePrevention, Side
from trade_engine.domain.events import EventKind
from trade_engine.matching.books import new_book
from trade_engine.matching.protocol import BookOutcome

OTHERS, STRATEGY = 1, 2
#: Of what the strategy's resting orders trade; the maker's fee of the demo's markets.
FEE: Final = 0.0005
EVERY: Final = 20


class Arrival(NamedTuple):
    """An order of somebody else."""

    side: Side
    #: 0: at the market.
    price: int
    quantity: int


def flow(count: int, seed: int) -> Iterator[Arrival]:
    """Others' orders: around a price that walks at random; put your recorded flow here."""
    rng, fair = random.Random(seed), 50_000.0
    for _ in range(count):
        fair = max(1_000.0, fair + rng.gauss(0, 1.5))
        side = rng.choice((Side.BUY, Side.SELL))
        away = rng.expovariate(1 / 40) * (-1 if side is Side.BUY else 1)
        price = 0 if rng.random() < 0.15 else round(fair + away)
        yield Arrival(side, price, rng.randint(1, 20))


class Quoter:
    """The strategy: one quote a side, moved against what it holds."""

    def __init__(self, half_spread: int = 45, size: int = 10, lean: int = 2) -> None:
        self._half_spread, self._size, self._lean = half_spread, size, lean
        self.holds = 0
        self.cash = 0.0
        self.fills = 0
        #: Its live orders: number and side.
        self.live: dict[int, Side] = {}

    def quotes(self, middle: int) -> list[tuple[Side, int, int]]:
        """Side, price and quantity of what it wants to have in the book."""
        centre = middle - self._lean * self.holds // self._size
        return [
            (Side.BUY, centre - self._half_spread, self._size),
            (Side.SELL, centre + self._half_spread, self._size),
        ]

    def filled(self, side: Side, price: int, quantity: int) -> None:
        """Take in a fill."""
        sign = 1 if side is Side.BUY else -1
        self.holds += sign * quantity
        self.cash -= sign * price * quantity + FEE * price * quantity
        self.fills += 1


def backtest(count: int, seed: int) -> tuple[Quoter, int, float]:
    """Let the strategy trade in the flow: it, how many trades there were, and what it has earned in ticks x lots."""
    book, strategy = new_book(1), Quoter()
    trades = number = 0

    def take_in(outcomes: tuple[tuple[int, int, int, int, int], ...], placed: int, side: Side) -> int:
        """What happened beside the acceptance; how many trades."""
        found = 0
        for outcome in map(BookOutcome._make, outcomes):
            if outcome.kind != EventKind.TRADE:
                continue
            found += 1
            if outcome.order_number in strategy.live:
                strategy.filled(strategy.live[outcome.order_number], outcome.price, outcome.quantity)
            if placed in strategy.live:
                strategy.filled(side, outcome.price, outcome.quantity)
        return found

    for step, order in enumerate(flow(count, seed)):
        number += 1
        kind = OrderType.LIMIT if order.price else OrderType.MARKET
        # Others are many: what they place may meet.
        placed = book.place(number, OTHERS, order.side, order.price, order.quantity, kind, stp=SelfTradePrevention.NONE)
        trades += take_in(placed, number, order.side)
        if step % EVERY or not (book.best_bid() and book.best_ask()):
            continue
        for live in strategy.live:
            book.cancel(live)
        strategy.live.clear()
        for side, price, quantity in strategy.quotes((book.best_bid() + book.best_ask()) // 2):
            number += 1
            strategy.live[number] = side
            trades += take_in(book.place(number, STRATEGY, side, price, quantity), number, side)
    book.check()
    middle = (book.best_bid() + book.best_ask()) / 2
    return strategy, trades, strategy.cash + strategy.holds * middle


def main() -> None:
    """Print what came of it."""
    given = [int(word) for word in sys.argv[1:]]
    count, seed = (*given, *(200_000, 1)[len(given) :])
    strategy, trades, earned = backtest(count, seed)
    print(f"orders of others   {count}")
    print(f"trades             {trades}")
    print(f"fills of ours      {strategy.fills}")
    print(f"holds              {strategy.holds} lots")
    print(f"earned             {earned:.0f} ticks x lots")


if __name__ == "__main__":
    main()
