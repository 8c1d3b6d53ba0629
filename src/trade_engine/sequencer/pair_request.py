"""One-cancels-other pairs: two orders that are placed together, with one reservation (SPEC 3.6).

The leg that reserves more comes first and pays for whichever of them trades; the core links the second one to it.  Both
commands, and the one that takes the first leg back should the second be refused, are of one batch, one right after the
other: nobody ever sees half a pair.  Neither leg takes when it comes: a limit is post-only, and a stop whose price is
reached already is refused.
"""

from collections.abc import Callable
from typing import Final

import msgspec

from trade_engine.domain.commands import Command, OrderFlag
from trade_engine.domain.enums import OrderType, Reason, Side, TimeInForce
from trade_engine.domain.errors import EngineError, InvalidRequest, Refused
from trade_engine.domain.market import Market
from trade_engine.domain.orders import Order, PlaceOrder, PlacePair
from trade_engine.domain.rules import check_order
from trade_engine.domain.scale import format_price
from trade_engine.sequencer.bookkeeping import CommandOutcome
from trade_engine.sequencer.engine_request import PlaceRequest, place_command
from trade_engine.sequencer.memory import Memory

CLIENT_PAIR_ID_MAX: Final = 100
_STOPS: Final = (OrderType.STOP, OrderType.STOP_LIMIT)


class PairRequest(PlaceRequest):
    """To place a pair: admitted with one reservation, sequenced as two orders."""

    __slots__ = ("legs", "pair", "problem", "refused", "second")

    def __init__(self, pair: PlacePair, market: Market) -> None:
        super().__init__(pair.legs[0], market)
        self.pair = pair
        #: The second leg as admission made it; ``order`` is the first one.
        self.second: Order | None = None
        #: Both as they stood once they had come, by the latest try.
        self.legs: tuple[Order, Order] | None = None
        #: The leg that the core refused.
        self.refused: Order | None = None
        #: Why it makes no sense any more when its turn comes.
        self.problem: EngineError | None = None

    @property
    def client_keys(self) -> list[tuple[str, str]]:
        """Whose client order ids it takes."""
        return [(leg.user_id, leg.client_order_id) for leg in self.pair.legs if leg.client_order_id is not None]

    def admit(self, new_order: Callable[[PlaceOrder], Order]) -> Order:
        """Have both legs made: the one that reserves more comes first, and reserves for both."""
        one, other = map(new_order, self.pair.legs)
        first, self.second = (one, other) if one.reserved >= other.reserved else (other, one)
        self.order, self.second.reserved, self.second.hold = first, 0, 0
        self.second.client_pair_id = self.pair.client_pair_id
        return first

    def command(self, memory: Memory, sequence: int, time_us: int) -> Command | None:
        """PLACE, of the first leg; None if a leg would enter the market at once."""
        self.placed = self.legs = self.refused = None
        if self.order is None or self.second is None:
            raise RuntimeError("the pair has not been admitted")
        market = memory.markets[self.order.market_id]
        last_price = memory.books.book(market.market_id).memory().last_price * market.tick_size
        self.problem = _reached(self.order, last_price, market) or _reached(self.second, last_price, market)
        return None if self.problem else super().command(memory, sequence, time_us)

    def following(self, memory: Memory, sequence: int, time_us: int, outcome: CommandOutcome) -> Command | None:
        """PLACE, of the second leg; CANCEL, of the first, if the second was refused."""
        leg, self.placed = self.placed, None
        if leg is None or self.order is None or self.second is None:
            return None
        is_first = leg.order_id == self.order.order_id
        if outcome.refusal:
            self.refused = outcome.order
            if is_first:
                return None
            first = memory.live.by_id[self.order.order_id]
            return Command.cancel(sequence, time_us, first.market_id, first.sequence, first.user, Reason.LINKED_ORDER)
        if is_first:
            self.placed = msgspec.structs.replace(
                self.second, sequence=sequence, created_us=time_us, updated_us=time_us, linked_number=leg.sequence
            )
            return place_command(self.placed, memory.markets[leg.market_id])
        self.legs = (msgspec.structs.replace(memory.live.by_id[self.order.order_id]), msgspec.structs.replace(leg))
        return None


def check_pair(pair: PlacePair, market: Market) -> None:
    """Check both legs by their market's rules, and that they make a pair.

    Raises:
        InvalidRequest: INVALID_PAIR, or as for an order; Refused: MIN_NOTIONAL.
    """
    one, other = pair.legs
    called = pair.client_pair_id
    if called is not None and not (0 < len(called) <= CLIENT_PAIR_ID_MAX and called.isprintable()):
        raise _invalid(
            f"client_pair_id has 1 to {CLIENT_PAIR_ID_MAX} printable characters", "client_pair_id", repr(called)
        )
    for leg in pair.legs:
        check_order(leg, market)
        if leg.time_in_force is not TimeInForce.GTC:
            raise _invalid("a leg of a pair has time_in_force GTC", "time_in_force", leg.time_in_force.name)
        if leg.type is OrderType.MARKET or (leg.type is OrderType.LIMIT and not leg.post_only):
            raise _invalid("a leg of a pair is a STOP, a STOP_LIMIT, or a LIMIT with post_only", "type", leg.type.name)
    if (one.user_id, one.symbol, one.side, one.quantity) != (other.user_id, other.symbol, other.side, other.quantity):
        raise _invalid("both legs of a pair have the same symbol, side and quantity", "legs", "other terms")
    if one.client_order_id is not None and one.client_order_id == other.client_order_id:
        raise _invalid("each leg of a pair has a client_order_id of its own", "client_order_id", one.client_order_id)
    rising = [leg for leg in pair.legs if waits_for_rise(leg.side, leg.type, turned=leg.take_profit)]
    if len(rising) != 1:
        raise _invalid("one leg of a pair waits for a higher price, the other for a lower one", "legs", "one way")
    [falling] = [leg for leg in pair.legs if leg is not rising[0]]
    if (rising[0].stop_price or rising[0].price) <= (falling.stop_price or falling.price):
        raise _invalid("the leg that waits for a higher price has the higher one", "legs", "crossed prices")


def waits_for_rise(side: Side, kind: OrderType, *, turned: bool) -> bool:
    """Whether an order waits for the price to rise: a SELL limit, a BUY stop, a SELL stop turned round."""
    return side is Side.SELL if kind not in _STOPS else (side is Side.BUY) != turned


def _reached(leg: Order, last_price: int, market: Market) -> Refused | None:
    """Why a stop may not come any more: its price is reached."""
    if leg.type not in _STOPS or not last_price:
        return None
    rises = waits_for_rise(leg.side, leg.type, turned=bool(leg.flags & OrderFlag.REVERSED))
    if not (last_price >= leg.stop_price if rises else last_price <= leg.stop_price):
        return None
    decimals = market.price_decimals
    return Refused(
        "STOP_PRICE_REACHED",
        "the last price has reached the stop price of a leg, nothing was placed",
        field="stop_price",
        provided=format_price(leg.stop_price, decimals),
        limit=format_price(last_price, decimals),
    )


def _invalid(message: str, field: str, provided: str) -> InvalidRequest:
    return InvalidRequest("INVALID_PAIR", message, field=field, provided=provided)
