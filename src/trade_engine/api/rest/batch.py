"""POST /orders/batch: several orders in one request, each placed or refused by itself.

They are handed to the engine together, so that they share its micro-batches.  A body that is no batch places nothing;
in a batch, one order's refusal never stops another's way.
"""

import asyncio
from typing import Any, Final

import msgspec
import structlog

from trade_engine.api.call import Answer, Call
from trade_engine.api.problems import describe
from trade_engine.api.rest.orders import decode, place_one
from trade_engine.domain.errors import EngineError, InvalidRequest

log = structlog.get_logger(__name__)

#: The most orders of one batch.
ORDERS_MAX: Final = 50


class RawBatch(msgspec.Struct, forbid_unknown_fields=True):
    """The body of POST /orders/batch, its orders not read yet: one that cannot be read must not stop the others."""

    orders: list[msgspec.Raw]


_decoder = msgspec.json.Decoder(RawBatch)


def count(body: bytes) -> int:
    """For how many order requests a body counts; one that is no batch counts for one."""
    try:
        return min(max(1, len(_decoder.decode(body).orders)), ORDERS_MAX)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        return 1


async def place_batch(call: Call) -> Answer:
    """POST /orders/batch: 200 with a result for each order, in order."""
    call.parameters()
    orders = decode(_decoder, call.body).orders
    if not 1 <= len(orders) <= ORDERS_MAX:
        raise InvalidRequest(
            "INVALID_BATCH",
            f"a batch has 1 to {ORDERS_MAX} orders",
            field="orders",
            provided=len(orders),
            limit=ORDERS_MAX,
        )
    placing = (place_one(call, bytes(order)) for order in orders)
    outcomes = await asyncio.gather(*placing, return_exceptions=True)
    return Answer([_result(call, outcome) for outcome in outcomes])


def _result(call: Call, outcome: dict[str, Any] | BaseException) -> dict[str, Any]:
    if isinstance(outcome, EngineError):
        return {"success": False, "error": describe(outcome)}
    if isinstance(outcome, Exception):
        trace_id = call.request_id
        log.error("an order of a batch failed", request_id=trace_id, exc_info=outcome)
        fault = EngineError("INTERNAL_ERROR", "a fault of the server", trace_id=trace_id)
        return {"success": False, "error": describe(fault)}
    if isinstance(outcome, BaseException):
        raise outcome
    return {"success": True, **outcome}
