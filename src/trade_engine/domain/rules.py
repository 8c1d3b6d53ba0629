"""What a market's rules and an order's own terms demand of a new order, before any money or book is touched.

Pure, and the only place where these rules live: whoever takes orders (REST, WebSocket, admission) calls it.
What depends on the book, the clock or the account (price band, open orders, expiry in the past) is not decided here.
"""

from typing import Final, NoReturn

from trade_engine.domain.enums import OrderType, Side, TimeInForce
from trade_engine.domain.errors import InvalidRequest, Refused
from trade_engine.domain.market import Market
from trade_engine.domain.orders import PlaceOrder
from trade_engine.domain.scale import MAX_UNITS, UNIT, ceil_div, format_price, format_units

_PRICED: Final = (OrderType.LIMIT, OrderType.STOP_LIMIT)
_STOPPED: Final = (OrderType.STOP, OrderType.STOP_LIMIT)
_AT_ONCE: Final = (TimeInForce.IOC, TimeInForce.FOK)
#: What a 64-bit number holds: the largest notional and its fee, where rates are what they usually are.
_LARGEST_AMOUNT: Final = (1 << 63) - 1


def check_order(request: PlaceOrder, market: Market) -> None:
    """Check a new order against its own type and against its market's ticks, lots and limits.

    Raises:
        InvalidRequest: INVALID_PRICE, INVALID_STOP_PRICE, INVALID_QUANTITY, INVALID_QUOTE_AMOUNT,
            INVALID_DISPLAY_QUANTITY, INVALID_EXPIRY, INVALID_FLAGS, NOTIONAL_OVERFLOW.
        Refused: MIN_NOTIONAL.
    """
    kind = request.type
    if kind in _PRICED:
        _check_price("price", "INVALID_PRICE", request.price, kind, market)
    elif request.price:
        _invalid("INVALID_PRICE", f"a {kind.name} order has no price", "price", format_units(request.price))
    if kind in _STOPPED:
        _check_price("stop_price", "INVALID_STOP_PRICE", request.stop_price, kind, market)
    elif request.stop_price:
        given = format_units(request.stop_price)
        _invalid("INVALID_STOP_PRICE", f"a {kind.name} order has no stop price", "stop_price", given)
    _check_options(request, market)
    if request.quote_amount:
        _check_quote_amount(request, market)
        return
    _check_quantity(request.quantity, market)
    if kind in _STOPPED:
        _check_largest("stop_price x quantity", request.stop_price, request.quantity, market)
    if kind in _PRICED:
        _check_notional(request.price, request.quantity, market)


def check_cost(cost: int, market: Market) -> None:
    """Check that what an order or a change would reserve, fee included, is an amount that can be kept.

    Raises:
        InvalidRequest: NOTIONAL_OVERFLOW.
    """
    if cost > _LARGEST_AMOUNT:
        most = format_units(MAX_UNITS)
        message = f"the order's cost must be at most {most} {market.quote} and its fee"
        _invalid("NOTIONAL_OVERFLOW", message, "quantity", format_units(cost), limit=most)


def _invalid(code: str, message: str, field: str, provided: str, **more: str) -> NoReturn:
    raise InvalidRequest(code, message, field=field, provided=provided, **more)


def _check_price(field: str, code: str, price: int, kind: OrderType, market: Market) -> None:
    if not price:
        raise InvalidRequest(code, f"a {kind.name} order needs a {field} above 0", field=field)
    given = format_units(price)
    if price > MAX_UNITS:
        _invalid(code, f"{field} is above the largest price", field, given, limit=format_units(MAX_UNITS))
    if price % market.tick_size:
        tick = format_units(market.tick_size)
        _invalid(code, f"{field} must be a multiple of the tick size {tick}", field, given, limit=tick)


def _check_quantity(quantity: int, market: Market) -> None:
    code, field, given = "INVALID_QUANTITY", "quantity", format_units(quantity)
    if not quantity:
        least = format_units(market.min_quantity)
        raise InvalidRequest(code, f"the order needs a quantity of at least {least}", field=field, limit=least)
    if quantity < market.min_quantity:
        least = format_units(market.min_quantity)
        _invalid(code, f"quantity must be at least {least}", field, given, limit=least)
    if quantity > market.max_quantity:
        most = format_units(market.max_quantity)
        _invalid(code, f"quantity must be at most {most}", field, given, limit=most)
    if quantity % market.lot_size:
        lot = format_units(market.lot_size)
        _invalid(code, f"quantity must be a multiple of the lot size {lot}", field, given, limit=lot)


def _check_notional(price: int, quantity: int, market: Market) -> None:
    notional = _check_largest("price x quantity", price, quantity, market)
    if notional < market.min_notional:
        _below_minimum("price x quantity", "quantity", quantity, market)


def _check_largest(what: str, price: int, quantity: int, market: Market) -> int:
    """The notional in units of 1e-8, if it is not too large."""
    notional = ceil_div(price * quantity, UNIT)
    if notional > MAX_UNITS:
        most = format_units(MAX_UNITS)
        message = f"{what} must be at most {most} {market.quote}"
        _invalid("NOTIONAL_OVERFLOW", message, "quantity", format_units(quantity), limit=most)
    return notional


def _check_quote_amount(request: PlaceOrder, market: Market) -> None:
    code, field, given = "INVALID_QUOTE_AMOUNT", "quote_amount", format_units(request.quote_amount)
    if request.type is not OrderType.MARKET or request.side is not Side.BUY:
        _invalid(code, "only a market BUY takes a quote_amount", field, given)
    if request.quantity:
        _invalid(code, "give a quantity or a quote_amount, not both", field, given)
    if request.quote_amount > MAX_UNITS:
        most = format_units(MAX_UNITS)
        _invalid(code, f"quote_amount must be at most {most}", field, given, limit=most)
    if request.quote_amount < market.min_notional:
        _below_minimum(field, field, request.quote_amount, market)
    if request.quote_amount < market.least_quote_amount:
        least = format_units(market.least_quote_amount)
        message = f"quote_amount must be at least {least}, which pays for the smallest trade and its fee"
        _invalid(code, message, field, given, limit=least)


def _below_minimum(what: str, field: str, units: int, market: Market) -> NoReturn:
    least = format_units(market.min_notional)
    message = f"{what} must be at least {least} {market.quote}"
    raise Refused("MIN_NOTIONAL", message, field=field, provided=format_units(units), limit=least)


def _check_options(request: PlaceOrder, market: Market) -> None:
    kind, lasting = request.type, request.time_in_force
    if request.post_only and (kind not in _PRICED or lasting in _AT_ONCE):
        _invalid("INVALID_FLAGS", "post_only needs a LIMIT order that may rest", "post_only", "true")
    if request.take_profit and kind not in _STOPPED:
        _invalid("INVALID_FLAGS", "take_profit needs a STOP or STOP_LIMIT order", "take_profit", "true")
    if lasting is TimeInForce.GTD and not request.expires_us:
        _invalid("INVALID_EXPIRY", "a GTD order needs expires_at", "expires_at", "")
    if lasting is not TimeInForce.GTD and request.expires_us:
        _invalid("INVALID_EXPIRY", "only a GTD order takes expires_at", "expires_at", str(request.expires_us))
    if request.display_quantity:
        _check_display(request, market)


def _check_display(request: PlaceOrder, market: Market) -> None:
    code, field, given = "INVALID_DISPLAY_QUANTITY", "display_quantity", format_units(request.display_quantity)
    if request.type not in _PRICED or request.time_in_force in _AT_ONCE:
        _invalid(code, "display_quantity needs a LIMIT order that may rest", field, given)
    if request.display_quantity % market.lot_size:
        lot = format_units(market.lot_size)
        _invalid(code, f"display_quantity must be a multiple of the lot size {lot}", field, given, limit=lot)
    if request.display_quantity > request.quantity:
        most = format_units(request.quantity)
        _invalid(code, "display_quantity must be at most the quantity", field, given, limit=most)
    check_display_share(request.display_quantity, request.quantity, market)


def check_display_share(display: int, quantity: int, market: Market) -> None:
    """Check that an iceberg of ``quantity`` shows enough of itself: each part shown is a fill of its own.

    Raises:
        InvalidRequest: INVALID_DISPLAY_QUANTITY; the limit is the smallest that it may show.
    """
    least = market.least_display(quantity)
    if display < least:
        message = f"display_quantity must be at least {format_units(least)}: {_share(market)} of the quantity"
        given = format_units(display)
        _invalid("INVALID_DISPLAY_QUANTITY", message, "display_quantity", given, limit=format_units(least))


def _share(market: Market) -> str:
    return f"{format_units(market.min_display_ppm * 10_000)} %"


def show_average(filled_notional: int, filled: int, decimals: int) -> str:
    """The average price of what is filled: 8 decimals, truncated, shown with at least the tick's ``decimals``."""
    units = filled_notional * UNIT // filled
    plain, exact = format_units(units), format_price(units, decimals)
    return exact if len(plain) < len(exact) else plain
