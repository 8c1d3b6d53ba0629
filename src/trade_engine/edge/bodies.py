"""Bodies of requests about orders: what JSON may come in, and what it says, in integers.

Amounts are decimal strings; a JSON number is refused, because a float may already have lost digits.
"""

import json
import re
from typing import Annotated, Any, Final, TypeVar

import msgspec

from trade_engine.domain.enums import OrderType, SelfTradePrevention, Side, TimeInForce
from trade_engine.domain.errors import InvalidRequest
from trade_engine.domain.ids import canonical_uuid
from trade_engine.domain.orders import PlaceOrder, PlacePair
from trade_engine.domain.scale import ScaleError, parse_units
from trade_engine.edge.shapes import (
    AmountText,
    ClientId,
    PreventionWord,
    SideWord,
    SymbolText,
    TimeInForceWord,
    TimeText,
    TypeWord,
)
from trade_engine.edge.times import read_time
from trade_engine.sequencer.ports import Amendment

Body = TypeVar("Body")

_LEGS: Final = 2
#: Characters of a client order id.
CLIENT_ID_MAX: Final = 100


class PlaceBody(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    """The body of POST /orders."""

    symbol: SymbolText
    side: SideWord
    type: TypeWord
    quantity: AmountText | None = None
    price: AmountText | None = None
    stop_price: AmountText | None = None
    time_in_force: TimeInForceWord = "GTC"
    client_order_id: ClientId | None = None
    self_trade_prevention: PreventionWord = "CANCEL_NEWEST"
    post_only: bool = False
    take_profit: bool = False
    display_quantity: AmountText | None = None
    quote_amount: AmountText | None = None
    expires_at: TimeText | None = None


class LegBody(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    """One leg of a pair; a LIMIT is post-only."""

    type: TypeWord
    price: AmountText | None = None
    stop_price: AmountText | None = None
    take_profit: bool = False
    display_quantity: AmountText | None = None
    client_order_id: ClientId | None = None


class PairBody(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    """The body of POST /order-pairs: two orders of which one cancels the other."""

    symbol: SymbolText
    side: SideWord
    quantity: AmountText
    legs: Annotated[list[LegBody], msgspec.Meta(extra_json_schema={"minItems": 2, "maxItems": 2})]
    client_pair_id: ClientId | None = None
    self_trade_prevention: PreventionWord = "CANCEL_NEWEST"


class AmendBody(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    """The body of PATCH /orders/{order_id}: what to change; ``quantity`` is the new total."""

    quantity: AmountText | None = None
    price: AmountText | None = None
    stop_price: AmountText | None = None


#: The code of a field that is missing, of the wrong type or unreadable.
FIELD_CODES = {
    "symbol": "INVALID_SYMBOL",
    "side": "INVALID_SIDE",
    "type": "INVALID_ORDER_TYPE",
    "quantity": "INVALID_QUANTITY",
    "price": "INVALID_PRICE",
    "stop_price": "INVALID_STOP_PRICE",
    "time_in_force": "INVALID_TIME_IN_FORCE",
    "client_order_id": "INVALID_CLIENT_ORDER_ID",
    "self_trade_prevention": "INVALID_SELF_TRADE_PREVENTION",
    "post_only": "INVALID_FLAGS",
    "take_profit": "INVALID_FLAGS",
    "display_quantity": "INVALID_DISPLAY_QUANTITY",
    "quote_amount": "INVALID_QUOTE_AMOUNT",
    "expires_at": "INVALID_EXPIRY",
    "legs": "INVALID_PAIR",
    "order_ids": "INVALID_BATCH",
    "timeout_s": "INVALID_TIMEOUT",
    "client_pair_id": "INVALID_PAIR",
}

#: Fields that are decimal strings.
AMOUNTS = frozenset(("quantity", "price", "stop_price", "display_quantity", "quote_amount"))

_raw_decoder = msgspec.json.Decoder(dict[str, msgspec.Raw])
#: Pairs of them are joined when JSON is read; one that is left is half a character.
_SURROGATE: Final = re.compile("[\ud800-\udfff]")
_SIDES = {side.name: side for side in Side}
_TYPES = {kind.name: kind for kind in OrderType}
_TIMES = {time.name: time for time in TimeInForce}
_PREVENTIONS = {mode.name: mode for mode in SelfTradePrevention}


def read_place(body: PlaceBody, symbol: str, user_id: str, institution_id: str | None) -> PlaceOrder:
    """The request of a body; ``symbol`` is the market's own spelling.

    Raises:
        InvalidRequest: a field cannot be read; its own code.
    """
    client_order_id = body.client_order_id
    if client_order_id is not None and not is_client_order_id(client_order_id):
        raise InvalidRequest(
            "INVALID_CLIENT_ORDER_ID",
            "client_order_id must be 1 to 100 printable characters",
            field="client_order_id",
            provided=client_order_id[:120],
            limit=CLIENT_ID_MAX,
        )
    return PlaceOrder(
        user_id=user_id,
        symbol=symbol,
        side=_word("side", body.side, _SIDES),
        type=_word("type", body.type, _TYPES),
        quantity=_amount("quantity", body.quantity),
        price=_amount("price", body.price),
        stop_price=_amount("stop_price", body.stop_price),
        time_in_force=_word("time_in_force", body.time_in_force, _TIMES),
        stp=_word("self_trade_prevention", body.self_trade_prevention, _PREVENTIONS),
        client_order_id=client_order_id,
        institution_id=institution_id,
        post_only=body.post_only,
        take_profit=body.take_profit,
        display_quantity=_amount("display_quantity", body.display_quantity),
        quote_amount=_amount("quote_amount", body.quote_amount),
        expires_us=read_time(body.expires_at, "expires_at", "INVALID_EXPIRY") if body.expires_at is not None else 0,
    )


def read_pair(body: PairBody, symbol: str, user_id: str, institution_id: str | None) -> PlacePair:
    """The request of a body; ``symbol`` is the market's own spelling.

    Raises:
        InvalidRequest: a field cannot be read, its own code; INVALID_PAIR.
    """
    if len(body.legs) != _LEGS:
        message = "a pair has two legs"
        raise InvalidRequest("INVALID_PAIR", message, field="legs", provided=len(body.legs), limit=_LEGS)
    one, other = (
        read_place(
            PlaceBody(
                symbol=body.symbol,
                side=body.side,
                type=leg.type,
                quantity=body.quantity,
                price=leg.price,
                stop_price=leg.stop_price,
                client_order_id=leg.client_order_id,
                self_trade_prevention=body.self_trade_prevention,
                post_only=leg.type.upper() == OrderType.LIMIT.name,
                take_profit=leg.take_profit,
                display_quantity=leg.display_quantity,
            ),
            symbol,
            user_id,
            institution_id,
        )
        for leg in body.legs
    )
    return PlacePair(legs=(one, other), client_pair_id=body.client_pair_id)


def read_amend(body: AmendBody) -> Amendment:
    """The change of a body.

    Raises:
        InvalidRequest: a field cannot be read, is zero, or nothing is to change.
    """
    change = Amendment(
        quantity=_amount("quantity", body.quantity),
        price=_amount("price", body.price),
        stop_price=_amount("stop_price", body.stop_price),
    )
    for field in ("quantity", "price", "stop_price"):
        if getattr(body, field) is not None and not getattr(change, field):
            raise InvalidRequest(FIELD_CODES[field], f"{field} must be above 0", field=field, provided="0")
    if change == Amendment():
        raise InvalidRequest("MISSING_FIELD", "give quantity, price or stop_price", field="quantity")
    return change


def _word(field: str, text: str, words: dict[str, Any]) -> Any:
    found = words.get(text) if text in words else words.get(text.upper())
    if found is None:
        raise InvalidRequest(
            FIELD_CODES[field], f"{field} must be one of {', '.join(words)}", field=field, provided=text[:100]
        )
    return found


def _amount(field: str, text: str | None) -> int:
    if text is None:
        return 0
    try:
        return parse_units(text)
    except ScaleError as error:
        raise InvalidRequest(FIELD_CODES[field], f"{field} {error}", field=field, provided=text[:100]) from error


def decode(decoder: msgspec.json.Decoder[Body], content: bytes) -> Body:
    """A body as its Struct.

    Raises:
        InvalidRequest: INVALID_JSON, INVALID_BODY, MISSING_FIELD, UNKNOWN_FIELD, or the code of a field.
    """
    try:
        return decoder.decode(content)
    except msgspec.ValidationError as error:
        raise _explain(str(error), content, decoder.type) from error
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        field = _field_with_half_a_character(content)
        if field is not None:
            message = f"{field}: an escape such as \\ud800 is half a character"
            raise InvalidRequest(FIELD_CODES.get(field, "INVALID_BODY"), message, field=field) from error
        raise InvalidRequest("INVALID_JSON", f"the body is not JSON: {error}", field="body") from error


def _field_with_half_a_character(content: bytes) -> str | None:
    """The field of a body that has a lone surrogate, which the library calls a truncated text; None if none has."""
    if rb"\u" not in content:
        return None
    try:
        body = json.loads(content)
    except (ValueError, RecursionError):
        return None
    if not isinstance(body, dict):
        return None
    texts = ((name, json.dumps(value, ensure_ascii=False)) for name, value in body.items() if name.isascii())
    return next((name[:100] for name, text in texts if _SURROGATE.search(text)), None)


def _explain(message: str, content: bytes, kind: Any) -> InvalidRequest:
    """The library's message as one of ours: it names a field as ``$.price`` or in quotes."""
    what, _, path = message.partition(" - at `$")
    field = path.strip("`.").split(".")[0].split("[")[0]
    if "unknown field" in what:
        name = what.partition("`")[2].rstrip("`")
        known = [field.encode_name for field in msgspec.structs.fields(kind)]
        message = f"there is no field {name[:100]}; there are {', '.join(known)}"
        return InvalidRequest(
            "UNKNOWN_FIELD", message, field=name[:100], provided=_provided(content, name), limit=known
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


def is_client_order_id(text: str) -> bool:
    """Whether callers may name an order so: 1 to 100 printable characters."""
    return 0 < len(text) <= CLIENT_ID_MAX and text.isprintable()


def read_order_id(given: str) -> str:
    """An order's id as the engine writes it.

    Raises:
        InvalidRequest: INVALID_ORDER_ID.
    """
    order_id = canonical_uuid(given)
    if order_id is None:
        raise InvalidRequest(
            "INVALID_ORDER_ID",
            "the order id must be a UUID, or client: and a client_order_id",
            field="order_id",
            provided=given[:100],
        )
    return order_id
