"""Where prices go in a demo: a random walk that is drawn back to its beginning, or as they once went.

A path gives a price in parts per million of the one that it began with.
"""

from collections.abc import Sequence
from random import Random
from typing import Final, Protocol

_PPM: Final = 1_000_000


class Path(Protocol):
    """Where the price of one market goes."""

    def step(self) -> int:
        """The next price, in parts per million of the first."""


class RandomWalk:
    """Steps at random, drawn back to the beginning, so that it stays near for as long as it goes on.

    Args:
        random: where chance comes from.
        step_ppm: a step's standard deviation.
        width_ppm: how far away it is most of the time.
    """

    def __init__(self, random: Random, step_ppm: int, width_ppm: int) -> None:
        self._random = random
        self._step_ppm = step_ppm
        self._width_ppm = width_ppm
        self._away_ppm = 0.0
        #: An Ornstein-Uhlenbeck process has the variance step^2 / (2 pull) in the long run.
        self._pull = step_ppm**2 / (2 * width_ppm**2)

    def step(self) -> int:
        """The next price, in parts per million of the first; never farther than three widths."""
        self._away_ppm += self._random.gauss(0.0, self._step_ppm) - self._pull * self._away_ppm
        bound = 3.0 * self._width_ppm
        self._away_ppm = max(-bound, min(bound, self._away_ppm))
        return _PPM + round(self._away_ppm)


class RecordedPath:
    """The prices of recorded trades, forwards and backwards for ever.

    Args:
        prices: of trades, in order; units of 1e-8.
        first: the place of the one to begin with.

    Raises:
        ValueError: fewer than two prices are no path.
    """

    def __init__(self, prices: Sequence[int], first: int = 0) -> None:
        if len(prices) < 2:
            raise ValueError("fewer than two trades")
        self._prices = prices
        self._at = first % len(prices)
        self._base = prices[self._at]
        self._forwards = True

    def step(self) -> int:
        """The next price, in parts per million of the first."""
        if not 0 <= self._at + (1 if self._forwards else -1) < len(self._prices):
            self._forwards = not self._forwards
        self._at += 1 if self._forwards else -1
        return self._prices[self._at] * _PPM // self._base
