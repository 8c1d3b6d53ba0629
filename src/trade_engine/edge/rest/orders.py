"""Routes of orders: place, cancel, look up, list."""

from collections.abc import Sequence
from typing import Annotated, Any, Final

import msgspec

from trade_engine.domain.enums import OrderStatus, Side
from trade_engine.domain.errors import InvalidRequest
from trade_engine.domain.ids import canonical_uuid
from trade_engine.edge import json_orders
from trade_engine.edge.bodies import decode
from trade_engine.edge.cancel_timers import TIMEOUT_MAX_S
from trade_engine.edge.rest.call import Answer, Call, whole_number
from trade_engine.edge.shapes import Symbol, SymbolText, Time
from trade_engine.edge.times import read_range, show_time_or_none
from trade_engine.edge.views import OrderView, OwnTradeView, show_order

_PAGE_MAX: Final = 500
#: Trades of one request that its log line names.
_TRADES_NAMED: Final = 20
_REPLAYED: Final = ((b"idempotent-replayed", b"true"),)


async def place(call: Call) -> Answer:
    """Place an order.

    201 with the order as it is now and the trades that it made at once; 200 with the first answer's order if the
    client_order_id was used before.
    """
    content = await json_orders.place(call.services.desk, call.caller, call.body)
    _note(call, content.order, content.trades)
    return Answer(content, 200, _REPLAYED) if content.replayed else Answer(content, 201)


async def place_pair(call: Call) -> Answer:
    """Place a one-cancels-other pair.

    One reservation pays for both.  The first fill or trigger of a leg, or its end, ends the other.  201 with both legs
    as they are now; 200 with the first answer's pair if the client_order_id of a leg was used before.
    """
    content = await json_orders.place_pair(call.services.desk, call.caller, call.body)
    for leg in content.legs:
        _note(call, leg)
    return Answer(content, 200, _REPLAYED) if content.replayed else Answer(content, 201)


async def get_pair(call: Call) -> Answer:
    """Look up a pair of orders.

    By the id of one of its legs, as they are now.
    """
    return Answer(await json_orders.find_pair(call.services.desk, call.caller, call.path("order_id")))


async def cancel(call: Call) -> Answer:
    """Cancel an order.

    The order as it ended; again, the same answer.
    """
    order = await json_orders.cancel(call.services.desk, call.caller, call.path("order_id"))
    _note(call, order)
    return Answer(order)


async def amend(call: Call) -> Answer:
    """Change an order.

    The order as it is now, and the trades that the change made at once.
    """
    content = await json_orders.amend(call.services.desk, call.caller, call.path("order_id"), call.body)
    _note(call, content.order, content.trades)
    return Answer(content)


async def cancel_all(call: Call) -> Answer:
    """Cancel all of your orders.

    In one market if ``symbol`` is given; how many there were.
    """
    return Answer(await json_orders.cancel_all(call.services.desk, call.caller, call.query.get("symbol")))


class CancelAfterBody(msgspec.Struct, forbid_unknown_fields=True):
    """When to cancel the caller's orders; 0 seconds: not any more."""

    timeout_s: Annotated[int, msgspec.Meta(extra_json_schema={"minimum": 0, "maximum": TIMEOUT_MAX_S})]
    #: Those of one market only.
    symbol: SymbolText | None = None


class CancelAfterView(msgspec.Struct):
    """When the caller's orders are cancelled, unless this is asked for again before; null: not at all."""

    symbol: Symbol | None
    timeout_s: int
    cancel_at: Time | None


_cancel_after_decoder = msgspec.json.Decoder(CancelAfterBody)


async def cancel_after(call: Call) -> Answer:
    """Cancel all of your orders after a time.

    Unless you ask again before it is over, which puts it off; 0 seconds call it off.  It outlives a restart of the
    engine.  In one market if ``symbol`` is given, which is a timer of its own.
    """
    body = decode(_cancel_after_decoder, call.body)
    market = None if body.symbol is None else call.services.desk.markets.named(body.symbol)
    market_id = 0 if market is None else market.market_id
    due_us = await call.services.cancel_timers.set(call.user_id, market_id, body.timeout_s)
    symbol = None if market is None else market.symbol
    return Answer(CancelAfterView(symbol, body.timeout_s, show_time_or_none(due_us)))


async def get(call: Call) -> Answer:
    """Look up an order.

    Only its owner finds it.
    """
    return Answer(await json_orders.find(call.services.desk, call.caller, call.path("order_id")))


async def list_orders(call: Call) -> Answer:
    """List your orders.

    Newest first, by symbol, status (or ``open``), side and time of placing; further pages by cursor.  A page may be
    short, or empty, and still have a next one: ask on until ``next_cursor`` is null.
    """
    given = call.query
    limit = whole_number(given, "limit", 100, 1, _PAGE_MAX)
    desk = call.services.desk
    symbol, side = given.get("symbol"), given.get("side")
    market = desk.markets.named(symbol) if symbol is not None else None
    start, end = read_range(given)
    page = await desk.page(
        call.user_id,
        market=market,
        statuses=_statuses(given.get("status")),
        side=Side[_choice("side", side, [s.name for s in Side])] if side is not None else None,
        start_us=start,
        end_us=end,
        before=order_cursor(given.get("cursor")),
        limit=limit,
    )
    views = [show_order(order, desk.markets.numbered(order.market_id)) for order in page.rows]
    return Answer(views, meta={"next_cursor": page.next_before})


def _note(call: Call, order: OrderView, trades: Sequence[OwnTradeView] = ()) -> None:
    """Have the line of this request name its order and its trades."""
    if call.services.access is not None:
        concerns: dict[str, Any] = {"order_id": order.id, "symbol": order.symbol}
        if trades:
            concerns["trade_ids"] = [trade.id for trade in trades[:_TRADES_NAMED]]
        call.request.scope["concerns"] = concerns


def _statuses(text: str | None) -> list[OrderStatus] | None:
    if text is None:
        return None
    if text.lower() == "open":
        return [status for status in OrderStatus if status.is_open]
    names = [status.name for status in OrderStatus]
    return [OrderStatus[_choice("status", part, names)] for part in text.split(",")[: len(names)]]


def _choice(field: str, text: str, words: list[str]) -> str:
    if text.upper() not in words:
        message = f"{field} must be one of {', '.join(words)}"
        raise InvalidRequest("INVALID_PARAMETER", message, field=field, provided=text[:100])
    return text.upper()


def order_cursor(text: str | None) -> str | None:
    """The id that a page of orders or trades begins after.

    Raises:
        InvalidRequest: INVALID_CURSOR, it is no id.
    """
    if text is None:
        return None
    cursor = canonical_uuid(text)
    if cursor is None:
        message = "cursor must be a next_cursor of an earlier page"
        raise InvalidRequest("INVALID_CURSOR", message, field="cursor", provided=text[:100])
    return cursor


async def echo(call: Call) -> Answer:
    """Answer as POST /orders does, for benchmarks.

    Reads what POST /orders reads and answers as much, without an engine behind it.
    """
    desk = call.services.desk
    request = json_orders.read_request(desk, call.caller, call.body)
    market = desk.markets.named(request.symbol)
    return Answer(
        {
            "order": {
                "id": "00000000-0000-7000-8000-000000000000",
                "sequence": 0,
                "client_order_id": request.client_order_id,
                "user_id": request.user_id,
                "institution_id": None,
                "symbol": market.symbol,
                "side": request.side.name,
                "type": request.type.name,
                "time_in_force": request.time_in_force.name,
                "status": "OPEN",
                "quantity": "0.0001",
                "filled_quantity": "0",
                "average_price": None,
                "price": "50000.00",
                "stop_price": None,
                "display_quantity": None,
                "reason": None,
                "created_at": "2026-01-01T00:00:00.000000Z",
                "updated_at": "2026-01-01T00:00:00.000000Z",
                "filled_at": None,
                "cancelled_at": None,
                "expires_at": None,
            },
            "trades": [],
        }
    )
