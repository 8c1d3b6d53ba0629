"""One market of an exchange in a box, as the test wants it: quotes around a price, takers, halts.

It is moved by users of its own, through the engine's own port; what a bot has in the book is met like anything else.
"""

from collections.abc import Callable, Coroutine
from decimal import ROUND_HALF_EVEN, Decimal
from random import Random
from typing import Any, Final, TypeVar

from trade_engine.demo.paths import RandomWalk
from trade_engine.demo.users import MAKER, TAKERS
from trade_engine.domain.enums import MarketState, OrderType, SelfTradePrevention, Side, TimeInForce
from trade_engine.domain.market import Market
from trade_engine.domain.orders import PlaceOrder
from trade_engine.domain.scale import parse_units
from trade_engine.market_maker.ladder import LadderTerms, ladder
from trade_engine.sequencer.ports import Operations, Trading

T = TypeVar("T")

#: A text, a decimal or a whole number.
Number = Decimal | int | str
_STEP_PPM: Final = 500
_WIDTH_PPM: Final = 20_000
_PPM: Final = 1_000_000


class BoxMarket:
    """Made by ``Exchange.market``."""

    def __init__(
        self,
        market: Market,
        trading: Trading,
        operations: Operations,
        seed: int,
        run: Callable[[Coroutine[Any, Any, Any]], Any],
    ) -> None:
        self._market = market
        self._trading = trading
        self._operations = operations
        self._run = run
        self._random = Random(f"{seed} {market.symbol}")  # noqa: S311 - a game, and to be the same again
        self._walk = RandomWalk(self._random, _STEP_PPM, _WIDTH_PPM)

    @property
    def symbol(self) -> str:
        """As in BTC/USDT."""
        return self._market.symbol

    def quote(self, price: Number, *, spread: Number = "0.001", levels: int = 5, size: Number = 1) -> None:
        """Have the market be at a price: quotes on both sides of it, and none that were made so before.

        A bot's order that the price has passed is met by them, and filled.

        Args:
            price: the middle.
            spread: from best bid to best ask, at least; a share of the price.
            levels: of a side.
            size: of a level, in the base asset.
        """
        self._run(self._quote(Decimal(price), Decimal(spread), levels, Decimal(size)))

    def buy(self, quantity: Number) -> None:
        """Somebody buys what is offered, at the market."""
        self._run(self._take(Side.BUY, Decimal(quantity)))

    def sell(self, quantity: Number) -> None:
        """Somebody sells to what is bid, at the market."""
        self._run(self._take(Side.SELL, Decimal(quantity)))

    def walk(self, start: Number, steps: int, *, size: Number = 1) -> list[Decimal]:
        """Let the price go at random from ``start``, with a trade at each step: where it has been.

        The same seed of the exchange gives the same way.
        """
        been = []
        for _ in range(steps):
            price = (Decimal(start) * self._walk.step() / _PPM).quantize(Decimal("1e-8"))
            self.quote(price, size=size)
            self._run(self._take(self._random.choice((Side.BUY, Side.SELL)), Decimal(size) / 10))
            been.append(price)
        return been

    def halt(self) -> None:
        """Take no orders and no cancels."""
        self._run(self._operations.set_market_state(self.symbol, MarketState.HALTED))

    def open(self) -> None:
        """Take orders again."""
        self._run(self._operations.set_market_state(self.symbol, MarketState.OPEN))

    async def _quote(self, price: Decimal, spread: Decimal, levels: int, size: Decimal) -> None:
        market = self._market
        ticks = max(1, self._whole(price, market.tick_size))
        half = max(1, int(ticks * spread / 2))
        lots = max(1, self._whole(size, market.lot_size))
        # No inventory counts, so no limit does.
        terms = LadderTerms(half, half, levels, lots, inventory_limit=levels * lots)
        await self._trading.cancel_all(MAKER, self.symbol)
        for quote in ladder(ticks, 0, terms):
            await self._place(MAKER, quote.side, quote.lots * market.lot_size, quote.price * market.tick_size)

    async def _take(self, side: Side, quantity: Decimal) -> None:
        lots = max(1, self._whole(quantity, self._market.lot_size))
        await self._place(TAKERS[0], side, lots * self._market.lot_size, 0)

    async def _place(self, user_id: str, side: Side, quantity: int, price: int) -> None:
        await self._trading.place(
            PlaceOrder(
                user_id=user_id,
                symbol=self.symbol,
                side=side,
                type=OrderType.LIMIT if price else OrderType.MARKET,
                quantity=quantity,
                price=price,
                time_in_force=TimeInForce.GTC if price else TimeInForce.IOC,
                stp=SelfTradePrevention.CANCEL_OLDEST,
            )
        )

    def _whole(self, amount: Decimal, unit: int) -> int:
        return int((Decimal(parse_units(f"{amount:f}")) / unit).to_integral_value(ROUND_HALF_EVEN))
