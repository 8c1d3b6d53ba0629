"""Amending: what a change needs in funds, and the wish that carries it to the core (SPEC 3.6)."""

import asyncio

import msgspec

from trade_engine.domain.commands import Command, CommandKind, OrderFlag
from trade_engine.domain.enums import OrderType, Side
from trade_engine.domain.fees import initial_hold, required_hold
from trade_engine.domain.market import Market
from trade_engine.domain.orders import Order, PlaceOrder
from trade_engine.domain.rules import check_order
from trade_engine.sequencer.memory import Memory
from trade_engine.sequencer.work import Work


class Amendment(msgspec.Struct, frozen=True, kw_only=True):
    """What to change; 0 keeps.  Units of 1e-8; ``quantity`` is the new total, filled part included."""

    quantity: int = 0
    price: int = 0
    stop_price: int = 0


def check_amendment(order: Order, change: Amendment, market: Market) -> PlaceOrder:
    """The order as it would be, if the market's rules allow it.

    Raises:
        EngineError: as for a new order.
    """
    wanted = PlaceOrder(
        user_id=order.user_id,
        symbol=market.symbol,
        side=order.side,
        type=order.type,
        quantity=change.quantity or order.quantity - order.cancelled,
        price=change.price or order.price,
        stop_price=change.stop_price or order.stop_price,
        time_in_force=order.time_in_force,
        expires_us=0,
    )
    check_order(wanted, market)
    return wanted


def notional_limit(wanted: PlaceOrder, market: Market) -> int:
    """What a STOP BUY may spend once triggered: stop price plus the largest slippage, in whole notional units."""
    lots, unit = wanted.quantity // market.lot_size, market.notional_unit
    notional = wanted.stop_price // market.tick_size * lots * unit
    notional += -(-notional * market.max_slippage_ppm // 1_000_000)
    return notional + -notional % unit


def extra_funds(order: Order, wanted: PlaceOrder, market: Market) -> int:
    """What must be reserved beyond what the order holds, so that the changed order can fill in any way."""
    if order.type is OrderType.STOP and order.side is Side.BUY:
        highest = max(order.maker_fee, order.taker_fee)
        needed = initial_hold(Side.BUY, 0, notional_limit(wanted, market), highest, order.fee_asset)
    else:
        rest = max(0, wanted.quantity - order.filled)
        notional = wanted.price // market.tick_size * (rest // market.lot_size) * market.notional_unit
        needed = required_hold(order, rest, notional)
    return max(0, needed - order.hold)


def amend_work(order_id: str, user_id: str | None, change: Amendment, wanted: PlaceOrder, extra: int) -> Work:
    """The wish to amend; finds nothing if the order is not live any more, or not ``user_id``'s."""

    def make(memory: Memory, sequence: int, time_us: int) -> Command | None:
        order = memory.live.by_id.get(order_id)
        if order is None or (user_id is not None and order.user_id != user_id):
            return None
        market = memory.markets[order.market_id]
        limited = order.type is OrderType.STOP and order.side is Side.BUY
        total = change.quantity or order.quantity - order.cancelled
        return Command(
            kind=CommandKind.AMEND,
            sequence=sequence,
            time_us=time_us,
            market_id=order.market_id,
            order_id=order.sequence,
            user=order.user,
            flags=OrderFlag.LIMITED_NOTIONAL if limited else 0,
            price=change.price // market.tick_size,
            quantity=total // market.lot_size if change.quantity else 0,
            stop_price=change.stop_price // market.tick_size,
            max_notional=notional_limit(wanted, market) // market.notional_unit if limited else 0,
            linked_id=extra,
        )

    return Work(make, asyncio.get_running_loop().create_future())
