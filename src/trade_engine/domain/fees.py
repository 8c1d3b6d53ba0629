"""Fees and reservations: what an order may cost, what each fill charges, what is left over (SPEC 2 and 4.4).

An order's fee is rounded up once, on its cumulative exact fee; each fill pays the difference to what was charged
before.  So the reservation, notional plus the higher rate's fee, suffices whatever the fills: see ``required_hold``.
"""

from trade_engine.domain.enums import FeeAsset, Side
from trade_engine.domain.orders import Order
from trade_engine.domain.scale import UNIT, ceil_div


def fee_of(amount: int, rate: int) -> int:
    """The fee on ``amount`` units at ``rate`` (units of 1e-8), rounded up."""
    return ceil_div(amount * rate, UNIT)


def pays_fee_from_hold(side: Side, fee_asset: FeeAsset) -> bool:
    """Whether the fee comes out of what the order reserved (a BUY that pays in quote) or of what it receives."""
    return side is Side.BUY and fee_asset is FeeAsset.QUOTE


def initial_hold(side: Side, quantity: int, notional: int, highest_rate: int, fee_asset: FeeAsset) -> int:
    """What a new order reserves: a SELL its quantity, a BUY its notional and, if paid in quote, the higher fee."""
    if side is Side.SELL:
        return quantity
    return notional + (fee_of(notional, highest_rate) if pays_fee_from_hold(side, fee_asset) else 0)


def charge_fill(order: Order, quantity: int, notional: int, *, is_maker: bool) -> int:
    """Count one fill into the order's fee and take what it spends off its hold; the fill's fee, in units.

    The fee is in quote, but for the buyer of a market whose fee asset is RECEIVED: in base.
    """
    basis = quantity if order.side is Side.BUY and order.fee_asset is FeeAsset.RECEIVED else notional
    if is_maker:
        order.maker_basis += basis
    else:
        order.taker_basis += basis
    fee = ceil_div(_exact_fee(order), UNIT) - order.fee_charged
    order.fee_charged += fee
    if order.side is Side.SELL:
        order.hold -= quantity
    else:
        order.hold -= notional + (fee if order.fee_asset is FeeAsset.QUOTE else 0)
    return fee


def required_hold(order: Order, rest_quantity: int, rest_notional: int) -> int:
    """What the hold must still be so that the rest of the order can fill in any way; 0 for no rest."""
    if order.side is Side.SELL:
        return rest_quantity
    if order.fee_asset is FeeAsset.RECEIVED:
        return rest_notional
    highest = max(order.maker_fee, order.taker_fee)
    return rest_notional + ceil_div(_exact_fee(order) + rest_notional * highest, UNIT) - order.fee_charged


def _exact_fee(order: Order) -> int:
    """The order's fee so far, unrounded, in units of 1e-16."""
    return order.maker_basis * order.maker_fee + order.taker_basis * order.taker_fee
