"""Whatever an order's fills, its reservation suffices to the unit and is empty at the end (SPEC 2 and 4.4)."""

from hypothesis import given
from hypothesis import strategies as st

from trade_engine.domain.enums import FeeAsset, OrderType, SelfTradePrevention, Side, TimeInForce
from trade_engine.domain.fees import charge_fill, initial_hold, required_hold
from trade_engine.domain.orders import Order
from trade_engine.domain.scale import UNIT, ceil_div

_rates = st.integers(0, UNIT // 50)


@given(
    side=st.sampled_from(Side),
    fee_asset=st.sampled_from(FeeAsset),
    price=st.integers(1, 10**7),
    maker_rate=_rates,
    taker_rate=_rates,
    fills=st.lists(st.tuples(st.integers(1, 50), st.booleans(), st.floats(0, 1)), min_size=1, max_size=40),
    rest=st.integers(0, 20),
)
def test_a_reservation_suffices_and_ends_empty(
    side: Side,
    fee_asset: FeeAsset,
    price: int,
    maker_rate: int,
    taker_rate: int,
    fills: list[tuple[int, bool, float]],
    rest: int,
) -> None:
    total = sum(quantity for quantity, _, _ in fills) + rest
    highest = max(maker_rate, taker_rate)
    reserved = initial_hold(side, total, total * price, highest, fee_asset)
    order = Order(
        order_id="o",
        sequence=1,
        user_id="u",
        user=1,
        market_id=1,
        side=side,
        type=OrderType.LIMIT,
        time_in_force=TimeInForce.GTC,
        stp=SelfTradePrevention.NONE,
        price=price,
        quantity=total,
        maker_fee=maker_rate,
        taker_fee=taker_rate,
        fee_asset=fee_asset,
        reserved=reserved,
        hold=reserved,
    )
    left, exact, charged = total, 0, 0
    for quantity, is_maker, better in fills:
        paid = price if is_maker or side is Side.SELL else max(1, round(price * better))
        fee = charge_fill(order, quantity, quantity * paid, is_maker=is_maker)
        basis = quantity if side is Side.BUY and fee_asset is FeeAsset.RECEIVED else quantity * paid
        exact += basis * (maker_rate if is_maker else taker_rate)
        charged += fee
        left -= quantity
        assert 0 <= fee <= basis
        assert charged == ceil_div(exact, UNIT), "many small fills cost no more than one large one"
        assert order.hold >= required_hold(order, left, left * price) >= 0
    surplus = order.hold - required_hold(order, left, left * price)
    order.hold -= surplus
    if not left:
        assert order.hold == 0
