"""What the fuzzer is told of the venue, so that it is not refused at the door all the time.

Most generated markets, prices and order ids do not exist; most well-formed requests get ones that do.  Which ones
depends on the generated text alone: a seed repeats a run.  Loaded by schemathesis (``SCHEMATHESIS_HOOKS``), which
runs in a process of its own; at its end it leaves the answers counted by operation and status in ``FUZZ_ANSWERS``.
"""

import atexit
import json
import os
import zlib
from collections import Counter
from http import HTTPStatus
from pathlib import Path
from typing import Any, Final
from urllib.parse import unquote

import httpx
import schemathesis

from tests.fuzz.venue import OPERATED, SYMBOL

_PLACE: Final = "POST /api/v1/orders"
_BATCH: Final = "POST /api/v1/orders/batch"
_ENDING: Final = ("DELETE /api/v1/orders", "DELETE /api/v1/admin/orders")
_AMEND: Final = "PATCH /api/v1/orders/{order_id}"
#: What an order of each type has, of the fields that some types have.
_FIELDS: Final = {
    "LIMIT": ("quantity", "price"),
    "MARKET": ("quantity",),
    "STOP": ("quantity", "stop_price"),
    "STOP_LIMIT": ("quantity", "price", "stop_price"),
}
_ORDERS_KEPT: Final = 200
_UNKNOWN: Final = "0192f0c1-2b3c-7d4e-8f50-61728394a5b6"
_RESTING: Final = {"symbol": SYMBOL, "side": "BUY", "type": "LIMIT", "quantity": "0.01", "price": "45000.00"}
_open_orders: list[str] = []
_answers: Counter[str] = Counter()


def _number(generated: Any) -> int:
    return zlib.crc32(repr(generated).encode())


def _in_market(generated: Any) -> Any:
    if isinstance(generated, dict) and isinstance(generated.get("symbol"), str) and _number(generated) % 4:
        return generated | {"symbol": SYMBOL}
    return generated


def _of_the_route(query: Any, known: set[str]) -> Any:
    """A query without parameters that the route does not have; OpenAPI cannot forbid these, the API does."""
    if not isinstance(query, dict) or _number(query) % 8 == 0:
        return query
    return {name: value for name, value in query.items() if name in known}


def _is_real(symbol: Any) -> bool:
    return isinstance(symbol, str) and unquote(symbol).upper().replace("-", "").replace("/", "") == "BTCUSDT"


def _amounts(number: int) -> dict[str, str]:
    """Whole lots and ticks near the market's price."""
    price = 49_000_00 + number % 2_000_00
    return {
        "quantity": f"0.{1 + number % 900:04}",
        "price": f"{price // 100}.{price % 100:02}",
        "stop_price": f"{price // 100 + 3000 * (1 if number % 2 else -1)}.00",
    }


def _sensible(order: Any) -> Any:
    """An order that the market would take, out of one that it probably would not."""
    number = _number(order)
    if not isinstance(order, dict) or order.get("type") not in _FIELDS or number % 4 == 0:
        return order
    fields = _FIELDS[order["type"]]
    amounts = _amounts(number)
    kept = {name: value for name, value in order.items() if name in ("side", "type", "self_trade_prevention")}
    sensible = kept | {"symbol": SYMBOL} | {name: amounts[name] for name in fields}
    if order["type"] == "LIMIT":
        times = ("GTC", "IOC", "DAY", "GTD")
        sensible["time_in_force"] = times[number % len(times)]
        if sensible["time_in_force"] == "GTD":
            sensible["expires_at"] = "2099-01-01T00:00:00Z"
    if number % 3 == 0:
        sensible["client_order_id"] = f"fuzz-{number % 500}"
    return sensible


def _open_order() -> str:
    """The id of an order that rests; of a new one, if all that the fuzzer placed have ended."""
    if not _open_orders:
        headers = {"Authorization": f"Bearer {os.environ['FUZZ_TOKEN']}"}
        answer = httpx.post(f"{os.environ['FUZZ_URL']}/api/v1/orders", json=_RESTING, headers=headers, timeout=20)
        if answer.status_code != HTTPStatus.CREATED:
            # An operator who fuzzes may have halted the market.
            return _UNKNOWN
        _open_orders.append(answer.json()["data"]["order"]["id"])
    return _open_orders[-1]


@schemathesis.hook
def before_call(context: Any, case: Any, kwargs: Any) -> None:
    """Give a well-formed request what exists; malformed ones stay as they are."""
    asked, parts = case.operation.label, case.path_parameters
    if "/admin/markets/" in asked and isinstance(parts, dict) and _is_real(parts.get("symbol")):
        # Whatever an operator sends: another market than the one that orders go to is changed, halted and closed.
        case.path_parameters = parts = parts | {"symbol": OPERATED}
    if case.meta is None or not case.meta.generation.mode.is_positive:
        return
    number = _number((parts, case.query, case.body))
    if number % 8 and case.headers:
        # One login is enough: the token is there, and a generated signature is always wrong.
        for name in [name for name in case.headers if name.lower().startswith("x-api-")]:
            del case.headers[name]
    if isinstance(parts, dict) and "order_id" in parts and number % 4:
        case.path_parameters = parts | {"order_id": _open_order()}
    elif "/dead-letters/{id}" in asked and isinstance(parts, dict) and number % 2:
        case.path_parameters = parts | {"id": str(1 + number // 2 % 60)}
    elif "/admin/markets/" in asked and isinstance(parts, dict):
        case.path_parameters = parts | {"symbol": OPERATED if number % 8 else "NONE-SUCH"}
    else:
        case.path_parameters = _in_market(parts)
    known = {parameter.name for parameter in case.operation.query}
    case.query = _in_market(_of_the_route(case.query, known))
    if asked == _PLACE:
        case.body = _sensible(case.body)
    elif asked == _BATCH and isinstance(case.body, dict) and isinstance(case.body.get("orders"), list):
        case.body = case.body | {"orders": [_sensible(order) for order in case.body["orders"]]}
    elif asked == _AMEND and isinstance(case.body, dict) and number % 4:
        amounts = _amounts(number)
        changes = (("quantity",), ("price",), ("quantity", "price"))[number % 3]
        case.body = {name: amounts[name] for name in changes}
    if not asked.endswith("/admin/markets"):
        case.body = _in_market(case.body)


@schemathesis.hook
def after_call(context: Any, case: Any, response: Any) -> None:
    """Count the answer, and remember an order that rests."""
    asked, status = case.operation.label, response.status_code
    _answers[f"{asked} {status}"] += 1
    if asked == _PLACE and status == HTTPStatus.CREATED:
        order = json.loads(response.content)["data"]["order"]
        if order["status"] in ("OPEN", "PENDING"):
            _open_orders.append(order["id"])
            del _open_orders[:-_ORDERS_KEPT]
    elif asked in _ENDING and status == HTTPStatus.OK:
        _open_orders.clear()
    elif "{order_id}" in asked and status in (HTTPStatus.OK, HTTPStatus.CONFLICT) and not asked.startswith("GET"):
        # It may have ended.
        _open_orders[:] = [known for known in _open_orders if known != case.path_parameters["order_id"]]


@atexit.register
def _leave() -> None:
    if "FUZZ_ANSWERS" in os.environ:
        Path(os.environ["FUZZ_ANSWERS"]).write_text(json.dumps(_answers))
