"""What a market maker quotes, as a function of what he thinks a price is worth and what he holds; no I/O.

A ladder has so many levels a side, equally far apart, on prices that do not move with every thought: they are whole
multiples of the gap, so that a small change of the fair price leaves most quotes where they are, in their place in the
queue.  What he holds moves the ladder against him: who has bought wants to sell.  Prices in ticks, quantities in lots.
"""

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from trade_engine.domain.enums import Side
from trade_engine.domain.scale import ceil_div


class LadderTerms(NamedTuple):
    """How somebody quotes."""

    #: From the fair price to the best quote of a side, at least; ticks.
    half_spread: int
    #: Between two levels; ticks.
    gap: int
    #: Of a side.
    levels: int
    #: Of a level; lots.
    lots: int
    #: He holds at most so much more, or less, than in the beginning; lots.
    inventory_limit: int


class Quote(NamedTuple):
    """An order to be resting: price in ticks, quantity in lots."""

    side: Side
    price: int
    lots: int


class Free(NamedTuple):
    """Prices that are left to others: bids stay at ``lowest`` or below, asks at ``highest`` or above; ticks."""

    lowest: int
    highest: int


def ladder(fair: int, inventory: int, terms: LadderTerms, free: Free | None = None, least_lots: int = 1) -> list[Quote]:
    """The quotes to have, best first, bids before asks; a side ends where its fills would pass the limit.

    Args:
        fair: what the base is worth; ticks.
        inventory: what is held more than in the beginning; lots, negative for less.
        terms: how to quote.
        free: prices to keep out of.
        least_lots: the market takes no smaller order.
    """
    reach = terms.half_spread + terms.gap * terms.levels
    centre = fair - inventory * reach // (2 * terms.inventory_limit)
    bid = (centre - terms.half_spread) // terms.gap * terms.gap
    ask = max(ceil_div(centre + terms.half_spread, terms.gap) * terms.gap, bid + terms.gap)
    if free is not None:
        bid = min(bid, free.lowest // terms.gap * terms.gap)
        ask = max(ask, ceil_div(free.highest, terms.gap) * terms.gap)
    quotes = []
    for side, best, step, room in (
        (Side.BUY, bid, -terms.gap, terms.inventory_limit - inventory),
        (Side.SELL, ask, terms.gap, terms.inventory_limit + inventory),
    ):
        for level in range(terms.levels):
            price, lots = best + level * step, min(terms.lots, room)
            if price <= 0 or lots < least_lots:
                break
            quotes.append(Quote(side, price, lots))
            room -= lots
    return quotes


def changes(live: Mapping[str, Quote], wanted: Iterable[Quote]) -> tuple[list[str], list[Quote]]:
    """Which resting orders to end, and which quotes to place; what rests at a wanted price, and is no more, stays.

    Args:
        live: resting orders by id.
        wanted: the ladder.
    """
    missing = {(quote.side, quote.price): quote for quote in wanted}
    stale = []
    for order_id, quote in live.items():
        there = missing.get((quote.side, quote.price))
        if there is None or quote.lots > there.lots:
            stale.append(order_id)
        else:
            del missing[quote.side, quote.price]
    return stale, list(missing.values())
