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
from pathlib import Path
from typing import Any, Final

import schemathesis

from tests.fuzz.venue import SYMBOL

_PLACE: Final = "POST /api/v1/orders"
_BATCH: Final = "POST /api/v1/orders/batch"
_AMEND: Final = "PATCH /api/v1/orders/{order_id}"
#: What an order of each type has, of the fields that some types have.
_FIELDS: Final = {
    "LIMIT": ("quantity", "price"),
    "MARKET": ("quantity",),
    "STOP": ("quantity", "stop_price"),
    "STOP_LIMIT": ("quantity", "price", "stop_price"),
}
_ORDERS_KEPT: Final = 200
_open_orders: list[str] = []
_answers: Counter[str] = Counter()


def _number(generated: Any) -> int:
    return zlib.crc32(repr(generated).encode())


def _in_market(generated: Any) -> Any:
    if isinstance(generated, dict) and isinstance(generated.get("symbol"), str) and _number(generated) % 4:
        return generated | {"symbol": SYMBOL}
    return generated


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


@schemathesis.hook
def before_call(context: Any, case: Any, kwargs: Any) -> None:
    """Give a well-formed request what exists; malformed ones stay as they are."""
    if case.meta is None or not case.meta.generation.mode.is_positive:
        return
    asked = case.operation.label
    parts = case.path_parameters
    if _open_orders and isinstance(parts, dict) and "order_id" in parts and (number := _number(parts)) % 4:
        case.path_parameters = parts | {"order_id": _open_orders[number % len(_open_orders)]}
    case.path_parameters, case.query = _in_market(case.path_parameters), _in_market(case.query)
    if asked == _PLACE:
        case.body = _sensible(case.body)
    elif asked == _BATCH and isinstance(case.body, dict) and isinstance(case.body.get("orders"), list):
        case.body = case.body | {"orders": [_sensible(order) for order in case.body["orders"]]}
    elif asked == _AMEND and isinstance(case.body, dict) and (number := _number(case.body)) % 4:
        amounts = _amounts(number)
        changes = (("quantity",), ("price",), ("quantity", "price"))[number % 3]
        case.body = {name: amounts[name] for name in changes}
    if not asked.endswith("/admin/markets"):
        case.body = _in_market(case.body)


@schemathesis.hook
def after_call(context: Any, case: Any, response: Any) -> None:
    """Count the answer, and remember an order that rests."""
    asked = case.operation.label
    _answers[f"{asked} {response.status_code}"] += 1
    if asked == _PLACE and response.status_code == 201:
        order = json.loads(response.content)["data"]["order"]
        if order["status"] in ("OPEN", "PENDING"):
            _open_orders.append(order["id"])
            del _open_orders[:-_ORDERS_KEPT]


@atexit.register
def _leave() -> None:
    if "FUZZ_ANSWERS" in os.environ:
        Path(os.environ["FUZZ_ANSWERS"]).write_text(json.dumps(_answers))
