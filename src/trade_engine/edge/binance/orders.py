"""Routes of orders: place, try, cancel, look up, list."""

from typing import Any, Final

from trade_engine.domain.enums import MarketState, OrderStatus, OrderType, Side
from trade_engine.domain.errors import EngineError, Refused
from trade_engine.domain.ids import canonical_uuid
from trade_engine.domain.market import Market
from trade_engine.domain.orders import Order
from trade_engine.domain.rules import check_order
from trade_engine.edge.binance.commissions import show_commissions
from trade_engine.edge.binance.forms import NewOrder, read_client_id, read_order
from trade_engine.edge.binance.given import choice, limit_of, market_of, need_market, span, whole
from trade_engine.edge.binance.refusals import Numbered, combination, of_cancel, unknown_order
from trade_engine.edge.binance.shown import show_cancelled, show_order, show_placed
from trade_engine.edge.rest.call import Answer, Call
from trade_engine.edge.services import Services

_OPEN: Final = [status for status in OrderStatus if status.is_open]
_PAGE: Final = 500
#: Pages read for one answer, at most.
_PAGES: Final = 40
#: A batch's time and its orders' times differ by less.
_BATCH_US: Final = 10_000_000
_RESTRICTIONS: Final = ("ONLY_NEW", "ONLY_PARTIALLY_FILLED")
NO_ORDER: Final = (-2013, "Order does not exist.")


async def place(call: Call) -> Answer:
    """Place an order."""
    new = read_order(call.query, call.services.markets, call.caller)
    return Answer(await place_new(call.services, new))


async def place_new(services: Services, new: NewOrder) -> dict[str, Any]:
    """Place an order that was read; what its caller sees of it.

    Raises:
        EngineError: it was refused.
    """
    refuse_reached(services, new)
    placed = await services.desk.place(new.request)
    if placed.replayed:
        # What is the same order once more to our own face is a mistake to these clients.
        raise Numbered(-2010, "Duplicate order sent.")
    return show_placed(placed.order, new.market, placed.trades, new.response)


async def try_order(call: Call) -> Answer:
    """Check an order without placing it; funds and the book are not looked at."""
    wants_rates = choice(call.query, "computeCommissionRates", ("false", "true")) == "true"
    new = read_order(call.query, call.services.markets, call.caller)
    check_order(new.request, new.market)
    refuse_reached(call.services, new)
    if new.market.state is not MarketState.OPEN:
        raise Refused("MARKET_CLOSED", "the market takes no orders")
    last = call.services.reader.ticker(new.market.symbol).last_price
    if new.request.price and new.market.price_band_ppm and last:
        lowest, highest = new.market.price_range(last)
        if not lowest <= new.request.price <= highest:
            raise Refused("PRICE_BAND", "the price is too far from the last trade")
    return Answer(show_commissions(new.market, "ForOrder") if wants_rates else {})


def refuse_reached(services: Services, new: NewOrder) -> None:
    """Refuse a stop whose price is reached already: these clients want to hear that, and not to trade at once.

    Raises:
        Numbered: -2010.
    """
    request = new.request
    if request.type not in (OrderType.STOP, OrderType.STOP_LIMIT):
        return
    last = services.reader.ticker(new.market.symbol).last_price
    rises = (request.side is Side.BUY) != request.take_profit
    if last and (last >= request.stop_price if rises else last <= request.stop_price):
        raise Numbered(-2010, "Order would trigger immediately.")


async def named(
    call: Call, market: Market, by_number: str = "orderId", by_name: str = "origClientOrderId"
) -> Order | None:
    """The caller's order that a request names, by number or by his own id; None if there is none.

    Raises:
        Numbered: -1102, it names none.
    """
    number, called = whole(call.query, by_number), call.query.get(by_name)
    queries = call.services.queries
    if number is None and called is None:
        raise Numbered(-1102, f"Param '{by_name}' or '{by_number}' must be sent, but both were empty/null!")
    if number is not None:
        found = await queries.order_of_number(call.user_id, market.market_id, min(number, 2**63 - 1))
    else:
        found = await queries.order_of_client(call.user_id, str(called))
        order_id = canonical_uuid(str(called))
        if found is None and order_id is not None:
            [*named] = await queries.orders_of_ids([order_id])
            found = next((order for order in named if order.user_id == call.user_id), None)
    if found is None or found.market_id != market.market_id:
        return None
    is_other = number is not None and called not in (None, found.client_order_id, found.order_id)
    return None if is_other else found


async def get(call: Call) -> Answer:
    """Look up an order."""
    market = need_market(call.query, call.services.markets)
    order = await named(call, market)
    if order is None:
        raise Numbered(*NO_ORDER)
    return Answer(show_order(order, market))


async def cancel(call: Call) -> Answer:
    """Cancel an order."""
    market = need_market(call.query, call.services.markets)
    called = read_client_id(call.query, "newClientOrderId")
    number = whole(call.query, "orderId")
    if number is not None and call.query.keys().isdisjoint(("origClientOrderId", "cancelRestrictions")):
        # The usual one: of a live order the engine knows all that is asked, and the database need not be.
        try:
            ended = await call.services.desk.cancel_numbered(number, call.user_id, market)
        except EngineError as error:
            raise of_cancel(error) from error
    else:
        ended = await cancel_named(call, await named(call, market))
    return Answer(show_cancelled(ended, market, called))


async def cancel_named(call: Call, order: Order | None) -> Order:
    """Cancel the order that a request named; as it ended.

    Raises:
        EngineError: there is none, it is over, or it is not as ``cancelRestrictions`` demands.
    """
    wanted = choice(call.query, "cancelRestrictions", ("", *_RESTRICTIONS))
    if order is None or not order.status.is_open:
        raise unknown_order()
    if wanted and bool(order.filled) == (wanted == "ONLY_NEW"):
        raise Numbered(-2011, "Order was not canceled due to cancel restrictions.")
    try:
        return await call.services.desk.cancel(order.order_id, call.user_id)
    except EngineError as error:
        raise of_cancel(error) from error


async def cancel_all(call: Call) -> Answer:
    """Cancel all orders in a market: those that were open when this was asked for, as they ended."""
    services = call.services
    market = need_market(call.query, services.markets)
    before = await list_live(call, market)
    if not before:
        raise unknown_order()
    try:
        await services.desk.cancel_all(call.user_id, market)
    except EngineError as error:
        raise of_cancel(error) from error
    after = await services.queries.orders_of_ids([order.order_id for order in before])
    return Answer([show_cancelled(order, market, None) for order in after if order.status is OrderStatus.CANCELLED])


async def list_open(call: Call) -> Answer:
    """List open orders, of a market or all, oldest first."""
    markets, symbol = call.services.markets, call.query.get("symbol")
    market = None if symbol is None else market_of(markets, symbol)
    return Answer([show_order(order, markets.numbered(order.market_id)) for order in await list_live(call, market)])


async def list_live(call: Call, market: Market | None) -> list[Order]:
    """The caller's open orders, of a market or all, oldest first."""
    found: list[Order] = []
    before = None
    for _ in range(_PAGES):
        page = await call.services.desk.page(call.user_id, market=market, statuses=_OPEN, before=before, limit=_PAGE)
        found.extend(page.rows)
        before = page.next_before
        if before is None:
            break
    return found[::-1]


async def list_all(call: Call) -> Answer:
    """List orders of a market, open or ended, oldest first: the newest, or those from a number or a time on."""
    given, services = call.query, call.services
    market = need_market(given, services.markets)
    limit, number = limit_of(given, 500, 1_000), whole(given, "orderId")
    start_us, end_us = span(given)
    if number is not None and (start_us is not None or end_us is not None):
        raise combination("orderId", "startTime", "endTime")
    if number:
        stamped_us = await services.queries.time_of_number(min(number, 2**63 - 1))
        if stamped_us is None:
            return Answer([])
        start_us = max(0, stamped_us - _BATCH_US)
    end_us = None if end_us is None else end_us + 1
    if start_us is None and number is None:
        page = await services.queries.orders(call.user_id, market_id=market.market_id, end_us=end_us, limit=limit)
        return Answer([show_order(order, market) for order in reversed(page.rows)])
    found: list[Order] = []
    after = None
    for _ in range(_PAGES):
        page = await services.queries.orders(
            call.user_id, market_id=market.market_id, start_us=start_us, end_us=end_us, before=after, limit=limit,
            oldest_first=True,
        )  # fmt: skip
        found.extend(order for order in page.rows if order.sequence >= (number or 0))
        after = page.next_before
        if after is None or len(found) >= limit:
            break
    return Answer([show_order(order, market) for order in found[:limit]])
