"""Routes of orders: place, cancel, look up, list."""

import time
from typing import Final, TypeVar

import msgspec

from trade_engine.api.call import Answer, Call, whole_number
from trade_engine.api.schemas import (
    AMOUNTS,
    FIELD_CODES,
    AmendBody,
    CancelledView,
    PlaceBody,
    PlacedView,
    read_amend,
    read_place,
    show_order,
    show_own_trade,
)
from trade_engine.api.times import read_time
from trade_engine.domain.enums import OrderStatus, Side
from trade_engine.domain.errors import InvalidRequest
from trade_engine.domain.ids import canonical_uuid
from trade_engine.domain.orders import PlaceOrder

Body = TypeVar("Body")

_decoder = msgspec.json.Decoder(PlaceBody)
_amend_decoder = msgspec.json.Decoder(AmendBody)
_raw_decoder = msgspec.json.Decoder(dict[str, msgspec.Raw])
_PAGE_MAX: Final = 500
_REPLAYED: Final = ((b"idempotent-replayed", b"true"),)


async def place(call: Call) -> Answer:
    """Place an order.

    201 with the order as it is now and the trades that it made at once; 200 with the first answer's order if the
    client_order_id was used before.
    """
    content = await place_one(call, call.body)
    return Answer(content, 200, _REPLAYED) if content.replayed else Answer(content, 201)


async def place_one(call: Call, content: bytes) -> PlacedView:
    """Place the caller's order that ``content`` describes: the order and its trades."""
    body = decode(_decoder, content)
    request = _read(call, body)
    started = time.perf_counter()
    try:
        placed = await call.services.engine.place(request)
    except InvalidRequest as error:
        if error.details.get("field") == "expires_at" and body.expires_at:
            error.details["provided"] = body.expires_at[:100]
        raise
    call.services.meter.placed(request.symbol, time.perf_counter() - started)
    market = call.services.market_of(placed.order.market_id)
    user_id = call.user_id
    trades = [show_own_trade(trade, market, user_id) for trade in placed.trades]
    return PlacedView(show_order(placed.order, market), trades, bool(placed.replayed))


def read_request(call: Call) -> PlaceOrder:
    """Decode the body of POST /orders.

    Raises:
        InvalidRequest: INVALID_JSON, INVALID_BODY, MISSING_FIELD, UNKNOWN_FIELD, or the code of a field.
    """
    return _read(call, decode(_decoder, call.body))


def _read(call: Call, body: PlaceBody) -> PlaceOrder:
    institution = call.principal.institution_id if call.principal else None
    return read_place(body, call.services.market(body.symbol).symbol, call.user_id, institution)


def decode(decoder: msgspec.json.Decoder[Body], content: bytes) -> Body:
    """A body as its Struct.

    Raises:
        InvalidRequest: INVALID_JSON, INVALID_BODY, MISSING_FIELD, UNKNOWN_FIELD, or the code of a field.
    """
    try:
        return decoder.decode(content)
    except msgspec.ValidationError as error:
        raise _explain(str(error), content) from error
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        raise InvalidRequest("INVALID_JSON", f"the body is not JSON: {error}", field="body") from error


def _explain(message: str, content: bytes) -> InvalidRequest:
    """The library's message as one of ours: it names a field as ``$.price`` or in quotes."""
    what, _, path = message.partition(" - at `$")
    field = path.strip("`.").split(".")[0].split("[")[0]
    if "unknown field" in what:
        name = what.partition("`")[2].rstrip("`")
        return InvalidRequest(
            "UNKNOWN_FIELD", f"there is no field {name[:100]}", field=name[:100], provided=_provided(content, name)
        )
    if "missing required field" in what:
        name = what.partition("`")[2].rstrip("`")
        return InvalidRequest("MISSING_FIELD", f"the field {name} is missing", field=name)
    if not field:
        return InvalidRequest("INVALID_BODY", f"the body must be a JSON object: {what}", field="body")
    reason = 'must be a decimal string, such as "1.5", not a JSON number' if field in AMOUNTS else what
    code = FIELD_CODES.get(field, "INVALID_BODY")
    return InvalidRequest(code, f"{field}: {reason}", field=field, provided=_provided(content, field))


def _provided(content: bytes, field: str) -> str | None:
    """What the body has in a field, as it was written there."""
    try:
        return bytes(_raw_decoder.decode(content)[field])[:100].decode(errors="replace")
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError, KeyError):
        return None


def order_id_of(call: Call) -> str:
    """The path's order id.

    Raises:
        InvalidRequest: INVALID_ORDER_ID.
    """
    given = call.path("order_id")
    order_id = canonical_uuid(given)
    if order_id is None:
        raise InvalidRequest("INVALID_ORDER_ID", "the order id must be a UUID", field="order_id", provided=given[:100])
    return order_id


async def cancel(call: Call) -> Answer:
    """Cancel an order.

    The order as it ended; again, the same answer.
    """
    order = await call.services.engine.cancel(order_id_of(call), call.user_id)
    return Answer(show_order(order, call.services.market_of(order.market_id)))


async def amend(call: Call) -> Answer:
    """Change an order.

    The order as it is now, and the trades that the change made at once.
    """
    body = decode(_amend_decoder, call.body)
    change = read_amend(body)
    changed = await call.services.engine.amend(order_id_of(call), call.user_id, change)
    market = call.services.market_of(changed.order.market_id)
    trades = [show_own_trade(trade, market, call.user_id) for trade in changed.trades]
    return Answer(PlacedView(show_order(changed.order, market), trades))


async def cancel_all(call: Call) -> Answer:
    """Cancel all of your orders.

    In one market if ``symbol`` is given; how many there were.
    """
    symbol = call.query.get("symbol")
    services = call.services
    market = services.market(symbol).symbol if symbol is not None else None
    return Answer(CancelledView(await services.engine.cancel_all(call.user_id, market)))


async def get(call: Call) -> Answer:
    """Look up an order.

    Only its owner finds it.
    """
    order = await call.services.engine.order(order_id_of(call), call.user_id)
    return Answer(show_order(order, call.services.market_of(order.market_id)))


async def list_orders(call: Call) -> Answer:
    """List your orders.

    Newest first, by symbol, status (or ``open``), side and time of placing; further pages by cursor.
    """
    given = call.query
    limit = whole_number(given, "limit", 100, 1, _PAGE_MAX)
    services = call.services
    symbol, side = given.get("symbol"), given.get("side")
    orders = await services.queries.orders(
        call.user_id,
        market_id=services.market(symbol).market_id if symbol is not None else None,
        statuses=_statuses(given.get("status")),
        side=_choice("side", side, [s.name for s in Side]) if side is not None else None,
        start_us=read_time(given["start_time"], "start_time") if "start_time" in given else None,
        end_us=read_time(given["end_time"], "end_time") if "end_time" in given else None,
        before=order_cursor(given.get("cursor")),
        limit=limit + 1,
    )
    page = orders[:limit]
    views = [show_order(order, services.market_of(order.market_id)) for order in page]
    return Answer(views, meta={"next_cursor": page[-1].order_id if len(orders) > limit else None})


def _statuses(text: str | None) -> list[str] | None:
    if text is None:
        return None
    if text.lower() == "open":
        return [status.name for status in OrderStatus if status.is_open]
    names = [status.name for status in OrderStatus]
    return [_choice("status", part, names) for part in text.split(",")[: len(names)]]


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
    request = read_request(call)
    market = call.services.market(request.symbol)
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
