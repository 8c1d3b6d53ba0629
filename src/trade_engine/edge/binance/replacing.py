"""Routes that change an order: another one in its place, or less of it.

A cancel and a new order are two commands: what the first one frees is waited for, a moment, if the second one needs it.
"""

import asyncio
from typing import Any, Final

from trade_engine.domain.errors import EngineError, OutcomeUnknown
from trade_engine.domain.orders import Order
from trade_engine.domain.rules import check_order
from trade_engine.edge.binance.forms import PLACE_PARAMETERS, NewOrder, read_client_id, read_order
from trade_engine.edge.binance.given import choice, need, need_market
from trade_engine.edge.binance.numbers import ms, read_amount
from trade_engine.edge.binance.orders import NO_ORDER, cancel_named, named, place_new, refuse_reached
from trade_engine.edge.binance.refusals import Numbered, missing, show
from trade_engine.edge.binance.shown import client_id, show_amended, show_cancelled
from trade_engine.edge.rest.call import Answer, Call
from trade_engine.sequencer.ports import Amendment

REPLACE_PARAMETERS: Final = (
    f"{PLACE_PARAMETERS} cancelReplaceMode! cancelNewClientOrderId cancelOrigClientOrderId cancelOrderId"
    " cancelRestrictions orderRateLimitExceededMode"
)
AMEND_PARAMETERS: Final = "symbol! orderId origClientOrderId newClientOrderId newQty!"
_MODES: Final = ("STOP_ON_FAILURE", "ALLOW_FAILURE")
#: What a cancel frees is there after so long, at the latest, or is not waited for any more.
_FREED_WITHIN_S: Final = 1.0
_FREED_EVERY_S: Final = 0.02


async def cancel_replace(call: Call) -> Answer:
    """Cancel an order and place another one; ``cancelReplaceMode`` says whether also if the cancel fails."""
    given = call.query
    mode = need(given, "cancelReplaceMode")
    if mode not in _MODES:
        raise missing("cancelReplaceMode")
    choice(given, "orderRateLimitExceededMode", ("DO_NOTHING", "CANCEL_ONLY"))
    called = read_client_id(given, "cancelNewClientOrderId")
    new = read_order(given, call.services.markets, call.caller)
    # Filters come before both.
    check_order(new.request, new.market)
    refuse_reached(call.services, new)
    order = await named(call, new.market, "cancelOrderId", "cancelOrigClientOrderId")
    outcome: dict[str, Any] = {"cancelResult": "SUCCESS", "newOrderResult": "SUCCESS"}
    ended = None
    try:
        ended = await cancel_named(call, order)
        outcome["cancelResponse"] = show_cancelled(ended, new.market, called)
    except EngineError as error:
        _note(outcome, "cancel", error)
        if mode == "STOP_ON_FAILURE":
            outcome |= {"newOrderResult": "NOT_ATTEMPTED", "newOrderResponse": None}
    if outcome["newOrderResult"] == "SUCCESS":
        try:
            outcome["newOrderResponse"] = await _place(call, new, ended)
        except EngineError as error:
            _note(outcome, "newOrder", error)
    results = (outcome["cancelResult"], outcome["newOrderResult"])
    if results == ("SUCCESS", "SUCCESS"):
        return Answer(outcome)
    if "SUCCESS" in results:
        raise Numbered(-2021, "Order cancel-replace partially failed.", 409, outcome)
    raise Numbered(-2022, "Order cancel-replace failed.", 400, outcome)


def _note(outcome: dict[str, Any], what: str, error: EngineError) -> None:
    """Note a failure of one of the two; of what nobody knows, the whole request tells.

    Raises:
        OutcomeUnknown: it is that.
    """
    if isinstance(error, OutcomeUnknown):
        raise error
    shown = show(error)
    outcome[f"{what}Result"] = "FAILURE"
    outcome[f"{what}Response"] = {"code": shown.number, "msg": shown.text}


async def _place(call: Call, new: NewOrder, ended: Order | None) -> dict[str, Any]:
    """Place the new order; what the cancelled one had reserved is on its way back, if it had any of what this needs."""
    may_wait = ended is not None and ended.side is new.request.side
    until_s = asyncio.get_running_loop().time() + (_FREED_WITHIN_S if may_wait else 0)
    while True:
        try:
            return await place_new(call.services, new)
        except EngineError as error:
            if error.code != "INSUFFICIENT_BALANCE" or asyncio.get_running_loop().time() >= until_s:
                raise
        await asyncio.sleep(_FREED_EVERY_S)


async def amend(call: Call) -> Answer:
    """Take something off an order's quantity; it keeps its place, and its client order id."""
    given, services = call.query, call.services
    market = need_market(given, services.markets)
    quantity = read_amount("newQty", need(given, "newQty"))
    called = read_client_id(given, "newClientOrderId")
    order = await named(call, market)
    if order is None:
        raise Numbered(*NO_ORDER)
    if called not in (None, client_id(order)):
        raise Numbered(-2038, "Order amend (another clientOrderId) is not supported.")
    if not order.status.is_open:
        raise Numbered(-2038, "The order is not open any more.")
    if quantity >= order.quantity - order.cancelled:
        raise Numbered(-2038, "Order amend (quantity increase) is not supported.")
    if quantity <= order.filled:
        raise Numbered(-1013, "Filter failure: LOT_SIZE")
    try:
        changed = (await services.desk.amend(order.order_id, call.user_id, Amendment(quantity=quantity))).order
    except EngineError as error:
        if error.code in ("NOT_AMENDABLE", "AMENDMENT_CONFLICT", "NO_CHANGE"):
            raise Numbered(-2038, f"{error.message[:1].upper()}{error.message[1:]}.") from error
        raise
    return Answer(
        {
            "transactTime": ms(changed.updated_us),
            # Amendments have no number of their own here; their time is as good.
            "executionId": changed.updated_us,
            "amendedOrder": show_amended(changed, market),
        }
    )
