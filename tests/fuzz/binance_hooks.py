"""What the fuzzer is told of the venue when it speaks as clients of Binance do: markets, amounts, orders, signatures.

As ``hooks``; ``FUZZ_TOKEN`` is the API key's id and its secret, with a space between them.
"""

import atexit
import hashlib
import hmac
import json
import os
import time
import zlib
from collections import Counter
from http import HTTPStatus
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import requests
import schemathesis

_KEY, _, _SECRET = os.environ["FUZZ_TOKEN"].partition(" ")
_ORDERS: Final = ("POST /api/v3/order", "POST /api/v3/order/test", "POST /api/v3/order/cancelReplace")
_PAIRS: Final = ("POST /api/v3/orderList/oco", "POST /api/v3/order/oco")
#: What an order of each type has, of the parameters that some types have.
_FIELDS: Final = {
    "LIMIT": ("timeInForce", "quantity", "price"),
    "LIMIT_MAKER": ("quantity", "price"),
    "MARKET": ("quantity",),
    "STOP_LOSS": ("quantity", "stopPrice"),
    "TAKE_PROFIT": ("quantity", "stopPrice"),
    "STOP_LOSS_LIMIT": ("timeInForce", "quantity", "price", "stopPrice"),
    "TAKE_PROFIT_LIMIT": ("timeInForce", "quantity", "price", "stopPrice"),
}
_OF_ONE: Final = (
    "GET /api/v3/order", "DELETE /api/v3/order", "POST /api/v3/order/cancelReplace",
    "PUT /api/v3/order/amend/keepPriority",
)  # fmt: skip
_RESTING: Final = {
    "symbol": "BTCUSDT", "side": "BUY", "type": "LIMIT", "timeInForce": "GTC", "quantity": "0.01", "price": "45000.00",
}  # fmt: skip
_LISTS_KEPT: Final = 200
_lists: list[int] = []
_answers: Counter[str] = Counter()


class Signed(requests.auth.AuthBase):
    """Signs the query as it goes over the line; there are no bodies."""

    _last_us = 0

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        query = urlsplit(request.url or "").query
        # No two are alike.
        Signed._last_us = max(Signed._last_us + 1, time.time_ns() // 1_000)
        signed = f"{query}&timestamp={Signed._last_us}".lstrip("&")
        digest = hmac.new(_SECRET.encode(), signed.encode(), hashlib.sha256).hexdigest()
        request.url = f"{str(request.url).partition('?')[0]}?{signed}&signature={digest}"
        return request


def _number(generated: Any) -> int:
    return zlib.crc32(repr(generated).encode())


def _amounts(number: int) -> dict[str, str]:
    """Whole lots and ticks near the market's price."""
    price = 49_000_00 + number % 2_000_00
    return {
        "quantity": f"0.{1 + number % 900:04}",
        "price": f"{price // 100}.{price % 100:02}",
        "stopPrice": f"{price // 100 + 3000 * (1 if number % 2 else -1)}.00",
        "timeInForce": "GTC",
    }


def _sensible(asked: str, query: dict[str, Any], number: int) -> dict[str, Any]:
    """An order that the market would take, out of one that it probably would not."""
    amounts = _amounts(number)
    if asked in _PAIRS:
        sells = query["side"] == "SELL"
        more = {"symbol": "BTCUSDT", "side": query["side"], "quantity": amounts["quantity"]}
        if asked.endswith("/order/oco"):
            return more | {
                "price": "56000.00" if sells else "44000.00",
                "stopPrice": "43000.00" if sells else "57000.00",
            }
        up, down = ("LIMIT_MAKER", "STOP_LOSS") if sells else ("STOP_LOSS", "LIMIT_MAKER")
        legs = {"LIMIT_MAKER": "Price", "STOP_LOSS": "StopPrice"}
        return more | {
            "aboveType": up, f"above{legs[up]}": "57000.00", "belowType": down, f"below{legs[down]}": "43000.00"
        }  # fmt: skip
    fields = _FIELDS[query["type"]]
    kept = (
        "side",
        "type",
        "newOrderRespType",
        "selfTradePreventionMode",
        "computeCommissionRates",
        "cancelReplaceMode",
    )
    sensible = {name: value for name, value in query.items() if name in kept}
    return sensible | {"symbol": "BTCUSDT"} | {name: amounts[name] for name in fields}


def _resting_order() -> int:
    """The number of a new order that rests; of none, if it was refused."""
    url, headers = f"{os.environ['FUZZ_URL']}/api/v3/order", {"X-MBX-APIKEY": _KEY}
    answer = requests.post(url, params=_RESTING, headers=headers, auth=Signed(), timeout=20)
    return int(answer.json().get("orderId", 0))


@schemathesis.hook
def before_call(context: Any, case: Any, kwargs: Any) -> None:
    """Give a well-formed request what exists; malformed ones stay as they are, but for their signature."""
    if (case.headers or {}).get("X-MBX-APIKEY", _KEY) == _KEY and case.operation.definition.raw.get("x-signed"):
        kwargs["auth"] = Signed()
    if case.meta is None or not case.meta.generation.mode.is_positive or not isinstance(case.query, dict):
        return
    asked, query, number = case.operation.label, case.query, _number(case.query)
    known = {parameter.name for parameter in case.operation.query}
    if number % 8:
        query = {name: value for name, value in query.items() if name in known and value not in ("", None)}
    if query.get("symbol") and number % 8:
        query["symbol"] = "BTCUSDT"
    if "symbols" in query and number % 4:
        query = {name: value for name, value in query.items() if name != "symbol"} | {"symbols": '["BTCUSDT"]'}
    if asked in (*_ORDERS, *_PAIRS) and number % 4:
        query = _sensible(asked, query, number)
    if asked in _OF_ONE and number % 8:
        query["cancelOrderId" if "cancelOrderId" in known else "orderId"] = _resting_order()
        for name in ("origClientOrderId", "cancelOrigClientOrderId", "newClientOrderId", "cancelRestrictions"):
            query.pop(name, None)
    if _lists and number % 8 and "orderListId" in known:
        query = {name: value for name, value in query.items() if not name.endswith("ClientOrderId")}
        query["orderListId"] = _lists[-1]
    if "newQty" in query and number % 4:
        query["newQty"] = "0.0001"
    case.query = query


@schemathesis.hook
def after_call(context: Any, case: Any, response: Any) -> None:
    """Count the answer, and remember an order list."""
    asked, status = case.operation.label, response.status_code
    _answers[f"{asked} {status}"] += 1
    if status != HTTPStatus.OK:
        return
    if asked in _PAIRS:
        _lists.append(json.loads(response.content)["orderListId"])
        del _lists[:-_LISTS_KEPT]
    elif asked == "DELETE /api/v3/orderList" and _lists:
        _lists.pop()


@atexit.register
def _leave() -> None:
    if "FUZZ_ANSWERS" in os.environ:
        Path(os.environ["FUZZ_ANSWERS"]).write_text(json.dumps(_answers))
