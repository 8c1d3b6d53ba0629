"""The parameters that routes of this face take: one description each, by name, which all of them share."""

from typing import Any, Final

from trade_engine.edge.binance.general import ORDER_TYPES, PREVENTIONS
from trade_engine.edge.rest.parameters import Parameter
from trade_engine.edge.shapes import text, words
from trade_engine.marketdata.intervals import INTERVALS

Schema = dict[str, Any]

_WHOLE: Final = {"type": "integer", "minimum": 0, "maximum": 10**19 - 1}
_TIME: Final = {"type": "integer", "minimum": 0, "maximum": 10**16 - 1}
_AMOUNT: Final = text(r"[0-9]{1,10}(\.[0-9]{1,8})?", "0.5")
_CLIENT_ID: Final = text("[.A-Z:/a-z0-9_-]{1,36}", "my-order-1")
_SYMBOL: Final = text("[A-Z0-9]{1,40}", "BTCUSDT")
_LASTING: Final = words(("GTC", "IOC", "FOK"))
_LEG: Final[dict[str, tuple[Schema, str]]] = {
    "Type": (words(name for name in ORDER_TYPES if name not in ("LIMIT", "MARKET")), "Type of the leg {}."),
    "ClientOrderId": (_CLIENT_ID, "Your id of the leg {}."),
    "IcebergQty": (_AMOUNT, "How much of the leg {} is shown."),
    "Price": (_AMOUNT, "Price of the leg {}."),
    "StopPrice": (_AMOUNT, "Where the leg {} is triggered."),
    "TimeInForce": (words(("GTC",)), "How long the leg {} lasts."),
    "TrailingDelta": (_WHOLE, "Refused."),
    "PegPriceType": ({"type": "string"}, "Refused."),
}
#: By name: schema and description.
_KNOWN: Final[dict[str, tuple[Schema, str]]] = {
    "symbol": (_SYMBOL, "The market."),
    "symbols": (text(r'\["[A-Z0-9]{1,40}"(,"[A-Z0-9]{1,40}")*\]', '["BTCUSDT","ETHUSDT"]'), "Markets, as JSON."),
    "permissions": ({"type": "string", "examples": ["SPOT"]}, "One, or a list as JSON; all markets have `SPOT`."),
    "showPermissionSets": (words(("true", "false")), "They are always shown."),
    "symbolStatus": (words(("TRADING", "HALT", "BREAK", "END_OF_DAY")), "Only markets in this state."),
    "limit": ({"type": "integer", "minimum": 1, "maximum": 10**6}, "How many rows; more than there may be are fewer."),
    "fromId": (_WHOLE, "From this id on."),
    "startTime": (_WHOLE, "From here on, included; milliseconds or microseconds."),
    "endTime": (_WHOLE, "Up to here, included; milliseconds or microseconds."),
    "interval": (words(INTERVALS), "How long a candle is; `1M` is a month."),
    "type": ({"type": "string"}, "What kind."),
    "windowSize": (text("([1-5]?[0-9]m|1?[0-9]h|2[0-3]h|[1-7]d)", "1d"), "Minutes, hours or days."),
    "side": (words(("BUY", "SELL")), "Which side."),
    "timeInForce": (_LASTING, "How long it lasts; limit orders must say."),
    "quantity": (_AMOUNT, "How much, in the base asset."),
    "quoteOrderQty": (_AMOUNT, "MARKET: how much, in the quote asset; buying, the fee included."),
    "price": (_AMOUNT, "Its limit."),
    "newClientOrderId": (_CLIENT_ID, "Your id of what is done."),
    "stopPrice": (_AMOUNT, "Where a stop is triggered."),
    "icebergQty": (_AMOUNT, "How much of it is shown."),
    "newOrderRespType": (words(("ACK", "RESULT", "FULL")), "How much the answer says."),
    "selfTradePreventionMode": (words(PREVENTIONS), "What happens when it meets an order of your own."),
    "trailingDelta": (_WHOLE, "Refused."),
    **{name: ({"type": "string"}, "Refused.") for name in ("pegPriceType", "pegOffsetValue", "pegOffsetType")},
    "computeCommissionRates": (words(("true", "false")), "Whether the answer says what it would cost."),
    "orderId": (_WHOLE, "The order's number; of lists, from this one on."),
    "origClientOrderId": (text(r"[!-~]{1,100}", "my-order-1"), "Your id of the order, or of the list."),
    "cancelRestrictions": (words(("ONLY_NEW", "ONLY_PARTIALLY_FILLED")), "Cancel it only if it is that."),
    "cancelReplaceMode": (words(("STOP_ON_FAILURE", "ALLOW_FAILURE")), "Whether to place if the cancel fails."),
    "cancelNewClientOrderId": (_CLIENT_ID, "Your id of the cancel."),
    "cancelOrigClientOrderId": (text(r"[!-~]{1,100}", "my-order-1"), "Your id of the order to cancel."),
    "cancelOrderId": (_WHOLE, "The number of the order to cancel."),
    "orderRateLimitExceededMode": (words(("DO_NOTHING", "CANCEL_ONLY")), "Nothing is done either way."),
    "newQty": (_AMOUNT, "What is left of its quantity."),
    "listClientOrderId": (_CLIENT_ID, "Your id of the list."),
    "orderListId": (_WHOLE, "The list's number."),
    "limitClientOrderId": (_CLIENT_ID, "Your id of the limit leg."),
    "limitIcebergQty": (_AMOUNT, "How much of the limit leg is shown."),
    "stopClientOrderId": (_CLIENT_ID, "Your id of the stop leg."),
    "stopLimitPrice": (_AMOUNT, "Price of the stop leg; without it that is a market order."),
    "stopIcebergQty": (_AMOUNT, "How much of the stop leg is shown."),
    "stopLimitTimeInForce": (words(("GTC",)), "How long the stop leg lasts."),
    "omitZeroBalances": (words(("true", "false")), "Leave out assets of which there is nothing."),
    "listenKey": (text("[A-Za-z0-9]{64}"), "The listen key."),
    "timestamp": (_TIME, "When it was signed; milliseconds or microseconds."),
    "recvWindow": (
        text(r"[0-9]{1,5}(\.[0-9]{1,3})?", "5000"),
        "For how long it is good, in milliseconds: up to 60000.",
    ),
    "signature": ({"type": "string"}, "Of all other parameters, as sent."),
    **{
        f"{leg}{part}": (schema, described.format(leg))
        for leg in ("above", "below")
        for part, (schema, described) in _LEG.items()
    },
}


def takes(names: str, **special: Schema) -> tuple[Parameter, ...]:
    """Parameters by their names, those that must be there with ``!``; a route may have a schema of its own for one."""
    found = []
    for word in names.split():
        name = word.rstrip("!")
        schema, described = _KNOWN[name]
        found.append(Parameter(name, special.get(name, schema), described, required=word.endswith("!")))
    return tuple(found)
