"""A new order as it was before the core saw it: from its command and its facts, or, where there are none, its row."""

from typing import Any, Final

import msgspec

from trade_engine.domain.commands import Command
from trade_engine.domain.enums import FeeAsset, OrderStatus, OrderType, Reason, SelfTradePrevention, Side, TimeInForce
from trade_engine.domain.fees import initial_hold
from trade_engine.domain.market import Market
from trade_engine.domain.orders import Order
from trade_engine.sequencer.facts import PlacedFact, uuid_text

_UNTOUCHED: Final[dict[str, Any]] = {
    "status": OrderStatus.PENDING,
    "reason": Reason.NONE,
    "filled": 0,
    "filled_notional": 0,
    "cancelled": 0,
    "priority": 0,
    "display_remaining": 0,
    "maker_basis": 0,
    "taker_basis": 0,
    "fee_charged": 0,
    "filled_us": 0,
    "cancelled_us": 0,
}


def order_as_placed(command: Command, market: Market, fact: PlacedFact | None, stored: Order | None) -> Order:
    """The order of a PLACE; without a fact, what the command does not say is as ``stored`` says."""
    told: dict[str, Any] = {
        "sequence": command.sequence,
        "market_id": command.market_id,
        "user": command.user,
        "side": Side(command.side),
        "type": OrderType(command.type),
        "time_in_force": TimeInForce(command.time_in_force),
        "stp": SelfTradePrevention(command.stp),
        "flags": command.flags,
        "price": command.price * market.tick_size,
        "quantity": command.quantity * market.lot_size,
        "stop_price": command.stop_price * market.tick_size,
        "display": command.display * market.lot_size,
        "max_notional": command.max_notional * market.notional_unit,
        "expires_us": command.expires_us,
        "linked_number": command.linked_number,
        "created_us": command.time_us,
        "updated_us": command.time_us,
        **_UNTOUCHED,
    }
    if fact is not None:
        return Order(
            order_id=uuid_text(fact.order_id),
            user_id=uuid_text(fact.user_id),
            client_order_id=fact.client_order_id,
            institution_id=fact.institution_id,
            maker_fee=fact.maker_fee,
            taker_fee=fact.taker_fee,
            fee_asset=FeeAsset(fact.fee_asset),
            reserved=fact.reserved,
            hold=fact.reserved,
            **told,
        )
    if stored is None:
        raise ValueError("an order without facts needs its row")
    reserved = _first_hold(stored, command, market)
    return msgspec.structs.replace(stored, **told, reserved=reserved, hold=reserved)


def _first_hold(stored: Order, command: Command, market: Market) -> int:
    """What a PLACE had reserved: as stored, but for orders that an amendment may have topped up since."""
    if command.type == OrderType.MARKET:
        return stored.reserved
    ticks = command.max_notional or command.price * command.quantity
    highest = max(stored.maker_fee, stored.taker_fee)
    quantity, notional = command.quantity * market.lot_size, ticks * market.notional_unit
    return initial_hold(stored.side, quantity, notional, highest, stored.fee_asset)
