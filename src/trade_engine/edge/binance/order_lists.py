"""Order lists: pairs of orders of which one cancels the other, as clients of Binance place, read and cancel them."""

from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

from trade_engine.domain.enums import Reason
from trade_engine.domain.errors import EngineError
from trade_engine.domain.ids import canonical_uuid
from trade_engine.domain.market import Market
from trade_engine.domain.orders import Order, OrderPair, PlaceOrder, PlacePair
from trade_engine.edge.auth.tokens import Principal
from trade_engine.edge.binance.forms import read_client_id, read_order
from trade_engine.edge.binance.given import choice, joined, limit_of, need, need_market, span, whole
from trade_engine.edge.binance.numbers import ms
from trade_engine.edge.binance.orders import list_live
from trade_engine.edge.binance.refusals import Numbered, combination, of_cancel, unknown_order
from trade_engine.edge.binance.shown import client_id, show_cancelled, show_placed
from trade_engine.edge.markets import Markets
from trade_engine.edge.rest.call import Answer, Call
from trade_engine.edge.services import Services
from trade_engine.edge.times import LATEST_US
from trade_engine.storage.pair_queries import pair_named, pairs_between, pairs_of_numbers

_PARTS: Final = "Type ClientOrderId IcebergQty Price StopPrice TimeInForce TrailingDelta PegPriceType"
_REPORTS: Final = ("RESULT", "ACK", "FULL")
_LEG_TYPES: Final = ("STOP_LOSS", "STOP_LOSS_LIMIT", "LIMIT_MAKER", "TAKE_PROFIT", "TAKE_PROFIT_LIMIT")
_COMMON: Final = "symbol! listClientOrderId side! quantity! newOrderRespType selfTradePreventionMode"
#: Of the two ways to place a pair.
OCO_PARAMETERS: Final = f"{_COMMON} " + " ".join(
    f"{leg}{part}{'!' if part == 'Type' else ''}" for leg in ("above", "below") for part in _PARTS.split()
)
OLD_OCO_PARAMETERS: Final = (
    f"{_COMMON} limitClientOrderId price! limitIcebergQty trailingDelta stopPrice!"
    " stopClientOrderId stopLimitPrice stopIcebergQty stopLimitTimeInForce"
)
_NO_LIST: Final = (-2018, "Order list does not exist.")


class _NewList(NamedTuple):
    request: PlacePair
    market: Market
    response: str


async def place(call: Call) -> Answer:
    """Place a pair: one leg above the market's price, one below."""
    return Answer(await place_list(call.services, read_list(call.query, call.services.markets, call.caller)))


async def place_old(call: Call) -> Answer:
    """Place a pair as older clients do: a limit and a stop."""
    given = _as_legs(call.query)
    return Answer(await place_list(call.services, read_list(given, call.services.markets, call.caller)))


async def place_list(services: Services, new: _NewList) -> dict[str, Any]:
    """Place a pair; what its caller sees of it.

    Raises:
        EngineError: it was refused.
    """
    placed = await services.desk.place_pair(new.request)
    if placed.replayed:
        raise Numbered(-2010, "Duplicate order sent.")
    reports = [show_placed(leg, new.market, (), new.response) for leg in _in_order(placed.legs)]
    return show_list(placed.pair, placed.legs, new.market) | {"orderReports": reports}


def read_list(given: Mapping[str, str], markets: Markets, caller: Principal) -> _NewList:
    """The pair that a request asks for.

    Raises:
        Numbered: a parameter is missing, not wanted, or wrong.
    """
    need_market(given, markets)
    need(given, "side")
    need(given, "quantity")
    legs = (_leg(given, "above", markets, caller), _leg(given, "below", markets, caller))
    called = read_client_id(given, "listClientOrderId")
    return _NewList(
        PlacePair(legs=legs, client_pair_id=called), need_market(given, markets),
        choice({"newOrderRespType": "RESULT", **given}, "newOrderRespType", _REPORTS),
    )  # fmt: skip


def _leg(given: Mapping[str, str], leg: str, markets: Markets, caller: Principal) -> PlaceOrder:
    kind = need(given, f"{leg}Type")
    if kind not in _LEG_TYPES:
        raise Numbered(-1116, "Invalid orderType.")
    terms = {name: given[name] for name in ("symbol", "side", "quantity", "selfTradePreventionMode") if name in given}
    names = {
        "ClientOrderId": "newClientOrderId", "IcebergQty": "icebergQty", "Price": "price", "StopPrice": "stopPrice",
        "TimeInForce": "timeInForce", "TrailingDelta": "trailingDelta", "PegPriceType": "pegPriceType",
    }  # fmt: skip
    terms |= {name: given[f"{leg}{part}"] for part, name in names.items() if f"{leg}{part}" in given}
    if terms.get("timeInForce", "GTC") != "GTC":
        raise Numbered(-1014, "Unsupported order combination: a leg of an order list has timeInForce GTC.")
    return read_order(terms | {"type": kind}, markets, caller).request


def _as_legs(given: Mapping[str, str]) -> dict[str, str]:
    """The parameters of the older way in the words of the newer one."""
    sells = need(given, "side") == "SELL"
    for name in ("price", "stopPrice"):
        need(given, name)
    limit, stop = ("above", "below") if sells else ("below", "above")
    parts = {
        "limitClientOrderId": f"{limit}ClientOrderId", "price": f"{limit}Price",
        "limitIcebergQty": f"{limit}IcebergQty", "stopClientOrderId": f"{stop}ClientOrderId",
        "stopPrice": f"{stop}StopPrice", "stopLimitPrice": f"{stop}Price", "stopIcebergQty": f"{stop}IcebergQty",
        "stopLimitTimeInForce": f"{stop}TimeInForce", "trailingDelta": f"{stop}TrailingDelta",
    }  # fmt: skip
    kept = {name: value for name, value in given.items() if name in _COMMON.replace("!", "").split()}
    kept |= {parts[name]: value for name, value in given.items() if name in parts}
    kept |= {f"{limit}Type": "LIMIT_MAKER", f"{stop}Type": "STOP_LOSS"}
    if "stopLimitPrice" in given:
        kept[f"{stop}Type"] = "STOP_LOSS_LIMIT"
    return kept


async def get(call: Call) -> Answer:
    """Look up a pair by its number or its caller's name for it."""
    pair = await _named(call, "origClientOrderId")
    if pair is None:
        raise Numbered(*_NO_LIST)
    return Answer((await _show_all(call.services, [pair]))[0])


async def cancel(call: Call) -> Answer:
    """Cancel a pair: both its legs."""
    market = need_market(call.query, call.services.markets)
    called = read_client_id(call.query, "newClientOrderId")
    pair = await _named(call, "listClientOrderId")
    if pair is None or pair.market_id != market.market_id:
        raise unknown_order()
    ids = [pair.first_order_id, pair.second_order_id]
    before = await call.services.queries.orders_of_ids(ids)
    live = next((leg for leg in before if leg.status.is_open), None)
    if live is None:
        raise unknown_order()
    try:
        await call.services.desk.cancel(live.order_id, call.user_id)
    except EngineError as error:
        raise of_cancel(error) from error
    legs = await call.services.queries.orders_of_ids(ids)
    # The caller ended both of them, although the engine ended one for the other's sake.
    reports = [
        show_cancelled(leg, market, called) | ({"status": "CANCELED"} if leg.reason is Reason.LINKED_ORDER else {})
        for leg in _in_order(legs)
    ]
    return Answer(show_list(pair, legs, market) | {"orderReports": reports})


async def list_all(call: Call) -> Answer:
    """List pairs, open or not, oldest first: the newest, or those from a number or a time on."""
    number, limit = whole(call.query, "fromId"), limit_of(call.query, 500, 1_000)
    start_us, end_us = span(call.query)
    if number is not None and (start_us is not None or end_us is not None):
        raise combination("fromId", "startTime", "endTime")
    least = min(number, 2**63 - 1) if number is not None else None if start_us is None else 0
    end = LATEST_US if end_us is None else end_us + 1
    found = await pairs_between(
        call.services.queries, call.user_id, least=least, start_us=start_us or 1, end_us=end, limit=limit
    )
    return Answer(await _show_all(call.services, found))


async def list_open(call: Call) -> Answer:
    """List open pairs, oldest first."""
    numbers = sorted({order.pair_number for order in await list_live(call, None) if order.pair_number})
    shown = await lists_of_numbers(call.services, call.user_id, numbers)
    return Answer([row for row in shown if row["listOrderStatus"] == "EXECUTING"])


async def _named(call: Call, parameter: str) -> OrderPair | None:
    number, called = whole(call.query, "orderListId"), call.query.get(parameter)
    if number is None and called is None:
        raise Numbered(-1102, f"Param '{parameter}' or 'orderListId' must be sent, but both were empty/null!")
    number = None if number is None else min(number, 2**63 - 1)
    queries, user_id = call.services.queries, call.user_id
    found = await pair_named(queries, user_id, number=number, called=called)
    if found is None and number is None and canonical_uuid(str(called)) is not None:
        [*legs] = await queries.orders_of_ids([str(called)])
        numbers = [leg.pair_number for leg in legs if leg.user_id == user_id and leg.pair_number]
        found = next(iter(await pairs_of_numbers(queries, user_id, numbers)), None)
    return found


async def lists_of_numbers(services: Services, user_id: str, numbers: Sequence[int]) -> list[dict[str, Any]]:
    """A user's pairs by their numbers, oldest first.

    Raises:
        Unavailable: DATABASE_UNAVAILABLE.
    """
    return await _show_all(services, await pairs_of_numbers(services.queries, user_id, numbers))


async def _show_all(services: Services, pairs: Sequence[OrderPair]) -> list[dict[str, Any]]:
    ids = [leg for pair in pairs for leg in (pair.first_order_id, pair.second_order_id)]
    orders = {order.order_id: order for order in await services.queries.orders_of_ids(ids)} if ids else {}
    shown = []
    for pair in pairs:
        legs = [orders[leg] for leg in (pair.first_order_id, pair.second_order_id) if leg in orders]
        shown.append(show_list(pair, legs, services.markets.numbered(pair.market_id)))
    return shown


def _in_order(legs: Sequence[Order]) -> list[Order]:
    """The stop first, as clients know it."""
    return sorted(legs, key=lambda leg: (not leg.stop_price, leg.sequence))


def show_list(pair: OrderPair, legs: Sequence[Order], market: Market, *, is_open: bool | None = None) -> dict[str, Any]:
    """A pair with the names of its legs, which may be archived; open if one of them is, if that is not said."""
    if is_open is None:
        is_open = any(leg.status.is_open for leg in legs)
    return {
        "orderListId": pair.pair_number,
        "contingencyType": "OCO",
        "listStatusType": "EXEC_STARTED" if is_open else "ALL_DONE",
        "listOrderStatus": "EXECUTING" if is_open else "ALL_DONE",
        # A pair that was given no name is called by the id of its first leg.
        "listClientOrderId": pair.client_pair_id or pair.first_order_id,
        "transactionTime": ms(max((leg.updated_us for leg in legs), default=pair.created_us)),
        "symbol": joined(market),
        "orders": [
            {"symbol": joined(market), "orderId": leg.sequence, "clientOrderId": client_id(leg)}
            for leg in _in_order(legs)
        ],
    }
