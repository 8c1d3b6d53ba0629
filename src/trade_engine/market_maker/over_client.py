"""A market maker on the public API, with nothing that others do not have: quotes on both sides of a price, and a limit.

It keeps nothing that it could lose.  Its quotes are the open orders that its user has in the market, so the user is
for this alone; what it holds is what its orders say was filled.  Before it quotes it arms a dead-man's switch, and
renews it: if it dies, hangs or is cut off, the engine ends its orders.  An engine that is away is asked again, more and
more seldom.
"""

import asyncio
import contextlib
import time
import uuid
from collections.abc import Callable, Sequence
from decimal import ROUND_HALF_EVEN, Decimal
from typing import Any, Final, NamedTuple, Protocol

from trade_engine.client import (
    ApiError,
    AsyncClient,
    ClientError,
    Market,
    NewOrder,
    Order,
    RateLimited,
    Unavailable,
)
from trade_engine.domain.enums import Side
from trade_engine.market_maker.ladder import LadderTerms, Quote, changes, ladder

#: Of a side: both sides go into one request.
LEVELS_MAX: Final = 25
#: Between two turns, whatever happens.
_LEAST_PAUSE_S: Final = 0.2
_TROUBLE_PAUSE_MAX_S: Final = 10.0
_RENEWALS: Final = 3
#: Gaps follow the price when it has moved by so much of itself.
_NEW_GAPS: Final = Decimal("0.1")


class MakerTerms(NamedTuple):
    """How to quote a market; amounts in its base asset, widths as shares of the price."""

    #: From the best bid to the best ask, at least.
    spread: Decimal
    #: Between two levels of a side.
    gap: Decimal
    #: Of a side.
    levels: int
    #: Of a level.
    size: Decimal
    #: It holds at most so much more, or less, than when it began.
    inventory_limit: Decimal
    #: Its orders end so long after it was last heard of; seconds.
    switch_s: int = 30
    #: Between two turns in which nothing happens; seconds.
    every_s: float = 1.0


class Tell(Protocol):
    """Hears what happens."""

    def __call__(self, event: str, **what: Any) -> None:
        """Something happened."""


class TermsRefused(ValueError):
    """The market does not take these terms; says which, by its name in ``MakerTerms``."""

    def __init__(self, name: str, why: str) -> None:
        super().__init__(why)
        self.name = name


class MarketMaker:
    """Quotes one market: ``run`` it.

    Args:
        client: whose orders the quotes are.
        market: as the engine tells it.
        terms: how to quote.
        price: what the base is worth now; None: nobody knows, so nothing is quoted.
        tell: hears of each change.

    Raises:
        TermsRefused: the market does not take the terms.
    """

    def __init__(
        self, client: AsyncClient, market: Market, terms: MakerTerms, price: Callable[[], Decimal | None], tell: Tell
    ) -> None:
        _check(market, terms)
        self._client = client
        self._market = market
        self._terms = terms
        self._price = price
        self._tell = tell
        self._ladder: LadderTerms | None = None
        self._ladder_price = Decimal(0)
        #: By what orders are looked up with: how much of each is known to be filled.
        self._filled: dict[str, Decimal] = {}
        self._begun = False
        self.bought = self.sold = Decimal(0)
        self._armed_s = float("-inf")
        self._woken = asyncio.Event()
        self._trouble = ""

    @property
    def inventory(self) -> Decimal:
        """What is held more than in the beginning; negative for less."""
        return self.bought - self.sold

    async def run(self, stopping: asyncio.Event) -> int:
        """Quote until ``stopping`` is set; how many orders were cancelled in the end.

        Raises:
            ApiError: the engine refuses what cannot be right later: the login, say.
            ClientError: the engine is away in the end; the switch ends the orders.
        """
        listening = asyncio.create_task(self._listen())
        waiting = asyncio.create_task(stopping.wait())
        pause_s = self._terms.every_s
        try:
            while not stopping.is_set():
                try:
                    await self._turn()
                    self._say_trouble("")
                    pause_s = self._terms.every_s
                except ClientError as error:
                    if isinstance(error, ApiError) and not isinstance(error, RateLimited | Unavailable):
                        raise
                    self._say_trouble(str(error))
                    pause_s = min(2 * pause_s, _TROUBLE_PAUSE_MAX_S)
                await self._pause(waiting, pause_s)
        finally:
            for task in (listening, waiting):
                task.cancel()
            await asyncio.gather(listening, waiting, return_exceptions=True)
            ended = await self._leave()
        return ended

    async def _pause(self, waiting: "asyncio.Task[Any]", pause_s: float) -> None:
        """Until something happens to an order, unless there is trouble; never for less than a moment."""
        await asyncio.wait((waiting,), timeout=_LEAST_PAUSE_S)
        woken = asyncio.create_task(self._woken.wait())
        awaited = (waiting,) if self._trouble else (waiting, woken)
        await asyncio.wait(
            awaited, timeout=max(0.0, pause_s - _LEAST_PAUSE_S), return_when=asyncio.FIRST_COMPLETED
        )  # fmt: skip
        woken.cancel()
        self._woken.clear()

    async def _listen(self) -> None:
        """Wake when an order changes; without a stream every turn comes in its time."""
        with contextlib.suppress(ClientError):
            async with self._client.stream() as stream:
                await stream.subscribe("orders")
                async for _ in stream:
                    self._woken.set()

    async def _leave(self) -> int:
        """Take the quotes back, then call off the switch."""
        ended = await self._client.cancel_all(self._market.symbol)
        await self._client.cancel_after(0, self._market.symbol)
        for name in list(self._filled):
            await self._look_up(name)
        return ended

    # ---- one turn

    async def _turn(self) -> None:
        """See what rests and what was filled, and bring the book to what is wanted: first cancel, then place.

        What is placed never lets the inventory pass the limit: nothing is placed before it is known what became of
        every order that was there.
        """
        await self._renew()
        open_orders = [order async for order in self._client.orders(self._market.symbol, status="open")]
        for order in open_orders:
            self._account(order)
        self._begun = True
        there = {_name(order) for order in open_orders}
        for name in self._filled.keys() - there:
            await self._look_up(name)
        stale, missing = changes({order.id: self._quote(order) for order in open_orders}, self._wanted())
        if not await self._cancel(stale):
            self._woken.set()
            return
        await self._place(missing)

    async def _renew(self) -> None:
        now_s = time.monotonic()
        if now_s - self._armed_s >= self._terms.switch_s / _RENEWALS:
            await self._client.cancel_after(self._terms.switch_s, self._market.symbol)
            self._armed_s = now_s

    def _wanted(self) -> list[Quote]:
        price = self._price()
        if price is None:
            return []
        market = self._market
        if self._ladder is None or abs(price / self._ladder_price - 1) > _NEW_GAPS:
            self._ladder, self._ladder_price = self._measure(price), price
        terms = self._ladder
        fair = max(1, _whole(price / market.tick_size))
        lowest = max(1, fair - terms.half_spread - terms.gap * (terms.levels + 1))
        least = max(market.min_quantity, market.min_notional / (lowest * market.tick_size))
        return ladder(fair, _whole(self.inventory / market.lot_size), terms, least_lots=-int(-least // market.lot_size))

    def _measure(self, price: Decimal) -> LadderTerms:
        """The terms in ticks and lots."""
        terms, market = self._terms, self._market
        return LadderTerms(
            half_spread=max(1, _whole(price * terms.spread / 2 / market.tick_size)),
            gap=max(1, _whole(price * terms.gap / market.tick_size)),
            levels=terms.levels,
            lots=_whole(terms.size / market.lot_size),
            inventory_limit=_whole(terms.inventory_limit / market.lot_size),
        )

    def _quote(self, order: Order) -> Quote:
        """What an order of the user's is; one that is no quote is at no price, so that it is cancelled."""
        price = 0 if order.price is None or order.type != "LIMIT" else _whole(order.price / self._market.tick_size)
        return Quote(Side[order.side], price, _whole((order.quantity - order.filled_quantity) / self._market.lot_size))

    async def _cancel(self, stale: Sequence[str]) -> bool:
        """Whether all of them are cancelled, and nothing of them was filled meanwhile."""
        if not stale:
            return True
        before = self.inventory
        results = await self._client.cancel_many(stale[: 2 * LEVELS_MAX])
        for result in results:
            if result.order is not None:
                self._account(result.order)
        return len(stale) == sum(result.success for result in results) and self.inventory == before

    async def _place(self, missing: Sequence[Quote]) -> None:
        if not missing:
            return
        orders = [self._order(quote) for quote in missing]
        # Known before they are sent: what becomes of a request without an answer is looked up.
        self._filled.update((f"client:{order.client_order_id}", Decimal(0)) for order in orders)
        refused = {}
        for order, result in zip(orders, await self._client.place_many(orders), strict=True):
            if result.order is not None:
                self._account(result.order)
            elif result.error is not None and result.error.code != "OUTCOME_UNKNOWN":
                self._filled.pop(f"client:{order.client_order_id}", None)
                refused[result.error.code] = result.error.message
        self._say_trouble("; ".join(f"{code}: {message}" for code, message in sorted(refused.items())))
        if not self._trouble:
            self._tell("quotes", placed=len(orders), inventory=self.inventory)

    def _order(self, quote: Quote) -> NewOrder:
        market = self._market
        side: Any = quote.side.name
        return NewOrder(
            market.symbol, side, quote.lots * market.lot_size, quote.price * market.tick_size,
            post_only=True, client_order_id=f"mm-{uuid.uuid4().hex}",
        )  # fmt: skip

    # ---- what it holds

    def _account(self, order: Order) -> None:
        """Take in what an order says of itself; one from before the beginning counts from what it has then."""
        name = _name(order)
        known = self._filled.get(name, Decimal(0) if self._begun else order.filled_quantity)
        if order.side == "BUY":
            self.bought += order.filled_quantity - known
        else:
            self.sold += order.filled_quantity - known
        self._filled[name] = order.filled_quantity
        if not order.is_open:
            del self._filled[name]

    async def _look_up(self, name: str) -> None:
        """Take in what became of an order that is not among the open ones."""
        try:
            self._account(await self._client.order(name))
        except ApiError as error:
            if error.status != 404:
                raise
            del self._filled[name]

    def _say_trouble(self, trouble: str) -> None:
        """Tell a trouble when it begins, and when it is over."""
        if trouble != self._trouble:
            self._trouble = trouble
            self._tell("trouble" if trouble else "well", **({"what": trouble} if trouble else {}))


def _name(order: Order) -> str:
    return order.id if order.client_order_id is None else f"client:{order.client_order_id}"


def _whole(number: Decimal) -> int:
    return int(number.to_integral_value(ROUND_HALF_EVEN))


def _check(market: Market, terms: MakerTerms) -> None:
    """Refuse what would never become a quote, or never end."""
    if not 0 < terms.spread < 1:
        raise TermsRefused("spread", "a share of the price, above 0 and below 1: 0.002 is 0.2 %")
    if not 0 < terms.gap < 1:
        raise TermsRefused("gap", "a share of the price, above 0 and below 1: 0.001 is 0.1 %")
    if not 1 <= terms.levels <= LEVELS_MAX:
        raise TermsRefused("levels", f"1 to {LEVELS_MAX}")
    for name, amount in (("size", terms.size), ("inventory_limit", terms.inventory_limit)):
        if amount % market.lot_size:
            raise TermsRefused(name, f"whole lots of {market.lot_size:f} {market.base}")
    if not market.min_quantity <= terms.size <= market.max_quantity:
        allowed = f"{market.min_quantity:f} to {market.max_quantity:f} {market.base}"
        raise TermsRefused("size", f"{market.symbol} takes {allowed}")
    if terms.inventory_limit < terms.size:
        raise TermsRefused("inventory_limit", "at least the size of a level")
