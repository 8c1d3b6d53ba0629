"""Routes of a market's trades: the newest, older ones, and those of one taker order at one price as one."""

from collections.abc import Iterable
from itertools import groupby
from typing import Any, Final

from trade_engine.domain.market import Market
from trade_engine.domain.orders import Trade
from trade_engine.edge.binance.given import limit_of, need_market, span, whole
from trade_engine.edge.binance.numbers import fixed, ms
from trade_engine.edge.binance.refusals import combination
from trade_engine.edge.rest.call import Answer, Call
from trade_engine.edge.services import Services
from trade_engine.edge.times import LATEST_US

_MOST: Final = 1_000
#: Pages read for one answer, at most.
_PAGES: Final = 20
#: Days of candles looked through for a trade's number.
_DAYS: Final = 5_000


async def newest(call: Call) -> Answer:
    """List the newest trades of a market, oldest of them first."""
    market = need_market(call.query, call.services.markets)
    limit = limit_of(call.query, 500, _MOST)
    page = await call.services.queries.trades(market_id=market.market_id, limit=limit)
    return Answer([show_trade(trade) for trade in reversed(page.rows)])


async def older(call: Call) -> Answer:
    """List trades of a market from a number on, or the newest."""
    market = need_market(call.query, call.services.markets)
    limit, number = limit_of(call.query, 500, _MOST), whole(call.query, "fromId")
    if number is None:
        return await newest(call)
    found = await trades_from(call.services, market, number, limit)
    return Answer([show_trade(trade) for trade in found])


async def aggregated(call: Call) -> Answer:
    """List trades of a market, those that one taker order made at one price in one go as one.

    An aggregate is called what its first trade is.
    """
    given, services = call.query, call.services
    market = need_market(given, services.markets)
    limit, number = limit_of(given, 500, _MOST), whole(given, "fromId")
    start_us, end_us = span(given)
    if number is not None and (start_us is not None or end_us is not None):
        raise combination("fromId", "startTime", "endTime")
    if number is not None:
        # From the beginning of the minute, so that no aggregate is cut at its beginning.
        start_us = await locate(services, market, number)
        if start_us is None:
            return Answer([])
    if start_us is None:
        page = await services.queries.trades(
            market_id=market.market_id, end_us=None if end_us is None else end_us + 1, limit=limit
        )
        groups = one_by_taker(page.rows[::-1])
        # The oldest may lack trades that were not read, unless there are none before it.
        return Answer([show_group(group) for group in (groups[1:] if page.next_before and groups[1:] else groups)])
    groups = await _groups_from(services, market, (start_us, end_us), number or 0, limit)
    return Answer([show_group(group) for group in groups[:limit]])


async def _groups_from(
    services: Services, market: Market, times: tuple[int, int | None], number: int, limit: int
) -> list[list[Trade]]:
    """At least ``limit`` aggregates from a time on, of those that begin with a trade of that number or later."""
    found: list[Trade] = []
    after, end_us = None, None if times[1] is None else times[1] + 1
    for _ in range(_PAGES):
        page = await services.queries.trades(
            market_id=market.market_id, start_us=times[0], end_us=end_us, before=after, limit=_MOST, oldest_first=True
        )
        found.extend(page.rows)
        after = page.next_before
        groups = [group for group in one_by_taker(found) if group[0].sequence >= number]
        # The last one may go on behind what was read.
        if after is None or len(groups) > limit:
            break
    return groups


def one_by_taker(trades: Iterable[Trade]) -> list[list[Trade]]:
    """Trades, oldest first, in aggregates: of one taker order, at one price, in one go."""
    return [list(group) for _, group in groupby(trades, lambda t: (_taker(t), t.price, t.executed_us))]


def _taker(trade: Trade) -> str:
    return trade.seller_order_id if trade.is_buyer_maker else trade.buyer_order_id


async def locate(services: Services, market: Market, number: int) -> int | None:
    """The beginning of the minute with the first trade of that number or a later one; None if there is none yet.

    Candles know the number of their newest trade: the day is looked for, in it the hour, in that the minute.
    """
    start_us, end_us = 0, LATEST_US
    for interval, most in (("1d", _DAYS), ("1h", 24), ("1m", 60)):
        view = await services.reader.candles(market.symbol, interval, start_us, end_us, most)
        at = next((n for n, candle in enumerate(view.candles) if candle.last_sequence >= number), None)
        if at is None:
            return None
        start_us = view.candles[at].start_us
        end_us = view.candles[at + 1].start_us if at + 1 < len(view.candles) else end_us
    return start_us


async def trades_from(services: Services, market: Market, number: int, limit: int) -> list[Trade]:
    """The first ``limit`` trades of a market from a number on, oldest first."""
    start_us = await locate(services, market, number)
    found: list[Trade] = []
    after = None
    for _ in range(_PAGES if start_us is not None else 0):
        page = await services.queries.trades(
            market_id=market.market_id, start_us=start_us, before=after, limit=limit, oldest_first=True,
            from_sequence=number,
        )  # fmt: skip
        found.extend(page.rows)
        after = page.next_before
        if after is None or len(found) >= limit:
            break
    return found[:limit]


def show_trade(trade: Trade) -> dict[str, Any]:
    """A trade as everybody sees it."""
    return {
        "id": trade.sequence,
        "price": fixed(trade.price),
        "qty": fixed(trade.quantity),
        "quoteQty": fixed(trade.notional),
        "time": ms(trade.executed_us),
        "isBuyerMaker": trade.is_buyer_maker,
        "isBestMatch": True,
    }


def show_group(group: list[Trade]) -> dict[str, Any]:
    """An aggregate as everybody sees it."""
    first, last = group[0], group[-1]
    return {
        "a": first.sequence,
        "p": fixed(first.price),
        "q": fixed(sum(trade.quantity for trade in group)),
        "f": first.sequence,
        "l": last.sequence,
        "T": ms(first.executed_us),
        "m": first.is_buyer_maker,
        "M": True,
    }
