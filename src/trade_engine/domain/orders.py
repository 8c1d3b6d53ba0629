"""What is asked for, the order that comes of it, and a trade as it is stored; all amounts in units of 1e-8."""

import msgspec

from trade_engine.domain.enums import (
    FeeAsset,
    OrderStatus,
    OrderType,
    Reason,
    SelfTradePrevention,
    SettlementStatus,
    Side,
    TimeInForce,
)


class PlaceOrder(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A new order, units of 1e-8; 0 or None is "not given".  Market rules have not been checked yet."""

    user_id: str
    symbol: str
    side: Side
    type: OrderType
    quantity: int = 0
    price: int = 0
    stop_price: int = 0
    time_in_force: TimeInForce = TimeInForce.GTC
    stp: SelfTradePrevention = SelfTradePrevention.CANCEL_NEWEST
    client_order_id: str | None = None
    #: It may have a client order id that an order had which has ended.
    may_reuse_id: bool = False
    institution_id: str | None = None
    post_only: bool = False
    #: STOP and STOP_LIMIT: reached from the other side, when the price is better.
    take_profit: bool = False
    display_quantity: int = 0
    #: Market BUY by amount: what to spend, instead of ``quantity``.
    quote_amount: int = 0
    expires_us: int = 0


class PlacePair(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Two orders of one user, market, side and quantity, of which one cancels the other."""

    legs: tuple[PlaceOrder, PlaceOrder]
    #: What the caller calls the pair.
    client_pair_id: str | None = None


class OrderPair(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A pair that was accepted.  Its first leg is the one whose reservation pays for whichever of them trades."""

    first_order_id: str
    second_order_id: str
    #: The first leg's number in the core.
    pair_number: int
    user_id: str
    market_id: int
    client_pair_id: str | None
    created_us: int


class Order(msgspec.Struct, gc=False, kw_only=True):
    """One order: what was asked, what became of it, and what its reservation still holds.

    Not tracked by the garbage collector: a million of them must not slow it, and they hold no references back.
    """

    order_id: str
    #: The number the core knows it by: the sequence of its own command.
    sequence: int
    user_id: str
    #: The trader's number in the core.
    user: int
    market_id: int
    side: Side
    type: OrderType
    time_in_force: TimeInForce
    stp: SelfTradePrevention
    #: Bits of ``commands.OrderFlag``.
    flags: int = 0
    status: OrderStatus = OrderStatus.PENDING
    reason: Reason = Reason.NONE
    client_order_id: str | None = None
    institution_id: str | None = None
    #: 0 for a market order.
    price: int = 0
    quantity: int = 0
    stop_price: int = 0
    display: int = 0
    max_notional: int = 0
    expires_us: int = 0
    #: The other leg of its pair, for ever: they are linked in the core for as long as both are open.
    linked_number: int = 0
    #: Whose reservation pays for it, if that is not its own: of a pair's second leg, the first one.
    funded_by: str | None = None
    #: What its user calls the pair; only the second leg has it.
    client_pair_id: str | None = None
    #: Its client order id was that of an order which has ended; only known while it is placed.
    reuses_id: bool = False
    filled: int = 0
    filled_notional: int = 0
    cancelled: int = 0
    #: Rank in its price level; changes when it loses its place.
    priority: int = 0
    display_remaining: int = 0
    #: Rates frozen at acceptance, units of 1e-8.
    maker_fee: int = 0
    taker_fee: int = 0
    fee_asset: FeeAsset = FeeAsset.QUOTE
    #: What fees are counted on, filled as maker and as taker, in the fee's asset.
    maker_basis: int = 0
    taker_basis: int = 0
    fee_charged: int = 0
    #: Reserved for it in all, and what of that is neither spent nor released yet (in the wallet's books or on its way).
    reserved: int = 0
    hold: int = 0
    created_us: int = 0
    updated_us: int = 0
    filled_us: int = 0
    cancelled_us: int = 0

    @property
    def leaves(self) -> int:
        """What is neither filled nor cancelled."""
        return self.quantity - self.filled - self.cancelled

    @property
    def pair_number(self) -> int:
        """The number of its pair, which is that of the pair's first leg; 0: it is in none."""
        return min(self.sequence, self.linked_number) if self.linked_number else 0


def pair_of(second: Order) -> OrderPair:
    """The pair of a second leg that was accepted."""
    return OrderPair(
        first_order_id=second.funded_by or "",
        second_order_id=second.order_id,
        pair_number=second.pair_number,
        user_id=second.user_id,
        market_id=second.market_id,
        client_pair_id=second.client_pair_id,
        created_us=second.created_us,
    )


class Trade(msgspec.Struct, gc=False, frozen=True, kw_only=True):
    """One trade with both its sides."""

    trade_id: str
    sequence: int
    market_id: int
    price: int
    quantity: int
    notional: int
    buyer_order_id: str
    seller_order_id: str
    buyer_user_id: str
    seller_user_id: str
    buyer_fee: int
    seller_fee: int
    buyer_fee_asset: str
    seller_fee_asset: str
    is_buyer_maker: bool
    executed_us: int
    settlement_status: SettlementStatus = SettlementStatus.PENDING
