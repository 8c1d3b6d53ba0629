"""A new order out of a request's parameters: what each type needs, may have, and must not have."""

import re
from collections.abc import Mapping
from typing import Final, NamedTuple

from trade_engine.domain.enums import OrderType, Side, TimeInForce
from trade_engine.domain.market import Market
from trade_engine.domain.orders import PlaceOrder
from trade_engine.edge.auth.tokens import Principal
from trade_engine.edge.binance.general import PREVENTIONS
from trade_engine.edge.binance.given import choice, need, need_market
from trade_engine.edge.binance.numbers import read_amount
from trade_engine.edge.binance.refusals import Numbered, illegal, invalid, missing, unwanted
from trade_engine.edge.markets import Markets

_CLIENT_ID: Final = re.compile(r"[.A-Z:/a-z0-9_-]{1,36}")
_LEGAL_ID: Final = r"^[\.A-Z\:/a-z0-9_-]{1,36}$"
_LASTING: Final = {"GTC": TimeInForce.GTC, "IOC": TimeInForce.IOC, "FOK": TimeInForce.FOK}
_RESPONSES: Final = ("ACK", "RESULT", "FULL")
_AMOUNTS: Final = ("quantity", "price", "stopPrice", "quoteOrderQty", "icebergQty")


class _Kind(NamedTuple):
    """What an order type is in the engine, which parameters it needs, and which it may have."""

    type: OrderType
    needs: tuple[str, ...]
    may: tuple[str, ...] = ()


_STOPS: Final = {
    "": _Kind(OrderType.STOP, ("quantity", "stopPrice")),
    "_LIMIT": _Kind(OrderType.STOP_LIMIT, ("timeInForce", "quantity", "price", "stopPrice"), ("icebergQty",)),
}
_KINDS: Final = {
    "LIMIT": _Kind(OrderType.LIMIT, ("timeInForce", "quantity", "price"), ("icebergQty",)),
    "LIMIT_MAKER": _Kind(OrderType.LIMIT, ("quantity", "price"), ("icebergQty",)),
    "MARKET": _Kind(OrderType.MARKET, (), ("quantity", "quoteOrderQty")),
    **{f"STOP_LOSS{rest}": kind for rest, kind in _STOPS.items()},
    # The same with its trigger turned round.
    **{f"TAKE_PROFIT{rest}": kind for rest, kind in _STOPS.items()},
}
#: Parameters of a new order, those included that are known only to be refused with their own words.
PLACE_PARAMETERS: Final = (
    "symbol! side! type! timeInForce quantity quoteOrderQty price newClientOrderId stopPrice icebergQty"
    " newOrderRespType selfTradePreventionMode trailingDelta pegPriceType pegOffsetValue pegOffsetType"
)


class NewOrder(NamedTuple):
    """What a request asks for."""

    request: PlaceOrder
    market: Market
    #: How much of it is to be shown.
    response: str


def read_order(given: Mapping[str, str], markets: Markets, caller: Principal) -> NewOrder:
    """The order that a request asks for.

    Raises:
        Numbered: a parameter is missing, not wanted, or wrong.
    """
    market = need_market(given, markets)
    side, name = need(given, "side"), need(given, "type")
    if side not in Side.__members__:
        raise Numbered(-1117, "Invalid side.")
    _refuse_unknown_kinds(given, name)
    kind = _KINDS[name]
    for parameter in kind.needs:
        if parameter not in given:
            raise missing(parameter)
    for parameter in ("timeInForce", *_AMOUNTS):
        if parameter in given and parameter not in kind.needs and parameter not in kind.may:
            raise unwanted(parameter)
    lasting = given.get("timeInForce", "GTC")
    if lasting not in _LASTING:
        raise Numbered(-1115, "Invalid timeInForce.")
    amounts = {parameter: _amount(given, parameter) for parameter in _AMOUNTS}
    if kind.type is OrderType.MARKET:
        _check_market(given, side)
    if amounts["icebergQty"]:
        _check_iceberg(amounts["icebergQty"], amounts["quantity"], lasting, market)
    prevention = given.get("selfTradePreventionMode", "EXPIRE_TAKER")
    if prevention not in PREVENTIONS:
        raise invalid("selfTradePreventionMode")
    request = PlaceOrder(
        user_id=caller.user_id,
        symbol=market.symbol,
        side=Side[side],
        type=kind.type,
        quantity=amounts["quantity"],
        price=amounts["price"],
        stop_price=amounts["stopPrice"],
        quote_amount=amounts["quoteOrderQty"],
        display_quantity=amounts["icebergQty"],
        time_in_force=_LASTING[lasting],
        stp=PREVENTIONS[prevention],
        client_order_id=read_client_id(given, "newClientOrderId"),
        may_reuse_id=True,
        institution_id=caller.institution_id,
        post_only=name == "LIMIT_MAKER",
        take_profit=name.startswith("TAKE_PROFIT"),
    )
    usual = "FULL" if name in ("LIMIT", "MARKET") else "ACK"
    return NewOrder(request, market, choice({"newOrderRespType": usual, **given}, "newOrderRespType", _RESPONSES))


def _refuse_unknown_kinds(given: Mapping[str, str], name: str) -> None:
    if name not in _KINDS:
        raise Numbered(-1116, "Invalid orderType.")
    if "trailingDelta" in given:
        raise Numbered(-2010, "Trailing stop orders are not supported for this symbol.")
    if not given.keys().isdisjoint(("pegPriceType", "pegOffsetValue", "pegOffsetType")):
        raise Numbered(-2010, "Pegged orders are not supported for this symbol.")


def _amount(given: Mapping[str, str], name: str) -> int:
    """An amount above 0; 0 if it is not given, or an iceberg that shows nothing is none."""
    if name not in given:
        return 0
    units = read_amount(name, given[name])
    if not units and name != "icebergQty":
        raise Numbered(-1013, f"Invalid {name}.")
    return units


def _check_market(given: Mapping[str, str], side: str) -> None:
    if "quantity" not in given and "quoteOrderQty" not in given:
        raise Numbered(-1102, "Param 'quantity' or 'quoteOrderQty' must be sent, but both were empty/null!")
    if "quantity" in given and "quoteOrderQty" in given:
        raise unwanted("quoteOrderQty")
    if "quoteOrderQty" in given and side == "SELL":
        # The book could tell how much that is, but not hold it still until the order is there.
        raise Numbered(-2010, "Quote order qty market orders are not support for this symbol.")


def _check_iceberg(display: int, quantity: int, lasting: str, market: Market) -> None:
    if lasting != "GTC":
        raise Numbered(-1014, "Unsupported order combination: an iceberg needs timeInForce GTC.")
    if display > quantity:
        raise Numbered(-2010, "IcebergQty exceeds QTY.")
    if display % market.lot_size:
        raise Numbered(-1013, "Filter failure: LOT_SIZE")


def read_client_id(given: Mapping[str, str], name: str) -> str | None:
    """A client's own id of an order.

    Raises:
        Numbered: -1100.
    """
    text = given.get(name)
    if text is not None and _CLIENT_ID.fullmatch(text) is None:
        raise illegal(name, _LEGAL_ID)
    return text
