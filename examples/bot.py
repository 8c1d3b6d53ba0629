"""A bot that buys low and sells high: an order below the price, and what was bought offered above it.

test_bot.py tests it in an exchange of its own; run by hand it trades at a real one:

    TRADE_ENGINE_TOKEN=... python examples/bot.py http://127.0.0.1:8080 BTC/USDT
"""

import os
import sys
import time
from decimal import Decimal

from trade_engine.client import Client, Order


class DipBuyer:
    """Buys a fixed quantity whenever the price falls by a share, and sells it when it has risen by as much again."""

    def __init__(self, client: Client, symbol: str, quantity: Decimal, dip: Decimal) -> None:
        self._client = client
        self._symbol = symbol
        self._quantity = quantity
        self._dip = dip
        self._tick = client.market(symbol).tick_size
        self.resting: Order | None = None

    def step(self) -> None:
        """Look at the market once, and do what follows."""
        if self.resting is None:
            self._place("BUY", self._middle() * (1 - self._dip))
            return
        order = self._client.order(self.resting.id)
        if order.status == "FILLED" and order.price is not None:
            if order.side == "BUY":
                self._place("SELL", order.price / (1 - self._dip))
            else:
                self.resting = None
        elif not order.is_open:
            self.resting = None

    def _middle(self) -> Decimal:
        ticker = self._client.ticker(self._symbol)
        if ticker.best_bid is None or ticker.best_ask is None:
            raise RuntimeError(f"nobody quotes {self._symbol}")
        return (ticker.best_bid + ticker.best_ask) / 2

    def _place(self, side: str, price: Decimal) -> None:
        whole = (price / self._tick).to_integral_value() * self._tick
        word = "BUY" if side == "BUY" else "SELL"
        self.resting = self._client.place(self._symbol, word, self._quantity, whole).order


def main() -> None:
    """Trade until Ctrl-C, which takes the order back."""
    url, symbol = sys.argv[1:]
    with Client(url, token=os.environ["TRADE_ENGINE_TOKEN"]) as client:
        bot = DipBuyer(client, symbol, Decimal("0.01"), Decimal("0.01"))
        try:
            while True:
                bot.step()
                time.sleep(1)
        except KeyboardInterrupt:
            client.cancel_all(symbol)


if __name__ == "__main__":
    main()
