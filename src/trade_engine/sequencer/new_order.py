"""The order that a checked request asks for, and what it must reserve (SPEC 4.4)."""

from trade_engine.domain.commands import OrderFlag
from trade_engine.domain.enums import OrderType, Side
from trade_engine.domain.fees import initial_hold
from trade_engine.domain.market import Market
from trade_engine.domain.orders import Order, PlaceOrder
from trade_engine.domain.rules import check_cost
from trade_engine.domain.scale import UNIT
from trade_engine.matching.protocol import Book


def new_order(request: PlaceOrder, market: Market, book: Book, *, order_id: str, user: int, expires_us: int) -> Order:
    """The order that a checked request asks for, with what it must reserve; it has no number yet.

    Raises:
        InvalidRequest: NOTIONAL_OVERFLOW, it would cost more than any amount may be.
    """
    flags, max_notional, reserved = funds_needed(request, market, book)
    check_cost(max(reserved, max_notional), market)
    return Order(
        order_id=order_id,
        sequence=0,
        user_id=request.user_id,
        user=user,
        market_id=market.market_id,
        side=request.side,
        type=request.type,
        time_in_force=request.time_in_force,
        stp=request.stp,
        flags=flags
        | (OrderFlag.POST_ONLY if request.post_only else 0)
        | (OrderFlag.REVERSED if request.take_profit else 0),
        client_order_id=request.client_order_id,
        institution_id=request.institution_id,
        price=request.price,
        quantity=request.quantity,
        stop_price=request.stop_price,
        display=request.display_quantity,
        max_notional=max_notional,
        expires_us=expires_us,
        maker_fee=market.maker_fee,
        taker_fee=market.taker_fee,
        fee_asset=market.fee_asset,
        reserved=reserved,
        hold=reserved,
    )


def funds_needed(request: PlaceOrder, market: Market, book: Book) -> tuple[int, int, int]:
    """What an order must reserve now (SPEC 4.4): (order flags, limit of its notional, reserve), units of 1e-8.

    A market BUY reserves what walking the book now would cost, fee included, and may never spend more.
    """
    rate = market.highest_rate
    if request.side is Side.SELL:
        return 0, 0, request.quantity
    if request.quote_amount:
        notional = request.quote_amount * UNIT // (UNIT + market.rate_paid_apart)
        notional -= notional % market.notional_unit
        return OrderFlag.LIMITED_NOTIONAL | OrderFlag.QUOTE_AMOUNT, notional, request.quote_amount
    lots = request.quantity // market.lot_size
    if request.type is OrderType.MARKET:
        notional = book.walk(Side.BUY, lots).notional * market.notional_unit
        flags = OrderFlag.LIMITED_NOTIONAL
    elif request.type is OrderType.STOP:
        slippage = market.max_slippage_ppm
        notional = request.stop_price // market.tick_size * lots * market.notional_unit
        notional += -(-notional * slippage // 1_000_000)
        notional += -notional % market.notional_unit
        flags = OrderFlag.LIMITED_NOTIONAL
    else:
        notional = request.price // market.tick_size * lots * market.notional_unit
        return 0, 0, initial_hold(request.side, request.quantity, notional, rate, market.fee_asset)
    return flags, notional, initial_hold(request.side, request.quantity, notional, rate, market.fee_asset)
