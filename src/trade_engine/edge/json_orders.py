"""Orders in our own JSON: decoded, carried out, shown; REST's handlers and the WebSocket's commands are these.

Every function may raise an ``EngineError``; one of the text that came in changes nothing.
"""

from typing import Final

import msgspec

from trade_engine.domain.commands import OrderFlag
from trade_engine.domain.errors import InvalidRequest
from trade_engine.domain.market import Market
from trade_engine.domain.orders import Order, PlaceOrder
from trade_engine.edge.auth.tokens import Principal
from trade_engine.edge.bodies import (
    CLIENT_ID_MAX,
    AmendBody,
    PairBody,
    PlaceBody,
    decode,
    is_client_order_id,
    read_amend,
    read_order_id,
    read_pair,
    read_place,
)
from trade_engine.edge.trading import Desk
from trade_engine.edge.views import (
    CancelledView,
    OrderView,
    PairView,
    PlacedView,
    show_order,
    show_own_trade,
    show_pair,
)
from trade_engine.sequencer.ports import Placed

#: Fields of which a refusal shows what was written, not what was read of it, and nothing where they were not given.
_AS_WRITTEN: Final = frozenset(("price", "quantity", "stop_price", "expires_at"))

#: What stands before a client order id where an order's id is asked for.
_BY_CLIENT: Final = "client:"

_decoder = msgspec.json.Decoder(PlaceBody)
_pair_decoder = msgspec.json.Decoder(PairBody)
_amend_decoder = msgspec.json.Decoder(AmendBody)


async def place(desk: Desk, caller: Principal, content: bytes) -> PlacedView:
    """Place the caller's order that ``content`` describes: the order and its trades."""
    body = decode(_decoder, content)
    request = _read(desk, caller, body)
    try:
        placed = await desk.place(request)
    except InvalidRequest as error:
        field = error.details.get("field")
        if field in _AS_WRITTEN and getattr(body, field) is not None:
            error.details["provided"] = getattr(body, field)[:100]
        raise
    view = _show(desk, caller, placed)
    if placed.replayed:
        view.replayed = True
        view.differs = differences(request, placed.order, desk.markets.numbered(placed.order.market_id))
    return view


async def place_pair(desk: Desk, caller: Principal, content: bytes) -> PairView:
    """Place the caller's pair that ``content`` describes: both legs."""
    body = decode(_pair_decoder, content)
    market = desk.markets.named(body.symbol)
    request = read_pair(body, market.symbol, caller.user_id, caller.institution_id)
    return show_pair(await desk.place_pair(request), market)


async def find_pair(desk: Desk, caller: Principal, order_id: str) -> PairView:
    """The caller's pair that one of its legs names."""
    found = await desk.pair(await _identify(desk, caller, order_id), caller.user_id)
    return show_pair(found, desk.markets.numbered(found.pair.market_id))


def read_request(desk: Desk, caller: Principal, content: bytes) -> PlaceOrder:
    """The order that ``content`` describes, not placed."""
    return _read(desk, caller, decode(_decoder, content))


def _read(desk: Desk, caller: Principal, body: PlaceBody) -> PlaceOrder:
    return read_place(body, desk.markets.named(body.symbol).symbol, caller.user_id, caller.institution_id)


def differences(request: PlaceOrder, order: Order, market: Market) -> list[str]:
    """The fields in which a request asks for something else than ``order``, which was placed before, is now."""
    by_amount = bool(order.flags & OrderFlag.QUOTE_AMOUNT)
    pairs = {
        "symbol": (request.symbol, market.symbol),
        "side": (request.side, order.side),
        "type": (request.type, order.type),
        "quantity": (request.quantity, 0 if by_amount else order.quantity),
        "quote_amount": (request.quote_amount, order.reserved if by_amount else 0),
        "price": (request.price, order.price),
        "stop_price": (request.stop_price, order.stop_price),
        "time_in_force": (request.time_in_force, order.time_in_force),
        "self_trade_prevention": (request.stp, order.stp),
        "post_only": (request.post_only, bool(order.flags & OrderFlag.POST_ONLY)),
        "take_profit": (request.take_profit, bool(order.flags & OrderFlag.REVERSED)),
        "display_quantity": (request.display_quantity, order.display),
    }
    return [name for name, (asked, placed) in pairs.items() if asked != placed]


async def amend(desk: Desk, caller: Principal, order_id: str, content: bytes) -> PlacedView:
    """Change the caller's order as ``content`` says: the order as it is now, and the trades that it made at once."""
    change = read_amend(decode(_amend_decoder, content))
    changed = await desk.amend(await _identify(desk, caller, order_id), caller.user_id, change)
    return _show(desk, caller, changed)


async def cancel(desk: Desk, caller: Principal, order_id: str) -> OrderView:
    """End the caller's order: the order as it ended."""
    order = await desk.cancel(await _identify(desk, caller, order_id), caller.user_id)
    return show_order(order, desk.markets.numbered(order.market_id))


async def cancel_all(desk: Desk, caller: Principal, symbol: str | None) -> CancelledView:
    """End the caller's orders in one market, or all: how many."""
    market = desk.markets.named(symbol) if symbol is not None else None
    return CancelledView(await desk.cancel_all(caller.user_id, market))


async def _identify(desk: Desk, caller: Principal, name: str) -> str:
    """The id of the caller's order that is named by its id, or by ``client:`` and its client order id."""
    if not name.startswith(_BY_CLIENT):
        return read_order_id(name)
    client_order_id = name.removeprefix(_BY_CLIENT)
    if not is_client_order_id(client_order_id):
        message = f"client: is followed by the 1 to {CLIENT_ID_MAX} printable characters of a client_order_id"
        raise InvalidRequest("INVALID_ORDER_ID", message, field="order_id", provided=name[:120])
    return await desk.order_id_of(client_order_id, caller.user_id)


async def find(desk: Desk, caller: Principal, order_id: str) -> OrderView:
    """The caller's order."""
    order = await desk.find(await _identify(desk, caller, order_id), caller.user_id)
    return show_order(order, desk.markets.numbered(order.market_id))


def _show(desk: Desk, caller: Principal, placed: Placed) -> PlacedView:
    market = desk.markets.numbered(placed.order.market_id)
    trades = [show_own_trade(trade, market, caller.user_id) for trade in placed.trades]
    return PlacedView(show_order(placed.order, market), trades)
