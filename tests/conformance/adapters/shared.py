"""What adapters share: an order as stories see it, and which refusals have which numbers."""

import json
import re
from collections.abc import Callable
from decimal import Decimal
from typing import Any, NamedTuple

NUMBERS = {
    "would_take": -2010, "insufficient": -2010, "duplicate": -2010, "no_order": -2013, "unknown": -2011,
    "bad_symbol": -1121, "filter": -1013, "notional": -1013, "signature": -1022,
    "key": -2015, "timestamp": -1021, "rate": -1015, "replace": -2022, "prices": -2010,
}  # fmt: skip


class Found(NamedTuple):
    """An order."""

    id: str
    client_id: str
    status: str
    filled: Decimal


def found_of(row: dict[str, Any]) -> Found:
    """An order as the API shows it."""
    return Found(
        str(row["orderId"]),
        row.get("origClientOrderId") or row["clientOrderId"],
        row.get("status", "NEW"),
        Decimal(row.get("executedQty", "0")),
    )


def oco_terms(side: str, quantity: str, limit: str, stop: str, stop_limit: str) -> dict[str, str]:
    """The parameters of a pair: a limit on the better side of the price, a stop on the other."""
    up, down = ("above", "below") if side == "SELL" else ("below", "above")
    return {
        "side": side, "quantity": quantity, f"{up}Type": "LIMIT_MAKER", f"{up}Price": limit,
        f"{down}Type": "STOP_LOSS_LIMIT", f"{down}StopPrice": stop, f"{down}Price": stop_limit,
        f"{down}TimeInForce": "GTC",
    }  # fmt: skip


def levels(rows: list[Any]) -> list[tuple[Decimal, Decimal]]:
    """One side of a book."""
    return [(Decimal(str(row[0])), Decimal(str(row[1]))) for row in rows]


def number_in(text: str) -> int | None:
    """The number in an error's text, if that has the API's answer in it."""
    found = re.search(r"\{.*\}", text)
    return None if found is None else int(json.loads(found[0])["code"])


def expect(kinds: tuple[type[Exception], ...], number: int, call: Callable[[], Any]) -> None:
    """Demand that a call raises an error of one of these kinds, with this number."""
    try:
        call()
    except kinds as error:
        code = getattr(error, "code", None) or getattr(error, "error_code", None) or number_in(str(error))
        # A client may have its own class for a refusal, and then tells only the text.
        if code not in (number, None):
            raise AssertionError(f"{code} instead of {number}: {error}") from error
        return
    raise AssertionError(f"nothing was raised, expected {number}")
