"""What each route of this face answers, as JSON schemas: which fields an answer has, and what is in them."""

from typing import Any, Final

from trade_engine.edge.binance.general import ORDER_TYPES, PREVENTIONS
from trade_engine.edge.rest.openapi.answers import closed
from trade_engine.edge.shapes import text, words

Schema = dict[str, Any]

_WHOLE: Final = {"type": "integer"}
_FLAG: Final = {"type": "boolean"}
_TEXT: Final = {"type": "string"}
_AMOUNT: Final = text(r"-?[0-9]+\.[0-9]{8}", "0.50000000")
_SIDE: Final = words(("BUY", "SELL"))
_LASTING: Final = words(("GTC", "IOC", "FOK", "DAY", "GTD"))
_STATUS: Final = words(("NEW", "PARTIALLY_FILLED", "FILLED", "CANCELED", "REJECTED", "EXPIRED", "EXPIRED_IN_MATCH"))
_KIND: Final = words(ORDER_TYPES)
_PREVENTION: Final = words(PREVENTIONS)


def _rows(schema: Schema) -> Schema:
    return {"type": "array", "items": schema}


def _one_or_rows(schema: Schema) -> Schema:
    return {"anyOf": [schema, _rows(schema)]}


def _shape(schema: Schema, names: str, **more: Schema) -> Schema:
    """An object whose fields of these names all have one schema, and others have their own."""
    return closed(dict.fromkeys(names.split(), schema) | more)


def _with(shape: Schema, optional: Schema | None = None, **more: Schema) -> Schema:
    """A shape with more fields; ``optional`` ones need not be there."""
    found = closed(shape["properties"] | more)
    found["required"] = [*shape["required"], *more]
    found["properties"] |= (optional or {}) | {
        name: schema for name, schema in shape["properties"].items() if name not in found["properties"]
    }
    return found


_NOTHING: Final = closed({})
_LEVELS: Final = _rows({"type": "array", "items": _AMOUNT, "minItems": 2, "maxItems": 2})
_FILTER: Final = {"type": "object", "properties": {"filterType": _TEXT}, "required": ["filterType"]}
_MARKET: Final = _with(
    _shape(_TEXT, "symbol status baseAsset quoteAsset defaultSelfTradePreventionMode"),
    **dict.fromkeys(
        ("baseAssetPrecision", "quotePrecision", "quoteAssetPrecision", "baseCommissionPrecision",
         "quoteCommissionPrecision"), _WHOLE,
    ),
    **dict.fromkeys(
        ("icebergAllowed", "ocoAllowed", "otoAllowed", "opoAllowed", "quoteOrderQtyMarketAllowed", "allowTrailingStop",
         "cancelReplaceAllowed", "amendAllowed", "pegInstructionsAllowed", "isSpotTradingAllowed",
         "isMarginTradingAllowed"), _FLAG,
    ),
    orderTypes=_rows(_KIND), filters=_rows(_FILTER), permissions=_rows(_TEXT), permissionSets=_rows(_rows(_TEXT)),
    allowedSelfTradePreventionModes=_rows(_PREVENTION),
)  # fmt: skip
_LIMIT: Final = _shape(_TEXT, "rateLimitType interval", intervalNum=_WHOLE, limit=_WHOLE)
_INFO: Final = closed(
    {
        "timezone": _TEXT, "serverTime": _WHOLE, "rateLimits": _rows(_LIMIT), "exchangeFilters": _rows(_NOTHING),
        "symbols": _rows(_MARKET),
    }
)  # fmt: skip
_TRADE: Final = _shape(_AMOUNT, "price qty quoteQty", id=_WHOLE, time=_WHOLE, isBuyerMaker=_FLAG, isBestMatch=_FLAG)
_AGGREGATE: Final = _shape(_WHOLE, "a f l T", p=_AMOUNT, q=_AMOUNT, m=_FLAG, M=_FLAG)
#: Start, open, high, low, close, volume, end, quote volume, trades, three that are 0.
_CANDLE: Final = {"type": "array", "items": {"type": ["integer", "string"]}, "minItems": 12, "maxItems": 12}
_MINI: Final = _shape(
    _AMOUNT, "openPrice highPrice lowPrice lastPrice volume quoteVolume", symbol=_TEXT,
    **dict.fromkeys(("openTime", "closeTime", "firstId", "lastId", "count"), _WHOLE),
)  # fmt: skip
_CHANGES: Final = {"priceChange": _AMOUNT, "weightedAvgPrice": _AMOUNT, "priceChangePercent": _TEXT}
_BEST_PRICES: Final = dict.fromkeys(("bidPrice", "bidQty", "askPrice", "askQty"), _AMOUNT)
_WINDOW: Final = _with(_MINI, **_CHANGES)
_DAY: Final = _with(_WINDOW, prevClosePrice=_AMOUNT, lastQty=_AMOUNT, **_BEST_PRICES)

_HEAD: Final = _shape(_WHOLE, "orderId orderListId", symbol=_TEXT, clientOrderId=_TEXT)
_TERMS: Final = {
    **dict.fromkeys(("price", "origQty", "executedQty", "origQuoteOrderQty", "cummulativeQuoteQty"), _AMOUNT),
    "status": _STATUS, "timeInForce": _LASTING, "type": _KIND, "side": _SIDE, "selfTradePreventionMode": _PREVENTION,
}  # fmt: skip
_STOPS: Final = {"stopPrice": _AMOUNT, "icebergQty": _AMOUNT}
_ORDER: Final = _with(_HEAD, **_TERMS, **_STOPS, time=_WHOLE, updateTime=_WHOLE, isWorking=_FLAG, workingTime=_WHOLE)
_FILL: Final = _shape(_AMOUNT, "price qty commission", commissionAsset=_TEXT, tradeId=_WHOLE)
_ACK: Final = _with(_HEAD, transactTime=_WHOLE)
_RESULT: Final = _with(_ACK, _STOPS, **_TERMS, workingTime=_WHOLE)
_FULL: Final = _with(_RESULT, _STOPS, fills=_rows(_FILL))
_PLACED: Final = {"anyOf": [_ACK, _RESULT, _FULL]}
_CANCELLED: Final = _with(_ACK, _STOPS, **_TERMS, origClientOrderId=_TEXT)
_AMENDED: Final = closed(
    {
        "transactTime": _WHOLE, "executionId": _WHOLE,
        "amendedOrder": _with(
            _HEAD, origClientOrderId=_TEXT, workingTime=_WHOLE,
            **dict.fromkeys(
                ("qty", "preventedQty", "quoteOrderQty", "cumulativeQuoteQty", "price", "executedQty"), _AMOUNT
            ),
            **{name: _TERMS[name] for name in ("status", "timeInForce", "type", "side", "selfTradePreventionMode")},
        ),
    }
)  # fmt: skip
_LIST: Final = _shape(
    _TEXT, "contingencyType listStatusType listOrderStatus listClientOrderId symbol", orderListId=_WHOLE,
    transactionTime=_WHOLE, orders=_rows(_shape(_TEXT, "symbol clientOrderId", orderId=_WHOLE)),
)  # fmt: skip
_PLACED_LIST: Final = _with(_LIST, orderReports=_rows(_PLACED))
_CANCELLED_LIST: Final = _with(_LIST, orderReports=_rows(_CANCELLED))
_REPLACED: Final = closed(
    {
        "cancelResult": words(("SUCCESS",)), "newOrderResult": words(("SUCCESS",)),
        "cancelResponse": _CANCELLED, "newOrderResponse": _PLACED,
    }
)  # fmt: skip
_RATES: Final = _shape(_AMOUNT, "maker taker buyer seller")
_ORDER_RATES: Final = _shape(_AMOUNT, "maker taker")
_DISCOUNT: Final = closed(
    {"enabledForAccount": _FLAG, "enabledForSymbol": _FLAG, "discountAsset": _TEXT, "discount": _AMOUNT}
)
_COMMISSION: Final = _shape(
    _RATES, "standardCommission specialCommission taxCommission", symbol=_TEXT, discount=_DISCOUNT
)
_TRIED: Final = _shape(
    _ORDER_RATES, "standardCommissionForOrder specialCommissionForOrder taxCommissionForOrder", discount=_DISCOUNT
)
_ACCOUNT: Final = _shape(
    _WHOLE, "makerCommission takerCommission buyerCommission sellerCommission updateTime uid", commissionRates=_RATES,
    **dict.fromkeys(
        ("canTrade", "canWithdraw", "canDeposit", "brokered", "requireSelfTradePrevention", "preventSor"), _FLAG
    ),
    accountType=_TEXT, balances=_rows(_shape(_AMOUNT, "free locked", asset=_TEXT)), permissions=_rows(_TEXT),
)  # fmt: skip
_OWN_TRADE: Final = _shape(
    _AMOUNT, "price qty quoteQty commission", symbol=_TEXT, commissionAsset=_TEXT,
    **dict.fromkeys(("id", "orderId", "orderListId", "time"), _WHOLE),
    **dict.fromkeys(("isBuyer", "isMaker", "isBestMatch"), _FLAG),
)  # fmt: skip
_COIN: Final = _shape(
    _AMOUNT, "free locked freeze ipoable ipoing storage withdrawing", coin=_TEXT, name=_TEXT,
    **dict.fromkeys(("depositAllEnable", "withdrawAllEnable", "isLegalMoney", "trading"), _FLAG),
    networkList=_rows(_NOTHING),
)  # fmt: skip
_FEE: Final = _shape(_AMOUNT, "makerCommission takerCommission", symbol=_TEXT)

#: By method and path.
ANSWERS: Final[dict[str, Schema]] = {
    "GET /api/v3/ping": _NOTHING,
    "GET /api/v3/time": _shape(_WHOLE, "serverTime"),
    "GET /api/v3/exchangeInfo": _INFO,
    "GET /api/v3/depth": closed({"lastUpdateId": _WHOLE, "bids": _LEVELS, "asks": _LEVELS}),
    "GET /api/v3/trades": _rows(_TRADE),
    "GET /api/v3/historicalTrades": _rows(_TRADE),
    "GET /api/v3/aggTrades": _rows(_AGGREGATE),
    "GET /api/v3/klines": _rows(_CANDLE),
    "GET /api/v3/uiKlines": _rows(_CANDLE),
    "GET /api/v3/avgPrice": closed({"mins": _WHOLE, "price": _AMOUNT, "closeTime": _WHOLE}),
    "GET /api/v3/ticker/24hr": {"anyOf": [_one_or_rows(_DAY), _one_or_rows(_MINI)]},
    "GET /api/v3/ticker/price": _one_or_rows(_shape(_TEXT, "symbol", price=_AMOUNT)),
    "GET /api/v3/ticker/bookTicker": _one_or_rows(_shape(_TEXT, "symbol", **_BEST_PRICES)),
    "GET /api/v3/ticker": {"anyOf": [_one_or_rows(_WINDOW), _one_or_rows(_MINI)]},
    "POST /api/v3/order": _PLACED,
    "POST /api/v3/order/test": {"anyOf": [_NOTHING, _TRIED]},
    "GET /api/v3/order": _ORDER,
    "DELETE /api/v3/order": _CANCELLED,
    "POST /api/v3/order/cancelReplace": _REPLACED,
    "PUT /api/v3/order/amend/keepPriority": _AMENDED,
    "GET /api/v3/openOrders": _rows(_ORDER),
    "DELETE /api/v3/openOrders": _rows(_CANCELLED),
    "GET /api/v3/allOrders": _rows(_ORDER),
    "POST /api/v3/orderList/oco": _PLACED_LIST,
    "POST /api/v3/order/oco": _PLACED_LIST,
    "GET /api/v3/orderList": _LIST,
    "DELETE /api/v3/orderList": _CANCELLED_LIST,
    "GET /api/v3/allOrderList": _rows(_LIST),
    "GET /api/v3/openOrderList": _rows(_LIST),
    "GET /api/v3/account": _ACCOUNT,
    "GET /api/v3/account/commission": _COMMISSION,
    "GET /api/v3/myTrades": _rows(_OWN_TRADE),
    "GET /api/v3/rateLimit/order": _rows(_with(_LIMIT, count=_WHOLE)),
    "GET /sapi/v1/capital/config/getall": _rows(_COIN),
    "GET /sapi/v1/asset/tradeFee": _rows(_FEE),
    "POST /api/v3/userDataStream": closed({"listenKey": _TEXT}),
    "PUT /api/v3/userDataStream": _NOTHING,
    "DELETE /api/v3/userDataStream": _NOTHING,
    "GET /sapi/v1/margin/allPairs": _rows(_NOTHING),
    "GET /sapi/v1/margin/isolated/allPairs": _rows(_NOTHING),
}
