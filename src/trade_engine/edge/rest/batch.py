"""POST /orders/batch: several orders in one request, each placed or refused by itself.

They are handed to the engine together, so that they share its micro-batches.  A body that is no batch places nothing;
in a batch, one order's refusal never stops another's way.
"""

import asyncio
from typing import Annotated, Final

import msgspec
import structlog
from msgspec import UNSET, UnsetType

from trade_engine.domain.errors import EngineError, InvalidRequest
from trade_engine.edge import json_orders
from trade_engine.edge.bodies import PlaceBody, decode
from trade_engine.edge.problems import describe
from trade_engine.edge.rest.call import Answer, Call
from trade_engine.edge.views import ErrorView, OrderView, OwnTradeView, PlacedView

log = structlog.get_logger(__name__)

#: The most orders of one batch.
ORDERS_MAX: Final = 50


class RawBatch(msgspec.Struct, forbid_unknown_fields=True):
    """The body of POST /orders/batch, its orders not read yet: one that cannot be read must not stop the others."""

    orders: list[msgspec.Raw]


class BatchBody(msgspec.Struct, forbid_unknown_fields=True):
    """The body of POST /orders/batch as it is described; ``RawBatch`` is how it is read."""

    orders: Annotated[list[PlaceBody], msgspec.Meta(extra_json_schema={"minItems": 1, "maxItems": ORDERS_MAX})]


class CancelBatchBody(msgspec.Struct, forbid_unknown_fields=True):
    """The body of POST /orders/cancel-batch: ids of orders, or ``client:`` and a client order id each."""

    order_ids: Annotated[list[str], msgspec.Meta(extra_json_schema={"minItems": 1, "maxItems": ORDERS_MAX})]


class BatchResult(msgspec.Struct, omit_defaults=True):
    """What became of one order of a batch: order and trades if ``success``, else the error."""

    success: bool
    order: OrderView | UnsetType = UNSET
    trades: list[OwnTradeView] | UnsetType = UNSET
    replayed: bool = False
    differs: list[str] = []
    error: ErrorView | UnsetType = UNSET


_decoder = msgspec.json.Decoder(RawBatch)
_cancel_decoder = msgspec.json.Decoder(CancelBatchBody)


def count(body: bytes) -> int:
    """For how many order requests a body counts; one that is no batch counts for one."""
    try:
        return min(max(1, len(_decoder.decode(body).orders)), ORDERS_MAX)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        return 1


async def place_batch(call: Call) -> Answer:
    """Place several orders at once.

    A result for each order, in the order of the batch: one's refusal does not stop the others.
    """
    orders = decode(_decoder, call.body).orders
    if not 1 <= len(orders) <= ORDERS_MAX:
        raise InvalidRequest(
            "INVALID_BATCH",
            f"a batch has 1 to {ORDERS_MAX} orders",
            field="orders",
            provided=len(orders),
            limit=ORDERS_MAX,
        )
    desk, caller = call.services.desk, call.caller
    placing = (json_orders.place(desk, caller, bytes(order)) for order in orders)
    outcomes = await asyncio.gather(*placing, return_exceptions=True)
    return Answer([_result(call, outcome) for outcome in outcomes])


async def cancel_batch(call: Call) -> Answer:
    """Cancel several orders at once.

    A result for each id, in the order given: the order as it ended, or why it did not.
    """
    order_ids = decode(_cancel_decoder, call.body).order_ids
    if not 1 <= len(order_ids) <= ORDERS_MAX:
        message = f"1 to {ORDERS_MAX} orders are cancelled at once"
        raise InvalidRequest("INVALID_BATCH", message, field="order_ids", provided=len(order_ids), limit=ORDERS_MAX)
    desk, caller = call.services.desk, call.caller
    ending = (json_orders.cancel(desk, caller, order_id) for order_id in order_ids)
    outcomes = await asyncio.gather(*ending, return_exceptions=True)
    return Answer(
        [
            BatchResult(True, outcome) if isinstance(outcome, OrderView) else _failed(call, outcome)
            for outcome in outcomes
        ]
    )


def count_ids(body: bytes) -> int:
    """For how many requests a body counts; one that names no orders counts for one."""
    try:
        return min(max(1, len(_cancel_decoder.decode(body).order_ids)), ORDERS_MAX)
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError):
        return 1


def _result(call: Call, outcome: PlacedView | BaseException) -> BatchResult:
    if isinstance(outcome, BaseException):
        return _failed(call, outcome)
    return BatchResult(True, outcome.order, outcome.trades, outcome.replayed, outcome.differs)


def _failed(call: Call, outcome: BaseException) -> BatchResult:
    """Why one of a batch was not carried out; what is no error of its own ends all of it."""
    if isinstance(outcome, EngineError):
        return _refused(outcome)
    if isinstance(outcome, Exception):
        trace_id = call.request_id
        log.error("batch_order_failed", request_id=trace_id, exc_info=outcome)
        return _refused(EngineError("INTERNAL_ERROR", "a fault of the server", trace_id=trace_id))
    raise outcome


def _refused(error: EngineError) -> BatchResult:
    return BatchResult(False, error=ErrorView(**describe(error)))
