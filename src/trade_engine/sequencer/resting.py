"""An open order as the core knows it: what recovery puts into the books."""

from collections.abc import Container

from trade_engine.domain.commands import OrderFlag
from trade_engine.domain.enums import OrderStatus, OrderType
from trade_engine.domain.market import Market
from trade_engine.domain.orders import Order
from trade_engine.matching.protocol import Resting


def resting_of(order: Order, market: Market, legs: Container[int]) -> Resting:
    """An open order in ticks and lots; ``legs``: the open orders that are legs of pairs."""
    lot, tick = market.lot_size, market.tick_size
    limited = order.flags & OrderFlag.LIMITED_NOTIONAL
    return Resting(
        order_number=order.sequence,
        user=order.user,
        side=order.side,
        type=order.type,
        time_in_force=order.time_in_force,
        stp=order.stp,
        flags=order.flags,
        waiting=int(order.status is OrderStatus.PENDING and order.type >= OrderType.STOP),
        price=order.price // tick,
        quantity=(order.quantity - order.cancelled) // lot,
        leaves=order.leaves // lot,
        stop_price=order.stop_price // tick,
        display=order.display // lot,
        display_remaining=order.display_remaining // lot,
        max_notional=order.max_notional // market.notional_unit,
        spent_notional=order.filled_notional // market.notional_unit if limited else 0,
        expires_us=order.expires_us,
        linked_number=order.linked_number if order.linked_number in legs else 0,
        priority=order.priority,
    )
