"""Orders in our own JSON: decoded, carried out, shown; REST's handlers and the WebSocket's commands are these.

Every function may raise an ``EngineError``; one of the text that came in changes nothing.
"""

import msgspec

from trade_engine.domain.errors import InvalidRequest
from trade_engine.domain.orders import PlaceOrder
from trade_engine.edge.auth.tokens import Principal
from trade_engine.edge.bodies import AmendBody, PlaceBody, decode, read_amend, read_order_id, read_place
from trade_engine.edge.trading import Desk
from trade_engine.edge.views import CancelledView, OrderView, PlacedView, show_order, show_own_trade
from trade_engine.sequencer.ports import Placed

_decoder = msgspec.json.Decoder(PlaceBody)
_amend_decoder = msgspec.json.Decoder(AmendBody)


async def place(desk: Desk, caller: Principal, content: bytes) -> PlacedView:
    """Place the caller's order that ``content`` describes: the order and its trades."""
    body = decode(_decoder, content)
    request = _read(desk, caller, body)
    try:
        placed = await desk.place(request)
    except InvalidRequest as error:
        if error.details.get("field") == "expires_at" and body.expires_at:
            error.details["provided"] = body.expires_at[:100]
        raise
    return _show(desk, caller, placed, replayed=bool(placed.replayed))


def read_request(desk: Desk, caller: Principal, content: bytes) -> PlaceOrder:
    """The order that ``content`` describes, not placed."""
    return _read(desk, caller, decode(_decoder, content))


def _read(desk: Desk, caller: Principal, body: PlaceBody) -> PlaceOrder:
    return read_place(body, desk.markets.named(body.symbol).symbol, caller.user_id, caller.institution_id)


async def amend(desk: Desk, caller: Principal, order_id: str, content: bytes) -> PlacedView:
    """Change the caller's order as ``content`` says: the order as it is now, and the trades that it made at once."""
    change = read_amend(decode(_amend_decoder, content))
    changed = await desk.amend(read_order_id(order_id), caller.user_id, change)
    return _show(desk, caller, changed)


async def cancel(desk: Desk, caller: Principal, order_id: str) -> OrderView:
    """End the caller's order: the order as it ended."""
    order = await desk.cancel(read_order_id(order_id), caller.user_id)
    return show_order(order, desk.markets.numbered(order.market_id))


async def cancel_all(desk: Desk, caller: Principal, symbol: str | None) -> CancelledView:
    """End the caller's orders in one market, or all: how many."""
    market = desk.markets.named(symbol) if symbol is not None else None
    return CancelledView(await desk.cancel_all(caller.user_id, market))


async def find(desk: Desk, caller: Principal, order_id: str) -> OrderView:
    """The caller's order."""
    order = await desk.find(read_order_id(order_id), caller.user_id)
    return show_order(order, desk.markets.numbered(order.market_id))


def _show(desk: Desk, caller: Principal, placed: Placed, *, replayed: bool = False) -> PlacedView:
    market = desk.markets.numbered(placed.order.market_id)
    trades = [show_own_trade(trade, market, caller.user_id) for trade in placed.trades]
    return PlacedView(show_order(placed.order, market), trades, replayed)
