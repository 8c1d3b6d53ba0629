"""Every event that other services may hear of: its fields, as JSON (docs/developer/events.md; SPEC 10).

Amounts are decimal strings, times ISO 8601 with microseconds and ``Z``.  A field is only ever added; what changes its
meaning gets a new ``schema_version``.  ``trade-engine asyncapi --events`` prints the schemas, which are made from here.
"""

from typing import Annotated, Final

import msgspec
from msgspec import Meta

from trade_engine.domain.enums import OrderType, Side, TimeInForce

SCHEMA_VERSION: Final = 1


def _text(pattern: str) -> Meta:
    """How a text looks; it describes what goes out and never checks: JSON Schema's ``$`` is the very end."""
    return Meta(extra_json_schema={"type": "string", "pattern": f"^{pattern}$"})


Amount = Annotated[str, _text(r"[0-9]+(\.[0-9]{1,8})?")]
Moment = Annotated[str, _text(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\.[0-9]{6}Z")]
Uuid = Annotated[str, _text("[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")]
Symbol = Annotated[str, _text("[A-Z0-9]{1,15}/[A-Z0-9]{1,15}")]
Asset = Annotated[str, _text("[A-Z0-9]{1,15}")]
Number = Annotated[int, Meta(ge=0)]
SideWord = Annotated[str, _text(f"({'|'.join(Side.__members__)})")]
TypeWord = Annotated[str, _text(f"({'|'.join(OrderType.__members__)})")]
TimeInForceWord = Annotated[str, _text(f"({'|'.join(TimeInForce.__members__)})")]
EventId = Annotated[str, Meta(description="the message's id: the same whenever it is delivered again")]
Stream = Annotated[Uuid, Meta(description="begins every id; a restored backup has another one")]


class _AnyEvent(msgspec.Struct, gc=False, frozen=True):
    event_id: EventId
    stream_id: Stream
    schema_version: Annotated[int, Meta(ge=1)]
    sequence: Annotated[int, Meta(ge=0, description="the command's number; of settlement events, their own")]
    index: Annotated[int, Meta(ge=0, description="rises within a sequence, not without gaps")]
    symbol: Symbol
    occurred_at: Moment


class _OfTrade(_AnyEvent, gc=False, frozen=True):
    trade_id: Uuid
    trade_sequence: Number
    buyer_user_id: Uuid
    seller_user_id: Uuid
    buyer_order_id: Uuid
    seller_order_id: Uuid


class _OfOrder(_AnyEvent, gc=False, frozen=True):
    order_id: Uuid
    order_sequence: Number
    client_order_id: str | None
    user_id: Uuid
    institution_id: str | None
    side: SideWord
    type: TypeWord
    time_in_force: TimeInForceWord


class TradeExecuted(_OfTrade, gc=False, frozen=True, tag_field="event", tag="trade.executed"):
    """A trade was made and committed."""

    price: Amount
    quantity: Amount
    notional: Amount
    base_asset: Asset
    quote_asset: Asset
    buyer_fee: Amount
    buyer_fee_asset: Asset
    seller_fee: Amount
    seller_fee_asset: Asset
    is_buyer_maker: bool


class TradeSettled(_OfTrade, gc=False, frozen=True, tag_field="event", tag="trade.settled"):
    """The ledger has moved a trade's money."""


class TradeSettlementFailed(_OfTrade, gc=False, frozen=True, tag_field="event", tag="trade.settlement_failed"):
    """The ledger refused a trade for good; it is a dead letter, which an operator may retry or resolve."""

    reason: str | None
    attempts: Number


class OrderOpened(_OfOrder, gc=False, frozen=True, tag_field="event", tag="order.opened"):
    """An order was accepted; fills by this very command follow.  A stop waits for its trigger."""

    price: Amount | None
    stop_price: Amount | None
    quantity: Annotated[str | None, Meta(description="null: a market order by amount")]
    quote_amount: Annotated[str | None, Meta(description="what a market order by amount spends at most")]
    display_quantity: Annotated[str | None, Meta(description="an iceberg's visible part")]
    expires_at: Annotated[str | None, Meta(description="of DAY and GTD")]
    post_only: bool
    take_profit: Annotated[bool, Meta(description="a stop that is reached from the other side")]


class _Fill(_OfOrder, gc=False, frozen=True):
    filled_quantity: Amount
    average_price: Amount | None
    remaining_quantity: Annotated[str | None, Meta(description="null: a market order by amount")]
    trade_id: Annotated[str | None, Meta(description="null: an order by amount whose rest pays for no lot")]
    trade_price: Amount | None
    trade_quantity: Amount | None
    fee: Amount | None
    fee_asset: Asset | None
    is_maker: bool | None


class OrderPartiallyFilled(_Fill, gc=False, frozen=True, tag_field="event", tag="order.partially_filled"):
    """A trade filled part of an order."""


class OrderFilled(_Fill, gc=False, frozen=True, tag_field="event", tag="order.filled"):
    """An order ended, filled."""


class _End(_OfOrder, gc=False, frozen=True):
    filled_quantity: Amount
    average_price: Amount | None
    cancelled_quantity: Amount
    reason: Annotated[str, Meta(description="a code such as USER_REQUEST")]


class OrderCancelled(_End, gc=False, frozen=True, tag_field="event", tag="order.cancelled"):
    """An order ended before it was filled."""


class OrderExpired(_End, gc=False, frozen=True, tag_field="event", tag="order.expired"):
    """An order's time came."""


class OrderRejected(_OfOrder, gc=False, frozen=True, tag_field="event", tag="order.rejected"):
    """An order was refused by a rule of its market; it was never open."""

    reason: Annotated[str, Meta(description="a code such as MARKET_HALTED")]


class OrderTriggered(_OfOrder, gc=False, frozen=True, tag_field="event", tag="order.triggered"):
    """A stop was reached, and the order enters its market."""

    trigger_price: Annotated[str, Meta(description="of the trade that reached it")]
    remaining_quantity: Annotated[str | None, Meta(description="null: a market order by amount")]


class OrderAmended(_OfOrder, gc=False, frozen=True, tag_field="event", tag="order.amended"):
    """An order was changed by its owner, or lost quantity to self-trade prevention."""

    filled_quantity: Amount
    remaining_quantity: Amount
    price: Amount | None
    stop_price: Annotated[str | None, Meta(description="null: no stop that waits")]
    reason: Annotated[str | None, Meta(description="null: its owner asked for it")]


EVENTS: Final[tuple[type[msgspec.Struct], ...]] = (
    TradeExecuted, TradeSettled, TradeSettlementFailed, OrderOpened, OrderPartiallyFilled, OrderFilled, OrderCancelled,
    OrderExpired, OrderRejected, OrderTriggered, OrderAmended,
)  # fmt: skip
